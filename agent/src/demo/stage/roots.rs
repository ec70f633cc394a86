//! The system's trusted roots on the stage: the host's own and a few more, seen only here.
//!
//! This is what `weir trust install` does to a real system, without touching it.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::mount::mount_bind;

use super::scratch::unique;

/// Debian's, Ubuntu's, Arch's directory: one bundle file, and links named by subject hash, which
/// is what OpenSSL's default lookup reads.
const DIRECTORY: &str = "/etc/ssl/certs";
/// The bundle files of other distributions.
const BUNDLES: [&str; 4] = [
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/var/lib/ca-certificates/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Adds `pems` to every bundle found.
pub(super) fn add(pems: &[&str], scratch: &Path) -> io::Result<()> {
    let mut found = false;
    let directory = fs::canonicalize(DIRECTORY).ok();
    if let Some(directory) = directory.as_deref().filter(|d| d.join(BUNDLE_NAME).is_file()) {
        let copy = copy_directory(directory, scratch)?;
        extend(&copy.join(BUNDLE_NAME), pems)?;
        for (index, pem) in pems.iter().enumerate() {
            link_by_hash(&copy, &format!("{}-{index}.pem", unique("weir-stage")), pem)?;
        }
        mount_bind(&copy, directory)?;
        found = true;
    }
    for bundle in BUNDLES {
        // Several of these are links to one file, or into the directory above.
        let Ok(real) = fs::canonicalize(bundle) else { continue };
        if directory.as_deref().is_some_and(|directory| real.starts_with(directory)) {
            continue;
        }
        let copy = scratch.join(unique("bundle"));
        fs::copy(&real, &copy)?;
        extend(&copy, pems)?;
        mount_bind(&copy, &real)?;
        found = true;
    }
    if found {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::NotFound, "no CA bundle found: install ca-certificates"))
}

const BUNDLE_NAME: &str = "ca-certificates.crt";

fn copy_directory(from: &Path, scratch: &Path) -> io::Result<PathBuf> {
    let to = scratch.join(unique("certs"));
    copy_into(from, &to)?;
    Ok(to)
}

/// With what lies below: Java's store is there.
fn copy_into(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(entry.path())?, target)?;
        } else if kind.is_file() {
            fs::copy(entry.path(), target)?;
        } else if kind.is_dir() {
            copy_into(&entry.path(), &target)?;
        }
    }
    Ok(())
}

fn extend(bundle: &Path, pems: &[&str]) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().append(true).open(bundle)?;
    for pem in pems {
        write!(file, "\n{}\n", pem.trim())?;
    }
    Ok(())
}

/// Without `openssl` only the bundle counts: enough for curl, Go, Node and current Pythons.
fn link_by_hash(directory: &Path, name: &str, pem: &str) -> io::Result<()> {
    let file = directory.join(name);
    fs::write(&file, pem)?;
    let hash = Command::new("openssl").args(["x509", "-noout", "-hash", "-in"]).arg(&file).output();
    let Ok(hash) = hash else { return Ok(()) };
    let hash = String::from_utf8_lossy(&hash.stdout);
    // `.0` may be taken by another certificate with the same hash.
    for index in 0..10 {
        let link = directory.join(format!("{}.{index}", hash.trim()));
        match std::os::unix::fs::symlink(name, link) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            done => return done,
        }
    }
    Ok(())
}
