//! One request in every format.

use serde_json::{Value, json};

pub(super) const CLAUDE: &str = "claude-opus-4-6";
pub(super) const GEMINI: &str = "gemini-2.5-flash";

/// A conversation with everything that all formats have.
pub(super) fn chat() -> Value {
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

pub(super) fn messages() -> Value {
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

pub(super) fn gemini() -> Value {
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

pub(super) fn responses() -> Value {
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
