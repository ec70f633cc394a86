//! Streams as a provider may send them: legal, but otherwise anything.

use agent::llm::translate::Wire;
use serde_json::{Value, json};

/// What a model says: texts, thoughts and calls.
enum Piece {
    Text(String),
    Thought(String),
    Call { id: String, name: String, arguments: String },
}

const TEXTS: [&str; 9] = [
    "x",
    "data: y\n\n",
    "\\\"",
    "\u{2028}",
    "\u{1f30a} and more",
    "{\"a\":",
    "\r\n",
    "[DONE]",
    "é",
];

fn pieces(random: &mut fastrand::Rng) -> Vec<Piece> {
    let count = random.usize(..5);
    (0..count)
        .map(|at| match random.u8(..4) {
            0 => Piece::Thought(TEXTS[random.usize(..TEXTS.len())].to_owned()),
            1 | 2 => Piece::Text(TEXTS[random.usize(..TEXTS.len())].repeat(random.usize(1..4))),
            _ => {
                let arguments = match random.u8(..3) {
                    0 => json!({}),
                    1 => json!({"a": [1, {"b": TEXTS[random.usize(..TEXTS.len())]}], "{": "}"}),
                    _ => json!({TEXTS[random.usize(..TEXTS.len())]: random.i64(..)}),
                };
                let (id, name) = (format!("call_{at}"), format!("tool_{}", random.u8(..3)));
                Piece::Call { id, name, arguments: arguments.to_string() }
            }
        })
        .collect()
}

/// A stream, and whether it breaks off with an error event.
pub(crate) fn stream(random: &mut fastrand::Rng, from: Wire) -> (Vec<u8>, bool) {
    let fails = random.u8(..8) == 0;
    let pieces = pieces(random);
    let events = match from {
        Wire::Messages => messages(random, &pieces, fails),
        Wire::Gemini => gemini(random, &pieces, fails),
        _ => chat(random, &pieces, fails),
    };
    let end = if random.bool() { "\n" } else { "\r\n" };
    let mut out = String::new();
    for event in &events {
        if let Some(kind) = event.get("type").and_then(Value::as_str).filter(|_| !fails) {
            out.push_str(&format!("event: {kind}{end}"));
        }
        out.push_str(&format!("data: {event}{end}{end}"));
        if random.u8(..8) == 0 {
            out.push_str(&format!(": a comment{end}{end}"));
        }
    }
    if from == Wire::Chat && !fails {
        out.push_str(&format!("data: [DONE]{end}{end}"));
    }
    (out.into_bytes(), fails)
}

/// A text in random parts.
fn split<'a>(random: &mut fastrand::Rng, mut text: &'a str) -> Vec<&'a str> {
    let mut parts = Vec::new();
    while !text.is_empty() {
        let ends: Vec<_> = text.char_indices().map(|(at, c)| at + c.len_utf8()).collect();
        let (part, rest) = text.split_at(ends[random.usize(..ends.len())]);
        parts.push(part);
        text = rest;
    }
    parts
}

fn chat(random: &mut fastrand::Rng, pieces: &[Piece], fails: bool) -> Vec<Value> {
    let chunk = |delta: Value, finish: Value| {
        json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
    };
    let mut events = vec![chunk(json!({"role": "assistant", "content": ""}), Value::Null)];
    // Parts of calls that begin together come in any order, each call's own in theirs.
    let mut calls: Vec<Vec<Value>> = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Text(text) => events.push(chunk(json!({"content": text}), Value::Null)),
            Piece::Thought(text) => {
                events.push(chunk(json!({"reasoning_content": text}), Value::Null));
            }
            Piece::Call { id, name, arguments } => {
                let index = calls.len();
                let begin = json!({"index": index, "id": id, "type": "function",
                    "function": {"name": name, "arguments": ""}});
                events.push(chunk(json!({"tool_calls": [begin]}), Value::Null));
                let parts = split(random, arguments)
                    .into_iter()
                    .rev()
                    .map(|part| json!({"index": index, "function": {"arguments": part}}));
                calls.push(parts.collect());
            }
        }
        let some = random.usize(..4);
        for _ in 0..some {
            if let Some(call) = random.choice(&mut calls).and_then(Vec::pop) {
                events.push(chunk(json!({"tool_calls": [call]}), Value::Null));
            }
        }
    }
    if fails {
        events.push(json!({"error": {"message": "m", "type": "server_error"}}));
        return events;
    }
    let finish = if calls.is_empty() { "stop" } else { "tool_calls" };
    while let Some(call) = calls.iter_mut().find_map(Vec::pop) {
        events.push(chunk(json!({"tool_calls": [call]}), Value::Null));
    }
    events.push(chunk(json!({}), finish.into()));
    if random.bool() {
        events.push(json!({"id": "c", "object": "chat.completion.chunk", "created": 1,
            "model": "m", "choices": [],
            "usage": {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}}));
    }
    events
}

