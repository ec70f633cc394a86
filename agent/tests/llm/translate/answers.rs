//! Whole answers and errors.

use agent::llm::translate::{Refused, Wire, error, response, status};
use serde_json::{Value, json};

use crate::transcript::golden;

fn answered(from: Wire, to: Wire, file: &str) -> Value {
    serde_json::from_slice(&response(from, to, &golden(file)).unwrap()).unwrap()
}

#[test]
fn a_call_of_a_tool_arrives_in_every_format() {
    let message = &answered(Wire::Messages, Wire::Chat, "messages-tools.json");
    let choice = &message["choices"][0];
    assert_eq!(choice["finish_reason"], "tool_calls");
    let call = &choice["message"]["tool_calls"][0];
    assert_eq!(call["id"], "toolu_1");
    let arguments: Value =
        serde_json::from_str(call["function"]["arguments"].as_str().unwrap()).unwrap();
    assert_eq!(arguments, json!({"gauge": "north"}));
    assert_eq!(message["usage"]["prompt_tokens"], 472);
    assert_eq!(message["usage"]["completion_tokens"], 89);

    let chat = answered(Wire::Chat, Wire::Messages, "chat-tools.json");
    assert_eq!(chat["stop_reason"], "tool_use");
    assert_eq!(chat["content"].as_array().unwrap().last().unwrap()["type"], "tool_use");
    assert_eq!(chat["usage"]["input_tokens"], 82);

    for to in [Wire::Chat, Wire::Messages, Wire::Responses] {
        let one = answered(Wire::Gemini, to, "gemini-tools.json");
        assert_eq!(one, answered(Wire::Gemini, to, "gemini-tools.json"), "ids are stable");
        let ids: Vec<Value> = match to {
            Wire::Chat => (0..2)
                .map(|at| one["choices"][0]["message"]["tool_calls"][at]["id"].clone())
                .collect(),
            Wire::Messages => (0..2).map(|at| one["content"][at]["id"].clone()).collect(),
            _ => (0..2).map(|at| one["output"][at]["call_id"].clone()).collect(),
        };
        assert!(ids[0].is_string() && ids[0] != ids[1], "{ids:?}");
    }
    let google = answered(Wire::Messages, Wire::Gemini, "messages-tools.json");
    let call = &google["candidates"][0]["content"]["parts"][1]["functionCall"];
    assert_eq!(call, &json!({"id": "toolu_1", "name": "river_level", "args": {"gauge": "north"}}));
    let responses = answered(Wire::Messages, Wire::Responses, "messages-tools.json");
    assert_eq!(responses["output"][1]["call_id"], "toolu_1");
    assert_eq!(
        (&responses["status"], &responses["object"]),
        (&json!("completed"), &json!("response"))
    );
}

/// Cached tokens were counted twice, or as uncached, by gateways that passed counts on as they
/// stood: each format counts them elsewhere.
#[test]
fn counts_are_told_in_the_words_of_the_client() {
    let usage = &answered(Wire::Messages, Wire::Chat, "messages-cache.json")["usage"];
    assert_eq!(usage["prompt_tokens"], 12 + 1800 + 456 + 100);
    assert_eq!(usage["prompt_tokens_details"]["cached_tokens"], 1800);
    assert_eq!(usage["total_tokens"], 12 + 1800 + 456 + 100 + 503);
    let usage = &answered(Wire::Chat, Wire::Messages, "chat-cached.json")["usage"];
    assert_eq!(
        (&usage["input_tokens"], &usage["cache_read_input_tokens"]),
        (&json!(86), &json!(1920))
    );
    let usage = &answered(Wire::Gemini, Wire::Responses, "gemini-thinking.json")["usage"];
    assert_eq!(usage["input_tokens"], 4000);
    assert_eq!(usage["input_tokens_details"]["cached_tokens"], 3072);
    assert_eq!(usage["output_tokens"], 320);
    assert_eq!(usage["output_tokens_details"]["reasoning_tokens"], 300);
    let usage = &answered(Wire::Messages, Wire::Gemini, "messages-thinking.json")["usageMetadata"];
    assert_eq!(
        (&usage["candidatesTokenCount"], &usage["thoughtsTokenCount"]),
        (&json!(30), &json!(380))
    );
}

