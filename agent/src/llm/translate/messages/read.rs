//! A request for a message, read.

use std::borrow::Cow;

use crate::llm::translate::Feature;
use crate::llm::translate::doc::{Members, Node};
use crate::llm::translate::ir::{
    Answer, Call, Choice, Effort, Lost, Media, MediaKind, Output, Part, Request, Role, Source,
    Thinking, Tool, Turn,
};

/// Reads a request; `None` where it has no messages.
pub(in crate::llm::translate) fn request(body: Node<'_>) -> Option<Request> {
    let fields = body.members();
    let mut request = Request::default();
    if let Some(system) = fields.get("system") {
        let parts = parts(system, &mut request.lost);
        request.turns.push(Turn { role: Role::System, parts });
    }
    for message in fields.get("messages")?.items() {
        let message = message.members();
        let role = match message.text("role").as_deref() {
            Some("assistant") => Role::Assistant,
            Some("system") => Role::System,
            _ => Role::User,
        };
        let parts = parts(message.get("content")?, &mut request.lost);
        request.turns.push(Turn { role, parts });
    }
    // The other formats answer an assistant's last words; they don't go on with them.
    let prefilled = request.turns.last().is_some_and(|turn| turn.role == Role::Assistant);
    request.lost.add_if(prefilled, Feature::Prefill);
    for (name, value) in fields.iter() {
        field(name, value, &mut request);
    }
    Some(request)
}

fn field(name: &str, value: Node<'_>, request: &mut Request) {
    let number = || value.number().map(|_| value.raw().to_owned());
    let lost = &mut request.lost;
    match name {
        // The last four: who asks, how fast, what is kept for later; the answer is the same.
        "messages" | "model" | "system" | "metadata" | "service_tier" | "speed"
        | "cache_control" => {}
        "stream" => request.stream = value.boolean() == Some(true),
        "tools" => {
            request.tools = value.items().into_iter().filter_map(|t| tool(t, lost)).collect()
        }
        "tool_choice" => {
            let fields = value.members();
            request.choice = match fields.text("type").as_deref() {
                Some("auto") => Some(Choice::Auto),
                Some("any") => Some(Choice::Any),
                Some("none") => Some(Choice::None),
                Some("tool") => fields.text("name").map(|name| Choice::Tool(name.into_owned())),
                _ => None,
            };
            let single = fields.get("disable_parallel_tool_use").and_then(Node::boolean);
            request.parallel = single.map(|single| !single);
        }
        "max_tokens" => request.max_output = value.count(),
        "temperature" => request.temperature = number(),
        "top_p" => request.top_p = number(),
        "top_k" => request.top_k = number(),
        "stop_sequences" => {
            let items = value.items();
            request.stop =
                items.iter().filter_map(|stop| stop.text()).map(Cow::into_owned).collect();
        }
        "thinking" => thinking(value, &mut request.thinking),
        "output_config" => {
            let fields = value.members();
            if let Some(format) = fields.get("format") {
                request.output = output(format, lost);
            }
            // Says how much, where `thinking` only says that.
            let effort = fields.text("effort").and_then(|word| Effort::of_word(&word));
            if let (Some(effort), None | Some(Thinking::Free)) = (effort, request.thinking) {
                request.thinking = Some(Thinking::Effort(effort));
            }
        }
        "output_format" => request.output = output(value, lost),
        "mcp_servers" => lost.add_if(!value.items().is_empty(), Feature::ServerTools),
        "container" => lost.add(Feature::StatefulConversation),
        _ => lost.add(Feature::Unknown),
    }
}

fn thinking(value: Node<'_>, thinking: &mut Option<Thinking>) {
    let fields = value.members();
    match fields.text("type").as_deref() {
        Some("disabled") => *thinking = Some(Thinking::Off),
        Some("enabled") => {
            let budget = fields.get("budget_tokens").and_then(Node::count);
            *thinking = Some(budget.map_or(Thinking::Free, Thinking::Budget));
        }
        Some("adaptive") if thinking.is_none() => *thinking = Some(Thinking::Free),
        _ => {}
    }
}

