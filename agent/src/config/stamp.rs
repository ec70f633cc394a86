//! What the configuration's files look like from outside: enough to tell that one has changed.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::Paths;

/// The files that are read, or would be, each with what tells one content from another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp(Vec<(PathBuf, Look)>);

/// Device, inode, length, and the times of the last change of content and of anything at all.
type Look = [i64; 7];

impl Stamp {
    /// Looks at the main file, the drop-ins and all overlays of environments.
    pub fn of(paths: &Paths) -> Self {
        let mut unread = Vec::new();
        let mut files = vec![paths.config.clone()];
        for directory in [paths.conf_d(), paths.overlays()] {
            files.extend(super::drop_ins(&directory, &mut unread));
        }
        let seen = files.into_iter().filter_map(|path| {
            let look = look(&path)?;
            Some((path, look))
        });
        Self(seen.collect())
    }
}

fn look(path: &Path) -> Option<Look> {
    let meta = std::fs::metadata(path).ok()?;
    Some([
        meta.dev().cast_signed(),
        meta.ino().cast_signed(),
        meta.len().cast_signed(),
        meta.mtime(),
        meta.mtime_nsec(),
        meta.ctime(),
        meta.ctime_nsec(),
    ])
}
