//! A request for a chat completion, read.

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
    for message in fields.get("messages")?.items() {
        turn(&message.members(), &mut request);
    }
    for (name, value) in fields.iter() {
        field(name, value, &mut request);
    }
    Some(request)
}

fn field(name: &str, value: Node<'_>, request: &mut Request) {
    let number = || value.number().map(|_| value.raw().to_owned());
    let is_zero = || value.number().is_none_or(|number| number == 0.0);
    let lost = &mut request.lost;
    match name {
        "messages" | "model" | "stream_options" | "n" | "top_logprobs" | "audio"
        // Who asks, where it is kept, how fast: the answer is the same.
        | "user" | "metadata" | "store" | "service_tier" | "safety_identifier"
        | "prompt_cache_key" | "prompt_cache_retention" => {
            lost.add_if(name == "n" && value.count() != Some(1), Feature::MultipleChoices);
            lost.add_if(name == "top_logprobs" && !is_zero(), Feature::Logprobs);
        }
        "stream" => request.stream = value.boolean() == Some(true),
        "tools" => request.tools = value.items().into_iter().filter_map(|t| tool(t, lost)).collect(),
        "tool_choice" => request.choice = choice(value, lost),
        "parallel_tool_calls" => request.parallel = value.boolean(),
        "response_format" => request.output = output(value, lost),
        // The newer name counts, in whatever order they stand.
        "max_completion_tokens" => request.max_output = value.count(),
        "max_tokens" => request.max_output = request.max_output.or(value.count()),
        "temperature" => request.temperature = number(),
        "top_p" => request.top_p = number(),
        "top_k" => request.top_k = number(),
        "seed" => request.seed = number(),
        "presence_penalty" if !is_zero() => request.presence_penalty = number(),
        "frequency_penalty" if !is_zero() => request.frequency_penalty = number(),
        "presence_penalty" | "frequency_penalty" => {}
        "stop" => request.stop = stop(value),
        "reasoning_effort" => request.thinking = effort(value),
        "verbosity" => lost.add_if(value.text().as_deref() != Some("medium"), Feature::Unknown),
        "logprobs" => lost.add_if(value.boolean() == Some(true), Feature::Logprobs),
        "logit_bias" => lost.add_if(!value.members().is_empty(), Feature::LogitBias),
        "modalities" => {
            let audio = value.items().iter().any(|item| item.text().as_deref() != Some("text"));
            lost.add_if(audio, Feature::Audio);
        }
        "prediction" => lost.add(Feature::Prediction),
        "web_search_options" => lost.add(Feature::ServerTools),
        "functions" | "function_call" => lost.add(Feature::Tools),
        _ => lost.add(Feature::Unknown),
    }
}

pub(in crate::llm::translate) fn stop(value: Node<'_>) -> Vec<String> {
    match value.text() {
        Some(one) => vec![one.into_owned()],
        None => value.items().iter().filter_map(|item| item.text()).map(Cow::into_owned).collect(),
    }
}

pub(in crate::llm::translate) fn effort(value: Node<'_>) -> Option<Thinking> {
    match value.text()?.as_ref() {
        "none" => Some(Thinking::Off),
        word => Effort::of_word(word).map(Thinking::Effort),
    }
}

fn tool(tool: Node<'_>, lost: &mut Lost) -> Option<Tool> {
    match tool.get("type").and_then(Node::text).as_deref() {
        Some("function") | None => function(&tool.get("function")?.members()),
        Some("custom") => {
            lost.add(Feature::CustomTools);
            None
        }
        Some(_) => {
            lost.add(Feature::ServerTools);
            None
        }
    }
}

/// A function as all of `OpenAI`'s formats describe it.
pub(in crate::llm::translate) fn function(function: &Members<'_>) -> Option<Tool> {
    Some(Tool {
        name: function.text("name")?.into_owned(),
        description: function.text("description").map(Cow::into_owned),
        schema: function.get("parameters").map(|schema| schema.raw().to_owned()),
        strict: function.get("strict").and_then(Node::boolean) == Some(true),
    })
}

fn choice(value: Node<'_>, lost: &mut Lost) -> Option<Choice> {
    if let Some(word) = value.text() {
        return choice_word(&word);
    }
    let fields = value.members();
    match fields.text("type").as_deref() {
        Some("function") => {
            let name = fields.get("function").and_then(|function| function.get("name"));
            name.and_then(Node::text).map(|name| Choice::Tool(name.into_owned()))
        }
        _ => {
            lost.add(Feature::ToolChoice);
            None
        }
    }
}

pub(in crate::llm::translate) fn choice_word(word: &str) -> Option<Choice> {
    match word {
        "auto" => Some(Choice::Auto),
        "none" => Some(Choice::None),
        "required" => Some(Choice::Any),
        _ => None,
    }
}

fn output(value: Node<'_>, lost: &mut Lost) -> Output {
    let fields = value.members();
    match fields.text("type").as_deref() {
        Some("json_schema") => match fields.get("json_schema") {
            Some(format) => schema(&format.members(), lost),
            None => Output::Json,
        },
        word => plain_output(word, lost),
    }
}

