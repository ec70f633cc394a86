//! What the body of a request says, as far as it matters for metering and limits.

use std::borrow::Cow;
use std::sync::Arc;

use memchr::memmem;
use serde::de::MapAccess;
use serde_json::value::RawValue;

use super::{Operation, Route, path_model};
use crate::llm::json::{self, Shape, Value};
use crate::llm::price::US_ONLY;
use crate::llm::providers::Provider;
use crate::llm::tokens::{Counted, Encoding};

/// Names longer than this are kept nowhere.
const MAX_NAME: usize = 256;
/// Bytes of text per token, low enough that the estimate is rarely below the truth (English has
/// about four, code about three; digits and other scripts are what pulls it down).
const BYTES_PER_TOKEN: u64 = 3;
/// What an image costs at most, whatever its size: providers scale images down.
const TOKENS_PER_IMAGE: u64 = 5_000;
/// Base64 shorter than this is not worth looking at.
const MIN_BASE64: usize = 4_096;

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "facts that have nothing to do with each other")]
pub struct Ask {
    /// The model, as the client wrote it.
    pub model: Option<Arc<str>>,
    /// Whether the answer is to be a stream.
    pub stream: bool,
    /// The most output tokens the client allows, over all choices it asks for; none for an
    /// embedding.
    pub max_output: Option<u64>,
    /// Whether the client itself asked for the usage of a stream.
    pub usage_wanted: bool,
    /// The service tier asked for.
    pub service_tier: Option<Arc<str>>,
    /// Whether the answer is computed later and fetched by id: its usage is not in this response.
    pub background: bool,
    /// Answers asked for: `n`, or as many as are computed for the best of them; at least 1.
    pub choices: u64,
    /// Input tokens, guessed high from the size of the body; images count as images.
    pub input_estimate: u64,
    /// Input tokens as they were counted, where that was worth it.
    pub counted: Option<Counted>,
    /// Whether the input can be larger than the body tells: it names images, files, a stored
    /// conversation, or tools that the provider itself runs.
    pub input_open: bool,
}

/// A body that can't be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unparsed {
    /// Not JSON: compressed, form data, or broken.
    #[error("the request body is not JSON")]
    NotJson,
    /// JSON, but no object.
    #[error("the request body is not a JSON object")]
    NotAnObject,
}

impl Ask {
    /// Reads a request's body. Fields of unexpected types count as absent: what the provider
    /// makes of them is its own business.
    pub fn parse(route: Route, body: &[u8]) -> Result<Self, Unparsed> {
        if !body.trim_ascii_start().starts_with(b"{") {
            let json = serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok();
            return Err(if json { Unparsed::NotAnObject } else { Unparsed::NotJson });
        }
        let fields: Fields<'_> = json::read(body).map_err(|_| Unparsed::NotJson)?;
        let limit = limit(route.operation, &fields);
        let stored = [
            fields.previous_response_id,
            fields.conversation,
            fields.prompt,
            fields.cached_content,
        ];
        let service_tier = tier(&fields).or_else(|| name(fields.service_tier));
        let choices =
            fields.n.into_iter().chain(fields.best_of).chain(fields.generation.candidates);
        let choices = choices.max().unwrap_or(1).max(1);
        Ok(Self {
            model: name(fields.model),
            stream: fields.stream == Some(true),
            max_output: limit.map(|limit| limit.saturating_mul(choices)),
            usage_wanted: fields.stream_options.include_usage == Some(true),
            service_tier,
            background: fields.background == Some(true),
            choices,
            input_estimate: input_estimate(body),
            counted: None,
            input_open: stored.contains(&Some(Stored)) || names_more(route.operation, body),
        })
    }
}

/// The output limit that the API reads. What it does not read is no limit: a call that brings a
/// small one beside the one that counts would be bounded by nothing. Of the two of chat hosts read
/// the one or the other.
fn limit(operation: Operation, fields: &Fields<'_>) -> Option<u64> {
    match operation {
        Operation::Embeddings | Operation::Embed => Some(0),
        Operation::Messages | Operation::Completions => fields.max_tokens,
        Operation::Responses => fields.max_output_tokens,
        Operation::Generate => fields.generation.max_output,
        Operation::Chat => fields.max_completion_tokens.max(fields.max_tokens),
        _ => {
            let own = [fields.max_completion_tokens, fields.max_output_tokens, fields.max_tokens];
            own.into_iter().flatten().chain(fields.generation.max_output).max()
        }
    }
}

