//! Random JSON that looks like requests and answers: their keys and words, in any place.

use serde_json::{Map, Value, json};

const KEYS: &[&str] = &[
    "messages",
    "contents",
    "input",
    "role",
    "content",
    "parts",
    "type",
    "text",
    "tool_calls",
    "function",
    "name",
    "arguments",
    "id",
    "tool_call_id",
    "call_id",
    "tool_use_id",
    "output",
    "functionCall",
    "functionResponse",
    "args",
    "response",
    "tools",
    "functionDeclarations",
    "parameters",
    "input_schema",
    "system",
    "systemInstruction",
    "instructions",
    "tool_choice",
    "max_tokens",
    "generationConfig",
    "temperature",
    "stop",
    "stream",
    "image_url",
    "url",
    "source",
    "data",
    "media_type",
    "inlineData",
    "mimeType",
    "thinking",
    "response_format",
    "json_schema",
    "schema",
    "choices",
    "message",
    "delta",
    "finish_reason",
    "candidates",
    "finishReason",
    "stop_reason",
    "usage",
    "usageMetadata",
    "error",
    "index",
    "properties",
    "items",
    "anyOf",
    "nullable",
    "reasoning_effort",
    "reasoning",
    "output_config",
    "thinkingConfig",
];

const WORDS: &[&str] = &[
    "",
    "user",
    "assistant",
    "model",
    "system",
    "tool",
    "developer",
    "text",
    "image",
    "image_url",
    "tool_use",
    "tool_result",
    "function",
    "function_call",
    "function_call_output",
    "input_text",
    "input_image",
    "output_text",
    "message",
    "base64",
    "auto",
    "any",
    "none",
    "required",
    "STOP",
    "tool_calls",
    "end_turn",
    "json_schema",
    "{\"a\":1}",
    "{",
    "data:image/png;base64,AAAA",
    "data:,x",
    "OBJECT",
    "\n",
    "\u{1f30a}",
    "call_1",
    "functions.f:0",
    "enabled",
    "high",
];

/// A value at most so deep.
pub(crate) fn value(random: &mut fastrand::Rng, depth: u8) -> Value {
    match random.u8(..if depth == 0 { 5 } else { 10 }) {
        0 => Value::Null,
        1 => random.bool().into(),
        2 => random.i64(-5..100_000).into(),
        3 | 4 => WORDS[random.usize(..WORDS.len())].into(),
        5..8 => object(random, depth),
        _ => (0..random.usize(..4)).map(|_| value(random, depth - 1)).collect(),
    }
}

fn object(random: &mut fastrand::Rng, depth: u8) -> Value {
    let members = (0..random.usize(..8)).map(|_| {
        let key = KEYS[random.usize(..KEYS.len())];
        (key.to_owned(), value(random, depth - 1))
    });
    Value::Object(members.collect::<Map<_, _>>())
}

/// A request with turns in which anything may stand.
pub(crate) fn request(random: &mut fastrand::Rng) -> Value {
    let mut body = object(random, 5);
    let turns: Vec<Value> = (0..random.usize(..6))
        .map(|_| {
            let mut turn = object(random, 4);
            let role = WORDS[1 + random.usize(..6)];
            turn["role"] = role.into();
            if random.bool() {
                turn["content"] = value(random, 3);
                turn["parts"] = value(random, 3);
            }
            turn
        })
        .collect();
    let key = ["messages", "contents", "input"][random.usize(..3)];
    body[key] = json!(turns);
    body
}
