//! What a failure is: its class, and what each class asks for.
//!
//! A status, an error inside a stream that began with 200, and a connection that broke are brought
//! to the same few classes, so that the same thing happens however a provider says it.

/// What kind of failure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// No answer in time.
    Timeout,
    /// No connection: nothing was sent.
    Connect,
    /// No TLS: nothing was sent.
    Tls,
    /// The provider's certificate is not accepted: nothing was sent, and trying again is no use.
    Certificate,
    /// The connection broke before the first content.
    Reset,
    /// Too many requests or tokens.
    RateLimit,
    /// The account has no money or quota left: waiting does not help.
    Quota,
    /// The provider has too much to do.
    Overloaded,
    /// The provider failed.
    Server,
    /// The credential was not accepted.
    Auth,
    /// The request can't be answered as it is.
    Invalid,
}

/// How a try ended, where it did not end well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failed<'a> {
    /// Nobody listens, or the name does not resolve.
    Unreachable,
    /// No connection in time.
    ConnectTimeout,
    /// The TLS handshake failed.
    Handshake,
    /// The certificate was not accepted.
    Certificate,
    /// The request was sent; no answer came in time.
    Silent,
    /// The request may have been sent; the connection broke before any content came.
    Broken,
    /// An error status.
    Status {
        /// The status.
        status: u16,
        /// The error's code or type in the body, where it was read.
        code: Option<&'a str>,
    },
    /// An error inside a stream that began with 200, before its first content.
    Event {
        /// The error's code or type.
        code: &'a str,
    },
}

/// Whether another model is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    /// Not for this.
    Never,
    /// When trying again has not helped.
    AfterRetries,
    /// Instead of trying again.
    AtOnce,
}

/// Whether somebody is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Escalation {
    /// It passes by itself.
    Never,
    /// When everything that could be tried has failed.
    WhenAllFail,
    /// Trying anything else is no use.
    AtOnce,
}

/// What a circuit breaker makes of a try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// The provider works, whatever it said.
    Alive,
    /// The provider, or the way to it, fails.
    Failing,
    /// Says nothing about it.
    Neither,
}

impl Class {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Timeout,
        Self::Connect,
        Self::Tls,
        Self::Certificate,
        Self::Reset,
        Self::RateLimit,
        Self::Quota,
        Self::Overloaded,
        Self::Server,
        Self::Auth,
        Self::Invalid,
    ];

    /// Those after which another model is asked, unless configured otherwise.
    pub const FALL_BACK: [Self; 7] = [
        Self::Timeout,
        Self::Connect,
        Self::Tls,
        Self::Certificate,
        Self::Reset,
        Self::Overloaded,
        Self::Server,
    ];

    /// Its name in the configuration, in decisions and in escalations.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Certificate => "certificate",
            Self::Reset => "reset",
            Self::RateLimit => "rate_limit",
            Self::Quota => "quota",
            Self::Overloaded => "overloaded",
            Self::Server => "server_error",
            Self::Auth => "auth",
            Self::Invalid => "invalid",
        }
    }

    /// The class of a name.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.as_str() == name)
    }

    /// Whether the same request may be sent to the same model again.
    pub fn is_retried(self) -> bool {
        !matches!(self, Self::Certificate | Self::Quota | Self::Auth | Self::Invalid)
    }

    /// Whether another model is asked, where `on` lists the classes after which that is done.
    pub fn fallback(self, on: &[Self]) -> Fallback {
        match self {
            _ if !on.contains(&self) => Fallback::Never,
            // Waiting is the remedy that was asked for; or it may have been a mishap.
            Self::RateLimit | Self::Timeout | Self::Reset => Fallback::AfterRetries,
            _ => Fallback::AtOnce,
        }
    }

    /// Whether somebody is told.
    pub fn escalation(self) -> Escalation {
        match self {
            Self::RateLimit => Escalation::Never,
            Self::Certificate | Self::Auth | Self::Invalid | Self::Quota => Escalation::AtOnce,
            _ => Escalation::WhenAllFail,
        }
    }

    /// What it says of the provider's health. A bad key or a bad request trips no breaker, and a
    /// rate limit only where the configuration says so: all of them are answers.
    pub fn sign(self, trip_on_rate_limit: bool) -> Sign {
        match self {
            Self::RateLimit if trip_on_rate_limit => Sign::Failing,
            Self::RateLimit | Self::Quota => Sign::Neither,
            Self::Auth | Self::Invalid => Sign::Alive,
            _ => Sign::Failing,
        }
    }

    /// Whether the provider as a whole is in doubt, not only the model asked for.
    pub fn is_of_transport(self) -> bool {
        matches!(self, Self::Connect | Self::Tls | Self::Certificate | Self::Reset)
    }
}

