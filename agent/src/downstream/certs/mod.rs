//! Leaves: a TLS server configuration per host, minted when first needed.
//!
//! A leaf names exactly one host, lives at most [`LIFETIME`] and never longer than its authority.
//! All leaves share one key, made at start and kept in memory only, which halves the cost of
//! minting. Configurations are cached per host and ALPN list; the cache is bounded, and holding its
//! lock while minting (some 20 µs) makes concurrent askers wait for one result.

#[cfg(test)]
mod clients;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{NoServerSessionStorage, ProducesTickets};
use rustls::sign::{CertifiedKey, SigningKey, SingleCertAndKey};

use super::ca::{Authority, CaError, serial, set_validity};

/// Validity of a leaf from its first to its last second, the backdated part included.
pub const LIFETIME: Duration = Duration::from_hours(7 * 24);

/// How far a leaf reaches back, for clocks that are behind ours.
const BACKDATE: Duration = Duration::from_hours(24);

/// A leaf with less than this left is minted anew: longer than any connection attempt takes, and
/// than a clock ahead of ours is likely to be off.
const RENEW_BEFORE: Duration = Duration::from_hours(2 * 24);

/// Cached configurations. Provider hosts are a few dozen, with two or three ALPN lists each.
const CAPACITY: usize = 256;

/// Why a configuration could not be made.
#[derive(Debug, thiserror::Error)]
pub enum LeafError {
    /// The authority will not or cannot sign.
    #[error(transparent)]
    Authority(#[from] CaError),
    /// The TLS library refused what was made.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// Mints leaves and keeps the configurations that use them.
#[derive(Debug)]
pub struct Leaves {
    authority: Arc<Authority>,
    provider: Arc<CryptoProvider>,
    key: KeyPair,
    signer: Arc<dyn SigningKey>,
    tickets: Arc<dyn ProducesTickets>,
    cache: Mutex<HashMap<Key, Entry>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    host: Box<str>,
    alpn: Vec<Vec<u8>>,
}

#[derive(Debug)]
struct Entry {
    config: Arc<ServerConfig>,
    not_before: SystemTime,
    renew_at: SystemTime,
}

impl Entry {
    fn is_fresh(&self, now: SystemTime) -> bool {
        // The lower bound matters when the clock is set back.
        self.not_before <= now && now < self.renew_at
    }
}

impl Leaves {
    /// An empty cache with a fresh leaf key.
    pub fn new(authority: Arc<Authority>) -> Result<Self, LeafError> {
        let key = KeyPair::generate().map_err(CaError::Generate)?;
        let der = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialized_der()));
        let signer = aws_lc_rs::sign::any_ecdsa_type(&der)?;
        Ok(Self {
            authority,
            provider: Arc::new(aws_lc_rs::default_provider()),
            key,
            signer,
            // One ticketer for all hosts and leaf generations. A ticket still resumes only under
            // the name it was issued for: the TLS library compares the two.
            tickets: aws_lc_rs::Ticketer::new()?,
            cache: Mutex::new(HashMap::new()),
        })
    }

    /// The authority that signs.
    pub fn authority(&self) -> &Arc<Authority> {
        &self.authority
    }

