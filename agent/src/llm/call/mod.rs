//! What a request asks for: the operation behind a path, and what its body says.

mod ask;
mod inject;
mod edit;
mod model;
mod path;
mod route;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::ask::{Ask, Unparsed};
pub use self::edit::cap_output;
pub use self::inject::inject_usage;
pub use self::model::replace_model;
pub use self::path::{GeminiPath, path_model};
pub use self::route::classify;

/// What kind of exchange a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "CallKind")]
pub enum Kind {
    /// A model was asked for tokens: counts as an LLM call.
    Call,
    /// A request on an LLM host that is no call: model lists, settings, telemetry.
    Request,
    /// A path on an LLM host that is not known: recorded, governed, not understood.
    Opaque,
}

/// What is asked of a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// `OpenAI` chat completions.
    Chat,
    /// `OpenAI` responses.
    Responses,
    /// `OpenAI` completions, the older form.
    Completions,
    /// `OpenAI` embeddings.
    Embeddings,
    /// Anthropic messages.
    Messages,
    /// Gemini `generateContent`, streamed or not.
    Generate,
    /// Gemini `embedContent`, single or in batches.
    Embed,
    /// Counting the tokens of a prompt: no tokens are billed.
    CountTokens,
    /// Lists of models.
    Models,
    /// Content moderation, which is free.
    Moderations,
    /// Files, uploads and the stores made of them.
    Files,
    /// Batches of calls, answered and billed later.
    Batches,
    /// Making and changing images or video.
    Images,
    /// Speech, transcription, translation.
    Audio,
    /// Sessions over WebSocket or WebRTC.
    Realtime,
    /// Settings, telemetry, sign-in, administration.
    Admin,
    /// Anything else.
    Other,
}

impl Operation {
    /// Its name in records and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Responses => "responses",
            Self::Completions => "completions",
            Self::Embeddings | Self::Embed => "embeddings",
            Self::Messages => "messages",
            Self::Generate => "generate_content",
            Self::CountTokens => "count_tokens",
            Self::Models => "models",
            Self::Moderations => "moderations",
            Self::Files => "files",
            Self::Batches => "batches",
            Self::Images => "images",
            Self::Audio => "audio",
            Self::Realtime => "realtime",
            Self::Admin => "admin",
            Self::Other => "other",
        }
    }
}

/// The operation behind a request and how it counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Route {
    /// What is asked.
    pub operation: Operation,
    /// How it counts.
    pub kind: Kind,
}
