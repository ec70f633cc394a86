//! Requests.

use agent::llm::translate::{Feature, Plan, Refused, Wire, request, request_at};
use serde_json::{Value, json};

use super::{allowing, lost, sent};

const CLAUDE: &str = "claude-opus-4-6";
const GEMINI: &str = "gemini-2.5-flash";

/// A conversation with everything that all formats have.
fn chat() -> Value {
    json!({
        "model": "gpt-4o",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [
                {"type": "text", "text": "How high?"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBOR"}},
            ]},
            {"role": "assistant", "content": "I look.", "tool_calls": [
                {"id": "call_1", "type": "function",
                 "function": {"name": "level", "arguments": "{\"gauge\":\"north\"}"}},
                {"id": "call_2", "type": "function",
                 "function": {"name": "level", "arguments": "{\"gauge\":\"south\"}"}},
            ]},
            {"role": "tool", "tool_call_id": "call_1", "content": "2 m"},
            {"role": "tool", "tool_call_id": "call_2", "content": "3 m"},
            {"role": "user", "content": "And now?"},
        ],
        "tools": [{"type": "function", "function": {
            "name": "level", "description": "Water level",
            "parameters": {"type": "object", "properties": {"gauge": {"type": "string"}}},
        }}],
        "tool_choice": "required",
        "temperature": 0.5,
        "max_tokens": 100,
        "stop": ["END"],
        "user": "u-1",
        "stream": true,
    })
}

fn messages() -> Value {
    json!({
        "model": CLAUDE,
        "max_tokens": 100,
        "system": "Be brief.",
        "messages": [
            {"role": "user", "content": [
                {"type": "text", "text": "How high?"},
                {"type": "image", "source":
                    {"type": "base64", "media_type": "image/png", "data": "iVBOR"}},
            ]},
            {"role": "assistant", "content": [
                {"type": "text", "text": "I look."},
                {"type": "tool_use", "id": "call_1", "name": "level", "input": {"gauge": "north"}},
                {"type": "tool_use", "id": "call_2", "name": "level", "input": {"gauge": "south"}},
            ]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "call_1",
                 "content": [{"type": "text", "text": "2 m"}]},
                {"type": "tool_result", "tool_use_id": "call_2",
                 "content": [{"type": "text", "text": "3 m"}]},
                {"type": "text", "text": "And now?"},
            ]},
        ],
        "tools": [{
            "name": "level", "description": "Water level",
            "input_schema": {"type": "object", "properties": {"gauge": {"type": "string"}}},
        }],
        "tool_choice": {"type": "any"},
        "temperature": 0.5,
        "stop_sequences": ["END"],
        "stream": true,
    })
}

fn gemini() -> Value {
    json!({
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
        "contents": [
            {"role": "user", "parts": [
                {"text": "How high?"},
                {"inlineData": {"mimeType": "image/png", "data": "iVBOR"}},
            ]},
            {"role": "model", "parts": [
                {"text": "I look."},
                {"functionCall": {"id": "call_1", "name": "level", "args": {"gauge": "north"}}},
                {"functionCall": {"id": "call_2", "name": "level", "args": {"gauge": "south"}}},
            ]},
            {"role": "user", "parts": [
                {"functionResponse":
                    {"id": "call_1", "name": "level", "response": {"output": "2 m"}}},
                {"functionResponse":
                    {"id": "call_2", "name": "level", "response": {"output": "3 m"}}},
                {"text": "And now?"},
            ]},
        ],
        "tools": [{"functionDeclarations": [{
            "name": "level", "description": "Water level",
            "parametersJsonSchema":
                {"type": "object", "properties": {"gauge": {"type": "string"}}},
        }]}],
        "toolConfig": {"functionCallingConfig": {"mode": "ANY"}},
        "generationConfig": {
            "maxOutputTokens": 100, "temperature": 0.5, "stopSequences": ["END"],
        },
    })
}

