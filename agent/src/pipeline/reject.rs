//! Why the agent answered instead of the provider, and how that looks to the client.

use std::time::Duration;

use http::{HeaderMap, StatusCode};
use serde_json::json;

use super::refusal;
use crate::llm::providers::Format;
use crate::policy::Denied;
use crate::policy::reliability::Blocked;
use crate::record::Outcome;
use crate::upstream::Failure;

/// A request that got no answer from a provider.
#[derive(Debug, thiserror::Error)]
pub enum Reject {
    /// The request names no host, several, or an illegible one.
    #[error("the request must name exactly one host")]
    BadHost,
    /// The request is for another host than the connection.
    #[error("this connection is to {host}, the request is for {asked}")]
    Misdirected {
        /// Host in the request.
        asked: String,
        /// Host of the connection.
        host: String,
    },
    /// The client's body broke off or was malformed.
    #[error("the request body could not be read: {message}")]
    BodyUnreadable {
        /// What went wrong, without content.
        message: String,
    },
    /// There is no end of calls on one WebSocket.
    #[error("more than {most} calls are in progress on this socket")]
    SocketFull {
        /// As many as may be.
        most: usize,
    },
    /// A policy says no.
    #[error("{}", .0.message)]
    Denied(Box<Denied>),
    /// Another agent follows this one, and it alone decides on calls that limits are about.
    #[error("the agent is being replaced: ask again")]
    Replaced,
    /// The provider is not asked for now: a circuit breaker is open.
    #[error("the circuit breaker of {} is open: {}", .0.breaker, .0.reason)]
    Open(Box<Blocked>),
    /// The provider could not be asked.
    #[error(transparent)]
    Upstream(#[from] Failure),
}

/// How a reject is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// Status of the response.
    pub status: StatusCode,
    /// `type` in the body; the field's own word where the provider has one.
    pub kind: &'static str,
    /// How the call is recorded.
    pub outcome: Outcome,
}

impl Reject {
    /// Status, error type and outcome.
    pub fn told(&self) -> Told {
        let (status, kind, outcome) = match self {
            Self::BadHost => (StatusCode::BAD_REQUEST, "invalid_request_error", Outcome::Refused),
            Self::Misdirected { .. } => {
                (StatusCode::MISDIRECTED_REQUEST, "misdirected_request", Outcome::Refused)
            }
            Self::BodyUnreadable { .. } => {
                (StatusCode::BAD_REQUEST, "invalid_request_error", Outcome::ClientAbort)
            }
            Self::SocketFull { .. } => {
                (StatusCode::TOO_MANY_REQUESTS, "rate_limit_exceeded", Outcome::Refused)
            }
            Self::Denied(denied) => {
                (refusal::status(denied), refusal::kind(denied, Format::OpenAi), Outcome::Refused)
            }
            Self::Replaced => (StatusCode::SERVICE_UNAVAILABLE, "agent_replaced", Outcome::Refused),
            Self::Open(_) => {
                (StatusCode::SERVICE_UNAVAILABLE, "circuit_breaker_open", Outcome::Refused)
            }
            Self::Upstream(failure) if failure.class() == "silent" => {
                (StatusCode::GATEWAY_TIMEOUT, "upstream_timeout", Outcome::UpstreamCut)
            }
            Self::Upstream(failure) if failure.class() == "timeout" => {
                (StatusCode::GATEWAY_TIMEOUT, "upstream_timeout", Outcome::ConnectError)
            }
            Self::Upstream(Failure::Certificate { .. }) => {
                (StatusCode::BAD_GATEWAY, "upstream_certificate", Outcome::ConnectError)
            }
            Self::Upstream(failure) if failure.is_unsent() => {
                (StatusCode::BAD_GATEWAY, "upstream_unreachable", Outcome::ConnectError)
            }
            Self::Upstream(_) => (StatusCode::BAD_GATEWAY, "upstream_closed", Outcome::UpstreamCut),
        };
        Told { status, kind, outcome }
    }

    /// What the client did wrong, in one word for metrics.
    pub fn fault(&self) -> Option<&'static str> {
        match self {
            Self::BadHost => Some("bad_host"),
            Self::Misdirected { .. } => Some("misdirected"),
            Self::BodyUnreadable { .. }
            | Self::SocketFull { .. }
            | Self::Denied(_)
            | Self::Replaced
            | Self::Open(_)
            | Self::Upstream(_) => None,
        }
    }

    /// Header fields beside those of every answer.
    pub fn headers(&self) -> HeaderMap {
        match self {
            Self::Denied(denied) => refusal::headers(denied),
            Self::Open(blocked) => refusal::wait_headers(blocked.retry_after),
            Self::Replaced => refusal::wait_headers(Some(Duration::from_secs(1))),
            // Asked again, it is the same certificate.
            Self::Upstream(Failure::Certificate { .. }) => refusal::wait_headers(None),
            _ => HeaderMap::new(),
        }
    }

    /// The body, in the dialect of the API that was called, with our own fields beside it.
    pub fn body(&self, format: Format) -> Vec<u8> {
        if let Self::Denied(denied) = self {
            return refusal::body(denied, format).to_string().into_bytes();
        }
        let told = self.told();
        let mut error = json!({
            "type": told.kind,
            "code": told.kind,
            "message": format!("weir: {self}"),
            "reason": told.kind,
        });
        if let Self::Open(blocked) = self {
            error["breaker"] = json!(blocked.breaker);
            error["retry_after_seconds"] = json!(blocked.retry_after.map(refusal::seconds));
        }
        if let Self::Upstream(Failure::Certificate { host, problem, .. }) = self {
            error["host"] = json!(host);
            error["problem"] = json!(problem.as_str());
        }
        let body = match format {
            Format::OpenAi => json!({ "error": error }),
            Format::Anthropic => json!({ "type": "error", "error": error }),
            Format::Gemini => gemini(&told, error),
        };
        body.to_string().into_bytes()
    }
}

/// The same with Google's code and status word before it.
fn gemini(told: &Told, mut error: serde_json::Value) -> serde_json::Value {
    error["code"] = told.status.as_u16().into();
    error["status"] = match told.status.as_u16() {
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        429 => "RESOURCE_EXHAUSTED",
        400..=499 => "INVALID_ARGUMENT",
        504 => "DEADLINE_EXCEEDED",
        502 | 503 => "UNAVAILABLE",
        _ => "INTERNAL",
    }
    .into();
    json!({ "error": error })
}