    /// The configuration to serve `host` (lower case, no trailing dot) with, choosing among
    /// exactly `alpn`; an empty list negotiates none. Refuses hosts the authority does not cover.
    pub fn config_for(
        &self,
        host: &str,
        alpn: &[Vec<u8>],
        now: SystemTime,
    ) -> Result<Arc<ServerConfig>, LeafError> {
        let key = Key { host: host.into(), alpn: alpn.to_vec() };
        let mut cache = self.cache.lock();
        if let Some(entry) = cache.get(&key)
            && entry.is_fresh(now)
        {
            return Ok(Arc::clone(&entry.config));
        }
        let entry = self.mint(&key, now)?;
        let config = Arc::clone(&entry.config);
        if cache.len() >= CAPACITY && !cache.contains_key(&key) {
            let oldest = cache.iter().min_by_key(|(_, entry)| entry.renew_at);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                cache.remove(&oldest);
            }
        }
        cache.insert(key, entry);
        Ok(config)
    }

    fn mint(&self, key: &Key, now: SystemTime) -> Result<Entry, LeafError> {
        let host = key.host.as_ref();
        if !self.authority.covers(host) {
            return Err(CaError::Outside { host: host.to_owned() }.into());
        }
        let not_before = now - BACKDATE;
        let not_after = (not_before + LIFETIME).min(self.authority.root().not_after());

        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        // Cosmetic, and at most 64 characters by X.520; the name that counts is the SAN.
        if host.len() <= 64 {
            params.distinguished_name.push(DnType::CommonName, host);
        } else {
            params.distinguished_name.push(DnType::CommonName, "Weir");
        }
        params.serial_number = Some(serial()?);
        set_validity(&mut params, not_before, not_after);
        let name = host.try_into().map_err(CaError::Generate)?;
        params.subject_alt_names = vec![SanType::DnsName(name)];
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        // Strict verifiers (Python 3.13, `openssl verify -x509_strict`) demand it.
        params.use_authority_key_identifier_extension = true;
        let leaf =
            params.signed_by(&self.key, self.authority.issuer()).map_err(CaError::Generate)?;

        let chain = vec![leaf.der().clone(), self.authority.intermediate().clone()];
        let certified = CertifiedKey::new(chain, Arc::clone(&self.signer));
        // What the builder leaves alone is wanted as it is: no key log whatever `SSLKEYLOGFILE`
        // says, and no 0-RTT, which would let anyone repeat a POST.
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        config.alpn_protocols.clone_from(&key.alpn);
        config.ticketer = Arc::clone(&self.tickets);
        // Tickets carry the state themselves; nothing is kept per configuration.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 1;
        let renew_at = not_after.checked_sub(RENEW_BEFORE).unwrap_or(not_before).max(now);
        Ok(Entry { config: Arc::new(config), not_before, renew_at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
    use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConnection};
    use x509_parser::prelude::{FromDer, X509Certificate};

    const HOSTS: [&str; 2] = ["api.openai.com", "api.anthropic.com"];

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_hours(500_000)
    }

    fn leaves() -> (tempfile::TempDir, Leaves) {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::open_or_create(dir.path(), &HOSTS, now()).unwrap();
        (dir, Leaves::new(Arc::new(authority)).unwrap())
    }

    fn names(list: &[&str]) -> Vec<Vec<u8>> {
        list.iter().map(|name| name.as_bytes().to_vec()).collect()
    }

    #[derive(Debug)]
    struct At(SystemTime);

    impl rustls::time_provider::TimeProvider for At {
        fn current_time(&self) -> Option<UnixTime> {
            Some(UnixTime::since_unix_epoch(self.0.duration_since(SystemTime::UNIX_EPOCH).ok()?))
        }
    }

    fn client(leaves: &Leaves, alpn: &[&str], at: SystemTime) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(leaves.authority().root().certificate().clone()).unwrap();
        let mut config = ClientConfig::builder_with_details(
            Arc::new(aws_lc_rs::default_provider()),
            Arc::new(At(at)),
        )
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
        config.alpn_protocols = names(alpn);
        config
    }

    /// Runs a handshake in memory; the two ends when it is over.
    fn handshake(
        client: &Arc<ClientConfig>,
        server: Arc<ServerConfig>,
        host: &'static str,
    ) -> Result<(ClientConnection, ServerConnection), rustls::Error> {
        let name = ServerName::try_from(host).unwrap();
        let mut client = ClientConnection::new(Arc::clone(client), name).unwrap();
        let mut server = ServerConnection::new(server).unwrap();
        let mut wire = Vec::new();
        while client.is_handshaking() || server.is_handshaking() || server.wants_write() {
            wire.clear();
            while client.wants_write() {
                client.write_tls(&mut wire).unwrap();
            }
            let mut sent = wire.as_slice();
            while !sent.is_empty() {
                server.read_tls(&mut sent).unwrap();
                server.process_new_packets()?;
            }
            wire.clear();
            while server.wants_write() {
                server.write_tls(&mut wire).unwrap();
            }
            let mut sent = wire.as_slice();
            while !sent.is_empty() {
                client.read_tls(&mut sent).unwrap();
                client.process_new_packets()?;
            }
        }
        Ok((client, server))
    }

    fn leaf(leaves: &Leaves, host: &'static str, at: SystemTime) -> CertificateDer<'static> {
        let server = leaves.config_for(host, &[], at).unwrap();
        let (client, _) = handshake(&Arc::new(client(leaves, &[], at)), server, host).unwrap();
        client.peer_certificates().unwrap()[0].clone().into_owned()
    }

    #[test]
    fn a_leaf_is_what_strict_clients_want() {
        let (_dir, leaves) = leaves();
        let der = leaf(&leaves, HOSTS[0], now());
        let (_, leaf) = X509Certificate::from_der(&der).unwrap();
        let san = leaf.subject_alternative_name().unwrap().unwrap();
        assert_eq!(
            san.value.general_names,
            [x509_parser::extensions::GeneralName::DNSName("api.openai.com")]
        );
        let validity = leaf.validity();
        let seconds = |from: i64, to: i64| u64::try_from(to - from).unwrap();
        let whole = seconds(validity.not_before.timestamp(), validity.not_after.timestamp());
        assert!(whole <= LIFETIME.as_secs());
        assert!(!leaf.basic_constraints().unwrap().unwrap().value.ca);
        assert!(leaf.extended_key_usage().unwrap().unwrap().value.server_auth);
        assert!(leaf.key_usage().unwrap().unwrap().value.digital_signature());
        let (_, issuer) = X509Certificate::from_der(leaves.authority().intermediate()).unwrap();
        assert_ne!(leaf.public_key(), issuer.public_key());
    }

    #[test]
    fn a_leaf_never_outlives_its_authority() {
        let (_dir, leaves) = leaves();
        let late = leaves.authority().root().not_after() - Duration::from_hours(1);
        let der = leaf(&leaves, HOSTS[0], late);
        let (_, leaf) = X509Certificate::from_der(&der).unwrap();
        let end =
            leaves.authority().root().not_after().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        assert_eq!(leaf.validity().not_after.timestamp(), i64::try_from(end.as_secs()).unwrap());
    }

    #[test]
    fn hosts_outside_the_constraints_are_refused() {
        let (_dir, leaves) = leaves();
        for host in ["example.com", "openai.com", "192.0.2.1", "*.openai.com", ""] {
            let refused = leaves.config_for(host, &[], now());
            assert!(
                matches!(refused, Err(LeafError::Authority(CaError::Outside { .. }))),
                "{host}"
            );
        }
    }

    #[test]
    fn leaves_are_cached_until_they_are_due() {
        let (_dir, leaves) = leaves();
        let h2 = names(&["h2"]);
        let first = leaves.config_for(HOSTS[0], &h2, now()).unwrap();
        let at = |hours| now() + Duration::from_hours(hours);
        let same = |a: &Arc<ServerConfig>, b: &Arc<ServerConfig>| Arc::ptr_eq(a, b);
        assert!(same(&first, &leaves.config_for(HOSTS[0], &h2, at(95)).unwrap()));
        assert!(!same(&first, &leaves.config_for(HOSTS[0], &[], now()).unwrap()));
        assert!(!same(&first, &leaves.config_for(HOSTS[1], &h2, now()).unwrap()));
        let renewed = leaves.config_for(HOSTS[0], &h2, at(97)).unwrap();
        assert!(!same(&first, &renewed));
        let back = leaves.config_for(HOSTS[0], &h2, now() - Duration::from_hours(24)).unwrap();
        assert!(!same(&renewed, &back), "a clock set back");
    }

    #[test]
    fn the_cache_is_bounded() {
        let (_dir, leaves) = leaves();
        for n in 0..CAPACITY + 10 {
            leaves.config_for(HOSTS[0], &[n.to_be_bytes().to_vec()], now()).unwrap();
        }
        assert_eq!(leaves.cache.lock().len(), CAPACITY);
    }

    #[test]
    fn exactly_the_given_protocols_are_negotiated() {
        let (_dir, leaves) = leaves();
        let both = Arc::new(client(&leaves, &["h2", "http/1.1"], now()));
        for (given, agreed) in
            [(&["h2"][..], Some("h2")), (&["http/1.1"], Some("http/1.1")), (&[], None)]
        {
            let server = leaves.config_for(HOSTS[0], &names(given), now()).unwrap();
            let (client, server) = handshake(&both, server, HOSTS[0]).unwrap();
            assert_eq!(client.alpn_protocol(), agreed.map(str::as_bytes));
            assert_eq!(server.alpn_protocol(), agreed.map(str::as_bytes));
        }
    }

    #[test]
    fn sessions_resume_without_early_data_and_only_under_their_name() {
        let (_dir, leaves) = leaves();
        let client = Arc::new(client(&leaves, &[], now()));
        for expected in [rustls::HandshakeKind::Full, rustls::HandshakeKind::Resumed] {
            let server = leaves.config_for(HOSTS[0], &[], now()).unwrap();
            assert_eq!(server.max_early_data_size, 0);
            let (_, server) = handshake(&client, server, HOSTS[0]).unwrap();
            assert_eq!(server.handshake_kind(), Some(expected));
        }
        let other = leaves.config_for(HOSTS[1], &[], now()).unwrap();
        let (_, server) = handshake(&client, other, HOSTS[1]).unwrap();
        assert_eq!(server.handshake_kind(), Some(rustls::HandshakeKind::Full));
    }
}