fn responses() -> Value {
    json!({
        "model": "gpt-4o",
        "instructions": "Be brief.",
        "input": [
            {"role": "user", "content": [
                {"type": "input_text", "text": "How high?"},
                {"type": "input_image", "image_url": "data:image/png;base64,iVBOR"},
            ]},
            {"type": "message", "role": "assistant",
             "content": [{"type": "output_text", "text": "I look.", "annotations": []}]},
            {"type": "function_call", "call_id": "call_1", "name": "level",
             "arguments": "{\"gauge\":\"north\"}"},
            {"type": "function_call", "call_id": "call_2", "name": "level",
             "arguments": "{\"gauge\":\"south\"}"},
            {"type": "function_call_output", "call_id": "call_1", "output": "2 m"},
            {"type": "function_call_output", "call_id": "call_2", "output": "3 m"},
            {"role": "user", "content": "And now?"},
        ],
        "tools": [{
            "type": "function", "name": "level", "description": "Water level",
            "parameters": {"type": "object", "properties": {"gauge": {"type": "string"}}},
        }],
        "tool_choice": "required",
        "temperature": 0.5,
        "max_output_tokens": 100,
        "stream": true,
        "store": false,
    })
}

/// As it comes out of a translation, where fields that one side needs are added.
fn with(mut body: Value, changes: &Value) -> Value {
    for (key, value) in changes.as_object().unwrap() {
        body[key] = value.clone();
        if value.is_null() {
            body.as_object_mut().unwrap().remove(key);
        }
    }
    body
}

#[test]
fn one_conversation_in_every_format() {
    let from_chat = sent(Wire::Chat, Wire::Messages, CLAUDE, &chat()).unwrap();
    assert_eq!(from_chat, messages());
    let from_chat = sent(Wire::Chat, Wire::Gemini, GEMINI, &chat()).unwrap();
    assert_eq!(from_chat, gemini());
    let to_chat = json!({
        "user": null, "max_tokens": null, "max_completion_tokens": 100,
        "stream_options": {"include_usage": true},
    });
    let from_messages = sent(Wire::Messages, Wire::Chat, "gpt-4o", &messages()).unwrap();
    assert_eq!(from_messages, with(chat(), &to_chat));
    assert_eq!(sent(Wire::Messages, Wire::Gemini, GEMINI, &messages()).unwrap(), gemini());
    let without_stream = json!({"stream": null, "stream_options": null});
    let from_gemini = sent(Wire::Gemini, Wire::Chat, "gpt-4o", &gemini()).unwrap();
    assert_eq!(from_gemini, with(with(chat(), &to_chat), &without_stream));
    let from_gemini = sent(Wire::Gemini, Wire::Messages, CLAUDE, &gemini()).unwrap();
    assert_eq!(from_gemini, with(messages(), &json!({"stream": null})));
    // Responses has no sequences to stop at.
    let from_responses = sent(Wire::Responses, Wire::Chat, "gpt-4o", &responses()).unwrap();
    assert_eq!(from_responses, with(with(chat(), &to_chat), &json!({"stop": null})));
    let from_responses = sent(Wire::Responses, Wire::Messages, CLAUDE, &responses()).unwrap();
    assert_eq!(from_responses, with(messages(), &json!({"stop_sequences": null})));
    let from_responses = sent(Wire::Responses, Wire::Gemini, GEMINI, &responses()).unwrap();
    let mut expected = gemini();
    expected["generationConfig"].as_object_mut().unwrap().remove("stopSequences");
    assert_eq!(from_responses, expected);
}

