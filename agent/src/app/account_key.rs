//! The key under which accounts are known: made once per installation, so that an account keeps
//! its name, and nobody else's table of hashes fits.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::pipeline::accounts::Accounts;

/// Bytes of the key.
const LENGTH: usize = 32;

/// Reads the key from the state directory, or makes it. Where it cannot be kept, accounts have
/// other names after the next start.
pub(super) fn keep(state_dir: &Path, accounts: &Accounts) {
    match read_or_create(&state_dir.join("account-key")) {
        Ok(key) => accounts.set_key(&key),
        Err(error) => tracing::warn!(%error, "names of accounts change with the next start"),
    }
}

fn read_or_create(path: &Path) -> io::Result<Vec<u8>> {
    match fs::read(path) {
        Ok(key) if key.len() == LENGTH => return Ok(key),
        // Cut short by a full disk: it was never of use.
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let mut key = vec![0; LENGTH];
    aws_lc_rs::rand::fill(&mut key).map_err(|_| io::Error::other("no randomness"))?;
    let next = path.with_extension("new");
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&next)?;
    file.write_all(&key)?;
    file.sync_all()?;
    fs::rename(&next, path)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_key_is_made_once_and_private() {
        let dir = tempfile::TempDir::new().unwrap();
        let path = dir.path().join("account-key");
        let key = read_or_create(&path).unwrap();
        assert_eq!(key.len(), LENGTH);
        assert_eq!(read_or_create(&path).unwrap(), key);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(&path, b"short").unwrap();
        assert_ne!(read_or_create(&path).unwrap(), key);
    }
}
