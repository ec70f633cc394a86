//! A request for a message, written.
//!
//! Users and the assistant take turns, beginning with the user; results of tools stand first in
//! the turn after the calls; what the system says stands apart, or, in the middle of a
//! conversation, in a turn of the user's with its role around it; no text is empty.

use crate::llm::translate::Feature;
use crate::llm::translate::ids;
use crate::llm::translate::ir::{
    Answer, Choice, Effort, Lost, Media, MediaKind, Output, Part, Request, Role, Source, Thinking,
    Tool,
};
use crate::llm::translate::json::{Json, object};
use crate::llm::translate::model::{Claude, Thinks};
use crate::llm::translate::turns::{self, Exchange};

/// The smallest budget of thinking.
const LEAST_THINKING: u64 = 1_024;

/// Writes a request for `model`.
pub(in crate::llm::translate) fn request(mut request: Request, model: &str) -> (Json, Lost) {
    let mut lost = std::mem::take(&mut request.lost);
    let claude = Claude::of(model);
    let limit = request.max_output.unwrap_or(claude.default_output).clamp(1, claude.max_output);
    let mut body = object! { "model": model, "max_tokens": limit };
    let in_loop = turns::ends_in_results(&request.turns);
    let conversation = turns::exchanges(std::mem::take(&mut request.turns));
    if !conversation.system.is_empty() {
        body.set("system", conversation.system.join("\n\n"));
    }
    let last = conversation.exchanges.len().saturating_sub(1);
    let messages = conversation.exchanges.iter().enumerate();
    let messages =
        messages.map(|(at, turn)| message(turn, at == last, &mut lost)).collect::<Vec<_>>();
    body.set("messages", messages);
    let thinks = thinking(&request, claude, limit, in_loop, &mut body, &mut lost);
    if !request.tools.is_empty() {
        body.set("tools", request.tools.iter().map(tool).collect::<Vec<_>>());
        body.set_some("tool_choice", choice(&request, thinks, &mut lost));
    }
    sampling(&mut request, claude, thinks, &mut body);
    lost.add_if(request.seed.is_some(), Feature::Seed);
    let penalties = request.presence_penalty.is_some() || request.frequency_penalty.is_some();
    lost.add_if(penalties, Feature::Penalties);
    // A sequence of white space alone is refused.
    let stops = request.stop.iter().filter(|stop| !stop.trim().is_empty());
    let stops: Vec<Json> = stops.map(Json::from).collect();
    lost.add_if(stops.len() < request.stop.len(), Feature::StopSequences);
    if !stops.is_empty() {
        body.set("stop_sequences", stops);
    }
    if request.stream {
        body.set("stream", true);
    }
    (body, lost)
}

fn sampling(request: &mut Request, claude: Claude, thinks: bool, body: &mut Json) {
    // While thinking, the model samples in its own way too.
    if !claude.samples || thinks {
        return;
    }
    let temperature = request.temperature.take().map(|text| match text.parse::<f64>() {
        // Two is hottest elsewhere, one is hottest here.
        Ok(hot) if hot > 1.0 => Json::Count(1),
        _ => Json::Raw(text),
    });
    // One or the other: the newer models refuse both.
    if temperature.is_none() {
        body.set_some("top_p", request.top_p.take().map(Json::Raw));
    }
    body.set_some("temperature", temperature);
    body.set_some("top_k", request.top_k.take().map(Json::Raw));
}

/// Writes how to think and what form the answer has; tells whether thinking is on.
fn thinking(
    request: &Request,
    claude: Claude,
    limit: u64,
    in_loop: bool,
    body: &mut Json,
    lost: &mut Lost,
) -> bool {
    let format = match &request.output {
        Output::Text => None,
        Output::Json => {
            lost.add(Feature::JsonObject);
            None
        }
        Output::Schema { schema, .. } if claude.schema => {
            Some(object! { "type": "json_schema", "schema": Json::Raw(schema.clone()) })
        }
        Output::Schema { .. } => {
            lost.add(Feature::JsonSchema);
            None
        }
    };
    let asked = request
        .thinking
        .filter(|thinking| !matches!(thinking, Thinking::Off | Thinking::Effort(Effort::Minimal)));
    let mut effort = None;
    let mut on = false;
    match (asked, claude.thinks) {
        (None, _) => {}
        (Some(_), Thinks::Not) => lost.add(Feature::Thinking),
        // Between calls of tools the thoughts that led to them are wanted, and we have none.
        (Some(_), Thinks::Budget) if in_loop => {}
        (Some(asked), Thinks::Budget) => {
            let budget = match asked {
                Thinking::Budget(tokens) => tokens,
                Thinking::Effort(effort) => effort.budget(),
                Thinking::Free | Thinking::Off => Effort::Medium.budget(),
            };
            // Thinking counts against the limit here; half of it is for the answer.
            let budget = budget.min(limit / 2);
            if budget >= LEAST_THINKING {
                body.set("thinking", object! { "type": "enabled", "budget_tokens": budget });
                on = true;
            }
        }
        (Some(asked), Thinks::Adaptive) => {
            body.set("thinking", object! { "type": "adaptive" });
            on = true;
            effort = match asked {
                Thinking::Budget(tokens) => Some(Effort::of_budget(tokens)),
                Thinking::Effort(effort) => Some(effort),
                Thinking::Free | Thinking::Off => None,
            };
        }
    }
    let effort = effort.map(|effort| match effort {
        Effort::Minimal | Effort::Low => "low",
        Effort::Medium => "medium",
        Effort::High | Effort::ExtraHigh => "high",
        Effort::Max => "max",
    });
    if format.is_some() || effort.is_some() {
        let mut config = object! {};
        config.set_some("effort", effort);
        config.set_some("format", format);
        body.set("output_config", config);
    }
    on
}

