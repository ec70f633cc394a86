//! The host's own certificate authority: a root that clients are told to trust, and an
//! intermediate that signs the leaves.
//!
//! Made once per host. Both certificates carry the same critical name constraints: the provider
//! hosts are permitted, every IP address is excluded. (Java ignores constraints on a root, so the
//! intermediate has them too; URI constraints would make rustls clients reject the chain.) The
//! root's key is dropped before the intermediate is first used and never reaches the disk: whoever
//! steals what is there can impersonate the permitted hosts to this host, and nothing else.
//!
//! For the same reason nothing can be renewed or widened: a new host outside the constraints, or
//! expiry after [`LIFETIME`], needs a new authority (`weir trust rotate`), which clients must be
//! told to trust anew.

mod root;
mod store;

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CidrSubnet, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    NameConstraints, SerialNumber,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::hello;

pub use root::{Root, hex};
pub use store::{PUBLIC_ROOT, remove};

/// How long an authority is good for.
pub const LIFETIME: Duration = Duration::from_hours(3 * 365 * 24);

/// How long before its end an authority should be rotated.
pub const RENEW_BEFORE: Duration = Duration::from_hours(60 * 24);

/// How far certificates of an authority reach back, for clocks that are behind ours.
const BACKDATE: Duration = Duration::from_hours(2 * 24);

/// Suffixes that belong to everyone who rents a host below them: never permitted as they are.
const SHARED: [&str; 8] = [
    "amazonaws.com",
    "azure.com",
    "azurewebsites.net",
    "cloudflare.com",
    "cloudfront.net",
    "google.com",
    "googleapis.com",
    "openai.azure.com",
];

/// Why there is no authority to work with.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// A file could not be read or written.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        error: io::Error,
    },
    /// A file is there but not what it should be.
    #[error("{}: {what}; `weir trust rotate` makes a new one", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// Others than the owner may read the signing key.
    #[error(
        "{}: mode {mode:04o} lets others read the signing key; treat it as stolen: run \
         `weir trust rotate`",
        path.display()
    )]
    Exposed {
        /// The key file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The clock is outside the authority's validity.
    #[error("the local CA is {}; check the clock, or run `weir trust rotate`", if *expired { "expired" } else { "not valid yet" })]
    NotValid {
        /// Past the end, rather than before the beginning.
        expired: bool,
    },
    /// None of the hosts can be permitted: an authority would be useless.
    #[error("no provider host that a local CA could be limited to")]
    NoHosts,
    /// There is no authority yet.
    #[error("{}: no local CA yet; it is made when the daemon starts, or by `weir trust install`", path.display())]
    Missing {
        /// Where it would be.
        path: PathBuf,
    },
    /// The host is outside the name constraints.
    #[error(
        "{host} is outside what the local CA may sign for; `weir trust rotate` makes a new one"
    )]
    Outside {
        /// The host.
        host: String,
    },
    /// A certificate could not be made.
    #[error("making a certificate: {0}")]
    Generate(#[from] rcgen::Error),
    /// The system's random source failed.
    #[error("the random source failed")]
    Random,
}

/// The host's certificate authority, ready to sign leaves.
#[derive(Debug)]
pub struct Authority {
    root: Root,
    intermediate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Opens the authority kept under `state_dir`, or makes one limited to those of `hosts` that
    /// can be permitted. An existing one is never changed: ask [`Authority::covers`] about each
    /// host, and leave those outside alone.
    pub fn open_or_create<H: AsRef<str>>(
        state_dir: &Path,
        hosts: &[H],
        now: SystemTime,
    ) -> Result<Self, CaError> {
        match Self::open(state_dir, now) {
            Err(CaError::Missing { .. }) => {}
            opened => return opened,
        }
        let permitted: BTreeSet<Arc<str>> =
            hosts.iter().filter_map(|host| permissible(host.as_ref())).collect();
        if permitted.is_empty() {
            return Err(CaError::NoHosts);
        }
        store::create(state_dir, &generate(&permitted, now)?)?;
        // Read back what is there: another process may have been faster.
        Self::open(state_dir, now)
    }

    /// Opens the authority kept under `state_dir`.
    pub fn open(state_dir: &Path, now: SystemTime) -> Result<Self, CaError> {
        let files = store::open(state_dir)?;
        let broken = |what| CaError::Broken { path: store::directory(state_dir), what };
        let root = Root::from_pem(files.root.as_bytes()).map_err(broken)?;
        let intermediate = CertificateDer::from_pem_slice(files.intermediate.as_bytes())
            .map_err(|_| broken("the intermediate is no certificate"))?;
        let key = KeyPair::from_pem(&files.key).map_err(|_| broken("the key is no key"))?;

        let (_, parsed) = X509Certificate::from_der(&intermediate)
            .map_err(|_| broken("the intermediate is no certificate"))?;
        if parsed.public_key().subject_public_key.data.as_ref() != key.public_key_raw() {
            return Err(broken("the key does not belong to the intermediate"));
        }
        if now < root.not_before() || now >= root.not_after() {
            return Err(CaError::NotValid { expired: now >= root.not_after() });
        }
        let issuer = Issuer::from_ca_cert_der(&intermediate, key)?;
        Ok(Self { root, intermediate, issuer })
    }

