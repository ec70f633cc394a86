//! One file of the journal. It holds whole lines only: what could not be written whole is cut off
//! again, so that a full disk leaves nothing a reader would trip over.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const SUFFIX: &str = "jsonl";

#[derive(Debug)]
pub(super) struct Segment {
    pub(super) number: u64,
    pub(super) file: Arc<File>,
    len: u64,
    /// The rest of a failed write could not be cut off; nothing may follow it.
    pub(super) torn: bool,
}

impl Segment {
    /// Creates the file, which must not exist.
    pub(super) fn create(dir: &Path, number: u64) -> io::Result<Self> {
        let file =
            OpenOptions::new().append(true).create_new(true).mode(0o600).open(path(dir, number))?;
        Ok(Self { number, file: Arc::new(file), len: 0, torn: false })
    }

    /// Appends whole lines, with one write(2) unless the kernel takes only part. Once it returns,
    /// they survive the death of this process.
    pub(super) fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        match (&*self.file).write_all(lines) {
            Ok(()) => {
                self.len += lines.len() as u64;
                Ok(())
            }
            Err(error) => {
                self.torn = self.file.set_len(self.len).is_err();
                Err(error)
            }
        }
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }
}

/// Where a segment lies.
pub(super) fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:06}.{SUFFIX}"))
}

/// Where the lines of a segment are kept that could not be read.
pub(super) fn corrupt_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:06}.corrupt"))
}

/// Numbers of the segments in a directory, in order.
pub(super) fn numbers(dir: &Path) -> io::Result<Vec<u64>> {
    let mut found = Vec::new();
    for entry in dir.read_dir()? {
        let path = entry?.path();
        if path.extension().is_some_and(|it| it == SUFFIX)
            && let Some(stem) = path.file_stem().and_then(|it| it.to_str())
            && let Ok(number) = stem.parse()
        {
            found.push(number);
        }
    }
    found.sort_unstable();
    Ok(found)
}
