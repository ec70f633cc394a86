//! Gemini's answers: content, whole and as a stream of whole chunks.

use serde_json::{Value, json};

use super::ask::{Ask, Endpoint};
use super::script::Tokens;
use super::transcript::{Answer, Transcript, data};

const TEXT: &str = "All is well. ";

pub(super) fn answer(ask: &Ask, tokens: Tokens, serial: u64) -> Answer {
    match (&ask.endpoint, ask.stream) {
        (Endpoint::Generate, true) => Answer::Stream(stream(ask, tokens, serial)),
        (Endpoint::Generate, false) => {
            Answer::Unary(chunk(ask, &part(ask), Some("STOP"), (tokens, serial)))
        }
        _ => Answer::Unary(json!({"models": []})),
    }
}

/// Codes of `google.rpc.Code`, as the API spells them.
pub(super) fn error(code: u16) -> Value {
    let (status, message) = match code {
        401 => ("UNAUTHENTICATED", "API key not valid."),
        404 => ("NOT_FOUND", "Requested entity was not found."),
        429 => ("RESOURCE_EXHAUSTED", "Resource has been exhausted."),
        400..=499 => ("INVALID_ARGUMENT", "Request contains an invalid argument."),
        503 => ("UNAVAILABLE", "The model is overloaded."),
        _ => ("INTERNAL", "An internal error has occurred."),
    };
    json!({"error": {"code": code, "message": message, "status": status}})
}

fn part(ask: &Ask) -> Value {
    match &ask.tool {
        Some(name) => json!({"functionCall": {"name": name, "args": {"city": "Bergen"}}}),
        None => json!({"text": TEXT}),
    }
}

fn chunk(ask: &Ask, part: &Value, finish: Option<&str>, (tokens, serial): (Tokens, u64)) -> Value {
    let mut candidate = json!({"index": 0, "content": {"role": "model", "parts": [part]}});
    if let Some(finish) = finish {
        candidate["finishReason"] = json!(finish);
    }
    json!({
        "candidates": [candidate],
        "usageMetadata": {
            "promptTokenCount": tokens.input,
            "cachedContentTokenCount": tokens.cached,
            // Thoughts are counted beside the candidates, not inside.
            "candidatesTokenCount": tokens.output - tokens.reasoning.min(tokens.output),
            "thoughtsTokenCount": tokens.reasoning,
            "totalTokenCount": tokens.input + tokens.output,
        },
        "modelVersion": ask.model,
        "responseId": format!("resp_{serial:06}"),
    })
}

fn stream(ask: &Ask, tokens: Tokens, serial: u64) -> Transcript {
    let figures = (tokens, serial);
    let text = json!({"text": TEXT});
    // A call of a tool comes whole, in the last chunk.
    let last = if ask.tool.is_some() { part(ask) } else { json!({"text": ""}) };
    let delta = if ask.tool.is_some() { json!({"text": ""}) } else { text };
    Transcript {
        before: Vec::new(),
        delta: data(&chunk(ask, &delta, None, figures)),
        after: vec![data(&chunk(ask, &last, Some("STOP"), figures))],
        error: data(&error(503)),
    }
}
