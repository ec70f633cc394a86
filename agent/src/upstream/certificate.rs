//! What is wrong with a provider's certificate, in a word for metrics and in words for people.

use std::fmt;
use std::io;

use rustls::{CertificateError, Error};

/// Why a certificate was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Problem {
    /// Its time is over.
    Expired,
    /// Its time has not come: or this host's clock is wrong.
    NotYetValid,
    /// It is for other names.
    WrongName,
    /// Nobody who is trusted vouches for it: self-signed, or by a private authority.
    UnknownIssuer,
    /// It is not for servers.
    WrongPurpose,
    /// Its key or its signature is too weak, or of a kind nobody should use any more.
    Weak,
    /// It was taken back.
    Revoked,
    /// Anything else: it is malformed, its signature is wrong.
    Invalid,
}

impl Problem {
    /// The problem a handshake failed over; `None` where it failed over something else.
    pub fn of(error: &io::Error) -> Option<Self> {
        let error = error.get_ref()?.downcast_ref::<Error>()?;
        let certificate = match error {
            Error::InvalidCertificate(certificate) => certificate,
            // Refused before it was looked at: what it was signed with is not even offered.
            Error::PeerIncompatible(rustls::PeerIncompatible::NoSignatureSchemesInCommon) => {
                return Some(Self::Weak);
            }
            Error::NoCertificatesPresented => return Some(Self::Invalid),
            _ => return None,
        };
        Some(match certificate {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                Self::NotYetValid
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Self::WrongName
            }
            CertificateError::UnknownIssuer => Self::UnknownIssuer,
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
                Self::WrongPurpose
            }
            CertificateError::UnsupportedSignatureAlgorithmContext { .. }
            | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
                Self::Weak
            }
            CertificateError::Revoked => Self::Revoked,
            _ => Self::Invalid,
        })
    }

    /// One word for metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::WrongName => "wrong_name",
            Self::UnknownIssuer => "unknown_issuer",
            Self::WrongPurpose => "wrong_purpose",
            Self::Weak => "weak",
            Self::Revoked => "revoked",
            Self::Invalid => "invalid",
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Expired => "it has expired",
            Self::NotYetValid => "it is not valid yet",
            Self::WrongName => "it is for another name",
            Self::UnknownIssuer => "it is self-signed, or its issuer is unknown",
            Self::WrongPurpose => "it is not for servers",
            Self::Weak => "its key or its signature is too weak",
            Self::Revoked => "it was revoked",
            Self::Invalid => "it is invalid",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_wrong_with_a_certificate_is_a_problem_of_it() {
        let io = |error: Error| io::Error::new(io::ErrorKind::InvalidData, error);
        let bad = |error| io(Error::InvalidCertificate(error));
        for (error, problem) in [
            (bad(CertificateError::Expired), Some(Problem::Expired)),
            (bad(CertificateError::NotValidForName), Some(Problem::WrongName)),
            (bad(CertificateError::BadSignature), Some(Problem::Invalid)),
            (io(Error::DecryptError), None),
            (io::Error::from(io::ErrorKind::UnexpectedEof), None),
        ] {
            assert_eq!(Problem::of(&error), problem, "{error}");
        }
    }
}
