//! Why a call failed, in one of few words: the same for the ledger, metrics and error budgets.
//!
//! Everything it rests on is in the record and in the ledger, so that what was counted when a call
//! ended and what is read of it later agree. Texts are looked at where outcome and status do not
//! tell two causes apart; they are our own, or a provider's fixed words.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Outcome;

/// Why a call failed.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum FailureClass {
    /// No connection, or no answer, in time.
    Timeout,
    /// Too many requests or tokens, or no quota left.
    RateLimit,
    /// The credential was not accepted.
    Auth,
    /// The request cannot be answered as it is.
    InvalidRequest,
    /// The provider failed, or has too much to do.
    ServerError,
    /// No connection, or it broke before an answer began.
    Connect,
    /// The handshake failed, or the certificate is not accepted.
    Tls,
    /// An answer began and is not whole.
    Quality,
    /// The client went away.
    ClientAbort,
    /// The agent refused it: a policy, a breaker, a request that is none.
    Refused,
    /// The agent failed, or was not there to see the end.
    Other,
}

impl FailureClass {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Timeout,
        Self::RateLimit,
        Self::Auth,
        Self::InvalidRequest,
        Self::ServerError,
        Self::Connect,
        Self::Tls,
        Self::Quality,
        Self::ClientAbort,
        Self::Refused,
        Self::Other,
    ];

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::RateLimit => "rate_limit",
            Self::Auth => "auth",
            Self::InvalidRequest => "invalid_request",
            Self::ServerError => "server_error",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Quality => "quality",
            Self::ClientAbort => "client_abort",
            Self::Refused => "refused",
            Self::Other => "other",
        }
    }

    /// The class of a call that ended like this; `None` where it did not fail.
    pub fn of(outcome: Outcome, status: Option<u16>, error: Option<&str>) -> Option<Self> {
        let error = error.unwrap_or_default();
        Some(match outcome {
            Outcome::Ok => return None,
            Outcome::RateLimited => Self::RateLimit,
            Outcome::UpstreamError => of_status(status),
            Outcome::StreamError => of_words(error),
            Outcome::ConnectError if is_of_tls(error) => Self::Tls,
            // Nothing of an answer came: what the client was told in its place is ours.
            Outcome::ConnectError | Outcome::UpstreamCut if status == Some(504) => Self::Timeout,
            Outcome::ConnectError => Self::Connect,
            Outcome::UpstreamCut if status.is_none_or(|status| status >= 500) => Self::Connect,
            Outcome::UpstreamCut => Self::Quality,
            Outcome::ClientAbort => Self::ClientAbort,
            Outcome::Refused => Self::Refused,
            Outcome::Internal | Outcome::Lost => Self::Other,
        })
    }

    /// Whether the task failed by it. What the client or a policy ended was meant to end, and of
    /// what the agent did not see the end nothing is known.
    pub fn is_counted(self) -> bool {
        !matches!(self, Self::ClientAbort | Self::Refused | Self::Other)
    }

    /// Whether the provider was not available: a limit, a bad key and a bad request are answers.
    pub fn is_outage(self) -> bool {
        matches!(
            self,
            Self::Timeout | Self::ServerError | Self::Connect | Self::Tls | Self::Quality
        )
    }
}

impl std::fmt::Display for FailureClass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.word())
    }
}

fn of_status(status: Option<u16>) -> FailureClass {
    match status {
        Some(401 | 403) => FailureClass::Auth,
        // 402: no money left on the account.
        Some(402 | 429) => FailureClass::RateLimit,
        // 409: a lock that was not given in time. 524: a proxy before the provider gave up.
        Some(408 | 409 | 504 | 524) => FailureClass::Timeout,
        // 498 is Groq's "capacity exceeded".
        Some(400..=497 | 499) => FailureClass::InvalidRequest,
        _ => FailureClass::ServerError,
    }
}

/// As `upstream::Failure` begins its sentences.
fn is_of_tls(error: &str) -> bool {
    error.starts_with("TLS with ") || error.starts_with("the certificate of ")
}