#[test]
fn the_path_names_the_operation_and_of_gemini_the_model() {
    let path = |from, to, model, at: &str, body: &Value| {
        let plan = Plan { from, to, model, allow_loss: &[] };
        request_at(&plan, at, body.to_string().as_bytes()).map(|sent| sent.path)
    };
    let stream = "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse";
    assert_eq!(path(Wire::Chat, Wire::Gemini, GEMINI, "", &chat()).unwrap(), stream);
    let whole = with(chat(), &json!({"stream": false}));
    let whole = path(Wire::Chat, Wire::Gemini, GEMINI, "", &whole).unwrap();
    assert_eq!(whole, "/v1beta/models/gemini-2.5-flash:generateContent");
    assert_eq!(path(Wire::Chat, Wire::Messages, CLAUDE, "", &chat()).unwrap(), "/v1/messages");
    let chat_path = path(Wire::Messages, Wire::Chat, "gpt-4o", "", &messages()).unwrap();
    assert_eq!(chat_path, "/v1/chat/completions");
    // A Gemini client says in the path that it wants a stream.
    let plan = Plan { from: Wire::Gemini, to: Wire::Messages, model: CLAUDE, allow_loss: &[] };
    let sent = request_at(&plan, stream, gemini().to_string().as_bytes()).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&sent.body).unwrap(), messages());
    let array = "/v1beta/models/gemini-2.5-flash:streamGenerateContent";
    let refused = request_at(&plan, array, gemini().to_string().as_bytes()).unwrap_err();
    assert!(matches!(refused, Refused::Unsupported(_)));
}

/// Gateways dropped tools, images or schemas on the way to another provider and answered as if
/// nothing had happened (P12).
#[test]
fn p12_nothing_is_lost_silently() {
    let base = json!({"messages": [{"role": "user", "content": "x"}]});
    for (extra, features) in [
        (json!({"n": 2}), vec![Feature::MultipleChoices]),
        (json!({"logprobs": true, "top_logprobs": 3}), vec![Feature::Logprobs]),
        (json!({"seed": 7}), vec![Feature::Seed]),
        (json!({"logit_bias": {"50256": -100}}), vec![Feature::LogitBias]),
        (json!({"frequency_penalty": 0.5}), vec![Feature::Penalties]),
        (json!({"response_format": {"type": "json_object"}}), vec![Feature::JsonObject]),
        (json!({"modalities": ["text", "audio"]}), vec![Feature::Audio]),
        (json!({"prediction": {"type": "content"}}), vec![Feature::Prediction]),
        (json!({"web_search_options": {}}), vec![Feature::ServerTools]),
        (json!({"tools": [{"type": "custom", "custom": {}}]}), vec![Feature::CustomTools]),
        (json!({"something_new": 1}), vec![Feature::Unknown]),
        (json!({"seed": 7, "n": 2}), vec![Feature::Seed, Feature::MultipleChoices]),
        // What changes nothing, or says what is the case anyway, is no loss.
        (json!({"n": 1, "logprobs": false, "logit_bias": {}, "seed": null}), vec![]),
        (json!({"frequency_penalty": 0, "presence_penalty": 0.0, "metadata": {}}), vec![]),
        (json!({"user": "u", "store": true, "service_tier": "auto"}), vec![]),
    ] {
        let mut found = lost(Wire::Chat, Wire::Messages, CLAUDE, &with(base.clone(), &extra));
        let mut features = features;
        found.sort_unstable();
        features.sort_unstable();
        assert_eq!(found, features, "{extra}");
    }
    let image = json!({"messages": [{"role": "user", "content": [
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]}]});
    assert_eq!(lost(Wire::Chat, Wire::Gemini, GEMINI, &image), [Feature::Images]);
    assert_eq!(lost(Wire::Chat, Wire::Messages, CLAUDE, &image), []);
    let single = with(chat(), &json!({"parallel_tool_calls": false}));
    assert_eq!(lost(Wire::Chat, Wire::Gemini, GEMINI, &single), [Feature::ParallelTools]);
    let state = json!({"input": "x", "previous_response_id": "resp_1", "background": true,
        "tools": [{"type": "web_search"}]});
    let found = lost(Wire::Responses, Wire::Chat, "gpt-4o", &state);
    for feature in [Feature::StatefulConversation, Feature::Background, Feature::ServerTools] {
        assert!(found.contains(&feature), "{feature:?}");
    }
    let safety = with(gemini(), &json!({"safetySettings": [{}], "cachedContent": "c"}));
    let found = lost(Wire::Gemini, Wire::Chat, "gpt-4o", &safety);
    assert_eq!(found, [Feature::StatefulConversation, Feature::Safety]);
}