    /// Whether a leaf for `host` (lower case) would be accepted under the name constraints.
    pub fn covers(&self, host: &str) -> bool {
        self.root.covers(host)
    }

    /// What clients are told to trust.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// What follows the leaf in a chain sent to clients. The root is not part of it: whoever
    /// trusts it has it.
    pub fn intermediate(&self) -> &CertificateDer<'static> {
        &self.intermediate
    }

    pub(super) fn issuer(&self) -> &Issuer<'static, KeyPair> {
        &self.issuer
    }
}

/// Sets the validity, in whole seconds. (The library's type of time has no name here: the crate it
/// comes from is not a dependency of ours.)
pub(super) fn set_validity(params: &mut CertificateParams, from: SystemTime, to: SystemTime) {
    let seconds = |at: SystemTime| {
        Duration::from_secs(at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs())
    };
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + seconds(from);
    params.not_after = epoch + seconds(to);
}

/// A random positive serial number of 127 bits.
pub(super) fn serial() -> Result<SerialNumber, CaError> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| CaError::Random)?;
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

/// The name of `host` where an authority may be limited to it.
fn permissible(host: &str) -> Option<Arc<str>> {
    let host = hello::normalise(host)?;
    // A single label would permit a whole top-level domain.
    let allowed = host.contains('.')
        && host.parse::<std::net::IpAddr>().is_err()
        && !SHARED.contains(&host.as_ref());
    allowed.then_some(host)
}

/// Makes root and intermediate. The root's key does not leave this function.
fn generate(permitted: &BTreeSet<Arc<str>>, now: SystemTime) -> Result<store::Files, CaError> {
    let node = rustix::system::uname();
    let host: String = node.nodename().to_string_lossy().chars().take(48).collect();
    let mut id = [0; 4];
    aws_lc_rs::rand::fill(&mut id).map_err(|_| CaError::Random)?;
    // A name of its own for every authority: stores look issuers up by name, and an old root of
    // the same name would be tried in place of the new one.
    let id = u32::from_be_bytes(id);
    let params = |name: String, path_length| -> Result<CertificateParams, CaError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, format!("Weir on {host}"));
        params.distinguished_name.push(DnType::CommonName, name);
        params.serial_number = Some(serial()?);
        set_validity(&mut params, now - BACKDATE, now + LIFETIME);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(path_length));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.name_constraints = Some(constraints(permitted));
        Ok(params)
    };

    let root_key = KeyPair::generate()?;
    let root_params = params(format!("Weir local CA {id:08x}"), 1)?;
    let root = root_params.self_signed(&root_key)?;

    let key = KeyPair::generate()?;
    let mut intermediate_params = params(format!("Weir local issuer {id:08x}"), 0)?;
    intermediate_params.use_authority_key_identifier_extension = true;
    intermediate_params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let intermediate: Certificate =
        intermediate_params.signed_by(&key, &Issuer::new(root_params, root_key))?;

    Ok(store::Files {
        root: root.pem(),
        intermediate: intermediate.pem(),
        key: key.serialize_pem(),
    })
}

