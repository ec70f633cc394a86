//! Anthropic messages.

mod read;
mod write;
mod reply;
mod provider;
mod client;

pub(super) use self::client::Client;
pub(super) use self::provider::Provider;
pub(super) use self::read::request as read_request;
pub(super) use self::reply::{read as read_reply, write as write_reply};
pub(super) use self::write::request as write_request;

use super::ir::Stop;

/// Reason and sequence.
fn stop_words(stop: &Stop) -> (&'static str, Option<&str>) {
    match stop {
        Stop::End => ("end_turn", None),
        Stop::Length => ("max_tokens", None),
        Stop::Sequence(sequence) => ("stop_sequence", sequence.as_deref()),
        Stop::Calls => ("tool_use", None),
        Stop::Filter => ("refusal", None),
    }
}

fn stop_of(word: &str, sequence: Option<String>) -> Stop {
    match word {
        "max_tokens" | "model_context_window_exceeded" => Stop::Length,
        "stop_sequence" => Stop::Sequence(sequence),
        "tool_use" => Stop::Calls,
        "refusal" => Stop::Filter,
        _ => Stop::End,
    }
}
