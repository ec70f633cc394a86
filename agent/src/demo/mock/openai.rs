//! OpenAI's answers: chat completions, responses, completions, embeddings, models.

use serde_json::{Value, json};

use super::ask::{Ask, Endpoint};
use super::script::Tokens;
use super::transcript::{Answer, Transcript, data, event};

/// A fixed date keeps answers the same from run to run: 2026-01-01.
const CREATED: u64 = 1_767_225_600;
const ARGUMENTS: &str = "{\"city\":\"Bergen\"}";
const TEXT: &str = "All is well. ";

pub(super) fn answer(ask: &Ask, tokens: Tokens, serial: u64) -> Answer {
    match (&ask.endpoint, ask.stream) {
        (Endpoint::Responses, false) => Answer::Unary(response(ask, tokens, serial, "completed")),
        (Endpoint::Responses, true) => Answer::Stream(response_stream(ask, tokens, serial)),
        (Endpoint::Completions, false) => Answer::Unary(completion(ask, tokens, serial)),
        (Endpoint::Completions, true) => Answer::Stream(completion_stream(ask, tokens, serial)),
        (Endpoint::Embeddings, _) => Answer::Unary(embeddings(ask, tokens)),
        (Endpoint::Models, _) => {
            let all: Vec<Value> = ["gpt-4o-mini", "gpt-4o"].iter().map(|id| model(id)).collect();
            Answer::Unary(json!({"object": "list", "data": all}))
        }
        (Endpoint::Model(id), _) => Answer::Unary(model(id)),
        (_, false) => Answer::Unary(chat(ask, tokens, serial)),
        (_, true) => Answer::Stream(chat_stream(ask, tokens, serial)),
    }
}

pub(super) fn error(code: u16) -> Value {
    let (kind, message) = match code {
        401 => ("invalid_request_error", "You didn't provide an API key."),
        404 => ("invalid_request_error", "Unknown request URL."),
        429 => ("requests", "Rate limit reached."),
        400..=499 => ("invalid_request_error", "The request is not valid."),
        _ => ("server_error", "The server had an error while processing your request."),
    };
    json!({"error": {"message": message, "type": kind, "param": null, "code": null}})
}

fn chat(ask: &Ask, tokens: Tokens, serial: u64) -> Value {
    let (message, finish) = match &ask.tool {
        Some(name) => (
            json!({"role": "assistant", "content": null, "refusal": null, "tool_calls": [{
                "id": format!("call_{serial:06}"), "type": "function",
                "function": {"name": name, "arguments": ARGUMENTS},
            }]}),
            "tool_calls",
        ),
        None => (json!({"role": "assistant", "content": TEXT, "refusal": null}), "stop"),
    };
    json!({
        "id": format!("chatcmpl-{serial:06}"),
        "object": "chat.completion",
        "created": CREATED,
        "model": ask.model,
        "choices": [{"index": 0, "message": message, "logprobs": null, "finish_reason": finish}],
        "usage": chat_usage(tokens),
        "service_tier": "default",
        "system_fingerprint": "fp_mock",
    })
}

fn chat_usage(tokens: Tokens) -> Value {
    json!({
        "prompt_tokens": tokens.input,
        "completion_tokens": tokens.output,
        "total_tokens": tokens.input + tokens.output,
        "prompt_tokens_details": {"cached_tokens": tokens.cached, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": tokens.reasoning, "audio_tokens": 0,
            "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0,
        },
    })
}