#[test]
fn a_loss_that_is_allowed_leaves_the_rest() {
    let body = json!({"messages": [{"role": "user", "content": "x"}], "seed": 7, "n": 3});
    let allowed = [Feature::Seed, Feature::MultipleChoices];
    let sent = allowing(Wire::Chat, Wire::Messages, CLAUDE, &allowed, &body).unwrap();
    assert!(sent.get("seed").is_none() && sent.get("n").is_none());
    let some = allowing(Wire::Chat, Wire::Messages, CLAUDE, &[Feature::Seed], &body).unwrap_err();
    assert_eq!(some, Refused::Loses(vec![Feature::MultipleChoices]));
}

/// Thoughts signed by one provider made another refuse the whole conversation (P12).
#[test]
fn p12_signed_thoughts_go_to_nobody_else() {
    let body = json!({"max_tokens": 10, "messages": [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "deep", "signature": "c2ln"},
            {"type": "text", "text": "y"}]},
        {"role": "user", "content": "z"},
    ]});
    assert_eq!(lost(Wire::Messages, Wire::Chat, "gpt-4o", &body), [Feature::SignedThinking]);
    let allowed = [Feature::SignedThinking];
    let sent = allowing(Wire::Messages, Wire::Chat, "gpt-4o", &allowed, &body).unwrap();
    assert!(!sent.to_string().contains("deep"));
    let google = json!({"contents": [
        {"role": "user", "parts": [{"text": "x"}]},
        {"role": "model", "parts": [
            {"functionCall": {"name": "f", "args": {}}, "thoughtSignature": "c2ln"}]},
        {"role": "user", "parts": [
            {"functionResponse": {"name": "f", "response": {"result": "r"}}}]},
    ]});
    assert_eq!(lost(Wire::Gemini, Wire::Messages, CLAUDE, &google), [Feature::SignedThinking]);
    let reasoning = json!({"input": [{"type": "reasoning", "id": "rs_1", "summary": []}]});
    assert_eq!(lost(Wire::Responses, Wire::Chat, "gpt-4o", &reasoning), [Feature::SignedThinking]);
}

#[test]
fn calls_without_ids_get_some_that_fit_their_answers() {
    let body = json!({"contents": [
        {"role": "user", "parts": [{"text": "x"}]},
        {"role": "model", "parts": [
            {"functionCall": {"name": "f", "args": {"a": 1}}},
            {"functionCall": {"name": "f", "args": {"a": 2}}},
            {"function_call": {"name": "g"}}]},
        {"role": "user", "parts": [
            {"functionResponse": {"name": "g", "response": {"result": "third"}}},
            {"functionResponse": {"name": "f", "response": {"output": "first"}}},
            {"functionResponse": {"name": "f", "response": {"error": "second"}}}]},
    ]});
    let one = sent(Wire::Gemini, Wire::Messages, CLAUDE, &body).unwrap();
    assert_eq!(one, sent(Wire::Gemini, Wire::Messages, CLAUDE, &body).unwrap());
    let calls: Vec<&Value> = (0..3).map(|at| &one["messages"][1]["content"][at]["id"]).collect();
    assert!(calls[0] != calls[1] && calls[1] != calls[2]);
    let results = &one["messages"][2]["content"];
    for (at, call, text) in [(0, 2, "third"), (1, 0, "first"), (2, 1, "second")] {
        assert_eq!(&results[at]["tool_use_id"], calls[call]);
        assert_eq!(results[at]["content"][0]["text"], text);
    }
    assert_eq!(results[2]["is_error"], true);
}

