//! What a request asks for: the operation behind a path, and what its body says.

use serde::{Deserialize, Serialize};

/// What kind of exchange a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A model was asked for tokens: counts as an LLM call.
    Call,
    /// A request on an LLM host that is no call: model lists, settings, telemetry.
    Request,
    /// A path on an LLM host that is not known: recorded, governed, not understood.
    Opaque,
}
