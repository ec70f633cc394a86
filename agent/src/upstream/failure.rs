//! Why a provider could not be asked, in terms of what a caller may do about it.

use std::io;
use std::time::Duration;

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
            Self::Broken { .. } => "broken",
            Self::Silent { .. } => "silent",
        }
    }
}
