//! The form between the formats: what a request, an answer and the events of a stream say,
//! whoever said it.

use std::collections::BTreeSet;

use super::feature::Feature;
use crate::llm::usage::Usage;

/// A request.
#[derive(Debug, Default)]
pub(super) struct Request {
    pub(super) turns: Vec<Turn>,
    pub(super) tools: Vec<Tool>,
    pub(super) choice: Option<Choice>,
    /// Whether several tools may be called at once, where the client says.
    pub(super) parallel: Option<bool>,
    pub(super) output: Output,
    pub(super) max_output: Option<u64>,
    /// Numbers as the client wrote them.
    pub(super) temperature: Option<String>,
    pub(super) top_p: Option<String>,
    pub(super) top_k: Option<String>,
    pub(super) seed: Option<String>,
    pub(super) presence_penalty: Option<String>,
    pub(super) frequency_penalty: Option<String>,
    pub(super) stop: Vec<String>,
    pub(super) thinking: Option<Thinking>,
    pub(super) stream: bool,
    /// What nobody else could do with it.
    pub(super) lost: Lost,
}

/// What a translation loses.
#[derive(Debug, Default)]
pub(super) struct Lost(BTreeSet<Feature>);

impl Lost {
    pub(super) fn add(&mut self, feature: Feature) {
        self.0.insert(feature);
    }

    pub(super) fn add_if(&mut self, lost: bool, feature: Feature) {
        if lost {
            self.add(feature);
        }
    }

    /// All that may not get lost.
    pub(super) fn beyond(&self, allowed: &[Feature]) -> Vec<Feature> {
        self.0.iter().copied().filter(|feature| !allowed.contains(feature)).collect()
    }
}

/// One message.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) role: Role,
    pub(super) parts: Vec<Part>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    System,
    User,
    Assistant,
}

/// A part of a message.
#[derive(Debug)]
pub(super) enum Part {
    Text(String),
    Media(Media),
    Call(Call),
    Result(Answer),
}

/// A call of a tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) id: String,
    pub(super) name: String,
    /// JSON text; normally an object.
    pub(super) arguments: String,
}

/// What a tool answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) id: String,
    /// Gemini answers by name; the others by id.
    pub(super) name: Option<String>,
    pub(super) text: String,
    pub(super) media: Vec<Media>,
    pub(super) is_error: bool,
}

/// An image or a file.
#[derive(Debug)]
pub(super) struct Media {
    pub(super) kind: MediaKind,
    pub(super) source: Source,
    pub(super) name: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MediaKind {
    Image,
    Document,
    Audio,
    Video,
}

impl MediaKind {
    pub(super) fn of_type(media_type: &str) -> Self {
        match media_type.split('/').next() {
            Some("image") => Self::Image,
            Some("audio") => Self::Audio,
            Some("video") => Self::Video,
            _ => Self::Document,
        }
    }

    pub(super) fn feature(self) -> Feature {
        match self {
            Self::Image => Feature::Images,
            Self::Document => Feature::Documents,
            Self::Audio => Feature::Audio,
            Self::Video => Feature::Video,
        }
    }
}

#[derive(Debug)]
pub(super) enum Source {
    Url(String),
    Base64 { media_type: String, data: String },
}

impl Source {
    /// Of a URL, which may carry the data itself.
    pub(super) fn of_url(url: &str) -> Self {
        let data = url.strip_prefix("data:").and_then(|rest| rest.split_once(','));
        match data.and_then(|(head, data)| Some((head.strip_suffix(";base64")?, data))) {
            Some((head, data)) => {
                let media_type = head.split(';').next().unwrap_or_default().to_owned();
                Self::Base64 { media_type, data: data.to_owned() }
            }
            None => Self::Url(url.to_owned()),
        }
    }

    /// As a URL, with the data in it.
    pub(super) fn to_url(&self) -> String {
        match self {
            Self::Url(url) => url.clone(),
            Self::Base64 { media_type, data } => format!("data:{media_type};base64,{data}"),
        }
    }
}

/// A tool the client offers.
#[derive(Debug)]
pub(super) struct Tool {
    pub(super) name: String,
    pub(super) description: Option<String>,
    /// JSON schema of its arguments, as JSON text.
    pub(super) schema: Option<String>,
    pub(super) strict: bool,
}

/// Which tool is to be called.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Choice {
    Auto,
    None,
    Any,
    Tool(String),
}

/// What form the answer has.
#[derive(Debug, Default)]
pub(super) enum Output {
    #[default]
    Text,
    Json,
    Schema {
        name: Option<String>,
        schema: String,
        strict: bool,
    },
}

/// How much is to be thought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Thinking {
    Off,
    Effort(Effort),
    /// Tokens.
    Budget(u64),
    /// As the model likes.
    Free,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Effort {
    Minimal,
    Low,
    Medium,
    High,
    ExtraHigh,
    Max,
}

impl Effort {
    pub(super) fn of_word(word: &str) -> Option<Self> {
        Some(match word {
            "minimal" => Self::Minimal,
            "low" => Self::Low,
            "medium" => Self::Medium,
            "high" => Self::High,
            "xhigh" => Self::ExtraHigh,
            "max" => Self::Max,
            _ => return None,
        })
    }

    /// Tokens that amount to it. The steps are those Google gives for its `OpenAI` compatibility.
    pub(super) fn budget(self) -> u64 {
        match self {
            Self::Minimal | Self::Low => 1_024,
            Self::Medium => 8_192,
            Self::High | Self::ExtraHigh | Self::Max => 24_576,
        }
    }

    pub(super) fn of_budget(tokens: u64) -> Self {
        match tokens {
            0..=2_048 => Self::Low,
            2_049..=12_288 => Self::Medium,
            _ => Self::High,
        }
    }
}

/// A whole answer.
#[derive(Debug, Default)]
pub(super) struct Reply {
    pub(super) head: Head,
    pub(super) pieces: Vec<Piece>,
    pub(super) stop: Stop,
    pub(super) usage: Usage,
}

/// What an answer begins with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) id: Option<String>,
    pub(super) model: Option<String>,
    /// Seconds since 1970, where the provider says.
    pub(super) created: Option<u64>,
}

/// A part of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    Text(String),
    Thought(String),
    Call(Call),
}

/// Why an answer ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Stop {
    #[default]
    End,
    Length,
    Sequence(Option<String>),
    Calls,
    /// The provider would not say more.
    Filter,
}

/// What happens in a stream. Calls don't overlap with each other or with text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    Begin(Head),
    Text(String),
    Thought(String),
    CallBegin {
        id: String,
        name: String,
    },
    CallArguments(String),
    CallEnd,
    Stop(Stop),
    /// The provider says that the stream is over.
    End,
    Failed(Fault),
}

/// What went wrong at the provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) kind: FaultKind,
    pub(super) message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FaultKind {
    Invalid,
    Authentication,
    Permission,
    NotFound,
    TooLarge,
    RateLimit,
    Overloaded,
    Timeout,
    Server,
}

impl FaultKind {
    pub(super) fn of_status(status: u16) -> Self {
        match status {
            401 => Self::Authentication,
            403 => Self::Permission,
            404 => Self::NotFound,
            408 | 504 => Self::Timeout,
            413 => Self::TooLarge,
            429 => Self::RateLimit,
            400..=499 => Self::Invalid,
            503 | 529 => Self::Overloaded,
            _ => Self::Server,
        }
    }
}
