//! Why a request was not answered, and how the API says so: RFC 9457, with what to do about it.

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Failure;
use super::access::Denied;

/// Content type of [`ProblemDetails`].
pub(super) const CONTENT_TYPE: &str = "application/problem+json";
/// When somebody may come again who was sent away for guessing, in seconds.
const AGAIN: HeaderValue = HeaderValue::from_static("60");

/// Why a request was not answered.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error(transparent)]
    Denied(#[from] Denied),
    #[error(transparent)]
    Failed(#[from] Failure),
    #[error("{}", .0.body_text())]
    Query(#[from] QueryRejection),
    #[error("{}", .0.body_text())]
    Path(#[from] PathRejection),
    #[error("{}", .0.body_text())]
    Body(#[from] JsonRejection),
    #[error("{0}")]
    Nonsense(String),
    #[error("{0}")]
    NotFound(String),
    #[error("this route does not know this method")]
    Method,
    #[error("the agent failed to answer; its log says more")]
    Panicked,
}

/// An error as the API writes it: `application/problem+json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProblemDetails {
    /// `about:blank`: the status says what kind of error it is.
    #[serde(rename = "type")]
    pub kind: String,
    /// The status in words.
    pub title: String,
    /// The status.
    pub status: u16,
    /// What went wrong, in one line.
    pub detail: String,
    /// What to do about it: a command where there is one.
    pub fix: Option<String>,
}

impl ProblemDetails {
    pub(super) fn new(status: StatusCode, detail: String, fix: Option<String>) -> Self {
        let title = status.canonical_reason().unwrap_or("Error").to_owned();
        let kind = "about:blank".to_owned();
        Self { kind, title, status: status.as_u16(), detail, fix }
    }
}

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::Denied(Denied::NoToken | Denied::Http) => StatusCode::UNAUTHORIZED,
            Self::Denied(Denied::TooManyTokens) => StatusCode::TOO_MANY_REQUESTS,
            Self::Denied(
                Denied::NotAnAdministrator
                | Denied::NotForUsers
                | Denied::OnlyOverTheSocket
                | Denied::OtherSite,
            ) => StatusCode::FORBIDDEN,
            Self::Failed(Failure::Refused { .. }) => StatusCode::CONFLICT,
            Self::Failed(Failure::Unavailable(_)) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Body(rejection) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
                StatusCode::PAYLOAD_TOO_LARGE
            }
            Self::Query(_) | Self::Path(_) | Self::Body(_) | Self::Nonsense(_) => {
                StatusCode::BAD_REQUEST
            }
            Self::NotFound(_) | Self::Failed(Failure::NotFound { .. }) => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Panicked => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn fix(self) -> Option<String> {
        let known = |fix: &str| Some(fix.to_owned());
        match self {
            Self::Denied(Denied::Http) => {
                known("open a session (weir dashboard), or ask over the unix socket: weir --help")
            }
            Self::Denied(Denied::OnlyOverTheSocket) => known("weir dashboard"),
            Self::Denied(Denied::NotAnAdministrator | Denied::NotForUsers) => {
                known("try again with sudo")
            }
            Self::Failed(Failure::Refused { fix, .. } | Failure::NotFound { fix, .. }) => fix,
            Self::Query(_) | Self::Body(_) | Self::Method => known("see /openapi.json"),
            _ => None,
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, detail) = (self.status(), self.to_string());
        let guessing = matches!(self, Self::Denied(Denied::TooManyTokens));
        let body = Json(ProblemDetails::new(status, detail, self.fix()));
        let mut response = (status, [(header::CONTENT_TYPE, CONTENT_TYPE)], body).into_response();
        let headers = response.headers_mut();
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if guessing {
            headers.insert(header::RETRY_AFTER, AGAIN);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn errors_say_what_is_wrong_and_what_to_do() {
        let missing = Failure::NotFound { what: "no x".to_owned(), fix: Some("list".to_owned()) };
        for (refusal, status, challenge, fix) in [
            (Refusal::from(Denied::Http), 401, true, "open a session"),
            (Denied::TooManyTokens.into(), 429, false, ""),
            (Denied::NotAnAdministrator.into(), 403, false, "sudo"),
            (Denied::OnlyOverTheSocket.into(), 403, false, "weir dashboard"),
            (missing.into(), 404, false, "list"),
            (Refusal::Method, 405, false, "openapi"),
            (Refusal::Panicked, 500, false, ""),
        ] {
            let detail = refusal.to_string();
            let answer = refusal.into_response();
            assert_eq!(answer.status(), status, "{detail}");
            assert_eq!(answer.headers()[header::CONTENT_TYPE], CONTENT_TYPE);
            assert_eq!(answer.headers().contains_key(header::WWW_AUTHENTICATE), challenge);
            assert_eq!(answer.headers().contains_key(header::RETRY_AFTER), status == 429);
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            let read: ProblemDetails = serde_json::from_slice(&body).unwrap();
            assert_eq!((read.status, &*read.kind, read.detail), (status, "about:blank", detail));
            assert_eq!(read.fix.is_some(), !fix.is_empty());
            assert!(read.fix.unwrap_or_default().contains(fix));
        }
    }
}
