//! Every file that was touched to make the host trust the local CA, so that it can be undone
//! exactly: `STATE/trust-ledger.json`.
//!
//! Root undoes what it says, in a directory that is the daemon's: so it stays root's, and one that somebody
//! else wrote is not believed. The daemon reads in it since when the CA is trusted.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::downstream::ca::hex;

/// Its file's name.
pub const NAME: &str = "trust-ledger.json";

/// What was done to this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// Format of this file.
    pub version: u32,
    /// SHA-256 of the root that was installed, in hex.
    pub fingerprint: String,
    /// When it was.
    pub installed_at: Timestamp,
    /// Directories that were made, outermost first.
    pub directories: Vec<PathBuf>,
    /// Files that were written.
    pub files: Vec<Touched>,
}

/// One file that was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Touched {
    /// Where.
    pub path: PathBuf,
    /// The store it belongs to: `system`, `java`, `nss`, `env`.
    pub store: String,
    /// SHA-256 of what was written, in hex.
    pub sha256: String,
    /// What was there before, where that was text.
    pub previous: Option<String>,
    /// What was there before, in base64, where that was no text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_base64: Option<String>,
    /// What was written, where that is text: its lines can be told from others'.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written: Option<String>,
    /// User and group in whose name it was written, where that is not root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<(u32, u32)>,
}

impl Touched {
    /// A file that is about to be written with `content`, in the name of `owner`.
    pub fn new(
        path: &Path,
        store: &str,
        (previous, content): (Option<&[u8]>, &[u8]),
        owner: Option<(u32, u32)>,
    ) -> Self {
        let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(str::to_owned);
        let before = previous.and_then(text);
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, content);
        Self {
            path: path.to_owned(),
            store: store.to_owned(),
            sha256: hex(digest.as_ref()),
            previous_base64: previous.filter(|_| before.is_none()).map(|it| BASE64.encode(it)),
            previous: before,
            written: text(content),
            owner,
        }
    }

    /// What was there before; `None` where nothing was.
    pub fn before(&self) -> Option<Vec<u8>> {
        let bytes = self.previous_base64.as_ref().and_then(|text| BASE64.decode(text).ok());
        bytes.or_else(|| self.previous.clone().map(String::into_bytes))
    }
}

impl Ledger {
    /// A ledger with nothing in it yet.
    pub fn new(fingerprint: &str, installed_at: Timestamp) -> Self {
        Self {
            version: 1,
            fingerprint: fingerprint.to_owned(),
            installed_at,
            directories: Vec::new(),
            files: Vec::new(),
        }
    }

    /// The host's ledger; `None` where nothing is installed.
    pub fn load(state_dir: &Path) -> io::Result<Option<Self>> {
        let path = state_dir.join(NAME);
        let flags = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or_default();
        let mut file = match OpenOptions::new().read(true).custom_flags(flags).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let owner = file.metadata()?.uid();
        if owner != 0 && owner != rustix::process::geteuid().as_raw() {
            let what = format!(
                "{} belongs to user id {owner}, so it may say anything; where you know what it says: \
                 chown 0 {0}",
                path.display()
            );
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        let mut text = Vec::new();
        file.read_to_end(&mut text)?;
        Ok(Some(serde_json::from_slice(&text)?))
    }

    /// Writes the ledger: before the host is touched, so that a crash leaves nothing unrecorded.
    pub fn save(&self, state_dir: &Path) -> io::Result<()> {
        let fresh = state_dir.join(format!(".{NAME}.new"));
        // Of an earlier run that was cut short, or put there by somebody: never written through.
        match fs::remove_file(&fresh) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
        if rustix::process::geteuid().is_root() {
            fchown(&file, Some(0), Some(fs::metadata(state_dir)?.gid()))?;
        }
        file.set_permissions(Permissions::from_mode(0o640))?;
        serde_json::to_writer_pretty(&mut file, self)?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        fs::rename(&fresh, state_dir.join(NAME))
    }

    /// Deletes the ledger: nothing is installed any more.
    pub fn delete(state_dir: &Path) -> io::Result<()> {
        match fs::remove_file(state_dir.join(NAME)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_saved_is_loaded() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Ledger::load(dir.path()).unwrap(), None);
        let mut ledger = Ledger::new("ab", "2026-01-02T03:04:05Z".parse().unwrap());
        let (x, y) = (Path::new("/etc/x"), Path::new("/etc/y"));
        ledger.files.push(Touched::new(x, "system", (Some(b"before"), b"after"), None));
        ledger.files.push(Touched::new(y, "java", (Some(b"\xfe\xff"), b"\xff"), Some((5, 6))));
        assert_eq!(ledger.files[0].before().unwrap(), b"before");
        assert_eq!(ledger.files[1].before().unwrap(), b"\xfe\xff");
        ledger.save(dir.path()).unwrap();
        assert_eq!(Ledger::load(dir.path()).unwrap(), Some(ledger));
        Ledger::delete(dir.path()).unwrap();
        Ledger::delete(dir.path()).unwrap();
        assert_eq!(Ledger::load(dir.path()).unwrap(), None);
    }

    #[test]
    fn it_stays_roots_and_the_daemon_may_read_it() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        fchown(fs::File::open(dir.path()).unwrap(), Some(65_534), Some(65_533)).unwrap();
        let target = dir.path().join("precious");
        fs::write(&target, "x").unwrap();
        std::os::unix::fs::symlink(&target, dir.path().join(format!(".{NAME}.new"))).unwrap();
        Ledger::new("ab", "2026-01-02T03:04:05Z".parse().unwrap()).save(dir.path()).unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "x", "nothing is written through a link");
        let path = dir.path().join(NAME);
        let found = fs::metadata(&path).unwrap();
        assert_eq!((found.uid(), found.gid(), found.mode() & 0o777), (0, 65_533, 0o640));
        assert!(Ledger::load(dir.path()).unwrap().is_some());
        fchown(fs::File::open(&path).unwrap(), Some(65_534), None).unwrap();
        let refused = Ledger::load(dir.path()).unwrap_err().to_string();
        assert!(refused.contains("belongs to user id 65534"), "{refused}");
    }

    #[test]
    fn ledgers_of_earlier_releases_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let text = r#"{"version":1,"fingerprint":"ab","installed_at":"2026-01-02T03:04:05Z",
            "directories":[],"files":[{"path":"/x","store":"system","sha256":"c","previous":"p"}]}"#;
        fs::write(dir.path().join(NAME), text).unwrap();
        let ledger = Ledger::load(dir.path()).unwrap().unwrap();
        assert_eq!(ledger.files[0].before().unwrap(), b"p");
    }
}