fn output(format: Node<'_>, lost: &mut Lost) -> Output {
    match format.get("schema") {
        Some(schema) => {
            Output::Schema { name: None, schema: schema.raw().to_owned(), strict: true }
        }
        None => {
            lost.add(Feature::JsonSchema);
            Output::Text
        }
    }
}

fn tool(tool: Node<'_>, lost: &mut Lost) -> Option<Tool> {
    let fields = tool.members();
    if !matches!(fields.text("type").as_deref(), None | Some("custom")) {
        lost.add(Feature::ServerTools);
        return None;
    }
    Some(Tool {
        name: fields.text("name")?.into_owned(),
        description: fields.text("description").map(Cow::into_owned),
        schema: fields.get("input_schema").map(|schema| schema.raw().to_owned()),
        strict: fields.get("strict").and_then(Node::boolean) == Some(true),
    })
}

fn parts(content: Node<'_>, lost: &mut Lost) -> Vec<Part> {
    if let Some(text) = content.text() {
        return vec![Part::Text(text.into_owned())];
    }
    content.items().into_iter().filter_map(|block| part(&block.members(), lost)).collect()
}

fn part(block: &Members<'_>, lost: &mut Lost) -> Option<Part> {
    match block.text("type").as_deref() {
        Some("text") => return block.text("text").map(|text| Part::Text(text.into_owned())),
        Some("image") => {
            if let Some(media) = media(block, MediaKind::Image, lost) {
                return Some(Part::Media(media));
            }
        }
        Some("document") => return document(block, lost),
        Some("tool_use") => {
            return Some(Part::Call(Call {
                id: block.text("id")?.into_owned(),
                name: block.text("name")?.into_owned(),
                arguments: block.get("input").map_or("{}", Node::raw).to_owned(),
            }));
        }
        Some("tool_result") => return Some(Part::Result(answer(block, lost)?)),
        Some("thinking" | "redacted_thinking") => lost.add(Feature::SignedThinking),
        Some("search_result") => lost.add(Feature::Documents),
        Some("container_upload") => lost.add(Feature::StatefulConversation),
        Some(kind) if kind.contains("tool_") => lost.add(Feature::ServerTools),
        _ => lost.add(Feature::Unknown),
    }
    None
}

fn answer(block: &Members<'_>, lost: &mut Lost) -> Option<Answer> {
    let mut answer = Answer {
        id: block.text("tool_use_id")?.into_owned(),
        name: None,
        text: String::new(),
        media: Vec::new(),
        is_error: block.get("is_error").and_then(Node::boolean) == Some(true),
    };
    for part in block.get("content").map(|content| parts(content, lost)).unwrap_or_default() {
        match part {
            Part::Text(text) => {
                if !answer.text.is_empty() {
                    answer.text.push('\n');
                }
                answer.text.push_str(&text);
            }
            Part::Media(media) => answer.media.push(media),
            Part::Call(_) | Part::Result(_) => lost.add(Feature::Unknown),
        }
    }
    Some(answer)
}

fn media(block: &Members<'_>, kind: MediaKind, lost: &mut Lost) -> Option<Media> {
    let source = block.get("source")?.members();
    let text = |key| source.text(key).map(Cow::into_owned);
    let name = block.text("title").map(Cow::into_owned);
    match text("type")?.as_str() {
        "base64" => {
            let (media_type, data) = (text("media_type")?, text("data")?);
            Some(Media { kind, source: Source::Base64 { media_type, data }, name })
        }
        "url" => Some(Media { kind, source: Source::Url(text("url")?), name }),
        "file" => {
            lost.add(Feature::StatefulConversation);
            None
        }
        _ => {
            lost.add(kind.feature());
            None
        }
    }
}

fn document(block: &Members<'_>, lost: &mut Lost) -> Option<Part> {
    let cited = block.get("citations").and_then(|citations| citations.get("enabled"));
    lost.add_if(cited.and_then(Node::boolean) == Some(true), Feature::Citations);
    let source = block.get("source")?;
    if source.get("type").and_then(Node::text).as_deref() == Some("text") {
        return source.get("data")?.text().map(|text| Part::Text(text.into_owned()));
    }
    media(block, MediaKind::Document, lost).map(Part::Media)
}
