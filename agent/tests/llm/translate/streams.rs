//! Streams: what real providers send is legal, and so is everything made of it.

use agent::llm::meter::{Encoding, MeterOptions};
use agent::llm::translate::{Stream, Wire, grammar};
use agent::llm::usage::Usage;
use serde_json::Value;

use crate::transcript::{forward, golden, options, read, streams};

pub(super) const ALL: [Wire; 4] = [Wire::Chat, Wire::Responses, Wire::Messages, Wire::Gemini];

/// The format of a transcript that is one of ours.
pub(super) fn wire(file: &str) -> Option<Wire> {
    match file.split(['-', '.']).next() {
        Some("chat") => Some(Wire::Chat),
        Some("responses") => Some(Wire::Responses),
        Some("messages") => Some(Wire::Messages),
        Some("gemini") => Some(Wire::Gemini),
        _ => None,
    }
}

/// Every way from a provider's format to a client's.
pub(super) fn ways() -> Vec<(String, Wire, Wire)> {
    let mut ways = Vec::new();
    for file in streams() {
        let Some(from) = wire(&file).filter(|from| *from != Wire::Responses) else { continue };
        for to in ALL.into_iter().filter(|to| *to != from) {
            ways.push((file.clone(), from, to));
        }
    }
    ways
}

pub(super) fn translated(from: Wire, to: Wire, pieces: &[&[u8]]) -> Vec<u8> {
    let mut stream = Stream::new(from, to, true);
    let mut out = Vec::new();
    for piece in pieces {
        out.extend_from_slice(&stream.feed(piece));
    }
    out.extend_from_slice(&stream.end());
    out
}

/// The data of events.
fn events(stream: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(stream).unwrap();
    let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    data.filter_map(|data| serde_json::from_str(data).ok()).collect()
}

#[test]
fn what_providers_send_is_legal() {
    for file in streams() {
        let Some(wire) = wire(&file) else { continue };
        assert_eq!(grammar::check(wire, &golden(&file)), Ok(()), "{file}");
    }
}

/// LiteLLM sent `message_start` twice and thoughts inside texts, Bifrost and others events out of
/// order (P12).
#[test]
fn p12_every_translated_stream_is_legal() {
    let mut count = 0;
    for (file, from, to) in ways() {
        let out = translated(from, to, &[&golden(&file)]);
        let text = String::from_utf8_lossy(&out);
        assert_eq!(grammar::check(to, &out), Ok(()), "{file} to {to:?}:\n{text}");
        count += 1;
    }
    assert!(count > 60, "{count}");
}

/// Counts, end and errors are the same on both sides.
#[test]
fn a_translated_stream_is_metered_like_the_original() {
    for (file, from, to) in ways() {
        let original = read(&file);
        let out = translated(from, to, &[&golden(&file)]);
        let name = match to {
            Wire::Chat => "chat-x.sse",
            Wire::Responses => "responses-x.sse",
            Wire::Messages => "messages-x.sse",
            Wire::Gemini => "gemini-x.sse",
        };
        let options = MeterOptions { encoding: Encoding::Identity, ..options(name) };
        let (_, reading) = forward(options, [out.into()]);
        let context = format!("{file} to {to:?}");
        assert_eq!(reading.error.is_some(), original.error.is_some(), "{context}");
        assert!(reading.terminal, "{context}");
        if original.error.is_some() {
            continue;
        }
        let (ours, theirs) = (reading.usage.unwrap(), original.usage.unwrap());
        assert_eq!(ours.total(), theirs.total(), "{context}");
        assert_eq!(ours.cache_read, theirs.cache_read, "{context}");
        assert_eq!(ours.reasoning, theirs.reasoning, "{context}");
        assert_eq!(reading.model, original.model, "{context}");
        if to == Wire::Messages {
            // The only format without audio counts it as text; nothing else may move.
            let text = |usage: Usage| usage.input + usage.audio_input;
            assert_eq!(text(ours), text(theirs), "{context}");
        }
    }
}