/// The tier as a response would name it, where it is asked for by other fields: Anthropic's fast
/// mode, and answers computed in the United States.
fn tier(fields: &Fields<'_>) -> Option<Arc<str>> {
    let fast = fields.speed.as_deref() == Some("fast");
    let us_only = fields.inference_geo.as_deref() == Some("us");
    match (fast, us_only) {
        (false, false) => None,
        (true, false) => Some(Arc::from("fast")),
        (true, true) => Some(Arc::from(["fast", US_ONLY].concat())),
        (false, true) => Some(Arc::from(US_ONLY)),
    }
}

impl Ask {
    /// With what the path says: of a Gemini request the model, and whether it is a stream.
    #[must_use]
    pub fn at(mut self, path: &str) -> Self {
        if let Some(asked) = path_model(path) {
            self.model = name(Some(asked.model.into()));
            self.stream = asked.is_stream();
        }
        self
    }

    /// Input tokens as a model reads them: counted, where that was done by its own vocabulary.
    pub fn input(&self, provider: &Provider, model: &str) -> u64 {
        let own = |counted: &Counted| Encoding::of(provider, model) == Some(counted.encoding);
        self.counted.filter(own).map_or(self.input_estimate, |counted| counted.tokens)
    }
}

fn name(text: Option<Cow<'_, str>>) -> Option<Arc<str>> {
    text.filter(|text| !text.is_empty() && text.len() <= MAX_NAME).map(Arc::from)
}

#[derive(Default)]
struct Fields<'de> {
    model: Option<Cow<'de, str>>,
    stream: Option<bool>,
    stream_options: StreamOptions,
    max_tokens: Option<u64>,
    max_completion_tokens: Option<u64>,
    max_output_tokens: Option<u64>,
    n: Option<u64>,
    best_of: Option<u64>,
    service_tier: Option<Cow<'de, str>>,
    speed: Option<Cow<'de, str>>,
    inference_geo: Option<Cow<'de, str>>,
    background: Option<bool>,
    previous_response_id: Option<Stored>,
    conversation: Option<Stored>,
    prompt: Option<Stored>,
    cached_content: Option<Stored>,
    generation: Generation,
}

/// Something the provider has stored is referred to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stored;

/// A reference is an id or an object; `null` is none.
fn stored(raw: &RawValue) -> Option<Stored> {
    raw.get().starts_with(['"', '{']).then_some(Stored)
}

impl<'de> Shape<'de> for Fields<'de> {
    fn member<A: MapAccess<'de>>(
        &mut self,
        key: &str,
        value: Value<'_, A>,
    ) -> Result<(), A::Error> {
        match key {
            "model" => value.into(&mut self.model),
            "stream" => value.into(&mut self.stream),
            "stream_options" => value.into(&mut self.stream_options),
            "max_tokens" => value.into(&mut self.max_tokens),
            "max_completion_tokens" => value.into(&mut self.max_completion_tokens),
            "max_output_tokens" => value.into(&mut self.max_output_tokens),
            "n" => value.into(&mut self.n),
            "best_of" => value.into(&mut self.best_of),
            "service_tier" => value.into(&mut self.service_tier),
            "speed" => value.into(&mut self.speed),
            "inference_geo" => value.into(&mut self.inference_geo),
            "background" => value.into(&mut self.background),
            "previous_response_id" => {
                value.raw().map(|raw| self.previous_response_id = stored(raw))
            }
            "conversation" => value.raw().map(|raw| self.conversation = stored(raw)),
            // A text is the prompt itself (completions), an object names a stored one (responses).
            "prompt" => value.raw().map(|raw| {
                self.prompt = stored(raw).filter(|_| raw.get().starts_with('{'));
            }),
            // Google reads both cases.
            "cachedContent" | "cached_content" => {
                value.raw().map(|raw| self.cached_content = stored(raw))
            }
            "generationConfig" | "generation_config" => value.into(&mut self.generation),
            _ => value.skip(),
        }
    }
}

