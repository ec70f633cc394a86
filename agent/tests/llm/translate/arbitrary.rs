//! Whatever is said survives, and where a stream is split does not matter.

use agent::llm::translate::{Plan, Wire, grammar, request, response};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::streams::{ALL, translated, ways, wire};
use crate::transcript::{golden, streams};

/// Text with a bias to what breaks parsers.
fn text() -> impl Strategy<Value = String> {
    let odd = prop::sample::select(vec![
        "\n",
        "\r\n",
        "data: x\n\n",
        "\\",
        "\"",
        "\u{2028}",
        "\u{0}",
        "é",
        "🜄",
        "[DONE]",
        "{",
        "}",
    ]);
    prop::collection::vec(prop_oneof![".{1,8}", odd.prop_map(str::to_owned)], 1..6)
        .prop_map(|parts| format!("x{}x", parts.concat()))
}

/// Arguments of a tool.
fn arguments() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    let tree = leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(text(), inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    });
    prop::collection::btree_map(text(), tree, 0..4)
        .prop_map(|map| Value::Object(map.into_iter().collect()))
}

/// A provider's stream of one text and one call, in pieces.
fn provider_stream(from: Wire, said: &[String], args: &Value) -> String {
    let mut out = String::new();
    let mut data = |value: Value| out.push_str(&format!("data: {value}\n\n"));
    let raw = args.to_string();
    let middle = raw.char_indices().nth(raw.chars().count() / 2).map_or(0, |(at, _)| at);
    let pieces = [&raw[..middle], &raw[middle..]];
    match from {
        Wire::Chat => {
            let mut chunk = |delta: Value, finish: Value| {
                data(
                    json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
                    "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}),
                );
            };
            chunk(json!({"role": "assistant", "content": ""}), Value::Null);
            said.iter().for_each(|text| chunk(json!({"content": text}), Value::Null));
            chunk(
                json!({"tool_calls": [{"index": 0, "id": "call_1", "type": "function",
                "function": {"name": "f", "arguments": ""}}]}),
                Value::Null,
            );
            for piece in pieces {
                chunk(
                    json!({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}),
                    Value::Null,
                );
            }
            chunk(json!({}), json!("tool_calls"));
            out.push_str("data: [DONE]\n\n");
        }
        Wire::Messages => {
            data(json!({"type": "message_start", "message": {"id": "m", "role": "assistant",
                "model": "c", "content": [], "usage": {"input_tokens": 1}}}));
            data(json!({"type": "content_block_start", "index": 0,
                "content_block": {"type": "text", "text": ""}}));
            for text in said {
                data(json!({"type": "content_block_delta", "index": 0,
                    "delta": {"type": "text_delta", "text": text}}));
            }
            data(json!({"type": "content_block_stop", "index": 0}));
            data(json!({"type": "content_block_start", "index": 1, "content_block":
                {"type": "tool_use", "id": "call_1", "name": "f", "input": {}}}));
            for piece in pieces {
                data(json!({"type": "content_block_delta", "index": 1,
                    "delta": {"type": "input_json_delta", "partial_json": piece}}));
            }
            data(json!({"type": "content_block_stop", "index": 1}));
            data(json!({"type": "message_delta", "delta": {"stop_reason": "tool_use"},
                "usage": {"output_tokens": 1}}));
            data(json!({"type": "message_stop"}));
        }
        _ => {
            for text in said {
                data(
                    json!({"candidates": [{"content": {"parts": [{"text": text}], "role": "model"},
                    "index": 0}], "modelVersion": "m", "responseId": "r"}),
                );
            }
            data(json!({"candidates": [{"content": {"parts": [{"functionCall":
                {"id": "call_1", "name": "f", "args": args}}], "role": "model"},
                "finishReason": "STOP", "index": 0}], "modelVersion": "m", "responseId": "r"}));
        }
    }
    out
}

/// Text, id and arguments as a client puts them together.
fn assembled(to: Wire, stream: &[u8]) -> (String, String, Value) {
    let (mut text, mut id, mut raw) = (String::new(), String::new(), String::new());
    let stream = std::str::from_utf8(stream).unwrap();
    for data in stream.lines().filter_map(|line| line.strip_prefix("data: ")) {
        let Ok(event) = serde_json::from_str::<Value>(data) else { continue };
        let push = |into: &mut String, value: &Value| into.push_str(value.as_str().unwrap_or(""));
        match to {
            Wire::Chat => {
                let delta = &event["choices"][0]["delta"];
                push(&mut text, &delta["content"]);
                push(&mut id, &delta["tool_calls"][0]["id"]);
                push(&mut raw, &delta["tool_calls"][0]["function"]["arguments"]);
            }
            Wire::Messages => {
                push(&mut text, &event["delta"]["text"]);
                push(&mut id, &event["content_block"]["id"]);
                push(&mut raw, &event["delta"]["partial_json"]);
            }
            Wire::Responses => match event["type"].as_str().unwrap() {
                "response.output_text.delta" => push(&mut text, &event["delta"]),
                "response.output_item.added" => push(&mut id, &event["item"]["call_id"]),
                "response.function_call_arguments.delta" => push(&mut raw, &event["delta"]),
                _ => {}
            },
            Wire::Gemini => {
                let part = &event["candidates"][0]["content"]["parts"][0];
                push(&mut text, &part["text"]);
                push(&mut id, &part["functionCall"]["id"]);
                if let Some(args) = part["functionCall"].get("args") {
                    raw.push_str(&args.to_string());
                }
            }
        }
    }
    (text, id, serde_json::from_str(&raw).unwrap())
}

