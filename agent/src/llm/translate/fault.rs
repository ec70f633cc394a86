//! Errors in the words of each format.

use super::Wire;
use super::doc::Node;
use super::ir::{Fault, FaultKind};
use super::json::{Json, object};

/// Reads an error as a provider writes it: a whole body, or an event of a stream. Without a
/// status, its own words tell what kind it is.
pub(super) fn read(document: Node<'_>, status: Option<u16>) -> Fault {
    // Google wraps errors in a list where the answer would have been one.
    let document = document.items().first().copied().unwrap_or(document);
    let top = document.members();
    let error = top.get("error");
    let inner = error.map(Node::members).unwrap_or_default();
    let words = ["type", "code", "status"].map(|key| inner.text(key).or_else(|| top.text(key)));
    let code = inner.get("code").or_else(|| top.get("code")).and_then(Node::count);
    let code = code.and_then(|code| u16::try_from(code).ok()).filter(|code| *code >= 400);
    let message = inner.text("message").or_else(|| error?.text()).or_else(|| top.text("message"));
    let by_word = || words.iter().flatten().find_map(|word| of_word(word));
    let kind = match status {
        // Some send their own words with a status that only says `bad request`.
        Some(400) | None => by_word(),
        Some(status) => Some(FaultKind::of_status(status)),
    };
    let kind = kind.or_else(|| code.or(status).map(FaultKind::of_status));
    Fault {
        kind: kind.unwrap_or(FaultKind::Server),
        message: message.map_or_else(|| "the provider failed".to_owned(), |text| text.into_owned()),
    }
}

fn of_word(word: &str) -> Option<FaultKind> {
    Some(match word {
        "invalid_request_error"
        | "INVALID_ARGUMENT"
        | "FAILED_PRECONDITION"
        | "context_length_exceeded" => FaultKind::Invalid,
        "authentication_error" | "invalid_api_key" | "UNAUTHENTICATED" => FaultKind::Authentication,
        "permission_error" | "billing_error" | "PERMISSION_DENIED" => FaultKind::Permission,
        "not_found_error" | "model_not_found" | "NOT_FOUND" => FaultKind::NotFound,
        "request_too_large" => FaultKind::TooLarge,
        "rate_limit_error"
        | "rate_limit_exceeded"
        | "insufficient_quota"
        | "requests"
        | "tokens"
        | "RESOURCE_EXHAUSTED" => FaultKind::RateLimit,
        "overloaded_error" | "overloaded" | "service_unavailable" | "UNAVAILABLE" => {
            FaultKind::Overloaded
        }
        "timeout_error" | "DEADLINE_EXCEEDED" => FaultKind::Timeout,
        "api_error" | "server_error" | "internal_error" | "INTERNAL" => FaultKind::Server,
        _ => return None,
    })
}

/// The error as the body of a response, or as the data of an event where the format has errors
/// in streams that look the same.
pub(super) fn write(to: Wire, fault: &Fault) -> Json {
    match to {
        Wire::Chat | Wire::Responses => {
            let (kind, code) = openai(fault.kind);
            object! {
                "error": object! {
                    "message": &fault.message,
                    "type": kind,
                    "param": Json::Null,
                    "code": code,
                },
            }
        }
        Wire::Messages => object! {
            "type": "error",
            "error": object! { "type": anthropic(fault.kind), "message": &fault.message },
        },
        Wire::Gemini => {
            let (code, status) = google(fault.kind);
            object! {
                "error": object! { "code": code, "message": &fault.message, "status": status },
            }
        }
    }
}

/// Type and code in `OpenAI`'s words.
pub(super) fn openai(kind: FaultKind) -> (&'static str, Option<&'static str>) {
    match kind {
        FaultKind::Invalid => ("invalid_request_error", None),
        FaultKind::TooLarge => ("invalid_request_error", Some("request_too_large")),
        FaultKind::Authentication => ("invalid_request_error", Some("invalid_api_key")),
        FaultKind::Permission => ("invalid_request_error", Some("permission_denied")),
        FaultKind::NotFound => ("invalid_request_error", Some("model_not_found")),
        FaultKind::RateLimit => ("rate_limit_error", Some("rate_limit_exceeded")),
        FaultKind::Overloaded => ("server_error", Some("overloaded")),
        FaultKind::Timeout => ("server_error", Some("timeout")),
        FaultKind::Server => ("server_error", Some("server_error")),
    }
}

fn anthropic(kind: FaultKind) -> &'static str {
    match kind {
        FaultKind::Invalid => "invalid_request_error",
        FaultKind::Authentication => "authentication_error",
        FaultKind::Permission => "permission_error",
        FaultKind::NotFound => "not_found_error",
        FaultKind::TooLarge => "request_too_large",
        FaultKind::RateLimit => "rate_limit_error",
        FaultKind::Overloaded => "overloaded_error",
        FaultKind::Timeout => "timeout_error",
        FaultKind::Server => "api_error",
    }
}

fn google(kind: FaultKind) -> (u64, &'static str) {
    match kind {
        FaultKind::Invalid | FaultKind::TooLarge => (400, "INVALID_ARGUMENT"),
        FaultKind::Authentication => (401, "UNAUTHENTICATED"),
        FaultKind::Permission => (403, "PERMISSION_DENIED"),
        FaultKind::NotFound => (404, "NOT_FOUND"),
        FaultKind::RateLimit => (429, "RESOURCE_EXHAUSTED"),
        FaultKind::Overloaded => (503, "UNAVAILABLE"),
        FaultKind::Timeout => (504, "DEADLINE_EXCEEDED"),
        FaultKind::Server => (500, "INTERNAL"),
    }
}
