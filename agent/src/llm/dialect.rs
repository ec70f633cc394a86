//! Which wire format a response is read in.

use super::call::{Kind, Operation, Route};
use super::openai::Seen;
use super::reading::{Counts, Facts};
use super::usage::Usage;
use super::{anthropic, gemini, openai};

/// A wire format of responses. The operation decides: hosts of one provider's format answer the
/// other's paths too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// Chat completions, completions and embeddings.
    Chat,
    /// Responses, and what is said in a realtime session.
    Responses,
    /// Anthropic messages.
    Messages,
    /// Gemini's content and embeddings.
    Gemini,
}

impl Dialect {
    /// The format of an answer; none where it is not read.
    pub(super) fn of(route: Route) -> Option<Self> {
        if route.kind != Kind::Call {
            return None;
        }
        match route.operation {
            Operation::Chat | Operation::Completions | Operation::Embeddings => Some(Self::Chat),
            // Realtime's events are named as those of responses, and say the same of them.
            Operation::Responses | Operation::Realtime => Some(Self::Responses),
            Operation::Messages => Some(Self::Messages),
            Operation::Generate | Operation::Embed => Some(Self::Gemini),
            _ => None,
        }
    }

    /// Reads one event or a whole body.
    pub(super) fn read(self, document: &[u8], facts: &mut Facts) -> serde_json::Result<Seen> {
        match self {
            Self::Chat => openai::read_chat(document, facts),
            Self::Responses => openai::read_responses(document, facts),
            Self::Messages => anthropic::read(document, facts).map(|()| Seen::default()),
            Self::Gemini => gemini::read(document, facts).map(|()| Seen::default()),
        }
    }

    /// How its counts become disjoint.
    pub(super) fn normalise(self) -> fn(&Counts) -> Usage {
        match self {
            Self::Chat | Self::Responses => openai::normalise,
            Self::Messages => anthropic::normalise,
            Self::Gemini => gemini::normalise,
        }
    }
}