/// The class of a failure; `None` for a status that is none.
pub fn classify(failed: Failed<'_>) -> Option<Class> {
    Some(match failed {
        Failed::Unreachable => Class::Connect,
        Failed::ConnectTimeout | Failed::Silent => Class::Timeout,
        Failed::Handshake => Class::Tls,
        Failed::Certificate => Class::Certificate,
        Failed::Broken => Class::Reset,
        Failed::Status { status, code } => return of_status(status, code.and_then(of_code)),
        // A provider that says no more than that it failed has failed.
        Failed::Event { code } => of_code(code).unwrap_or(Class::Server),
    })
}

fn of_status(status: u16, code: Option<Class>) -> Option<Class> {
    Some(match status {
        ..=399 => return None,
        401 | 403 => Class::Auth,
        402 => Class::Quota,
        // 409: a lock that was not given in time; the providers' own SDKs try it again.
        408 | 409 | 504 | 524 => Class::Timeout,
        429 => match code {
            Some(Class::Quota) => Class::Quota,
            Some(Class::Overloaded) => Class::Overloaded,
            _ => Class::RateLimit,
        },
        // 498 is Groq's "flex tier capacity exceeded", 529 Anthropic's "overloaded".
        498 | 503 | 529 => Class::Overloaded,
        500.. if code == Some(Class::Overloaded) => Class::Overloaded,
        500.. => Class::Server,
        _ => Class::Invalid,
    })
}

