//! How a client shows that it rejects our certificate.
//!
//! Half of the clients send no alert, they just close. What was observed of which, on TLS 1.2 and
//! 1.3: alert 48 from OpenSSL and rustls, 42 from Go, 46 from Chromium and for a violated name
//! constraint; FIN before Finished from Node, Java, gRPC and asyncio; RST from Bun; FIN after
//! Finished with nothing sent from wget, and from Node on TLS 1.2.

use std::io;

use rustls::AlertDescription;
use serde::{Deserialize, Serialize};

/// How far a TLS connection got before it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reached {
    /// Nothing of ours had been sent: the client can have had no opinion yet.
    Hello,
    /// Our certificate was sent; the client's Finished did not come.
    Certificate,
    /// The client finished its handshake, and sent no application byte.
    Finished,
    /// Application bytes came, or the session was a resumed one: the client trusts us.
    Data,
}

/// A sign that a client does not trust us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Signal {
    /// A fatal alert with this code.
    Alert(u8),
    /// The connection was closed after our certificate, before the client's Finished.
    Fin,
    /// The same, by a reset.
    Rst,
    /// The handshake was finished and the connection closed without a byte.
    Unused,
    /// There is no version, cipher or protocol that both sides speak.
    Incompatible,
    /// What came was not TLS as it should be.
    Garbled,
}

/// How much a signal is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strength {
    /// Nothing else explains it.
    Certain,
    /// A cancelled connection would look the same, and is rare.
    Likely,
    /// Connections opened in advance and cancelled look the same, and are common.
    Possible,
}

impl Signal {
    /// What the signal is worth.
    pub fn strength(self) -> Strength {
        match self {
            // bad, unsupported, revoked, expired, unknown certificate; unknown CA.
            Self::Alert(42..=46 | 48) | Self::Incompatible => Strength::Certain,
            Self::Alert(_) | Self::Fin | Self::Rst | Self::Garbled => Strength::Likely,
            Self::Unused => Strength::Possible,
        }
    }

    /// A word for metrics and tables; there are ten.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Alert(42) => "bad_certificate",
            Self::Alert(46) => "certificate_unknown",
            Self::Alert(48) => "unknown_ca",
            Self::Alert(43..=45) => "certificate_refused",
            Self::Alert(_) => "alert",
            Self::Fin => "fin",
            Self::Rst => "rst",
            Self::Unused => "unused",
            Self::Incompatible => "incompatible",
            Self::Garbled => "garbled",
        }
    }
}

impl std::fmt::Display for Signal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What the end of a TLS connection says about trust; `None` where it says nothing. `error` is
/// what the handshake or the first read failed with; a plain end of stream is
/// [`io::ErrorKind::UnexpectedEof`].
pub fn classify(error: &io::Error, reached: Reached) -> Option<Signal> {
    if reached == Reached::Data {
        return None;
    }
    let left = |signal| match reached {
        Reached::Certificate => Some(signal),
        Reached::Finished => Some(Signal::Unused),
        Reached::Hello | Reached::Data => None,
    };
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::AlertReceived(
            AlertDescription::CloseNotify | AlertDescription::UserCanceled,
        )) => left(Signal::Fin),
        Some(rustls::Error::AlertReceived(alert)) => Some(Signal::Alert(u8::from(*alert))),
        Some(rustls::Error::PeerIncompatible(_) | rustls::Error::NoApplicationProtocol) => {
            Some(Signal::Incompatible)
        }
        // Whatever else the TLS library could not get over, the client has no connection through
        // us, and might have had one without.
        Some(_) => Some(Signal::Garbled),
        None => match error.kind() {
            io::ErrorKind::UnexpectedEof => left(Signal::Fin),
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe => left(Signal::Rst),
            _ => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alert(alert: AlertDescription) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, rustls::Error::AlertReceived(alert))
    }

    #[test]
    fn alerts_count_from_the_first_and_say_which() {
        for (description, code, word) in [
            (AlertDescription::UnknownCA, 48, "unknown_ca"),
            (AlertDescription::BadCertificate, 42, "bad_certificate"),
            (AlertDescription::CertificateUnknown, 46, "certificate_unknown"),
        ] {
            for reached in [Reached::Certificate, Reached::Finished] {
                let signal = classify(&alert(description), reached).unwrap();
                assert_eq!(signal, Signal::Alert(code));
                assert_eq!((signal.strength(), signal.as_str()), (Strength::Certain, word));
            }
        }
        let vague = classify(&alert(AlertDescription::HandshakeFailure), Reached::Certificate);
        assert_eq!(vague.unwrap().strength(), Strength::Likely);
    }

    #[test]
    fn leaving_counts_only_after_our_certificate() {
        let (eof, reset) = (io::ErrorKind::UnexpectedEof, io::ErrorKind::ConnectionReset);
        let of = |kind: io::ErrorKind, reached| classify(&kind.into(), reached);
        assert_eq!(of(eof, Reached::Hello), None);
        assert_eq!(of(eof, Reached::Certificate), Some(Signal::Fin));
        assert_eq!(of(reset, Reached::Certificate), Some(Signal::Rst));
        assert_eq!(of(eof, Reached::Finished), Some(Signal::Unused));
        assert_eq!(of(reset, Reached::Finished), Some(Signal::Unused));
        assert_eq!(of(eof, Reached::Data), None);
        assert_eq!(of(io::ErrorKind::TimedOut, Reached::Certificate), None);
        let goodbye = alert(AlertDescription::CloseNotify);
        assert_eq!(classify(&goodbye, Reached::Certificate), Some(Signal::Fin));
        assert_eq!(classify(&goodbye, Reached::Finished), Some(Signal::Unused));
        assert_eq!(classify(&goodbye, Reached::Data), None);
    }

    #[test]
    fn a_client_we_cannot_talk_to_is_one_to_leave_alone() {
        let error = rustls::PeerIncompatible::Tls12NotOffered;
        let error =
            io::Error::new(io::ErrorKind::InvalidData, rustls::Error::PeerIncompatible(error));
        assert_eq!(classify(&error, Reached::Hello), Some(Signal::Incompatible));
        let garbage = rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType);
        let garbage = io::Error::new(io::ErrorKind::InvalidData, garbage);
        for reached in [Reached::Hello, Reached::Certificate, Reached::Finished] {
            assert_eq!(classify(&garbage, reached), Some(Signal::Garbled));
        }
    }
}
