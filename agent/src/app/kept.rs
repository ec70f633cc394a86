//! What was said on the command line and outlives a restart, until the file says something new.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Something said on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept<T> {
    /// What was said.
    // What the mode's file called it at first.
    #[serde(alias = "mode")]
    pub(super) said: T,
    /// What the file said then.
    pub(super) file: T,
}

impl<T: Copy + PartialEq> Kept<T> {
    /// What was said, where the file still says what it said then.
    pub(super) fn holds(self, file: T) -> Option<T> {
        (self.file == file).then_some(self.said)
    }
}

/// What is kept in a file; `None` where there is none, or where it is damaged: then the
/// configuration holds, as it would without it.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    let text = fs::read(path).ok()?;
    let read = serde_json::from_slice(&text);
    if let Err(error) = &read {
        tracing::warn!(%error, path = %path.display(), "not readable: the configuration holds");
    }
    read.ok()
}

/// Replaces a file by another whole one: a crash leaves the old or the new. Only the agent's own user
/// may read it, as it can name what others run.
pub(super) fn write<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    let next = path.with_extension("json.new");
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&next)?;
    file.write_all(&serde_json::to_vec(value)?)?;
    // Before the rename, which may otherwise reach the disk first and leave an empty file.
    file.sync_all()?;
    fs::rename(&next, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_holds_until_the_file_says_something_new() {
        let kept = Kept { said: "shadow", file: "enforce" };
        assert_eq!(kept.holds("enforce"), Some("shadow"));
        for file in ["off", "shadow"] {
            assert_eq!(kept.holds(file), None);
        }
    }

    #[test]
    fn files_come_back_and_damaged_ones_count_as_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mode.json");
        assert_eq!(read::<Kept<u8>>(&path), None);
        write(&path, &Kept { said: 1, file: 2 }).unwrap();
        assert_eq!(read(&path), Some(Kept { said: 1, file: 2 }));
        fs::write(&path, r#"{"mode": 3, "file": 4}"#).unwrap();
        assert_eq!(read(&path), Some(Kept { said: 3, file: 4 }));
        fs::write(&path, r#"{"said": 3"#).unwrap();
        assert_eq!(read::<Kept<u8>>(&path), None);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");
    }
}
