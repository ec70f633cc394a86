//! `weir doctor --leftovers`: whatever of Weir is on this host, for those who want it gone.

use std::fs;
use std::path::{Path, PathBuf};

use memchr::memmem;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::Row;
use crate::cli::site::Site;
use crate::cli::trust::places;
use crate::downstream::trust::installed::{BUNDLES, below};

/// What the name of every CA of ours begins with, wherever a certificate is kept as it is.
const NAME: &[u8] = b"Weir local CA ";

/// Files of the package and of the daemon.
const FILES: [&str; 9] = [
    "/etc/weir",
    "/var/lib/weir",
    "/run/weir",
    "/usr/bin/weir",
    "/usr/local/bin/weir",
    "/lib/systemd/system/weir.service",
    "/usr/lib/systemd/system/weir.service",
    "/etc/systemd/system/weir.service",
    "/etc/systemd/system/weir.service.d",
];

/// Where kernel programs are pinned.
const PINS: &str = "/sys/fs/bpf";

const UNINSTALL: &str = "weir trust uninstall";

/// Everything of ours that is found.
pub(super) fn rows(root: &Path, site: &Site) -> Vec<Row> {
    let mut found = Vec::new();
    let mut left = |what: &str, path: PathBuf, fix: String| {
        found.push(Row::fail(what, path.display().to_string(), fix));
    };
    for bundle in BUNDLES.map(|path| below(root, path)) {
        if holds_ca(&bundle, true) {
            left("CA in the system store", bundle, UNINSTALL.to_owned());
        }
    }
    for anchor in places::anchors(root) {
        if anchor.exists() {
            left("CA among the system's anchors", anchor, UNINSTALL.to_owned());
        }
    }
    for (store, follows) in places::key_stores(root) {
        if holds_ca(&store, false) {
            let fix = if follows {
                UNINSTALL.to_owned()
            } else {
                format!("keytool -delete -alias weir -keystore {}", store.display())
            };
            left("CA in a Java key store", store, fix);
        }
    }
    for database in places::databases(root) {
        if holds_ca(&database.join("cert9.db"), false) {
            let fix = format!("certutil -D -n weir -d sql:{}", database.display());
            left("CA in a user's NSS database", database, fix);
        }
    }
    for file in places::policies(root).into_iter().filter(|path| path.exists()) {
        left("browser policy", file, UNINSTALL.to_owned());
    }
    for file in places::variables(root).into_iter().filter(|path| path.exists()) {
        left("variables", file, UNINSTALL.to_owned());
    }
    let mut files: Vec<PathBuf> = FILES.iter().map(|path| below(root, path)).collect();
    files.push(site.state_dir.clone());
    files.extend(site.daemon_socket.parent().map(Path::to_path_buf));
    files.sort();
    files.dedup();
    for path in files.into_iter().filter(|path| fs::symlink_metadata(path).is_ok()) {
        let fix = format!("rm -r {}, once nothing there is needed any more", path.display());
        left("file", path, fix);
    }
    for pin in named(&below(root, PINS)) {
        let fix = format!("weir down, or rm -r {}", pin.display());
        left("pinned kernel program", pin, fix);
    }
    for cgroup in places::cgroup_root().iter().flat_map(|path| named(&below(root, path))) {
        let fix = format!("rmdir {}", cgroup.display());
        left("cgroup", cgroup, fix);
    }
    if found.is_empty() {
        found.push(Row::pass("leftovers", "none"));
    }
    found
}

/// Whether a file holds a certificate of ours: as text, or as it is.
fn holds_ca(path: &Path, pem: bool) -> bool {
    let Ok(content) = fs::read(path) else { return false };
    let is_ours = |bytes: &[u8]| memmem::find(bytes, NAME).is_some();
    if pem {
        CertificateDer::pem_slice_iter(&content).flatten().any(|found| is_ours(&found))
    } else {
        is_ours(&content)
    }
}

/// Entries of a directory with our name.
fn named(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let is_ours = |path: &PathBuf| {
        path.file_name().and_then(|name| name.to_str()).is_some_and(|name| {
            name == "weir" || name.starts_with("weir-") || name.starts_with("weir_")
        })
    };
    entries.map(|entry| entry.path()).filter(is_ours).collect()
}

#[cfg(test)]
mod tests {
    use super::super::Status;
    use super::*;
    use crate::clock::{Clock, System};
    use crate::downstream::ca::{Authority, PUBLIC_ROOT};

    #[test]
    fn everything_of_ours_is_found_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        let site = Site {
            state_dir: below(&root, "/var/lib/weir"),
            explicit_addr: "127.0.0.1:4180".parse().unwrap(),
            daemon_socket: below(&root, "/run/weir/weir.sock"),
            hosts: Vec::new(),
        };
        let put = |path: &str, content: &[u8]| {
            let path = below(&root, path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        };
        put("/etc/ssl/certs/ca-certificates.crt", b"# others\n");
        put("/etc/profile.d/others.sh", b"");
        put("/sys/fs/bpf/others", b"");
        let clean = rows(&root, &site);
        assert_eq!((clean.len(), clean[0].status), (1, Status::Pass), "{clean:?}");

        let authority = dir.path().join("ca");
        let now = System.now().wall;
        let ca = Authority::open_or_create(&authority, &["api.openai.com"], now).unwrap();
        let pem = fs::read(authority.join(PUBLIC_ROOT)).unwrap();
        put("/etc/ssl/certs/ca-certificates.crt", &pem);
        put("/usr/local/share/ca-certificates/weir.crt", &pem);
        put("/opt/jdk/lib/security/cacerts", &[b"x", &ca.root().certificate()[..]].concat());
        put("/etc/passwd", b"ada:x:0:0::/home/ada:/bin/sh\n");
        put("/home/ada/.pki/nssdb/cert9.db", ca.root().certificate());
        put("/etc/profile.d/weir.sh", b"");
        put("/etc/chromium/policies/managed/weir.json", b"{}");
        put("/var/lib/weir/ledger.db", b"");
        put("/sys/fs/bpf/weir_guard", b"");
        let found = rows(&root, &site);
        let named: Vec<_> = found.iter().map(|row| row.check.as_str()).collect();
        for what in [
            "CA in the system store",
            "CA among the system's anchors",
            "CA in a Java key store",
            "browser policy",
            "variables",
            "file",
            "pinned kernel program",
        ] {
            assert!(named.contains(&what), "{what}: {named:?}");
        }
        assert!(found.iter().all(|row| row.status == Status::Fail && row.fix.is_some()));
        // Owned by whoever runs the test, which is root where it matters.
        let by_root = rustix::process::geteuid().is_root();
        assert_eq!(named.contains(&"CA in a user's NSS database"), by_root);
    }
}