fn cut<'a>(body: &'a [u8], at: &[usize]) -> Vec<&'a [u8]> {
    let mut at: Vec<_> = at.iter().map(|at| at % (body.len() + 1)).collect();
    at.extend([0, body.len()]);
    at.sort_unstable();
    at.windows(2).map(|ends| &body[ends[0]..ends[1]]).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_split_anywhere_gives_the_same_bytes(
        (file, from, to) in prop::sample::select(ways()),
        at in prop::collection::vec(any::<usize>(), 0..12),
    ) {
        let body = golden(&file);
        prop_assert_eq!(translated(from, to, &cut(&body, &at)), translated(from, to, &[&body]));
    }

    #[test]
    fn p12_text_ids_and_arguments_survive_a_stream(
        said in prop::collection::vec(text(), 1..4),
        args in arguments(),
        from in prop::sample::select(vec![Wire::Chat, Wire::Messages, Wire::Gemini]),
        to in prop::sample::select(ALL.to_vec()),
    ) {
        prop_assume!(from != to);
        let out = translated(from, to, &[provider_stream(from, &said, &args).as_bytes()]);
        prop_assert_eq!(grammar::check(to, &out), Ok(()));
        prop_assert_eq!(assembled(to, &out), (said.concat(), "call_1".to_owned(), args));
    }

    #[test]
    fn p12_text_and_arguments_survive_a_request_and_back(
        said in text(), result in text(), args in arguments(),
        to in prop::sample::select(vec![(Wire::Messages, "claude-opus-4-6"), (Wire::Gemini, "gemini-2.5-flash")]),
    ) {
        let chat = json!({"model": "gpt-4o", "messages": [
            {"role": "user", "content": said},
            {"role": "assistant", "content": null, "tool_calls": [{"id": "call_1", "type": "function",
                "function": {"name": "f", "arguments": args.to_string()}}]},
            {"role": "tool", "tool_call_id": "call_1", "content": result},
        ]});
        let there = Plan { from: Wire::Chat, to: to.0, model: to.1, allow_loss: &[] };
        let there = request(&there, chat.to_string().as_bytes()).unwrap();
        let back = Plan { from: to.0, to: Wire::Chat, model: "gpt-4o", allow_loss: &[] };
        let back = request(&back, &there.body).unwrap();
        let back: Value = serde_json::from_slice(&back.body).unwrap();
        let call = &back["messages"][1]["tool_calls"][0];
        let returned = call["function"]["arguments"].as_str().unwrap();
        prop_assert_eq!(serde_json::from_str::<Value>(returned).unwrap(), args);
        prop_assert_eq!(&call["id"], "call_1");
        prop_assert_eq!(&back["messages"][0]["content"], &json!(said));
        prop_assert_eq!(&back["messages"][2], &chat["messages"][2]);
    }

    #[test]
    fn garbage_never_panics_and_never_looks_finished(
        pieces in prop::collection::vec(prop_oneof![
            prop::collection::vec(any::<u8>(), 0..40),
            "(data: |\\{|\\}|\"type\":|\"choices\":\\[|\"delta\"|\"error\"|\\]|[0-9]{1,9}|,|\n|null|\"x\"|:){0,20}"
                .prop_map(String::into_bytes),
        ], 0..8),
        from in prop::sample::select(vec![Wire::Chat, Wire::Messages, Wire::Gemini]),
        to in prop::sample::select(ALL.to_vec()),
    ) {
        let body = pieces.concat();
        let out = translated(from, to, &pieces.iter().map(Vec::as_slice).collect::<Vec<_>>());
        prop_assert_eq!(grammar::check(to, &out), Ok(()));
        drop(grammar::check(from, &body));
        drop(response(from, to, &body));
        let plan = Plan { from, to, model: "m", allow_loss: &[] };
        drop(request(&plan, &body));
    }

    #[test]
    fn the_grammar_never_panics_on_a_broken_transcript(
        file in prop::sample::select(streams()),
        at in any::<usize>(),
        with in prop::collection::vec(any::<u8>(), 0..4),
    ) {
        let Some(wire) = wire(&file) else { return Ok(()) };
        let mut body = golden(&file).to_vec();
        let at = at % body.len();
        body.splice(at..(at + 3).min(body.len()), with);
        drop(grammar::check(wire, &body));
    }
}