/// Gemini's settings.
#[derive(Default)]
struct Generation {
    max_output: Option<u64>,
    candidates: Option<u64>,
}

impl<'de> Shape<'de> for Generation {
    fn member<A: MapAccess<'de>>(
        &mut self,
        key: &str,
        value: Value<'_, A>,
    ) -> Result<(), A::Error> {
        match key {
            "maxOutputTokens" | "max_output_tokens" => value.into(&mut self.max_output),
            "candidateCount" | "candidate_count" => value.into(&mut self.candidates),
            _ => value.skip(),
        }
    }
}

#[derive(Default)]
struct StreamOptions {
    include_usage: Option<bool>,
}

impl<'de> Shape<'de> for StreamOptions {
    fn member<A: MapAccess<'de>>(
        &mut self,
        key: &str,
        value: Value<'_, A>,
    ) -> Result<(), A::Error> {
        match key {
            "include_usage" => value.into(&mut self.include_usage),
            _ => value.skip(),
        }
    }
}

/// Types of content and of tools behind which there is more than the body holds: what lies at a URL
/// or in a file, and what the provider's own tools read while they answer.
const OPEN_TYPES: [&str; 16] = [
    "image_url",
    "input_image",
    "input_file",
    "input_audio",
    "item_reference",
    "file",
    "document",
    "url",
    "video",
    "mcp",
    "mcp_toolset",
    "file_search",
    "code_interpreter",
    "image_generation",
    "computer_use_preview",
    "container_upload",
];
/// The same, for types that carry a version behind their name.
const OPEN_STEMS: [&str; 3] = ["web_search", "web_fetch", "code_execution"];

/// Gemini's keys for the same.
const GEMINI_KEYS: [&[u8]; 8] = [
    b"\"fileData\"",
    b"\"file_data\"",
    b"\"googleSearch\"",
    b"\"google_search\"",
    b"\"urlContext\"",
    b"\"url_context\"",
    b"\"codeExecution\"",
    b"\"code_execution\"",
];

/// Whether a body names something that [`OPEN_TYPES`] are about. An image inside an Anthropic
/// message is not open: its provider scales it down to less than the estimate allows for.
fn names_more(operation: Operation, body: &[u8]) -> bool {
    const KEY: &[u8] = b"\"type\"";
    match operation {
        Operation::Embeddings => return false,
        // Gemini tells its parts and tools apart by their keys.
        Operation::Generate => {
            let named = |key: &&[u8]| memmem::find(body, key).is_some();
            return GEMINI_KEYS.iter().any(named);
        }
        _ => {}
    }
    memmem::find_iter(body, KEY).any(|at| {
        let after = body[at + KEY.len()..].trim_ascii_start();
        let Some(after) = after.strip_prefix(b":") else { return false };
        let Some(value) = after.trim_ascii_start().strip_prefix(b"\"") else { return false };
        let end = value.iter().take(64).position(|byte| *byte == b'"');
        let Some(kind) = end.and_then(|end| std::str::from_utf8(&value[..end]).ok()) else {
            return false;
        };
        OPEN_TYPES.contains(&kind) || OPEN_STEMS.iter().any(|stem| kind.starts_with(stem))
    })
}

/// Tokens in a body: its bytes, with long base64 of images counted as images.
fn input_estimate(body: &[u8]) -> u64 {
    let (mut text, mut images) = (body.len(), 0);
    let mut rest = body;
    // An image's type stands before its data in both formats, in a data URL or beside it.
    while let Some(at) = memmem::find(rest, b"image/") {
        rest = &rest[at..];
        // Only the next string that long can be the image: `image/png;base64,…`, or
        // `"media_type": "image/png", "data": "…"`.
        let Some(start) = rest.iter().take(64).position(|byte| *byte == b',').map(|at| at + 1)
        else {
            rest = &rest[6..];
            continue;
        };
        let start = start + data_start(&rest[start..]);
        let length = rest[start..].iter().take_while(|byte| is_base64(**byte)).count();
        if length >= MIN_BASE64 {
            text -= length;
            images += 1;
        }
        rest = &rest[(start + length).max(6)..];
    }
    (text as u64).div_ceil(BYTES_PER_TOKEN) + images * TOKENS_PER_IMAGE
}

