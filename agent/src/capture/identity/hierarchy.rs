//! From a cgroup's id, which is all the kernel half saves, to its path and back.
//!
//! The id of a cgroup v2 node is the inode of its directory and is never used again. Opening a
//! directory by inode takes a capability the agent does without, so an unknown id is searched for
//! from the root down; processes examined before have usually told the path already.

use std::collections::VecDeque;
use std::os::unix::fs::{DirEntryExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;

/// Most directories read in one search: a few milliseconds.
const SEARCH: usize = 2048;

/// Cgroups remembered.
const REMEMBERED: u64 = 4096;

/// The unified cgroup tree.
#[derive(Debug)]
pub(super) struct Hierarchy {
    root: Option<PathBuf>,
    paths: Cache<u64, Arc<str>>,
    missing: Cache<u64, ()>,
}

impl Hierarchy {
    /// Finds where the tree is mounted.
    pub(super) fn mounted() -> Self {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        Self::at(mount_point(&mounts))
    }

    fn at(root: Option<PathBuf>) -> Self {
        Self {
            root,
            paths: Cache::new(REMEMBERED),
            missing: Cache::builder()
                .max_capacity(REMEMBERED)
                .time_to_live(Duration::from_mins(1))
                .build(),
        }
    }

    /// Where the tree is mounted.
    pub(super) fn root(&self) -> Option<&Path> {
        self.root.as_deref()
    }

    /// Path of cgroup `id` below the root, starting with `/`.
    pub(super) fn path(&self, id: u64) -> Option<Arc<str>> {
        if let Some(path) = self.paths.get(&id) {
            return Some(path);
        }
        if self.missing.contains_key(&id) {
            return None;
        }
        let found = self.root().and_then(|root| search(root, id));
        match &found {
            Some(path) => self.paths.insert(id, Arc::clone(path)),
            None => self.missing.insert(id, ()),
        }
        found
    }

    /// Whether `path` is cgroup `id`; then it is remembered.
    pub(super) fn confirm(&self, id: u64, path: &str) -> bool {
        if self.paths.get(&id).is_some_and(|known| &*known == path) {
            return true;
        }
        let Some(root) = self.root() else { return false };
        let dir = root.join(path.trim_start_matches('/'));
        let same = std::fs::metadata(dir).is_ok_and(|meta| meta.ino() == id);
        if same {
            self.paths.insert(id, path.into());
        }
        same
    }
}

/// Breadth first: units stand near the root.
fn search(root: &Path, id: u64) -> Option<Arc<str>> {
    let mut waiting = VecDeque::from([root.to_owned()]);
    for _ in 0..SEARCH {
        let Ok(entries) = std::fs::read_dir(waiting.pop_front()?) else { continue };
        for entry in entries.flatten() {
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            let path = entry.path();
            if entry.ino() == id {
                let below = path.strip_prefix(root).ok()?;
                return Some(format!("/{}", below.display()).into());
            }
            waiting.push_back(path);
        }
    }
    None
}

/// The mount point of the first whole cgroup2 tree in `mountinfo`.
fn mount_point(mounts: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let (mount, filesystem) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        (filesystem.starts_with("cgroup2 ") && root == "/").then(|| PathBuf::from(point))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_is_found_wherever_it_is() {
        let hybrid = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
            40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n\
            41 31 0:38 /docker/x /mnt rw - cgroup2 cgroup2 rw\n\
            41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw\n";
        assert_eq!(mount_point(hybrid), Some("/sys/fs/cgroup/unified".into()));
        assert_eq!(mount_point("1 2 0:3 / / rw - ext4 /dev/sda rw\n\nx\n"), None);
    }

    #[test]
    fn ids_lead_to_paths() {
        let root = tempfile::tempdir().unwrap();
        let unit = root.path().join("system.slice/a.service");
        std::fs::create_dir_all(&unit).unwrap();
        let id = std::fs::metadata(&unit).unwrap().ino();
        let tree = Hierarchy::at(Some(root.path().to_owned()));
        assert_eq!(tree.path(id).as_deref(), Some("/system.slice/a.service"));
        // Still known when it is gone, which is when it is asked for.
        std::fs::remove_dir(&unit).unwrap();
        assert_eq!(tree.path(id).as_deref(), Some("/system.slice/a.service"));
        assert_eq!(tree.path(u64::MAX), None);
        assert_eq!(Hierarchy::at(None).path(id), None);
    }

    #[test]
    fn a_path_is_believed_only_with_its_inode() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("a")).unwrap();
        let id = std::fs::metadata(root.path().join("a")).unwrap().ino();
        let tree = Hierarchy::at(Some(root.path().to_owned()));
        assert!(!tree.confirm(id + 1, "/a"));
        assert!(tree.confirm(id, "/a"));
        assert!(!tree.confirm(id, "/b"));
        std::fs::remove_dir(root.path().join("a")).unwrap();
        assert_eq!(tree.path(id).as_deref(), Some("/a"));
    }
}
