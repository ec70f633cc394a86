//! Gemini `generateContent`.

mod read;
mod schema;
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

fn stop_word(stop: &Stop) -> &'static str {
    match stop {
        Stop::End | Stop::Sequence(_) | Stop::Calls => "STOP",
        Stop::Length => "MAX_TOKENS",
        Stop::Filter => "SAFETY",
    }
}

/// `None` for an end that is a failure.
fn stop_of(word: &str, called: bool) -> Option<Stop> {
    Some(match word {
        "STOP" | "FINISH_REASON_UNSPECIFIED" if called => Stop::Calls,
        "MAX_TOKENS" => Stop::Length,
        "SAFETY"
        | "RECITATION"
        | "LANGUAGE"
        | "BLOCKLIST"
        | "PROHIBITED_CONTENT"
        | "SPII"
        | "IMAGE_SAFETY"
        | "IMAGE_PROHIBITED_CONTENT" => Stop::Filter,
        "MALFORMED_FUNCTION_CALL"
        | "UNEXPECTED_TOOL_CALL"
        | "MISSING_THOUGHT_SIGNATURE"
        | "MALFORMED_RESPONSE"
        | "TOO_MANY_TOOL_CALLS" => return None,
        _ => Stop::End,
    })
}
