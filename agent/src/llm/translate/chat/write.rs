//! A request for a chat completion, written.

use crate::llm::translate::Feature;
use crate::llm::translate::ids;
use crate::llm::translate::ir::{
    Answer, Choice, Effort, Lost, Media, MediaKind, Output, Part, Request, Role, Source, Thinking,
    Tool, Turn,
};
use crate::llm::translate::json::{Json, object};
use crate::llm::translate::model;

/// Sequences `OpenAI` takes to stop at.
const MOST_STOPS: usize = 4;

/// Writes a request for `model`.
pub(in crate::llm::translate) fn request(mut request: Request, model: &str) -> (Json, Lost) {
    let mut lost = std::mem::take(&mut request.lost);
    let mut body = object! { "model": model };
    let mut messages = Vec::new();
    for turn in &request.turns {
        write_turn(turn, model, &mut messages, &mut lost);
    }
    body.set("messages", messages);
    if !request.tools.is_empty() {
        body.set("tools", request.tools.iter().map(tool).collect::<Vec<_>>());
        // Without tools these are refused, and mean nothing.
        body.set_some("tool_choice", request.choice.as_ref().map(choice));
        body.set_some("parallel_tool_calls", request.parallel);
    }
    body.set_some("response_format", output(&request.output));
    let limit = if model::is_openai(model) { "max_completion_tokens" } else { "max_tokens" };
    body.set_some(limit, request.max_output);
    if model::samples(model) {
        body.set_some("temperature", request.temperature.take().map(Json::Raw));
        body.set_some("top_p", request.top_p.take().map(Json::Raw));
        body.set_some("presence_penalty", request.presence_penalty.take().map(Json::Raw));
        body.set_some("frequency_penalty", request.frequency_penalty.take().map(Json::Raw));
    }
    body.set_some("seed", request.seed.take().map(Json::Raw));
    lost.add_if(request.top_k.is_some(), Feature::TopK);
    if request.stop.len() > MOST_STOPS {
        lost.add(Feature::StopSequences);
        request.stop.truncate(MOST_STOPS);
    }
    if !request.stop.is_empty() {
        body.set("stop", request.stop.iter().map(Json::from).collect::<Vec<_>>());
    }
    match (request.thinking.and_then(effort), model::reasons(model)) {
        (Some(word), true) => body.set("reasoning_effort", word),
        (Some(word), false) => lost.add_if(word != "none", Feature::Thinking),
        (None, _) => {}
    }
    if request.stream {
        body.set("stream", true);
        // The client's format has usage in every stream, or its budget needs it.
        body.set("stream_options", object! { "include_usage": true });
    }
    (body, lost)
}

fn effort(thinking: Thinking) -> Option<&'static str> {
    let effort = match thinking {
        Thinking::Off => return Some("none"),
        Thinking::Free => return None,
        Thinking::Budget(tokens) => Effort::of_budget(tokens),
        Thinking::Effort(effort) => effort,
    };
    Some(match effort {
        Effort::Minimal => "minimal",
        Effort::Low => "low",
        Effort::Medium => "medium",
        Effort::High => "high",
        Effort::ExtraHigh | Effort::Max => "xhigh",
    })
}

fn tool(tool: &Tool) -> Json {
    let mut function = object! { "name": &tool.name };
    function.set_some("description", tool.description.as_ref());
    function.set_some("parameters", tool.schema.clone().map(Json::Raw));
    if tool.strict {
        function.set("strict", true);
    }
    object! { "type": "function", "function": function }
}

fn choice(choice: &Choice) -> Json {
    match choice {
        Choice::Auto => "auto".into(),
        Choice::None => "none".into(),
        Choice::Any => "required".into(),
        Choice::Tool(name) => {
            object! { "type": "function", "function": object! { "name": name } }
        }
    }
}

fn output(output: &Output) -> Option<Json> {
    match output {
        Output::Text => None,
        Output::Json => Some(object! { "type": "json_object" }),
        Output::Schema { name, schema, strict } => {
            let mut format = object! {
                "name": name.as_deref().unwrap_or("answer"),
                "schema": Json::Raw(schema.clone()),
            };
            if *strict {
                format.set("strict", true);
            }
            Some(object! { "type": "json_schema", "json_schema": format })
        }
    }
}

fn call_id(id: &str, model: &str) -> String {
    if model::is_mistral(model) { ids::nine(id) } else { ids::plain(id) }
}

fn write_turn(turn: &Turn, model: &str, messages: &mut Vec<Json>, lost: &mut Lost) {
    let (mut content, mut calls) = (Vec::new(), Vec::new());
    for part in &turn.parts {
        match part {
            Part::Text(text) => content.push(object! { "type": "text", "text": text }),
            Part::Media(piece) => content.extend(media(piece, turn.role, lost)),
            Part::Call(call) => calls.push(object! {
                "id": call_id(&call.id, model),
                "type": "function",
                "function": object! { "name": &call.name, "arguments": &call.arguments },
            }),
            // Answers of tools are messages of their own, before what the user adds.
            Part::Result(answer) => messages.push(result(answer, model, lost)),
        }
    }
    if content.is_empty() && calls.is_empty() {
        return;
    }
    let role = match turn.role {
        Role::System => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
    };
    // Not every imitator knows lists, so that text alone is a string.
    let only_text: Option<Vec<&str>> = turn.parts.iter().map(text_of).collect();
    let mut message = object! { "role": role };
    match only_text {
        _ if content.is_empty() => message.set("content", Json::Null),
        Some(texts) if texts.iter().filter(|text| !text.is_empty()).count() <= 1 => {
            message.set("content", texts.concat());
        }
        _ => message.set("content", content),
    }
    if !calls.is_empty() {
        message.set("tool_calls", calls);
    }
    messages.push(message);
}

fn text_of(part: &Part) -> Option<&str> {
    match part {
        Part::Text(text) => Some(text),
        Part::Call(_) | Part::Result(_) => Some(""),
        Part::Media(_) => None,
    }
}

fn result(answer: &Answer, model: &str, lost: &mut Lost) -> Json {
    for piece in &answer.media {
        lost.add(piece.kind.feature());
    }
    object! {
        "role": "tool",
        "tool_call_id": call_id(&answer.id, model),
        "content": &answer.text,
    }
}

fn media(media: &Media, role: Role, lost: &mut Lost) -> Option<Json> {
    if role != Role::User {
        lost.add(media.kind.feature());
        return None;
    }
    match (&media.source, media.kind) {
        (source, MediaKind::Image) => Some(object! {
            "type": "image_url",
            "image_url": object! { "url": source.to_url() },
        }),
        (Source::Base64 { media_type, data }, MediaKind::Audio)
            if matches!(&**media_type, "audio/wav" | "audio/mp3" | "audio/mpeg") =>
        {
            let format = if media_type == "audio/wav" { "wav" } else { "mp3" };
            let audio = object! { "data": data, "format": format };
            Some(object! { "type": "input_audio", "input_audio": audio })
        }
        (source @ Source::Base64 { .. }, MediaKind::Document) => {
            let name = media.name.as_deref().unwrap_or("document.pdf");
            let file = object! { "filename": name, "file_data": source.to_url() };
            Some(object! { "type": "file", "file": file })
        }
        (_, kind) => {
            lost.add(kind.feature());
            None
        }
    }
}