/// The forms of output without a schema.
pub(in crate::llm::translate) fn plain_output(word: Option<&str>, lost: &mut Lost) -> Output {
    match word {
        Some("json_object") => Output::Json,
        Some("text") | None => Output::Text,
        Some(_) => {
            lost.add(Feature::Unknown);
            Output::Text
        }
    }
}

pub(in crate::llm::translate) fn schema(format: &Members<'_>, lost: &mut Lost) -> Output {
    let Some(schema) = format.get("schema") else {
        lost.add(Feature::JsonSchema);
        return Output::Json;
    };
    Output::Schema {
        name: format.text("name").map(Cow::into_owned),
        schema: schema.raw().to_owned(),
        strict: format.get("strict").and_then(Node::boolean) == Some(true),
    }
}

fn turn(message: &Members<'_>, request: &mut Request) {
    let lost = &mut request.lost;
    let content = message.get("content");
    let role = match message.text("role").as_deref() {
        Some("system" | "developer") => Role::System,
        Some("assistant") => Role::Assistant,
        Some("user") => Role::User,
        Some("tool") => {
            let answer = answer(message, content, lost);
            request.turns.push(Turn { role: Role::User, parts: vec![Part::Result(answer)] });
            return;
        }
        // What is called `function` is older than tools.
        Some("function") => return lost.add(Feature::Tools),
        _ => return lost.add(Feature::Unknown),
    };
    let mut parts = content.map(|content| parts(content, lost)).unwrap_or_default();
    if let Some(refusal) = message.text("refusal") {
        parts.push(Part::Text(refusal.into_owned()));
    }
    lost.add_if(message.get("audio").is_some(), Feature::Audio);
    lost.add_if(message.get("function_call").is_some(), Feature::Tools);
    for call in message.get("tool_calls").map(Node::items).unwrap_or_default() {
        match called(&call.members()) {
            Some(call) => parts.push(Part::Call(call)),
            None => lost.add(Feature::CustomTools),
        }
    }
    request.turns.push(Turn { role, parts });
}

fn called(call: &Members<'_>) -> Option<Call> {
    let function = call.get("function")?.members();
    Some(Call {
        id: call.text("id")?.into_owned(),
        name: function.text("name")?.into_owned(),
        arguments: function.text("arguments").unwrap_or_default().into_owned(),
    })
}

fn answer(message: &Members<'_>, content: Option<Node<'_>>, lost: &mut Lost) -> Answer {
    let (mut text, mut media) = (String::new(), Vec::new());
    for part in content.map(|content| parts(content, lost)).unwrap_or_default() {
        match part {
            Part::Text(piece) => text.push_str(&piece),
            Part::Media(piece) => media.push(piece),
            Part::Call(_) | Part::Result(_) => {}
        }
    }
    Answer {
        id: message.text("tool_call_id").unwrap_or_default().into_owned(),
        name: message.text("name").map(Cow::into_owned),
        text,
        media,
        is_error: false,
    }
}

fn parts(content: Node<'_>, lost: &mut Lost) -> Vec<Part> {
    if let Some(text) = content.text() {
        return vec![Part::Text(text.into_owned())];
    }
    content.items().into_iter().filter_map(|item| part(&item.members(), lost)).collect()
}

fn part(part: &Members<'_>, lost: &mut Lost) -> Option<Part> {
    let inner = |key| part.get(key).map(Node::members).unwrap_or_default();
    let media = match part.text("type").as_deref() {
        Some(key @ ("text" | "refusal")) => {
            return part.text(key).map(|text| Part::Text(text.into_owned()));
        }
        Some("image_url") => inner("image_url").text("url").map(|url| Media {
            kind: MediaKind::Image,
            source: Source::of_url(&url),
            name: None,
        }),
        Some("input_audio") => audio(&inner("input_audio")),
        Some("file") => {
            let file = inner("file");
            if file.get("file_id").is_some() {
                lost.add(Feature::StatefulConversation);
                return None;
            }
            data_file(&file)
        }
        Some("video_url") => {
            lost.add(Feature::Video);
            return None;
        }
        _ => None,
    };
    lost.add_if(media.is_none(), Feature::Unknown);
    media.map(Part::Media)
}

pub(in crate::llm::translate) fn audio(audio: &Members<'_>) -> Option<Media> {
    let format = audio.text("format")?;
    let data = audio.text("data")?.into_owned();
    let source = Source::Base64 { media_type: format!("audio/{format}"), data };
    Some(Media { kind: MediaKind::Audio, source, name: None })
}

/// A file with its content in it.
pub(in crate::llm::translate) fn data_file(file: &Members<'_>) -> Option<Media> {
    let source = Source::of_url(&file.text("file_data")?);
    let kind = match &source {
        Source::Base64 { media_type, .. } => MediaKind::of_type(media_type),
        Source::Url(_) => return None,
    };
    Some(Media { kind, source, name: file.text("filename").map(Cow::into_owned) })
}