/// Where the value of `"data": "…"` begins, if that is what stands here.
fn data_start(text: &[u8]) -> usize {
    let trimmed = text.trim_ascii_start();
    let value = trimmed.strip_prefix(b"\"data\"").map(<[u8]>::trim_ascii_start);
    let value = value.and_then(|after| after.strip_prefix(b":")).map(<[u8]>::trim_ascii_start);
    let value = value.and_then(|after| after.strip_prefix(b"\""));
    value.map_or(0, |value| text.len() - value.len())
}

fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=' | b'-' | b'_')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llm::call::Kind;

    const CHAT: Route = Route { operation: Operation::Chat, kind: Kind::Call };

    fn ask(body: &str) -> Ask {
        Ask::parse(CHAT, body.as_bytes()).unwrap()
    }

    #[test]
    fn what_matters_is_read() {
        let body = r#"{"model": "gpt-5", "messages": [{"role": "user", "content": "hi"}],
            "stream": true, "stream_options": {"include_usage": true}, "n": 3, "x": null,
            "max_completion_tokens": 100, "max_tokens": 7, "service_tier": "flex"}"#;
        let expected = Ask {
            model: Some("gpt-5".into()),
            stream: true,
            max_output: Some(300),
            usage_wanted: true,
            service_tier: Some("flex".into()),
            background: false,
            choices: 3,
            input_estimate: (body.len() as u64).div_ceil(3),
            counted: None,
            input_open: false,
        };
        assert_eq!(ask(body), expected);
    }

    #[test]
    fn each_api_names_its_limit_and_background() {
        assert_eq!(ask(r#"{"max_tokens": 5}"#).max_output, Some(5));
        assert!(ask(r#"{"background": true}"#).background);
        assert_eq!(ask(r#"{"max_tokens": -5, "n": 0}"#).max_output, None);
        assert_eq!(ask(r#"{"max_tokens": 1, "n": 2, "best_of": 4}"#).max_output, Some(4));
        let embedding = Route { operation: Operation::Embeddings, kind: Kind::Call };
        assert_eq!(Ask::parse(embedding, br#"{"input": "x"}"#).unwrap().max_output, Some(0));
    }

    /// P1: what an API does not read bounds nothing.
    #[test]
    fn a_small_limit_of_another_api_hides_no_large_one() {
        let all = br#"{"generationConfig": {"maxOutputTokens": 1}, "max_completion_tokens": 2,
            "max_output_tokens": 3, "max_tokens": 4}"#;
        let small = br#"{"generationConfig": {"maxOutputTokens": 1}}"#;
        for (operation, among_all, alone) in [
            (Operation::Chat, Some(4), None),
            (Operation::Completions, Some(4), None),
            (Operation::Responses, Some(3), None),
            (Operation::Messages, Some(4), None),
            (Operation::Generate, Some(1), Some(1)),
            (Operation::Other, Some(4), Some(1)),
        ] {
            let route = Route { operation, kind: Kind::Call };
            let limit = |body| Ask::parse(route, body).unwrap().max_output;
            assert_eq!((limit(all), limit(small)), (among_all, alone), "{operation:?}");
        }
    }

    #[test]
    fn gemini_says_the_rest_in_the_path() {
        let route = Route { operation: Operation::Generate, kind: Kind::Call };
        let body =
            br#"{"contents":[],"generationConfig":{"maxOutputTokens":7,"candidateCount":2}}"#;
        let ask = Ask::parse(route, body).unwrap().at("/v1beta/models/m:streamGenerateContent");
        assert_eq!((ask.model.as_deref(), ask.stream, ask.max_output), (Some("m"), true, Some(14)));
        let chat = ask_of_chat_at("/v1/chat/completions");
        assert_eq!((chat.model.as_deref(), chat.stream), (Some("gpt-5"), true));
    }

    fn ask_of_chat_at(path: &str) -> Ask {
        ask(r#"{"model": "gpt-5", "stream": true}"#).at(path)
    }

    #[test]
    fn unexpected_types_count_as_absent_and_the_last_key_counts() {
        let odd = ask(r#"{"model": 3, "stream": "true", "stream_options": [], "model": "b"}"#);
        assert_eq!((odd.model.as_deref(), odd.stream), (Some("b"), false));
        assert!(!odd.usage_wanted);
        let twice = ask(r#"{"stream_options": {"include_usage": true}, "stream_options": {}}"#);
        assert!(!twice.usage_wanted);
        assert_eq!(ask(&format!(r#"{{"model": "{}"}}"#, "x".repeat(300))).model, None);
    }

    #[test]
    fn what_the_body_does_not_hold_makes_the_input_open() {
        for open in [
            r#"{"previous_response_id": "resp_1", "input": "x"}"#,
            r#"{"conversation": {"id": "conv_1"}}"#,
            r#"{"prompt": {"id": "pmpt_1"}}"#,
            r#"{"messages": [{"content": [{"type": "image_url", "image_url": {}}]}]}"#,
            r#"{"input": [{"content": [{"type":"input_file","file_id":"f"}]}]}"#,
            r#"{"tools": [{"type" : "web_search_20250305", "name": "web_search"}]}"#,
            r#"{"source": {"type": "url", "url": "https://example.com/a.png"}}"#,
        ] {
            assert!(ask(open).input_open, "{open}");
        }
        for closed in [
            r#"{"previous_response_id": null, "conversation": null, "prompt": "say hi"}"#,
            r#"{"tools": [{"type": "function", "function": {"name": "web_search"}}]}"#,
            r#"{"messages": [{"content": "use \"type\": \"document\" here"}]}"#,
            r#"{"parameters": {"image_url": {"type": "string"}}}"#,
            r#"{"source": {"type": "base64", "media_type": "image/png", "data": ""}}"#,
        ] {
            assert!(!ask(closed).input_open, "{closed}");
        }
    }

    #[test]
    fn dearer_ways_of_asking_are_told_as_tiers() {
        let tier = |body: &str| ask(body).service_tier.map(|tier| tier.to_string());
        assert_eq!(tier(r#"{"speed": "fast"}"#).as_deref(), Some("fast"));
        assert_eq!(tier(r#"{"inference_geo": "us"}"#).as_deref(), Some("+us"));
        assert_eq!(
            tier(r#"{"speed": "standard", "service_tier": "auto"}"#).as_deref(),
            Some("auto")
        );
    }

    #[test]
    fn other_bodies_are_refused() {
        let parse = |body: &[u8]| Ask::parse(CHAT, body).unwrap_err();
        for body in [&b""[..], b"{", b"--boundary", b"\x1f\x8b\x08", b"{\"a\": 1} x"] {
            assert_eq!(parse(body), Unparsed::NotJson);
        }
        assert_eq!(parse(b"[1]"), Unparsed::NotAnObject);
        assert_eq!(parse(b"null"), Unparsed::NotAnObject);
    }

    #[test]
    fn deep_nesting_is_read() {
        let body =
            format!(r#"{{"messages": {}{}, "model": "m"}}"#, "[".repeat(5000), "]".repeat(5000));
        assert_eq!(ask(&body).model.as_deref(), Some("m"));
    }

    #[test]
    fn images_count_as_images() {
        let data = "iVBORw0KGgo+/".repeat(20_000);
        let openai = format!(r#"{{"url": "data:image/png;base64,{data}"}}"#);
        let anthropic = format!(
            r#"{{"source": {{"type": "base64", "media_type": "image/png", "data": "{data}"}}}}"#
        );
        for body in [openai, anthropic] {
            let expected = ((body.len() - data.len()) as u64).div_ceil(3) + TOKENS_PER_IMAGE;
            assert_eq!(input_estimate(body.as_bytes()), expected, "{}", &body[..60]);
        }
        let small = r#"{"url": "data:image/png;base64,AAAA", "type": "image/"}"#;
        assert_eq!(input_estimate(small.as_bytes()), (small.len() as u64).div_ceil(3));
        assert_eq!(input_estimate(b"image/image/,image/"), 7);
    }
}
