//! The mock provider's own certificate authority: made at start, never written to disk here.
//!
//! It stands for the public CAs that sign the real providers, so it is as strict as they are:
//! Python ≥ 3.13 checks with `VERIFY_X509_STRICT` and refuses certificates without key usage or
//! authority key identifier.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

const DAY: Duration = Duration::from_hours(24);

/// Why the test CA or its server configuration could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// A key or certificate could not be generated.
    #[error("cannot make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The TLS stack refused what was generated.
    #[error("cannot configure TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// A server configuration for `names` and `addresses`, and the PEM of the CA that vouches for it.
pub(super) fn server(
    names: &[String],
    addresses: &[IpAddr],
    wall: SystemTime,
) -> Result<(Arc<ServerConfig>, String), CaError> {
    let root = CertifiedIssuer::self_signed(root_params(wall), KeyPair::generate()?)?;
    let key = KeyPair::generate()?;
    let leaf = leaf_params(names, addresses, wall)?.signed_by(&key, &root)?;

    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(rustls::DEFAULT_VERSIONS)?
        .with_no_client_auth()
        .with_single_cert(
            vec![leaf.der().clone()],
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        )?;
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok((Arc::new(tls), root.pem()))
}

fn root_params(wall: SystemTime) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = named("Mock provider root");
    params.not_before = (wall - DAY).into();
    params.not_after = (wall + 7 * DAY).into();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn leaf_params(
    names: &[String],
    addresses: &[IpAddr],
    wall: SystemTime,
) -> Result<CertificateParams, rcgen::Error> {
    let subjects: Vec<String> =
        names.iter().cloned().chain(addresses.iter().map(IpAddr::to_string)).collect();
    let mut params = CertificateParams::new(subjects)?;
    params.distinguished_name = named("mock provider");
    params.not_before = (wall - DAY).into();
    params.not_after = (wall + 6 * DAY).into();
    params.is_ca = IsCa::ExplicitNoCa;
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    Ok(params)
}

fn named(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}
