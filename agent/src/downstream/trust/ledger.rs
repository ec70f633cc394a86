//! Every file that was touched to make the host trust the local CA, so that it can be undone
//! exactly: `STATE/trust-ledger.json`.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

const NAME: &str = "trust-ledger.json";

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
    /// The store it belongs to (`system`).
    pub store: String,
    /// SHA-256 of what was written, in hex.
    pub sha256: String,
    /// What was there before.
    pub previous: Option<String>,
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
        match fs::read(state_dir.join(NAME)) {
            Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes the ledger: before the host is touched, so that a crash leaves nothing unrecorded.
    pub fn save(&self, state_dir: &Path) -> io::Result<()> {
        let fresh = state_dir.join(format!(".{NAME}.new"));
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
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
        ledger.files.push(Touched {
            path: "/etc/x".into(),
            store: "system".to_owned(),
            sha256: "cd".to_owned(),
            previous: Some("before".to_owned()),
        });
        ledger.save(dir.path()).unwrap();
        assert_eq!(Ledger::load(dir.path()).unwrap(), Some(ledger));
        Ledger::delete(dir.path()).unwrap();
        Ledger::delete(dir.path()).unwrap();
        assert_eq!(Ledger::load(dir.path()).unwrap(), None);
    }
}