/// LiteLLM #25321: a call arrived with `input: {}` because its arguments were only in the last
/// event (P12).
#[test]
fn p12_arguments_arrive_however_they_are_streamed() {
    let chunk = |delta: &str, finish: &str| {
        format!(
            "data: {{\"id\":\"a\",\"object\":\"chat.completion.chunk\",\"created\":1,\
             \"model\":\"m\",\"choices\":[{{\"index\":0,\"delta\":{delta},\
             \"finish_reason\":{finish}}}]}}\n\n"
        )
    };
    let call = |index: u8, rest: &str| format!("{{\"tool_calls\":[{{\"index\":{index},{rest}}}]}}");
    let interleaved = [
        chunk("{\"role\":\"assistant\",\"content\":null}", "null"),
        chunk(
            &call(0, r#""id":"c0","type":"function","function":{"name":"f","arguments":"{\"a\""}"#),
            "null",
        ),
        chunk(
            &call(1, r#""id":"c1","type":"function","function":{"name":"g","arguments":""}"#),
            "null",
        ),
        chunk("{\"content\":\"aside\"}", "null"),
        chunk(&call(1, r#""function":{"arguments":"{\"b\":2}"}"#), "null"),
        chunk(&call(0, r#""function":{"arguments":":1}"}"#), "null"),
        chunk(&call(2, r#""id":"c2","type":"function","function":{"name":"h"}"#), "null"),
        chunk("{}", "\"tool_calls\""),
        "data: [DONE]\n\n".to_owned(),
    ]
    .concat();
    assert_eq!(
        grammar::check(
            Wire::Messages,
            &translated(Wire::Chat, Wire::Messages, &[interleaved.as_bytes()])
        ),
        Ok(())
    );
    let out = translated(Wire::Chat, Wire::Gemini, &[interleaved.as_bytes()]);
    let calls: Vec<String> = events(&out)
        .iter()
        .map(|chunk| chunk["candidates"][0]["content"]["parts"][0].clone())
        .filter_map(|part| {
            Some(format!(
                "{}{}",
                part["functionCall"]["name"].as_str()?,
                part["functionCall"]["args"]
            ))
        })
        .collect();
    assert_eq!(calls, [r#"f{"a":1}"#, r#"g{"b":2}"#, "h{}"]);
    assert!(String::from_utf8_lossy(&out).contains("aside"));
    // The whole input in the beginning of the block, and no delta.
    let at_once = "data: {\"type\":\"message_start\",\"message\":{\"id\":\"m\",\"role\":\"assistant\",\"model\":\"c\",\"content\":[],\"usage\":{\"input_tokens\":1}}}\n\n\
        data: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"tool_use\",\"id\":\"t\",\"name\":\"f\",\"input\":{\"a\":1}}}\n\n\
        data: {\"type\":\"content_block_stop\",\"index\":0}\n\n\
        data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"tool_use\"},\"usage\":{\"output_tokens\":1}}\n\n\
        data: {\"type\":\"message_stop\"}\n\n";
    for to in [Wire::Chat, Wire::Responses, Wire::Gemini] {
        let out = translated(Wire::Messages, to, &[at_once.as_bytes()]);
        assert_eq!(grammar::check(to, &out), Ok(()));
        let text = String::from_utf8_lossy(&out).replace('\\', "");
        assert!(text.contains(r#"{"a":1}"#), "{text}");
    }
}

/// A stream that breaks off never looks finished, wherever it does.
#[test]
fn a_cut_stream_ends_in_an_error_and_never_in_success() {
    for (file, from, to) in ways() {
        let body = golden(&file);
        for end in (0..body.len()).step_by(37) {
            let out = translated(from, to, &[&body[..end]]);
            assert_eq!(grammar::check(to, &out), Ok(()), "{file} to {to:?} at {end}");
            let events = events(&out);
            let last = events.last().unwrap();
            let failed = last.get("error").is_some()
                || last["type"] == "error"
                || last["type"] == "response.failed";
            // Behind the reason of its end a stream may lack its counts; Anthropic's must say more.
            let reasons: &[&str] = match from {
                Wire::Messages => &["\"message_stop\""],
                Wire::Gemini => &["\"finishReason\"", "\"blockReason\""],
                _ => &["\"finish_reason\":\""],
            };
            let seen = String::from_utf8_lossy(&body[..end]);
            let ended = reasons.iter().any(|reason| seen.contains(reason));
            assert!(failed || ended, "{file} to {to:?} at {end}: {last}");
        }
    }
}

#[test]
fn usage_is_told_only_to_who_asked() {
    let body = golden("messages-plain.sse");
    let count = |include_usage: bool| {
        let mut stream = Stream::new(Wire::Messages, Wire::Chat, include_usage);
        let out = [stream.feed(&body), stream.end()].concat();
        assert_eq!(grammar::check(Wire::Chat, &out), Ok(()));
        events(&out).iter().filter(|chunk| chunk.get("usage").is_some()).count()
    };
    assert_eq!((count(true), count(false)), (1, 0));
}
