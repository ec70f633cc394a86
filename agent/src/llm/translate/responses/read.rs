//! A request for a response, read.

use std::borrow::Cow;

use crate::llm::translate::Feature;
use crate::llm::translate::chat;
use crate::llm::translate::doc::{Members, Node};
use crate::llm::translate::ir::{
    Answer, Call, Choice, Lost, Media, MediaKind, Part, Request, Role, Source, Tool, Turn,
};

/// Reads a request; `None` where it has no input.
pub(in crate::llm::translate) fn request(body: Node<'_>) -> Option<Request> {
    let fields = body.members();
    let mut request = Request::default();
    if let Some(instructions) = fields.text("instructions") {
        say(Role::System, vec![Part::Text(instructions.into_owned())], &mut request);
    }
    let input = fields.get("input")?;
    match input.text() {
        Some(text) => say(Role::User, vec![Part::Text(text.into_owned())], &mut request),
        None => {
            for item in input.items() {
                self::item(&item.members(), &mut request);
            }
        }
    }
    for (name, value) in fields.iter() {
        field(name, value, &mut request);
    }
    Some(request)
}

fn field(name: &str, value: Node<'_>, request: &mut Request) {
    let number = || value.number().map(|_| value.raw().to_owned());
    let lost = &mut request.lost;
    match name {
        "input" | "instructions" | "model" | "stream_options"
        // Who asks, where it is kept, how fast, how long: the answer is the same.
        | "user" | "metadata" | "store" | "service_tier" | "safety_identifier"
        | "prompt_cache_key" | "prompt_cache_retention" | "truncation" | "max_tool_calls" => {}
        "stream" => request.stream = value.boolean() == Some(true),
        "tools" => request.tools = value.items().into_iter().filter_map(|t| tool(t, lost)).collect(),
        "tool_choice" => request.choice = choice(value, lost),
        "parallel_tool_calls" => request.parallel = value.boolean(),
        "text" => text(&value.members(), request),
        "max_output_tokens" => request.max_output = value.count(),
        "temperature" => request.temperature = number(),
        "top_p" => request.top_p = number(),
        "reasoning" => {
            request.thinking = value.get("effort").and_then(chat::effort);
        }
        "top_logprobs" => lost.add_if(value.count() != Some(0), Feature::Logprobs),
        "include" => {
            let logprobs = |item: Node<'_>| item.text().is_some_and(|text| text.contains("logprobs"));
            lost.add_if(value.items().into_iter().any(logprobs), Feature::Logprobs);
        }
        "background" => lost.add_if(value.boolean() == Some(true), Feature::Background),
        "previous_response_id" | "conversation" | "prompt" => {
            lost.add(Feature::StatefulConversation);
        }
        _ => lost.add(Feature::Unknown),
    }
}

fn text(text: &Members<'_>, request: &mut Request) {
    let lost = &mut request.lost;
    if let Some(word) = text.text("verbosity") {
        lost.add_if(word != "medium", Feature::Unknown);
    }
    let Some(format) = text.get("format") else { return };
    let format = format.members();
    request.output = match format.text("type").as_deref() {
        Some("json_schema") => chat::schema(&format, lost),
        word => chat::plain_output(word, lost),
    };
}

fn tool(tool: Node<'_>, lost: &mut Lost) -> Option<Tool> {
    let fields = tool.members();
    match fields.text("type").as_deref() {
        Some("function") => chat::function(&fields),
        Some("custom") => {
            lost.add(Feature::CustomTools);
            None
        }
        _ => {
            lost.add(Feature::ServerTools);
            None
        }
    }
}

fn choice(value: Node<'_>, lost: &mut Lost) -> Option<Choice> {
    if let Some(word) = value.text() {
        return chat::choice_word(&word);
    }
    let fields = value.members();
    match fields.text("type").as_deref() {
        Some("function") => fields.text("name").map(|name| Choice::Tool(name.into_owned())),
        _ => {
            lost.add(Feature::ToolChoice);
            None
        }
    }
}

/// Adds to the turn under way, or begins one: an answer's text and calls are items of their own.
fn say(role: Role, parts: Vec<Part>, request: &mut Request) {
    match request.turns.last_mut() {
        Some(last) if role == Role::Assistant && last.role == role => last.parts.extend(parts),
        _ => request.turns.push(Turn { role, parts }),
    }
}

fn item(item: &Members<'_>, request: &mut Request) {
    let lost = &mut request.lost;
    match item.text("type").as_deref() {
        Some("message") | None => {
            let role = match item.text("role").as_deref() {
                Some("assistant") => Role::Assistant,
                Some("system" | "developer") => Role::System,
                _ => Role::User,
            };
            let content = item.get("content");
            let parts = content.map(|content| parts(content, lost)).unwrap_or_default();
            say(role, parts, request);
        }
        Some("function_call") => match called(item) {
            Some(call) => say(Role::Assistant, vec![Part::Call(call)], request),
            None => lost.add(Feature::Unknown),
        },
        Some("function_call_output") => {
            let answer = answer(item, lost);
            say(Role::User, vec![Part::Result(answer)], request);
        }
        // Without its content a thought only refers to what the provider keeps.
        Some("reasoning") => lost.add(Feature::SignedThinking),
        Some("item_reference") => lost.add(Feature::StatefulConversation),
        Some("custom_tool_call" | "custom_tool_call_output") => lost.add(Feature::CustomTools),
        Some(_) => lost.add(Feature::ServerTools),
    }
}

fn called(item: &Members<'_>) -> Option<Call> {
    Some(Call {
        id: item.text("call_id")?.into_owned(),
        name: item.text("name")?.into_owned(),
        arguments: item.text("arguments").unwrap_or_default().into_owned(),
    })
}

fn answer(item: &Members<'_>, lost: &mut Lost) -> Answer {
    let mut answer = Answer {
        id: item.text("call_id").unwrap_or_default().into_owned(),
        name: None,
        text: String::new(),
        media: Vec::new(),
        is_error: false,
    };
    for part in item.get("output").map(|output| parts(output, lost)).unwrap_or_default() {
        match part {
            Part::Text(text) => answer.text.push_str(&text),
            Part::Media(media) => answer.media.push(media),
            Part::Call(_) | Part::Result(_) => {}
        }
    }
    answer
}

fn parts(content: Node<'_>, lost: &mut Lost) -> Vec<Part> {
    if let Some(text) = content.text() {
        return vec![Part::Text(text.into_owned())];
    }
    content.items().into_iter().filter_map(|item| part(&item.members(), lost)).collect()
}

fn part(part: &Members<'_>, lost: &mut Lost) -> Option<Part> {
    if part.get("file_id").is_some() {
        lost.add(Feature::StatefulConversation);
        return None;
    }
    let of_url = |kind, url: Cow<'_, str>| Media { kind, source: Source::of_url(&url), name: None };
    let media = match part.text("type").as_deref() {
        Some("input_text" | "output_text" | "text") => {
            return part.text("text").map(|text| Part::Text(text.into_owned()));
        }
        Some("refusal") => {
            return part.text("refusal").map(|text| Part::Text(text.into_owned()));
        }
        Some("input_image") => part.text("image_url").map(|url| of_url(MediaKind::Image, url)),
        Some("input_file") => match part.text("file_url") {
            Some(url) => Some(of_url(MediaKind::Document, url)),
            None => chat::data_file(part),
        },
        Some("input_audio") => {
            chat::audio(&part.get("input_audio").map(Node::members).unwrap_or_default())
        }
        _ => None,
    };
    lost.add_if(media.is_none(), Feature::Unknown);
    media.map(Part::Media)
}
