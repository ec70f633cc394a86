//! Why a provider could not be asked, in terms of what a caller may do about it.

use std::io;
use std::time::Duration;

use super::certificate::Problem;

/// A request that got no response head.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// No TCP connection: refused, unreachable, timed out, or the name did not resolve.
    #[error("cannot connect to {to}: {source}")]
    Connect {
        /// Address or name.
        to: String,
        /// What the system said.
        source: io::Error,
    },
    /// The TLS handshake failed; no byte of the request was sent.
    #[error("TLS with {host} failed: {source}")]
    Tls {
        /// Name whose certificate was expected.
        host: String,
        /// What rustls said.
        source: io::Error,
    },
    /// The provider's certificate is not accepted; no byte of the request was sent.
    #[error("the certificate of {host} is not accepted: {problem} ({source})")]
    Certificate {
        /// Name whose certificate was expected.
        host: String,
        /// What is wrong with it.
        problem: Problem,
        /// What rustls said.
        source: io::Error,
    },
    /// The connection broke after the request may have been sent.
    #[error("{host} closed the connection before answering: {source}")]
    Broken {
        /// Host asked.
        host: String,
        /// What hyper said.
        source: hyper::Error,
    },
    /// The request was sent, and no answer began in the time it was given.
    #[error("{host} did not answer within {waited:?}")]
    Silent {
        /// Host asked.
        host: String,
        /// How long was waited.
        waited: Duration,
    },
}

impl Failure {
    /// A handshake with `host` that failed.
    pub fn of_handshake(host: &str, source: io::Error) -> Self {
        let host = host.to_owned();
        match Problem::of(&source) {
            Some(problem) => Self::Certificate { host, problem, source },
            None => Self::Tls { host, source },
        }
    }

    /// Whether the provider cannot have worked on the request.
    pub fn is_unsent(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Tls { .. } | Self::Certificate { .. } => true,
            Self::Broken { source, .. } => is_unprocessed(source),
            Self::Silent { .. } => false,
        }
    }

    /// Whether the provider refused the request's stream, or went away before it came to it: the
    /// request can be sent again on another connection (RFC 9113 §8.7).
    pub(super) fn is_unprocessed(&self) -> bool {
        matches!(self, Self::Broken { source, .. } if is_unprocessed(source))
    }

    /// One word for metrics and records.
    pub fn class(&self) -> &'static str {
        match self {
            Self::Connect { source, .. } if source.kind() == io::ErrorKind::TimedOut => "timeout",
            Self::Connect { .. } => "connect",
            Self::Tls { .. } => "tls",
            Self::Certificate { .. } => "certificate",
            Self::Broken { .. } => "broken",
            Self::Silent { .. } => "silent",
        }
    }
}

fn is_unprocessed(error: &hyper::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(stream) = cause.downcast_ref::<h2::Error>() {
            // A stream fails by GOAWAY only where it is above the last one that was processed.
            let is_refused = stream.reason() == Some(h2::Reason::REFUSED_STREAM);
            return stream.is_remote() && (stream.is_go_away() || stream.is_reset() && is_refused);
        }
        source = cause.source();
    }
    false
}