fn chat_stream(ask: &Ask, tokens: Tokens, serial: u64) -> Transcript {
    let chunk = |choices: Value, usage: Option<Value>| {
        let mut chunk = json!({
            "id": format!("chatcmpl-{serial:06}"), "object": "chat.completion.chunk",
            "created": CREATED, "model": ask.model, "service_tier": "default",
            "system_fingerprint": "fp_mock", "choices": choices,
        });
        // As the real API: the field is there on every chunk only if usage was asked for.
        if ask.include_usage {
            chunk["usage"] = usage.unwrap_or(Value::Null);
        }
        data(&chunk)
    };
    let delta = |delta: &Value| json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": null}]);
    let (first, each, finish) = match &ask.tool {
        Some(name) => (
            json!({"role": "assistant", "content": null, "tool_calls": [{
                "index": 0, "id": format!("call_{serial:06}"), "type": "function",
                "function": {"name": name, "arguments": ARGUMENTS},
            }]}),
            json!({"tool_calls": [{"index": 0, "function": {"arguments": ""}}]}),
            "tool_calls",
        ),
        None => (json!({"role": "assistant", "content": ""}), json!({"content": TEXT}), "stop"),
    };
    let end = json!([{"index": 0, "delta": {}, "logprobs": null, "finish_reason": finish}]);
    let mut after = vec![chunk(end, None)];
    if ask.include_usage {
        after.push(chunk(json!([]), Some(chat_usage(tokens))));
    }
    after.push("data: [DONE]\n\n".into());
    Transcript {
        before: vec![chunk(delta(&first), None)],
        delta: chunk(delta(&each), None),
        after,
        error: data(&error(500)),
    }
}

fn response(ask: &Ask, tokens: Tokens, serial: u64, status: &str) -> Value {
    let done = status == "completed";
    let usage = json!({
        "input_tokens": tokens.input,
        "input_tokens_details": {"cached_tokens": tokens.cached},
        "output_tokens": tokens.output,
        "output_tokens_details": {"reasoning_tokens": tokens.reasoning},
        "total_tokens": tokens.input + tokens.output,
    });
    json!({
        "id": format!("resp_{serial:06}"),
        "object": "response",
        "created_at": CREATED,
        "status": status,
        "error": null,
        "incomplete_details": null,
        "instructions": null,
        "model": ask.model,
        "output": if done { json!([output_item(ask, serial, "completed")]) } else { json!([]) },
        "parallel_tool_calls": true,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "usage": if done { usage } else { Value::Null },
        "metadata": {},
    })
}

fn output_item(ask: &Ask, serial: u64, status: &str) -> Value {
    match &ask.tool {
        Some(name) => json!({
            "id": format!("fc_{serial:06}"), "type": "function_call", "status": status,
            "call_id": format!("call_{serial:06}"), "name": name, "arguments": ARGUMENTS,
        }),
        None => json!({
            "id": format!("msg_{serial:06}"), "type": "message", "status": status,
            "role": "assistant",
            "content": if status == "completed" {
                json!([{"type": "output_text", "text": TEXT, "annotations": []}])
            } else {
                json!([])
            },
        }),
    }
}

fn response_stream(ask: &Ask, tokens: Tokens, serial: u64) -> Transcript {
    let item = output_item(ask, serial, "completed");
    let id = item["id"].clone();
    let named = |kind: &str, mut body: Value| {
        body["type"] = json!(kind);
        body["sequence_number"] = json!(0);
        event(kind, &body)
    };
    let at = |mut body: Value| {
        body["item_id"] = id.clone();
        body["output_index"] = json!(0);
        body
    };
    let open = response(ask, tokens, serial, "in_progress");
    let mut before = vec![
        named("response.created", json!({"response": &open})),
        named("response.in_progress", json!({"response": &open})),
        named(
            "response.output_item.added",
            json!({"output_index": 0, "item": output_item(ask, serial, "in_progress")}),
        ),
    ];
    let mut after = Vec::new();
    let delta;
    if ask.tool.is_some() {
        delta = named("response.function_call_arguments.delta", at(json!({"delta": ""})));
        after.push(named(
            "response.function_call_arguments.done",
            at(json!({"arguments": ARGUMENTS})),
        ));
    } else {
        let part = |text: &str| json!({"type": "output_text", "text": text, "annotations": []});
        before.push(named(
            "response.content_part.added",
            at(json!({"content_index": 0, "part": part("")})),
        ));
        let body = json!({"content_index": 0, "delta": TEXT, "logprobs": []});
        delta = named("response.output_text.delta", at(body));
        let body = json!({"content_index": 0, "text": TEXT, "logprobs": []});
        after.push(named("response.output_text.done", at(body)));
        after.push(named(
            "response.content_part.done",
            at(json!({"content_index": 0, "part": part(TEXT)})),
        ));
    }
    after.push(named("response.output_item.done", json!({"output_index": 0, "item": item})));
    let done = response(ask, tokens, serial, "completed");
    after.push(named("response.completed", json!({"response": done})));
    let error = named(
        "error",
        json!({"code": "server_error", "message": "The server had an error.", "param": null}),
    );
    Transcript { before, delta, after, error }
}