/// Thoughts without a signature made Anthropic's clients fail at their next request (P12).
#[test]
fn p12_unsigned_thoughts_are_not_passed_off_as_signed() {
    for file in ["gemini-thinking.json", "chat-reasoning-beside.json"] {
        let from = if file.starts_with("chat") { Wire::Chat } else { Wire::Gemini };
        let message = answered(from, Wire::Messages, file);
        let kinds: Vec<_> =
            message["content"].as_array().unwrap().iter().map(|b| &b["type"]).collect();
        assert_eq!(kinds, ["text"], "{file}");
    }
    let chat = answered(Wire::Messages, Wire::Chat, "messages-thinking.json");
    assert_eq!(chat["choices"][0]["message"]["reasoning_content"], "Deep water.");
}

#[test]
fn ends_are_told_in_the_words_of_the_client() {
    let message = |reason: &str| {
        let body = json!({"id": "m", "type": "message", "model": "c", "stop_reason": reason,
            "content": [{"type": "text", "text": "x"}], "usage": {"input_tokens": 1, "output_tokens": 1}});
        body.to_string()
    };
    for (reason, chat, google, responses) in [
        ("end_turn", "stop", "STOP", "completed"),
        ("stop_sequence", "stop", "STOP", "completed"),
        ("max_tokens", "length", "MAX_TOKENS", "incomplete"),
        ("model_context_window_exceeded", "length", "MAX_TOKENS", "incomplete"),
        ("refusal", "content_filter", "SAFETY", "incomplete"),
    ] {
        let to = |wire| {
            let body = response(Wire::Messages, wire, message(reason).as_bytes()).unwrap();
            serde_json::from_slice::<Value>(&body).unwrap()
        };
        assert_eq!(to(Wire::Chat)["choices"][0]["finish_reason"], chat);
        assert_eq!(to(Wire::Gemini)["candidates"][0]["finishReason"], google);
        assert_eq!(to(Wire::Responses)["status"], responses);
    }
    let blocked = answered(Wire::Gemini, Wire::Chat, "gemini-blocked.json");
    assert_eq!(blocked["choices"][0]["finish_reason"], "content_filter");
}

#[test]
fn errors_have_the_word_and_the_shape_of_the_client() {
    let told = |from, to, status, body: &Value| -> Value {
        serde_json::from_slice(&error(from, to, status, body.to_string().as_bytes())).unwrap()
    };
    let overloaded =
        json!({"type": "error", "error": {"type": "overloaded_error", "message": "busy"}});
    let chat = told(Wire::Messages, Wire::Chat, 529, &overloaded);
    assert_eq!(
        (&chat["error"]["type"], &chat["error"]["message"]),
        (&json!("server_error"), &json!("busy"))
    );
    assert_eq!((status(Wire::Chat, 529), status(Wire::Messages, 529)), (503, 529));
    let google = told(Wire::Messages, Wire::Gemini, 529, &overloaded);
    assert_eq!(google["error"], json!({"code": 503, "message": "busy", "status": "UNAVAILABLE"}));
    let quota =
        json!({"error": {"message": "no", "type": "requests", "code": "rate_limit_exceeded"}});
    let anthropic = told(Wire::Chat, Wire::Messages, 429, &quota);
    assert_eq!(
        anthropic,
        json!({"type": "error", "error": {"type": "rate_limit_error", "message": "no"}})
    );
    // Google wraps errors of streams in a list, and says `bad request` where a key is wrong.
    let listed = json!([{"error": {"code": 400, "message": "m", "status": "INVALID_ARGUMENT"}}]);
    let anthropic = told(Wire::Gemini, Wire::Messages, 400, &listed);
    assert_eq!(anthropic["error"]["type"], "invalid_request_error");
    let html = error(Wire::Chat, Wire::Messages, 502, b"<html>");
    let html: Value = serde_json::from_slice(&html).unwrap();
    assert_eq!(html["error"]["type"], "api_error");
}

#[test]
fn what_is_no_answer_is_refused() {
    for from in [Wire::Chat, Wire::Messages, Wire::Gemini] {
        for body in ["", "[]", "{}", r#"{"error":{}}"#, r#"{"choices":[]}"#] {
            let refused = response(from, Wire::Responses, body.as_bytes());
            assert_eq!(refused, Err(Refused::NotJson), "{from:?} {body}");
        }
    }
    let failed = json!({"candidates": [{"finishReason": "MALFORMED_FUNCTION_CALL"}]});
    let failed = response(Wire::Gemini, Wire::Chat, failed.to_string().as_bytes());
    assert_eq!(failed, Err(Refused::NotJson));
}
