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

    /// Whether the provider cannot have seen any of the request.
    pub fn is_unsent(&self) -> bool {
        !matches!(self, Self::Broken { .. } | Self::Silent { .. })
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