/// What is said of a response in a realtime session: half of the tokens are audio.
pub(super) fn realtime(tokens: Tokens, serial: u64) -> Transcript {
    let id = format!("resp_{serial:06}");
    let named = |kind: &str, mut body: Value| {
        body["type"] = json!(kind);
        body["event_id"] = json!(format!("event_{serial:06}"));
        data(&body)
    };
    let of = |mut body: Value| {
        body["response_id"] = json!(id);
        body
    };
    let response = |status: &str, usage: Value| {
        let object = "realtime.response";
        json!({"response": {"id": id, "object": object, "status": status,
            "status_details": null, "output": [], "usage": usage}})
    };
    let usage = json!({
        "total_tokens": tokens.input + tokens.output,
        "input_tokens": tokens.input,
        "output_tokens": tokens.output,
        "input_token_details": {
            "text_tokens": tokens.input - tokens.input / 2,
            "audio_tokens": tokens.input / 2,
            "cached_tokens": tokens.cached,
            "cached_tokens_details": {"text_tokens": tokens.cached, "audio_tokens": 0},
        },
        "output_token_details": {
            "text_tokens": tokens.output - tokens.output / 2,
            "audio_tokens": tokens.output / 2,
        },
    });
    Transcript {
        before: vec![named("response.created", response("in_progress", Value::Null))],
        delta: named("response.output_audio_transcript.delta", of(json!({"delta": TEXT}))),
        after: vec![
            named("response.output_audio_transcript.done", of(json!({"transcript": TEXT}))),
            named("response.done", response("completed", usage)),
        ],
        error: named(
            "error",
            json!({"error": {"type": "server_error", "code": "x",
            "message": "The server had an error.", "event_id": null}}),
        ),
    }
}

fn completion(ask: &Ask, tokens: Tokens, serial: u64) -> Value {
    json!({
        "id": format!("cmpl-{serial:06}"), "object": "text_completion", "created": CREATED,
        "model": ask.model, "usage": chat_usage(tokens),
        "choices": [{"text": TEXT, "index": 0, "logprobs": null, "finish_reason": "stop"}],
    })
}

fn completion_stream(ask: &Ask, tokens: Tokens, serial: u64) -> Transcript {
    let chunk = |choices: Value, usage: Value| {
        data(&json!({
            "id": format!("cmpl-{serial:06}"), "object": "text_completion", "created": CREATED,
            "model": ask.model, "choices": choices, "usage": usage,
        }))
    };
    let choice = |text: &str, finish: Option<&str>| json!([{"text": text, "index": 0, "logprobs": null, "finish_reason": finish}]);
    let mut after = vec![chunk(choice("", Some("stop")), Value::Null)];
    if ask.include_usage {
        after.push(chunk(json!([]), chat_usage(tokens)));
    }
    after.push("data: [DONE]\n\n".into());
    Transcript {
        before: Vec::new(),
        delta: chunk(choice(TEXT, None), Value::Null),
        after,
        error: data(&error(500)),
    }
}

fn embeddings(ask: &Ask, tokens: Tokens) -> Value {
    let all: Vec<Value> = (0..ask.inputs)
        .map(|index| json!({"object": "embedding", "index": index, "embedding": [0.25, -0.5, 1.0]}))
        .collect();
    json!({
        "object": "list", "data": all, "model": ask.model,
        "usage": {"prompt_tokens": tokens.input, "total_tokens": tokens.input},
    })
}

fn model(id: &str) -> Value {
    json!({"id": id, "object": "model", "created": CREATED, "owned_by": "system"})
}