fn tool(tool: &Tool) -> Json {
    let mut written = object! { "name": &tool.name };
    written.set_some("description", tool.description.as_ref());
    let schema = tool.schema.as_deref().filter(|schema| schema.contains("\"type\""));
    // A function without parameters has no schema elsewhere.
    let schema = schema.unwrap_or(r#"{"type":"object","properties":{}}"#);
    written.set("input_schema", Json::Raw(schema.to_owned()));
    if tool.strict {
        written.set("strict", true);
    }
    written
}

fn choice(request: &Request, thinks: bool, lost: &mut Lost) -> Option<Json> {
    let single = request.parallel == Some(false);
    let mut choice = match &request.choice {
        None if single => object! { "type": "auto" },
        None => return None,
        Some(Choice::None) => return Some(object! { "type": "none" }),
        Some(Choice::Auto) => object! { "type": "auto" },
        // A model that thinks can't be made to call.
        Some(Choice::Any | Choice::Tool(_)) if thinks => {
            lost.add(Feature::ToolChoice);
            object! { "type": "auto" }
        }
        Some(Choice::Any) => object! { "type": "any" },
        Some(Choice::Tool(name)) => object! { "type": "tool", "name": name },
    };
    if single {
        choice.set("disable_parallel_tool_use", true);
    }
    Some(choice)
}

fn message(turn: &Exchange, last: bool, lost: &mut Lost) -> Json {
    let mut content = Vec::new();
    for part in &turn.parts {
        match part {
            // The end of what the assistant is to go on with may not be white space.
            Part::Text(text) if last && turn.role == Role::Assistant => {
                content.push(object! { "type": "text", "text": text.trim_end() });
            }
            Part::Text(text) => content.push(object! { "type": "text", "text": text }),
            Part::Media(piece) => content.extend(media(piece, lost)),
            Part::Call(call) => content.push(object! {
                "type": "tool_use",
                "id": ids::plain(&call.id),
                "name": &call.name,
                "input": turns::arguments(&call.arguments),
            }),
            Part::Result(answer) => content.push(result(answer, lost)),
        }
    }
    if content.is_empty() {
        content.push(object! { "type": "text", "text": turns::NOTHING });
    }
    let role = if turn.role == Role::Assistant { "assistant" } else { "user" };
    object! { "role": role, "content": content }
}

fn result(answer: &Answer, lost: &mut Lost) -> Json {
    let mut content = Vec::new();
    if !answer.text.trim().is_empty() {
        content.push(object! { "type": "text", "text": &answer.text });
    }
    for piece in &answer.media {
        content.extend(media(piece, lost));
    }
    let mut result = object! { "type": "tool_result", "tool_use_id": ids::plain(&answer.id) };
    if !content.is_empty() {
        result.set("content", content);
    }
    if answer.is_error {
        result.set("is_error", true);
    }
    result
}

fn media(media: &Media, lost: &mut Lost) -> Option<Json> {
    let kind = match media.kind {
        MediaKind::Image => "image",
        MediaKind::Document => "document",
        MediaKind::Audio | MediaKind::Video => {
            lost.add(media.kind.feature());
            return None;
        }
    };
    let source = match &media.source {
        Source::Url(url) => object! { "type": "url", "url": url },
        Source::Base64 { media_type, data } => {
            let known = match media.kind {
                MediaKind::Image => {
                    ["image/png", "image/jpeg", "image/gif", "image/webp"].contains(&&**media_type)
                }
                _ => media_type == "application/pdf",
            };
            if !known {
                lost.add(media.kind.feature());
                return None;
            }
            object! { "type": "base64", "media_type": media_type, "data": data }
        }
    };
    let mut block = object! { "type": kind, "source": source };
    if kind == "document" {
        block.set_some("title", media.name.as_ref());
    }
    Some(block)
}
