//! Anthropic's answers: messages, `count_tokens`, models.

use serde_json::{Value, json};

use super::ask::{Ask, Endpoint};
use super::script::Tokens;
use super::transcript::{Answer, Transcript, event};

const TEXT: &str = "All is well. ";
const ARGUMENTS: &str = "{\"city\":\"Bergen\"}";

pub(super) fn answer(ask: &Ask, tokens: Tokens, serial: u64) -> Answer {
    match (&ask.endpoint, ask.stream) {
        (Endpoint::CountTokens, _) => Answer::Unary(json!({"input_tokens": tokens.input})),
        (Endpoint::Models, _) => Answer::Unary(json!({
            "data": [model("claude-opus-4-6")], "has_more": false,
            "first_id": "claude-opus-4-6", "last_id": "claude-opus-4-6",
        })),
        (Endpoint::Model(id), _) => Answer::Unary(model(id)),
        (_, false) => Answer::Unary(message(ask, tokens, serial)),
        (_, true) => Answer::Stream(stream(ask, tokens, serial)),
    }
}

pub(super) fn error(code: u16) -> Value {
    let (kind, message) = match code {
        401 => ("authentication_error", "x-api-key header is required"),
        404 => ("not_found_error", "Not found"),
        429 => ("rate_limit_error", "This request would exceed your rate limit."),
        529 => ("overloaded_error", "Overloaded"),
        400..=499 => ("invalid_request_error", "The request is not valid."),
        _ => ("api_error", "Internal server error"),
    };
    json!({"type": "error", "error": {"type": kind, "message": message}})
}

/// Anthropic counts cached input apart from `input_tokens`, not inside it.
fn usage(tokens: Tokens, output: u64) -> Value {
    json!({
        "input_tokens": tokens.input.saturating_sub(tokens.cached + tokens.cache_write),
        "cache_creation_input_tokens": tokens.cache_write,
        "cache_read_input_tokens": tokens.cached,
        "cache_creation": {
            "ephemeral_5m_input_tokens": tokens.cache_write, "ephemeral_1h_input_tokens": 0,
        },
        "output_tokens": output,
        "service_tier": "standard",
    })
}

fn message(ask: &Ask, tokens: Tokens, serial: u64) -> Value {
    let (content, stop) = match &ask.tool {
        Some(name) => (
            json!({
                "type": "tool_use", "id": format!("toolu_{serial:06}"), "name": name,
                "input": {"city": "Bergen"},
            }),
            "tool_use",
        ),
        None => (json!({"type": "text", "text": TEXT}), "end_turn"),
    };
    json!({
        "id": format!("msg_{serial:06}"), "type": "message", "role": "assistant",
        "model": ask.model, "content": [content], "stop_reason": stop, "stop_sequence": null,
        "usage": usage(tokens, tokens.output),
    })
}

fn stream(ask: &Ask, tokens: Tokens, serial: u64) -> Transcript {
    let mut opening = message(ask, tokens, serial);
    opening["content"] = json!([]);
    opening["stop_reason"] = Value::Null;
    // The real API reports the first token or so here and the sum in `message_delta`.
    opening["usage"] = usage(tokens, 1);
    let (block, delta, stop) = match &ask.tool {
        Some(name) => (
            json!({
                "type": "tool_use", "id": format!("toolu_{serial:06}"), "name": name, "input": {},
            }),
            json!({"type": "input_json_delta", "partial_json": ""}),
            "tool_use",
        ),
        None => (
            json!({"type": "text", "text": ""}),
            json!({"type": "text_delta", "text": TEXT}),
            "end_turn",
        ),
    };
    let named = |kind: &str, mut body: Value| {
        body["type"] = json!(kind);
        event(kind, &body)
    };
    let mut after = Vec::new();
    if ask.tool.is_some() {
        let arguments = json!({"type": "input_json_delta", "partial_json": ARGUMENTS});
        after.push(named("content_block_delta", json!({"index": 0, "delta": arguments})));
    }
    after.push(named("content_block_stop", json!({"index": 0})));
    after.push(named(
        "message_delta",
        json!({
            "delta": {"stop_reason": stop, "stop_sequence": null},
            "usage": usage(tokens, tokens.output),
        }),
    ));
    after.push(named("message_stop", json!({})));
    Transcript {
        before: vec![
            named("message_start", json!({"message": opening})),
            named("content_block_start", json!({"index": 0, "content_block": block})),
            named("ping", json!({})),
        ],
        delta: named("content_block_delta", json!({"index": 0, "delta": delta})),
        after,
        error: named("error", error(529)),
    }
}

fn model(id: &str) -> Value {
    json!({
        "type": "model", "id": id, "display_name": id, "created_at": "2026-01-01T00:00:00Z",
    })
}
