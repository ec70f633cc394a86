//! Finds the cgroup v2 hierarchy and our own place in it.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Inode of the root of the hierarchy. A mount that shows another inode at its top belongs to a
/// cgroup namespace: whoever attaches there captures that part of the host only.
const ROOT_INODE: u64 = 1;

/// Where the cgroup v2 hierarchy is mounted: `/sys/fs/cgroup`, or beside version 1 on hybrid hosts.
pub(super) fn mount() -> io::Result<Option<PathBuf>> {
    Ok(find_mount(&fs::read_to_string("/proc/self/mounts")?, "cgroup2"))
}

/// Whether `path` is the root of the host's hierarchy.
pub(super) fn is_host_root(path: &Path) -> io::Result<bool> {
    Ok(fs::metadata(path)?.ino() == ROOT_INODE)
}

/// Whether this process is in `cgroup` or below it.
pub(super) fn is_inside(cgroup: &Path) -> io::Result<bool> {
    let Some(mount) = mount()? else { return Ok(false) };
    let cgroups = fs::read_to_string("/proc/self/cgroup")?;
    let Some(own) = own_path(&cgroups) else { return Ok(false) };
    Ok(mount.join(own).starts_with(cgroup.canonicalize()?))
}

/// Where a file system of this kind is mounted, by the format of proc(5) `mounts`.
pub(super) fn find_mount(mounts: &str, kind: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ');
        let path = fields.nth(1)?;
        (fields.next()? == kind).then(|| unescape(path))
    })
}

/// Undoes the octal escapes (`\040` for a space) of proc(5) mounts.
fn unescape(field: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes();
    while let [first, tail @ ..] = rest {
        match tail {
            [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..] if *first == b'\\' => {
                bytes.push(((a - b'0') << 6) | ((b - b'0') << 3) | (c - b'0'));
                rest = after;
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

fn own_path(cgroups: &str) -> Option<&str> {
    cgroups.lines().find_map(|line| line.strip_prefix("0::/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_mount_on_unified_and_hybrid_hosts() {
        let unified = "proc /proc proc rw 0 0\ncgroup2 /sys/fs/cgroup cgroup2 rw,nsdelegate 0 0\n";
        assert_eq!(find_mount(unified, "cgroup2"), Some(PathBuf::from("/sys/fs/cgroup")));
        let hybrid = "tmpfs /sys/fs/cgroup tmpfs ro 0 0\n\
                      cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\n\
                      cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        assert_eq!(find_mount(hybrid, "cgroup2"), Some(PathBuf::from("/sys/fs/cgroup/unified")));
        assert_eq!(find_mount("cgroup /sys/fs/cgroup/memory cgroup rw 0 0\n", "cgroup2"), None);
    }

    #[test]
    fn mount_points_are_unescaped() {
        let odd = "cgroup2 /mnt/a\\040b\\134c cgroup2 rw 0 0\n";
        assert_eq!(find_mount(odd, "cgroup2"), Some(PathBuf::from("/mnt/a b\\c")));
    }

    #[test]
    fn own_path_is_the_line_of_version_2() {
        assert_eq!(
            own_path("4:memory:/x\n0::/system.slice/weir.service\n"),
            Some("system.slice/weir.service")
        );
        assert_eq!(own_path("4:memory:/x\n"), None);
    }
}
