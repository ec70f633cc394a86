//! `OpenAI` chat completions.

mod read;
mod write;
mod reply;
mod provider;
mod client;

pub(super) use self::client::Client;
pub(super) use self::provider::Provider;
pub(super) use self::read::{
    audio, choice_word, data_file, effort, function, plain_output, request as read_request, schema,
};
pub(super) use self::reply::{read as read_reply, write as write_reply};
pub(super) use self::write::request as write_request;

use super::ir::Stop;

fn stop_word(stop: &Stop) -> &'static str {
    match stop {
        Stop::End | Stop::Sequence(_) => "stop",
        Stop::Length => "length",
        Stop::Calls => "tool_calls",
        Stop::Filter => "content_filter",
    }
}

fn stop_of(word: &str) -> Stop {
    match word {
        "length" => Stop::Length,
        "tool_calls" | "function_call" => Stop::Calls,
        "content_filter" => Stop::Filter,
        _ => Stop::End,
    }
}
