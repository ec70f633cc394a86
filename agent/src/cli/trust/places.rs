//! Where installing may have left something: for those who look for leftovers.

use std::path::{Path, PathBuf};

pub(crate) use super::environment::files as variables;
pub(crate) use super::java::stores as key_stores;
pub(crate) use super::nss::policies;
pub(crate) use super::system::anchors;

/// Users' databases.
pub(crate) fn databases(root: &Path) -> Vec<PathBuf> {
    super::nss::databases(root).into_iter().map(|(path, _)| path).collect()
}

/// The directory of the cgroup hierarchy, by the format of proc(5) `mountinfo`.
pub(crate) fn cgroup_root() -> Option<String> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    mounts.lines().find_map(|line| {
        let (mount, filesystem) = line.split_once(" - ")?;
        (filesystem.split(' ').next() == Some("cgroup2"))
            .then(|| mount.split(' ').nth(4).map(str::to_owned))?
    })
}