fn constraints(permitted: &BTreeSet<Arc<str>>) -> NameConstraints {
    NameConstraints {
        permitted_subtrees: permitted
            .iter()
            .map(|host| GeneralSubtree::DnsName(host.to_string()))
            .collect(),
        // Constraints bind only the kinds of name they mention: without these two a leaf for an
        // address would be accepted.
        excluded_subtrees: vec![
            GeneralSubtree::IpAddress(CidrSubnet::V4([0; 4], [0; 4])),
            GeneralSubtree::IpAddress(CidrSubnet::V6([0; 16], [0; 16])),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use x509_parser::extensions::GeneralName;

    const HOSTS: [&str; 2] = ["api.openai.com", "api.anthropic.com"];

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_hours(500_000)
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn files_are_private_but_for_the_root() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("weir");
        Authority::open_or_create(&state, &HOSTS, now()).unwrap();
        assert_eq!(mode(&state), 0o711);
        assert_eq!(mode(&state.join("weir-ca.pem")), 0o644);
        assert_eq!(mode(&state.join("ca")), 0o700);
        let mut names: Vec<_> =
            fs::read_dir(state.join("ca")).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["intermediate.key", "intermediate.pem", "root.pem"]);
        for name in names {
            assert_eq!(mode(&state.join("ca").join(name)), 0o600);
        }
    }

    #[test]
    fn the_only_key_on_disk_is_the_intermediates() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::open_or_create(dir.path(), &HOSTS, now()).unwrap();
        let (_, root) = X509Certificate::from_der(authority.root().certificate()).unwrap();
        let key = fs::read_to_string(dir.path().join("ca/intermediate.key")).unwrap();
        assert_eq!(key.matches("PRIVATE KEY-----").count(), 2);
        let key = KeyPair::from_pem(&key).unwrap();
        assert_ne!(root.public_key().subject_public_key.data.as_ref(), key.public_key_raw());
        let public = fs::read_to_string(dir.path().join("weir-ca.pem")).unwrap();
        assert!(!public.contains("PRIVATE"));
    }

    #[test]
    fn both_certificates_are_constrained_and_critical() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::open_or_create(dir.path(), &HOSTS, now()).unwrap();
        for (der, path_length) in
            [(authority.root().certificate(), 1), (authority.intermediate(), 0)]
        {
            let (_, certificate) = X509Certificate::from_der(der).unwrap();
            let constraints = certificate.name_constraints().unwrap().unwrap();
            assert!(constraints.critical);
            let excluded = constraints.value.excluded_subtrees.as_ref().unwrap();
            let excluded: Vec<_> = excluded.iter().map(|subtree| &subtree.base).collect();
            assert_eq!(
                excluded,
                [&GeneralName::IPAddress(&[0; 8]), &GeneralName::IPAddress(&[0; 32])]
            );
            let permitted = root::permitted(&certificate).unwrap();
            assert!(
                permitted.iter().map(AsRef::as_ref).eq(["api.anthropic.com", "api.openai.com"])
            );
            let basic = certificate.basic_constraints().unwrap().unwrap();
            assert!(basic.critical && basic.value.ca);
            assert_eq!(basic.value.path_len_constraint, Some(path_length));
            let usage = certificate.key_usage().unwrap().unwrap();
            assert!(usage.critical && usage.value.key_cert_sign());
        }
    }

    #[test]
    fn reopening_gives_the_same_authority_and_says_which_hosts_are_outside() {
        let dir = tempfile::tempdir().unwrap();
        let made = Authority::open_or_create(dir.path(), &HOSTS, now()).unwrap();
        let wider = [HOSTS[0], HOSTS[1], "llm.corp.example"];
        let again = Authority::open_or_create(dir.path(), &wider, now()).unwrap();
        assert_eq!(again.root().certificate(), made.root().certificate());
        assert_eq!(again.root().fingerprint(), made.root().fingerprint());
        assert!(again.covers("api.openai.com"));
        assert!(again.covers("eu.api.openai.com"), "a permitted name permits what is below");
        for outside in ["llm.corp.example", "openai.com", "xapi.openai.com", "com", ""] {
            assert!(!again.covers(outside), "{outside}");
        }
    }

    #[test]
    fn hosts_that_would_permit_too_much_are_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let hosts = ["Api.Mock.test.", "com", "192.0.2.1", "amazonaws.com", "*.openai.com", ""];
        let authority = Authority::open_or_create(dir.path(), &hosts, now()).unwrap();
        assert!(authority.root().permitted().eq(["api.mock.test"]));
        let empty = tempfile::tempdir().unwrap();
        let none = Authority::open_or_create(empty.path(), &hosts[1..], now());
        assert!(matches!(none, Err(CaError::NoHosts)));
        assert!(!empty.path().join("ca").exists());
    }

    #[test]
    fn a_crash_leaves_none_or_a_whole_one() {
        let dir = tempfile::tempdir().unwrap();
        // Died before the rename.
        let unfinished = dir.path().join(".ca-unfinished");
        fs::create_dir(&unfinished).unwrap();
        fs::write(unfinished.join("intermediate.key"), "half").unwrap();
        let made = Authority::open_or_create(dir.path(), &HOSTS, now()).unwrap();
        assert!(!unfinished.exists());
        // Died after it, before the public copy was there.
        fs::remove_file(dir.path().join("weir-ca.pem")).unwrap();
        let again = Authority::open(dir.path(), now()).unwrap();
        assert_eq!(again.root().certificate(), made.root().certificate());
        assert!(dir.path().join("weir-ca.pem").exists());
    }

    #[test]
    fn those_who_come_at_once_get_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let roots: Vec<_> = std::thread::scope(|scope| {
            let open = || Authority::open_or_create(dir.path(), &HOSTS, now()).unwrap();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(open)).collect();
            threads.into_iter().map(|t| t.join().unwrap().root().fingerprint().to_owned()).collect()
        });
        assert!(roots.iter().all(|root| root == &roots[0]), "{roots:?}");
    }

    #[test]
    fn what_is_wrong_is_said_and_nothing_is_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let open = |at| Authority::open_or_create(dir.path(), &HOSTS, at);
        open(now()).unwrap();
        let expired = open(now() + LIFETIME);
        assert!(matches!(expired, Err(CaError::NotValid { expired: true })));
        let early = open(now() - Duration::from_hours(49));
        assert!(matches!(early, Err(CaError::NotValid { expired: false })));

        let key = dir.path().join("ca/intermediate.key");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(open(now()), Err(CaError::Exposed { mode: 0o640, .. })));
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        let other = KeyPair::generate().unwrap().serialize_pem();
        fs::write(&key, &other).unwrap();
        assert!(matches!(open(now()), Err(CaError::Broken { .. })));
        assert_eq!(fs::read_to_string(&key).unwrap(), other);

        remove(dir.path()).unwrap();
        remove(dir.path()).unwrap();
        assert!(matches!(Authority::open(dir.path(), now()), Err(CaError::Missing { .. })));
    }
}
