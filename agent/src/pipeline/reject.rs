//! Why the agent answered instead of the provider, and how that looks to the client.

use http::{HeaderMap, StatusCode};
use serde_json::json;

use super::refusal;
use crate::llm::providers::Format;
use crate::policy::Denied;
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
    /// A policy says no.
    #[error("{}", .0.message)]
    Denied(Box<Denied>),
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
            Self::Denied(denied) => {
                (refusal::status(denied), refusal::kind(denied, Format::OpenAi), Outcome::Refused)
            }
            Self::Upstream(failure) if failure.class() == "timeout" => {
                (StatusCode::GATEWAY_TIMEOUT, "upstream_timeout", Outcome::ConnectError)
            }
            Self::Upstream(failure) if failure.is_unsent() => {
                (StatusCode::BAD_GATEWAY, "upstream_unreachable", Outcome::ConnectError)
            }
            Self::Upstream(_) => (StatusCode::BAD_GATEWAY, "upstream_closed", Outcome::UpstreamCut),
        };
        Told { status, kind, outcome }
    }

    /// Header fields beside those of every answer.
    pub fn headers(&self) -> HeaderMap {
        match self {
            Self::Denied(denied) => refusal::headers(denied),
            _ => HeaderMap::new(),
        }
    }

    /// The body, in the dialect of the API that was called, with our own fields beside it.
    pub fn body(&self, format: Format) -> Vec<u8> {
        if let Self::Denied(denied) = self {
            return refusal::body(denied, format).to_string().into_bytes();
        }
        let told = self.told();
        let error = json!({
            "type": told.kind,
            "code": told.kind,
            "message": format!("weir: {self}"),
            "reason": told.kind,
        });
        let body = match format {
            Format::OpenAi => json!({ "error": error }),
            Format::Anthropic => json!({ "type": "error", "error": error }),
        };
        body.to_string().into_bytes()
    }
}
