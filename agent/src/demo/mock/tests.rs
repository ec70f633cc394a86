//! The mock's streams are as legal as the real ones.

use http::{HeaderMap, Method};
use serde_json::json;

use super::ask::Ask;
use super::script::Tokens;
use super::transcript::Answer;
use super::{anthropic, openai};
use crate::llm::translate::{Wire, grammar};

/// A stream with so many content events. Responses are left out: the mock does not number their
/// events, as each is made only once.
fn stream(wire: Wire, tool: bool, deltas: usize) -> Vec<u8> {
    let path = if wire == Wire::Messages { "/v1/messages" } else { "/v1/chat/completions" };
    let tools = if tool { json!([{"name": "level"}]) } else { json!([]) };
    let body = json!({"model": "m", "stream": true, "tools": tools,
        "stream_options": {"include_usage": true}});
    let ask = Ask::of(&Method::POST, path, &HeaderMap::new(), body.to_string().as_bytes());
    let answer = match wire {
        Wire::Messages => anthropic::answer(&ask, Tokens::default(), 1),
        _ => openai::answer(&ask, Tokens::default(), 1),
    };
    let Answer::Stream(transcript) = answer else { panic!("no stream") };
    let deltas = vec![transcript.delta; deltas];
    [transcript.before, deltas, transcript.after].concat().concat()
}

#[test]
fn the_streams_of_the_mock_are_legal() {
    for wire in [Wire::Chat, Wire::Messages] {
        for tool in [false, true] {
            let stream = stream(wire, tool, 3);
            let text = String::from_utf8_lossy(&stream);
            assert_eq!(grammar::check(wire, &stream), Ok(()), "{wire:?}:\n{text}");
        }
    }
}