/// An error inside a stream: the provider's own words for it (`overloaded_error`,
/// `RESOURCE_EXHAUSTED`).
fn of_words(error: &str) -> FailureClass {
    const WORDS: [(&str, FailureClass); 13] = [
        ("rate_limit", FailureClass::RateLimit),
        ("quota", FailureClass::RateLimit),
        ("resource_exhausted", FailureClass::RateLimit),
        ("billing", FailureClass::RateLimit),
        ("timeout", FailureClass::Timeout),
        ("deadline_exceeded", FailureClass::Timeout),
        ("authentication", FailureClass::Auth),
        ("permission", FailureClass::Auth),
        ("api_key", FailureClass::Auth),
        ("invalid", FailureClass::InvalidRequest),
        ("context_length", FailureClass::InvalidRequest),
        ("not_found", FailureClass::InvalidRequest),
        ("content_filter", FailureClass::InvalidRequest),
    ];
    let error = error.to_ascii_lowercase();
    let found = WORDS.iter().find(|(word, _)| error.contains(word));
    found.map_or(FailureClass::ServerError, |(_, class)| *class)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_of_a_call_has_its_class() {
        use FailureClass::{
            Auth, ClientAbort, Connect, InvalidRequest, Other, Quality, RateLimit, Refused,
            ServerError, Timeout, Tls,
        };
        let table: [(Outcome, Option<u16>, &str, FailureClass); 40] = [
            (Outcome::RateLimited, Some(429), "", RateLimit),
            (Outcome::UpstreamError, Some(400), "", InvalidRequest),
            (Outcome::UpstreamError, Some(401), "", Auth),
            (Outcome::UpstreamError, Some(402), "", RateLimit),
            (Outcome::UpstreamError, Some(403), "", Auth),
            (Outcome::UpstreamError, Some(404), "", InvalidRequest),
            (Outcome::UpstreamError, Some(408), "", Timeout),
            (Outcome::UpstreamError, Some(409), "", Timeout),
            (Outcome::UpstreamError, Some(413), "", InvalidRequest),
            (Outcome::UpstreamError, Some(422), "", InvalidRequest),
            (Outcome::UpstreamError, Some(498), "", ServerError),
            (Outcome::UpstreamError, Some(500), "", ServerError),
            (Outcome::UpstreamError, Some(503), "", ServerError),
            (Outcome::UpstreamError, Some(504), "", Timeout),
            (Outcome::UpstreamError, Some(524), "", Timeout),
            (Outcome::UpstreamError, Some(529), "", ServerError),
            (Outcome::UpstreamError, None, "", ServerError),
            (Outcome::StreamError, Some(200), "overloaded_error", ServerError),
            (Outcome::StreamError, Some(200), "server_error", ServerError),
            (Outcome::StreamError, Some(200), "", ServerError),
            (Outcome::StreamError, Some(200), "rate_limit_exceeded", RateLimit),
            (Outcome::StreamError, Some(200), "RESOURCE_EXHAUSTED 429", RateLimit),
            (Outcome::StreamError, Some(200), "insufficient_quota", RateLimit),
            (Outcome::StreamError, Some(200), "timeout_error", Timeout),
            (Outcome::StreamError, Some(200), "DEADLINE_EXCEEDED", Timeout),
            (Outcome::StreamError, Some(200), "authentication_error", Auth),
            (Outcome::StreamError, Some(200), "invalid_request_error", InvalidRequest),
            (Outcome::StreamError, Some(200), "context_length_exceeded", InvalidRequest),
            (Outcome::ConnectError, Some(502), "cannot connect to a:443: refused", Connect),
            (Outcome::ConnectError, Some(504), "cannot connect to a:443: timed out", Timeout),
            (Outcome::ConnectError, Some(502), "TLS with a failed: eof", Tls),
            (Outcome::ConnectError, Some(502), "the certificate of a is not accepted: x", Tls),
            (Outcome::UpstreamCut, Some(504), "a did not answer within 1s", Timeout),
            (Outcome::UpstreamCut, Some(502), "a closed the connection before answering", Connect),
            (Outcome::UpstreamCut, None, "", Connect),
            (Outcome::UpstreamCut, Some(200), "connection reset", Quality),
            (Outcome::ClientAbort, None, "", ClientAbort),
            (Outcome::Refused, Some(429), "Rate limit exceeded for agent: a", Refused),
            (Outcome::Internal, Some(500), "", Other),
            (Outcome::Lost, None, "", Other),
        ];
        for (outcome, status, error, class) in table {
            let found = FailureClass::of(outcome, status, Some(error));
            assert_eq!(found, Some(class), "{outcome:?} {status:?} {error}");
        }
        assert_eq!(FailureClass::of(Outcome::Ok, Some(200), None), None);
    }

    #[test]
    fn what_was_meant_to_end_is_no_failure_of_the_task() {
        let not_counted = [FailureClass::ClientAbort, FailureClass::Refused, FailureClass::Other];
        for class in FailureClass::ALL {
            assert_eq!(class.is_counted(), !not_counted.contains(&class), "{class}");
            assert!(class.is_counted() || !class.is_outage(), "{class}");
            assert_eq!(serde_json::to_value(class).unwrap(), class.word());
        }
        let answers = [FailureClass::RateLimit, FailureClass::Auth, FailureClass::InvalidRequest];
        assert!(answers.iter().all(|class| class.is_counted() && !class.is_outage()));
    }
}