fn messages(random: &mut fastrand::Rng, pieces: &[Piece], fails: bool) -> Vec<Value> {
    let mut events =
        vec![json!({"type": "message_start", "message": {"id": "m", "type": "message",
        "role": "assistant", "model": "c", "content": [], "usage": {"input_tokens": 9}}})];
    for (index, piece) in pieces.iter().enumerate() {
        let (block, deltas): (Value, Vec<Value>) = match piece {
            Piece::Text(text) => {
                let each = split(random, text).into_iter();
                let each = each.map(|part| json!({"type": "text_delta", "text": part}));
                (json!({"type": "text", "text": ""}), each.collect())
            }
            Piece::Thought(text) => (
                json!({"type": "thinking", "thinking": "", "signature": ""}),
                vec![
                    json!({"type": "thinking_delta", "thinking": text}),
                    json!({"type": "signature_delta", "signature": "cw=="}),
                ],
            ),
            Piece::Call { id, name, arguments } => {
                let each = split(random, arguments).into_iter();
                let each =
                    each.map(|part| json!({"type": "input_json_delta", "partial_json": part}));
                let block = json!({"type": "tool_use", "id": id, "name": name, "input": {}});
                (block, each.collect())
            }
        };
        events.push(json!({"type": "content_block_start", "index": index, "content_block": block}));
        for delta in deltas {
            events.push(json!({"type": "content_block_delta", "index": index, "delta": delta}));
            if random.u8(..8) == 0 {
                events.push(json!({"type": "ping"}));
            }
        }
        events.push(json!({"type": "content_block_stop", "index": index}));
    }
    if fails {
        let error = json!({"type": "overloaded_error", "message": "m"});
        events.push(json!({"type": "error", "error": error}));
        return events;
    }
    let called = pieces.iter().any(|piece| matches!(piece, Piece::Call { .. }));
    let reason = if called { "tool_use" } else { "end_turn" };
    events.push(json!({"type": "message_delta", "delta": {"stop_reason": reason,
        "stop_sequence": null}, "usage": {"output_tokens": 3}}));
    events.push(json!({"type": "message_stop"}));
    events
}

fn gemini(random: &mut fastrand::Rng, pieces: &[Piece], fails: bool) -> Vec<Value> {
    let chunk = |parts: Vec<Value>| {
        json!({"candidates": [{"content": {"parts": parts, "role": "model"}, "index": 0}],
            "usageMetadata": {"promptTokenCount": 9, "candidatesTokenCount": 3},
            "modelVersion": "m", "responseId": "r"})
    };
    let mut events = Vec::new();
    let mut parts = Vec::new();
    for piece in pieces {
        parts.push(match piece {
            Piece::Text(text) => json!({"text": text}),
            Piece::Thought(text) => json!({"text": text, "thought": true}),
            Piece::Call { name, arguments, .. } => {
                let args: Value = serde_json::from_str(arguments).unwrap_or_default();
                json!({"functionCall": {"name": name, "args": args}})
            }
        });
        if random.bool() {
            events.push(chunk(std::mem::take(&mut parts)));
        }
    }
    if fails {
        events.push(json!({"error": {"code": 503, "message": "m", "status": "UNAVAILABLE"}}));
        return events;
    }
    let mut last = chunk(parts);
    last["candidates"][0]["finishReason"] = "STOP".into();
    events.push(last);
    events
}
