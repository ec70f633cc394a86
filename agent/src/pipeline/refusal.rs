//! How a policy's refusal looks: the status, header fields and body that the API that was called
//! would send, with our own figures beside it.
//!
//! What may be tried again later is 429, so that the SDKs raise their `RateLimitError` and wait by
//! themselves; what may never be is 403, which they do not repeat. They wait at most a minute:
//! where the wait is longer, or useless, `x-should-retry: false` keeps them from asking in vain.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde_json::{Map, Value, json};

use crate::llm::call::{Operation, Route};
use crate::llm::providers::Format;
use crate::policy::{Amount, Denied, Figure, Reason};

/// Read by the SDKs of `OpenAI` and Anthropic before they think of repeating a request.
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");
/// The longest these SDKs wait on a server's word; beyond it they fall back to seconds.
const SDK_PATIENCE: u64 = 60;

/// The form of an error, by the API that was called. Hosts of one format answer paths of the
/// other too.
pub(super) fn dialect(route: Route, format: Format) -> Format {
    match route.operation {
        Operation::Messages => Format::Anthropic,
        Operation::Generate => Format::Gemini,
        Operation::Chat
        | Operation::Responses
        | Operation::Completions
        | Operation::Embeddings => Format::OpenAi,
        _ => format,
    }
}

/// The status of a refusal.
pub(super) fn status(denied: &Denied) -> StatusCode {
    match denied.reason {
        Reason::Requests | Reason::Tokens | Reason::Budget | Reason::Loop => {
            StatusCode::TOO_MANY_REQUESTS
        }
        Reason::Guardrail | Reason::UnknownPrice => StatusCode::FORBIDDEN,
    }
}

/// What it is about, as `reason` and, for programs, `code`.
fn words(reason: Reason) -> (&'static str, &'static str) {
    match reason {
        Reason::Requests => ("requests", "rate_limit_exceeded"),
        Reason::Tokens => ("tokens", "rate_limit_exceeded"),
        Reason::Budget => ("budget", "budget_exceeded"),
        Reason::Guardrail => ("guardrail", "guardrail_violation"),
        Reason::UnknownPrice => ("unknown_price", "unknown_price"),
        Reason::Loop => ("loop", "loop_detected"),
    }
}

/// The `type` of the error.
pub(super) fn kind(denied: &Denied, dialect: Format) -> &'static str {
    match (status(denied), dialect) {
        (StatusCode::TOO_MANY_REQUESTS, Format::OpenAi) => "rate_limit_exceeded",
        (StatusCode::TOO_MANY_REQUESTS, Format::Anthropic) => "rate_limit_error",
        (StatusCode::TOO_MANY_REQUESTS, Format::Gemini) => "RESOURCE_EXHAUSTED",
        (_, Format::Gemini) => "PERMISSION_DENIED",
        _ => "permission_error",
    }
}

/// Header fields of a refusal.
pub(super) fn headers(denied: &Denied) -> HeaderMap {
    wait_headers(denied.retry_after)
}

/// Header fields that tell for how long to wait, if waiting helps.
pub(super) fn wait_headers(retry_after: Option<Duration>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let wait = retry_after.map(seconds);
    if let Some(wait) = wait {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(wait));
    }
    if wait.is_none_or(|wait| wait > SDK_PATIENCE) {
        headers.insert(SHOULD_RETRY, HeaderValue::from_static("false"));
    }
    headers
}

/// The body of a refusal.
pub(super) fn body(denied: &Denied, dialect: Format) -> Value {
    let (reason, code) = words(denied.reason);
    let figures = |of: fn(&Figure) -> Amount| {
        let named = denied.figures.iter().map(|it| (it.unit.to_owned(), amount(of(it))));
        Value::Object(named.collect::<Map<_, _>>())
    };
    let mut error = json!({
        "type": kind(denied, dialect),
        "code": code,
        "message": denied.message,
        "reason": reason,
        "policy": &*denied.policy,
        "subject": &*denied.subject,
        "retry_after_seconds": denied.retry_after.map(seconds),
        "current_usage": figures(|figure| figure.used),
        "limits": figures(|figure| figure.limit),
    });
    match dialect {
        Format::OpenAi => {
            error["param"] = Value::Null;
            json!({ "error": error })
        }
        Format::Anthropic => json!({ "type": "error", "error": error }),
        Format::Gemini => {
            // Its `code` is the status, and its SDKs read the wait from the details.
            error["code"] = status(denied).as_u16().into();
            error["status"] = error["type"].clone();
            if let Some(wait) = denied.retry_after.map(seconds) {
                error["details"] = json!([{
                    "@type": "type.googleapis.com/google.rpc.RetryInfo",
                    "retryDelay": format!("{wait}s"),
                }]);
            }
            json!({ "error": error })
        }
    }
}

