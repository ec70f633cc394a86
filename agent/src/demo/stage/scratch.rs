//! A private directory that goes when it is dropped.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// The directory; removed with all it holds.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// Makes one in the system's temporary directory.
    pub fn create(name: &str) -> io::Result<Self> {
        let path = std::env::temp_dir().join(unique(name));
        // Fails if it exists: nobody else can have prepared what we write into.
        fs::DirBuilder::new().mode(0o755).create(&path)?;
        Ok(Self(path))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed is in a temporary directory anyway.
        drop(fs::remove_dir_all(&self.0));
    }
}

/// A name that no other process, and no other call in this one, uses at the same time.
pub(super) fn unique(name: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let serial = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{name}-{}-{serial}", std::process::id())
}