/// The class of a provider's own word: `error.code` or `error.type` at `OpenAI`, `error.type` at
/// Anthropic, `error.status` at Google.
fn of_code(code: &str) -> Option<Class> {
    Some(match code {
        "overloaded_error"
        | "overloaded"
        | "server_is_overloaded"
        | "engine_overloaded"
        | "engine_overloaded_error"
        | "slow_down"
        | "UNAVAILABLE" => Class::Overloaded,
        "rate_limit_error"
        | "rate_limit_exceeded"
        | "rate_limit"
        | "requests"
        | "tokens"
        | "too_many_requests"
        | "RESOURCE_EXHAUSTED" => Class::RateLimit,
        "insufficient_quota"
        | "billing_error"
        | "billing_hard_limit_reached"
        | "billing_not_active"
        | "credit_balance_too_low" => Class::Quota,
        "api_error" | "server_error" | "internal_error" | "internal_server_error" | "INTERNAL" => {
            Class::Server
        }
        "timeout_error" | "timeout" | "DEADLINE_EXCEEDED" => Class::Timeout,
        "authentication_error"
        | "permission_error"
        | "invalid_api_key"
        | "UNAUTHENTICATED"
        | "PERMISSION_DENIED" => Class::Auth,
        "invalid_request_error"
        | "not_found_error"
        | "request_too_large"
        | "invalid_prompt"
        | "context_length_exceeded"
        | "model_not_found"
        | "content_policy_violation"
        | "INVALID_ARGUMENT"
        | "NOT_FOUND"
        | "FAILED_PRECONDITION" => Class::Invalid,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_does_what_the_table_says() {
        let on = Class::FALL_BACK;
        let rows = [
            (Class::Timeout, true, Fallback::AfterRetries, Escalation::WhenAllFail, Sign::Failing),
            (Class::Connect, true, Fallback::AtOnce, Escalation::WhenAllFail, Sign::Failing),
            (Class::Tls, true, Fallback::AtOnce, Escalation::WhenAllFail, Sign::Failing),
            (Class::Certificate, false, Fallback::AtOnce, Escalation::AtOnce, Sign::Failing),
            (Class::Reset, true, Fallback::AfterRetries, Escalation::WhenAllFail, Sign::Failing),
            (Class::RateLimit, true, Fallback::Never, Escalation::Never, Sign::Neither),
            (Class::Quota, false, Fallback::Never, Escalation::AtOnce, Sign::Neither),
            (Class::Overloaded, true, Fallback::AtOnce, Escalation::WhenAllFail, Sign::Failing),
            (Class::Server, true, Fallback::AtOnce, Escalation::WhenAllFail, Sign::Failing),
            (Class::Auth, false, Fallback::Never, Escalation::AtOnce, Sign::Alive),
            (Class::Invalid, false, Fallback::Never, Escalation::AtOnce, Sign::Alive),
        ];
        assert_eq!(rows.len(), Class::ALL.len());
        for (class, retried, fallback, escalation, sign) in rows {
            assert_eq!(class.is_retried(), retried, "{class:?}");
            assert_eq!(class.fallback(&on), fallback, "{class:?}");
            assert_eq!(class.escalation(), escalation, "{class:?}");
            assert_eq!(class.sign(false), sign, "{class:?}");
            assert_eq!(Class::of_name(class.as_str()), Some(class));
        }
        assert_eq!(Class::RateLimit.fallback(&[Class::RateLimit]), Fallback::AfterRetries);
        assert_eq!(Class::RateLimit.sign(true), Sign::Failing);
    }

    #[test]
    fn statuses_and_what_providers_say_beside_them() {
        let class = |status, code| classify(Failed::Status { status, code });
        for (status, code, expected) in [
            (200, None, None),
            (304, None, None),
            (400, Some("overloaded_error"), Some(Class::Invalid)),
            (401, None, Some(Class::Auth)),
            (402, None, Some(Class::Quota)),
            (403, None, Some(Class::Auth)),
            (404, None, Some(Class::Invalid)),
            (408, None, Some(Class::Timeout)),
            (409, None, Some(Class::Timeout)),
            (413, None, Some(Class::Invalid)),
            (422, None, Some(Class::Invalid)),
            (429, None, Some(Class::RateLimit)),
            (429, Some("rate_limit_exceeded"), Some(Class::RateLimit)),
            (429, Some("insufficient_quota"), Some(Class::Quota)),
            (500, None, Some(Class::Server)),
            (500, Some("overloaded_error"), Some(Class::Overloaded)),
            (502, None, Some(Class::Server)),
            (503, None, Some(Class::Overloaded)),
            (504, None, Some(Class::Timeout)),
            (529, Some("overloaded_error"), Some(Class::Overloaded)),
        ] {
            assert_eq!(class(status, code), expected, "{status} {code:?}");
        }
    }

    #[test]
    fn p8_an_error_inside_a_stream_is_classified_like_a_status() {
        for (code, expected) in [
            ("overloaded_error", Class::Overloaded),
            ("rate_limit_error", Class::RateLimit),
            ("server_error", Class::Server),
            ("api_error", Class::Server),
            ("invalid_request_error", Class::Invalid),
            ("RESOURCE_EXHAUSTED", Class::RateLimit),
            ("never heard of", Class::Server),
        ] {
            assert_eq!(classify(Failed::Event { code }), Some(expected), "{code}");
        }
    }

    #[test]
    fn p10_a_bad_key_is_told_as_one_and_trips_nothing() {
        for status in [400, 401, 403, 404, 422] {
            let class = classify(Failed::Status { status, code: None }).unwrap();
            assert_eq!(class.sign(true), Sign::Alive);
            assert!(!class.is_retried());
        }
    }
}