/// The event with which a stream ends that may not go on.
pub(super) fn event(operation: Operation, message: &str) -> Bytes {
    let error = |kind| json!({ "type": kind, "code": "budget_exceeded", "message": message });
    let text = match operation {
        Operation::Messages => {
            let data = json!({ "type": "error", "error": error("rate_limit_error") });
            format!("event: error\ndata: {data}\n\n")
        }
        Operation::Responses => {
            let data = json!({
                "type": "error",
                "code": "budget_exceeded",
                "message": message,
                "param": null,
                "sequence_number": 0,
                "error": error("rate_limit_exceeded"),
            });
            format!("event: error\ndata: {data}\n\n")
        }
        Operation::Generate => {
            let error = json!({ "code": 429, "status": "RESOURCE_EXHAUSTED", "message": message });
            format!("data: {}\n\n", json!({ "error": error }))
        }
        _ => format!("data: {}\n\n", json!({ "error": error("rate_limit_exceeded") })),
    };
    text.into()
}

/// Where the last whole event of a piece of a stream ends; `None` where none does.
pub(super) fn boundary(piece: &[u8]) -> Option<usize> {
    let after = |end: &[u8]| {
        let at = piece.windows(end.len()).rposition(|window| window == end)?;
        Some(at + end.len())
    };
    after(b"\n\n").max(after(b"\r\n\r\n"))
}

/// Rounded up: a client that waits that long succeeds. At least 1, as `Retry-After: 0` makes
/// clients ask at once.
pub(super) fn seconds(wait: Duration) -> u64 {
    let whole = wait.as_secs();
    (whole + u64::from(wait.subsec_nanos() > 0)).max(1)
}

fn amount(amount: Amount) -> Value {
    match amount {
        Amount::Count(count) => count.into(),
        Amount::Usd(usd) => usd.to_string().into(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::llm::usage::NanoUsd;

    fn denied(reason: Reason, retry_after: Option<Duration>) -> Denied {
        Denied {
            policy: Arc::from("rate_limits.batch-agent"),
            subject: Arc::from("batch-agent"),
            reason,
            message: "Rate limit exceeded for agent: batch-agent (5 req/min)".to_owned(),
            figures: vec![
                Figure {
                    unit: "requests_per_minute",
                    used: Amount::Count(5),
                    limit: Amount::Count(5),
                    resets_at: None,
                },
                Figure {
                    unit: "daily_limit_usd",
                    used: Amount::Usd(NanoUsd(9_995_000_000)),
                    limit: Amount::Usd(NanoUsd(10_000_000_000)),
                    resets_at: None,
                },
            ],
            retry_after,
        }
    }

    #[test]
    fn a_refusal_has_the_form_of_the_api_that_was_called() {
        let denied = denied(Reason::Requests, Some(Duration::from_millis(12_001)));
        let openai = body(&denied, Format::OpenAi);
        assert_eq!(
            openai,
            json!({"error": {
                "message": "Rate limit exceeded for agent: batch-agent (5 req/min)",
                "type": "rate_limit_exceeded",
                "code": "rate_limit_exceeded",
                "param": null,
                "reason": "requests",
                "policy": "rate_limits.batch-agent",
                "subject": "batch-agent",
                "retry_after_seconds": 13,
                "current_usage": {"requests_per_minute": 5, "daily_limit_usd": "9.995"},
                "limits": {"requests_per_minute": 5, "daily_limit_usd": "10.00"},
            }})
        );
        let anthropic = body(&denied, Format::Anthropic);
        assert_eq!(anthropic["type"], "error");
        assert_eq!(anthropic["error"]["type"], "rate_limit_error");
        let gemini = body(&denied, Format::Gemini);
        assert_eq!((&gemini["error"]["code"], &gemini["error"]["status"]), (&json!(429), &json!("RESOURCE_EXHAUSTED")));
        assert_eq!(gemini["error"]["details"][0]["retryDelay"], "13s");
        assert_eq!(gemini["error"]["limits"]["requests_per_minute"], 5);
        let messages = Route { operation: Operation::Messages, kind: crate::llm::call::Kind::Call };
        assert_eq!(dialect(messages, Format::OpenAi), Format::Anthropic);
    }

    /// P5: a client that waits as long as it is told succeeds, and none is told to wait in vain.
    #[test]
    fn the_wait_is_rounded_up_and_said_only_where_it_helps() {
        for (wait, retry_after, should_retry) in [
            (Some(Duration::from_millis(1)), Some("1"), None),
            (Some(Duration::from_secs(5)), Some("5"), None),
            (Some(Duration::from_millis(59_500)), Some("60"), None),
            (Some(Duration::from_hours(1)), Some("3600"), Some("false")),
            (None, None, Some("false")),
        ] {
            let headers = headers(&denied(Reason::Budget, wait));
            let text = |name| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
            assert_eq!(text(header::RETRY_AFTER).as_deref(), retry_after, "{wait:?}");
            assert_eq!(text(SHOULD_RETRY).as_deref(), should_retry, "{wait:?}");
        }
        assert_eq!(status(&denied(Reason::Guardrail, None)), StatusCode::FORBIDDEN);
    }

    #[test]
    fn a_stream_is_cut_between_two_events() {
        for (piece, end) in [
            ("data: 1\n\ndata: 2", Some(9)),
            ("data: 1\r\n\r\n", Some(11)),
            ("rest\n\ndata: 1\n\n", Some(15)),
            ("data: 1\n", None),
            ("", None),
        ] {
            assert_eq!(boundary(piece.as_bytes()), end, "{piece:?}");
        }
    }
}
