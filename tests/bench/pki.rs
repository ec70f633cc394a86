//! Certificates of the benchmark: one authority, one leaf that provider and nginx share.

use std::path::{Path, PathBuf};
use std::time::Duration;

use agent::clock::{Clock, System};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};

/// The name every peer answers to.
pub(crate) const NAME: &str = "api.openai.com";

/// Where the files are.
#[derive(Debug)]
pub(crate) struct Pki {
    pub(crate) ca: PathBuf,
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Pki {
    /// Makes everything in a directory.
    pub(crate) fn make(directory: &Path) -> anyhow::Result<Self> {
        let now = System.now().wall;
        let (start, end) = (now - Duration::from_hours(24), now + Duration::from_hours(24));

        let mut root = CertificateParams::default();
        root.distinguished_name.push(DnType::CommonName, "Benchmark root");
        root.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        root.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        (root.not_before, root.not_after) = (start.into(), end.into());
        let root = CertifiedIssuer::self_signed(root, KeyPair::generate()?)?;

        let mut leaf = CertificateParams::new([NAME.to_owned()])?;
        leaf.is_ca = IsCa::ExplicitNoCa;
        leaf.use_authority_key_identifier_extension = true;
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        (leaf.not_before, leaf.not_after) = (start.into(), end.into());
        let key = KeyPair::generate()?;
        let leaf = leaf.signed_by(&key, &root)?;

        let file = |name: &str, text: String| -> anyhow::Result<PathBuf> {
            let path = directory.join(name);
            std::fs::write(&path, text)?;
            Ok(path)
        };
        Ok(Self {
            ca: file("ca.pem", root.pem())?,
            certificate: file("leaf.pem", leaf.pem())?,
            key: file("leaf.key", key.serialize_pem())?,
        })
    }
}
