//! What a request asks for: endpoint, dialect, and the few body fields the mock acts on.

use http::{HeaderMap, Method};
use serde_json::Value;

/// Whose API a request speaks: decides the shape of answers and errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    OpenAi,
    Anthropic,
    Gemini,
}

/// What the path names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Endpoint {
    Chat,
    Responses,
    Completions,
    Embeddings,
    Messages,
    /// A Gemini model, whole or streamed.
    Generate,
    CountTokens,
    Models,
    Model(String),
    Unknown,
}

impl Endpoint {
    pub(super) fn of(method: &Method, path: &str) -> Self {
        match (method.as_str(), path) {
            ("POST", "/v1/chat/completions") => Self::Chat,
            ("POST", "/v1/responses") => Self::Responses,
            ("POST", "/v1/completions") => Self::Completions,
            ("POST", "/v1/embeddings") => Self::Embeddings,
            ("POST", "/v1/messages") => Self::Messages,
            ("POST", "/v1/messages/count_tokens") => Self::CountTokens,
            ("GET", "/v1/models") => Self::Models,
            ("POST", path) if generates(path).is_some() => Self::Generate,
            ("GET", path) => match path.strip_prefix("/v1/models/") {
                Some(id) => Self::Model(id.to_owned()),
                None => Self::Unknown,
            },
            _ => Self::Unknown,
        }
    }

    /// Whether the provider bills it.
    pub(super) fn is_inference(&self) -> bool {
        matches!(
            self,
            Self::Chat
                | Self::Responses
                | Self::Completions
                | Self::Embeddings
                | Self::Messages
                | Self::Generate
        )
    }
}

/// The parts of a request that shape the answer.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    pub(super) endpoint: Endpoint,
    pub(super) dialect: Dialect,
    pub(super) authorised: bool,
    pub(super) model: String,
    pub(super) stream: bool,
    pub(super) include_usage: bool,
    /// The first tool offered, unless the request already brings a tool's result.
    pub(super) tool: Option<String>,
    /// How many inputs an embeddings request has.
    pub(super) inputs: usize,
}

impl Ask {
    pub(super) fn of(method: &Method, path: &str, headers: &HeaderMap, body: &[u8]) -> Self {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let credentials = ["authorization", "x-api-key", "x-goog-api-key"];
        let generated = generates(path);
        let model = generated.map(|(model, _)| model).or_else(|| body["model"].as_str());
        Self {
            endpoint: Endpoint::of(method, path),
            dialect: if path.starts_with("/v1/messages")
                || headers.contains_key("anthropic-version")
            {
                Dialect::Anthropic
            } else if path.starts_with("/v1beta/") {
                Dialect::Gemini
            } else {
                Dialect::OpenAi
            },
            authorised: credentials.iter().any(|name| headers.contains_key(*name)),
            model: model.unwrap_or("unknown").to_owned(),
            stream: generated
                .map_or_else(|| body["stream"].as_bool().unwrap_or(false), |(_, stream)| stream),
            include_usage: body["stream_options"]["include_usage"].as_bool().unwrap_or(false),
            tool: offered_tool(&body).filter(|_| !brings_result(&body)),
            inputs: body["input"].as_array().map_or(1, Vec::len),
        }
    }
}

/// The model of a Gemini path, and whether a stream is asked for.
fn generates(path: &str) -> Option<(&str, bool)> {
    let (model, method) = path.strip_prefix("/v1beta/models/")?.split_once(':')?;
    match method {
        "generateContent" => Some((model, false)),
        "streamGenerateContent" => Some((model, true)),
        _ => None,
    }
}

/// Chat completions nest the name under `function`; Responses and Messages don't.
fn offered_tool(body: &Value) -> Option<String> {
    let tool = body["tools"].get(0)?;
    let tool = tool["functionDeclarations"].get(0).unwrap_or(tool);
    let name = tool["function"]["name"].as_str().or_else(|| tool["name"].as_str())?;
    Some(name.to_owned())
}

fn brings_result(body: &Value) -> bool {
    let last = ["messages", "input", "contents"].iter().find_map(|key| body[key].as_array());
    let Some(last) = last.and_then(|items| items.last()) else { return false };
    last["role"] == "tool"
        || last["type"] == "function_call_output"
        || last["content"][0]["type"] == "tool_result"
        || !last["parts"][0]["functionResponse"].is_null()
}