#[test]
fn ids_no_provider_takes_are_replaced_alike_in_call_and_answer() {
    let body = json!({"messages": [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": null, "tool_calls": [
            {"id": "functions.get:0", "type": "function",
             "function": {"name": "get", "arguments": ""}}]},
        {"role": "tool", "tool_call_id": "functions.get:0", "content": ""},
    ]});
    let sent = sent(Wire::Chat, Wire::Messages, CLAUDE, &body).unwrap();
    let call = &sent["messages"][1]["content"][0];
    assert_eq!(call["input"], json!({}));
    assert_eq!(call["id"], sent["messages"][2]["content"][0]["tool_use_id"]);
    assert!(!call["id"].as_str().unwrap().contains(['.', ':']));
    let mistral = super::sent(Wire::Messages, Wire::Chat, "mistral-large-latest", &messages());
    assert_eq!(mistral.unwrap()["messages"][2]["tool_calls"][0]["id"].as_str().unwrap().len(), 9);
}

#[test]
fn turns_are_put_together_as_anthropic_wants_them() {
    let body = json!({"messages": [
        {"role": "developer", "content": "One."},
        {"role": "system", "content": "Two."},
        {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": "a"},
        {"role": "user", "content": ""},
        {"role": "system", "content": "Mind the gap."},
        {"role": "assistant", "content": "", "tool_calls": [
            {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "system", "content": "Late."},
        {"role": "tool", "tool_call_id": "c", "content": "r"},
    ]});
    let sent = sent(Wire::Chat, Wire::Messages, CLAUDE, &body).unwrap();
    assert_eq!(sent["system"], "One.\n\nTwo.");
    let messages = sent["messages"].as_array().unwrap();
    let roles: Vec<&str> = messages.iter().map(|m| m["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["user", "assistant", "user", "assistant", "user"]);
    assert_eq!(messages[2]["content"][1]["text"], "<system>\nMind the gap.\n</system>");
    assert_eq!(messages[4]["content"][0]["type"], "tool_result");
    assert_eq!(messages[4]["content"][1]["text"], "<system>\nLate.\n</system>");
    let alone = json!({"messages": [{"role": "system", "content": "Say hi."}]});
    let sent = super::sent(Wire::Chat, Wire::Messages, CLAUDE, &alone).unwrap();
    assert_eq!(sent["messages"][0]["content"][0]["text"], "Say hi.");
}

#[test]
fn what_a_model_refuses_is_not_sent_to_it() {
    let body = |extra: &Value| with(json!({"messages": [{"role": "user", "content": "x"}]}), extra);
    let to =
        |model: &str, extra: Value| sent(Wire::Chat, Wire::Messages, model, &body(&extra)).unwrap();
    assert_eq!(to(CLAUDE, json!({}))["max_tokens"], 32_000);
    assert_eq!(to("claude-3-5-haiku-latest", json!({}))["max_tokens"], 8_192);
    assert_eq!(to("claude-3-5-haiku-latest", json!({"max_tokens": 50_000}))["max_tokens"], 8_192);
    assert_eq!(to(CLAUDE, json!({"temperature": 1.7}))["temperature"], 1);
    assert!(to("claude-opus-5", json!({"temperature": 0.2})).get("temperature").is_none());
    assert!(to(CLAUDE, json!({"temperature": 0.2, "top_p": 0.9})).get("top_p").is_none());
    let effort = json!({"reasoning_effort": "medium", "max_completion_tokens": 30_000});
    let budget = to("claude-sonnet-4-5", effort.clone());
    assert_eq!(budget["thinking"], json!({"type": "enabled", "budget_tokens": 8_192}));
    let adaptive = to("claude-opus-5", effort.clone());
    assert_eq!(adaptive["thinking"], json!({"type": "adaptive"}));
    assert_eq!(adaptive["output_config"], json!({"effort": "medium"}));
    let old = lost(Wire::Chat, Wire::Messages, "claude-3-5-haiku-latest", &body(&effort));
    assert_eq!(old, [Feature::Thinking]);
    let thinking =
        with(messages(), &json!({"thinking": {"type": "enabled", "budget_tokens": 9_000}}));
    let gpt = sent(Wire::Messages, Wire::Chat, "gpt-5", &thinking).unwrap();
    assert_eq!(gpt["reasoning_effort"], "medium");
    assert!(gpt.get("temperature").is_none());
    assert_eq!(lost(Wire::Messages, Wire::Chat, "gpt-4o", &thinking), [Feature::Thinking]);
    let google = sent(Wire::Messages, Wire::Gemini, "gemini-3-pro-preview", &thinking).unwrap();
    assert_eq!(google["generationConfig"]["thinkingConfig"], json!({"thinkingLevel": "high"}));
    let call = &google["contents"][1]["parts"][1];
    assert_eq!(call["thoughtSignature"], "skip_thought_signature_validator");
    assert!(google["contents"][1]["parts"][2].get("thoughtSignature").is_none());
}

#[test]
fn schemas_keep_their_text() {
    // Order and numbers matter to models and validators.
    let schema = r##"{"type":"object","properties":{"z":{"type":"number","maximum":1e2},"a":{"$ref":"#/$defs/a"}},"$defs":{"a":{"const":1.50}},"additionalProperties":false}"##;
    let body = format!(
        r#"{{"messages":[{{"role":"user","content":"x"}}],"response_format":{{"type":"json_schema","json_schema":{{"name":"n","strict":true,"schema":{schema}}}}}}}"#
    );
    for (to, model) in [(Wire::Messages, CLAUDE), (Wire::Gemini, GEMINI)] {
        let plan = Plan { from: Wire::Chat, to, model, allow_loss: &[] };
        let sent = request(&plan, body.as_bytes()).unwrap();
        assert!(std::str::from_utf8(&sent.body).unwrap().contains(schema), "{to:?}");
    }
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(lost(Wire::Chat, Wire::Messages, "claude-sonnet-4-0", &body), [Feature::JsonSchema]);
    let google = json!({"contents": {"parts": {"text": "x"}}, "generation_config": {
        "response_mime_type": "application/json",
        "response_schema": {"type": "OBJECT", "properties": {"a": {"type": "STRING"}}}}});
    let chat = sent(Wire::Gemini, Wire::Chat, "gpt-4o", &google).unwrap();
    let expected = json!({"type": "object", "properties": {"a": {"type": "string"}}});
    assert_eq!(chat["response_format"]["json_schema"]["schema"], expected);
    let odd = json!({"messages": [{"role": "user", "content": "x"}], "tools": [
        {"type": "function", "function": {"name": "f", "parameters":
            {"$schema": "http://json-schema.org/draft-07/schema#", "type": "object"}}}]});
    let google = sent(Wire::Chat, Wire::Gemini, GEMINI, &odd).unwrap();
    let function = &google["tools"][0]["functionDeclarations"][0];
    assert_eq!(function["parametersJsonSchema"], json!({"type": "object"}));
}

#[test]
fn what_is_no_request_is_refused() {
    let plan = Plan { from: Wire::Chat, to: Wire::Messages, model: CLAUDE, allow_loss: &[] };
    for body in ["", "{", "[]", "3", "{}", r#"{"messages":null}"#] {
        assert_eq!(request(&plan, body.as_bytes()), Err(Refused::NotJson), "{body}");
    }
    let same = Plan { to: Wire::Chat, ..plan };
    assert!(matches!(request(&same, b"{}"), Err(Refused::Unsupported(_))));
    let to_responses = Plan { to: Wire::Responses, ..plan };
    let sent = request(&to_responses, chat().to_string().as_bytes());
    assert!(matches!(sent, Err(Refused::Unsupported(_))));
}
