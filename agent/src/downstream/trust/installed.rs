//! Whether the host trusts the local CA.

use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::ledger::Ledger;
use crate::downstream::ca::Root;

/// Where distributions keep the one-file bundle of what the host trusts: Debian and Arch, Red Hat,
/// SUSE, Alpine.
pub const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The host's bundle below `root` (`/`, but for tests and images).
pub fn system_bundle(root: &Path) -> Option<PathBuf> {
    BUNDLES.iter().map(|path| below(root, path)).find(|path| path.is_file())
}

/// Whether the PEM file `bundle` contains `certificate`.
pub fn contains(bundle: &Path, certificate: &CertificateDer<'_>) -> io::Result<bool> {
    let text = std::fs::read(bundle)?;
    // What is no certificate in there is not ours to complain about.
    Ok(CertificateDer::pem_slice_iter(&text).flatten().any(|found| found == *certificate))
}

/// Since when the host's system store trusts `ca`; `None` where it does not. The trust
/// ledger knows the time exactly; without one it is that of the bundle's last change.
pub fn since(root: &Path, state_dir: &Path, ca: &Root) -> Option<SystemTime> {
    let bundle = system_bundle(root)?;
    if !contains(&bundle, ca.certificate()).ok()? {
        return None;
    }
    let ledger = Ledger::load(state_dir).ok().flatten();
    let recorded = ledger
        .filter(|ledger| ledger.fingerprint == ca.fingerprint())
        .map(|ledger| SystemTime::from(ledger.installed_at));
    recorded.or_else(|| std::fs::metadata(&bundle).and_then(|found| found.modified()).ok())
}

/// An absolute path, seen from another root directory.
pub fn below(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, System};
    use crate::downstream::ca::Authority;

    #[test]
    fn the_bundle_decides() {
        let dir = tempfile::tempdir().unwrap();
        let (root, state) = (dir.path().join("root"), dir.path().join("state"));
        let authority =
            Authority::open_or_create(&state, &["api.openai.com"], System.now().wall).unwrap();
        let since = || since(&root, &state, authority.root());
        assert_eq!(since(), None, "no bundle at all");

        let bundle = below(&root, BUNDLES[1]);
        std::fs::create_dir_all(bundle.parent().unwrap()).unwrap();
        std::fs::write(&bundle, "# nothing\n").unwrap();
        assert_eq!(since(), None);

        let pem = std::fs::read_to_string(state.join("weir-ca.pem")).unwrap();
        std::fs::write(&bundle, format!("# comment\n{pem}\n")).unwrap();
        assert_eq!(since(), std::fs::metadata(&bundle).unwrap().modified().ok());

        let at = "2026-01-02T03:04:05Z".parse().unwrap();
        let mut ledger = Ledger::new(authority.root().fingerprint(), at);
        ledger.save(&state).unwrap();
        assert_eq!(since(), Some(at.into()));
        ledger.fingerprint = "another".to_owned();
        ledger.save(&state).unwrap();
        assert_ne!(since(), Some(at.into()));
    }
}
