//! The public half: the root certificate as anyone may read it.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{CaError, PUBLIC_ROOT};

/// The certificate clients are told to trust, and what it says.
#[derive(Debug, Clone)]
pub struct Root {
    certificate: CertificateDer<'static>,
    permitted: BTreeSet<Arc<str>>,
    not_before: SystemTime,
    not_after: SystemTime,
    fingerprint: String,
}

impl Root {
    /// Reads the public root under `state_dir`; needs no privilege.
    pub fn read(state_dir: &Path) -> Result<Self, CaError> {
        let path = state_dir.join(PUBLIC_ROOT);
        match std::fs::read(&path) {
            Ok(pem) => Self::from_pem(&pem).map_err(|what| CaError::Broken { path, what }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Err(CaError::Missing { path })
            }
            Err(error) => Err(CaError::Io { path, error }),
        }
    }

    /// Parses the root, or says what is wrong with it.
    pub(super) fn from_pem(pem: &[u8]) -> Result<Self, &'static str> {
        let certificate =
            CertificateDer::from_pem_slice(pem).map_err(|_| "the root is no certificate")?;
        let (_, parsed) =
            X509Certificate::from_der(&certificate).map_err(|_| "the root is no certificate")?;
        let permitted = permitted(&parsed).ok_or("the root has no name constraints")?;
        let not_before = since_epoch(parsed.validity().not_before.timestamp());
        let not_after = since_epoch(parsed.validity().not_after.timestamp());
        let fingerprint = fingerprint(&certificate);
        Ok(Self { certificate, permitted, not_before, not_after, fingerprint })
    }

    /// The certificate itself.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// Whether `host` (lower case) is inside the name constraints.
    pub fn covers(&self, host: &str) -> bool {
        // RFC 5280 §4.2.1.10: a permitted name also permits what is below it.
        let mut name = host;
        loop {
            if self.permitted.contains(name) {
                return true;
            }
            match name.split_once('.') {
                Some((_, parent)) => name = parent,
                None => return false,
            }
        }
    }

    /// The hosts the authority is limited to, in lexical order.
    pub fn permitted(&self) -> impl Iterator<Item = &str> {
        self.permitted.iter().map(AsRef::as_ref)
    }

    /// From when it is valid.
    pub fn not_before(&self) -> SystemTime {
        self.not_before
    }

    /// When it ends.
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// SHA-256 of the certificate, in lower-case hex.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }
}

/// The hosts a certificate is limited to; `None` where it is not limited.
pub(super) fn permitted(certificate: &X509Certificate<'_>) -> Option<BTreeSet<Arc<str>>> {
    let constraints = certificate.name_constraints().ok()??;
    let permitted = constraints.value.permitted_subtrees.as_ref()?;
    let names = permitted.iter().filter_map(|subtree| match subtree.base {
        GeneralName::DNSName(name) => Some(Arc::from(name)),
        _ => None,
    });
    Some(names.collect())
}

fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    hex(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, certificate).as_ref())
}

/// Bytes as lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut hex, byte| {
        // Writing into a string cannot fail.
        let _infallible = write!(hex, "{byte:02x}");
        hex
    })
}

fn since_epoch(seconds: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}
