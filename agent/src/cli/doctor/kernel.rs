//! What the kernel offers.

use std::path::Path;

use super::Row;
use crate::capture::helper::confine;

/// The oldest kernel the programs are made for.
const MINIMUM: (u32, u32) = (5, 15);

const EXPLICIT: &str = "without it only the explicit proxy and base URLs are metered";

/// The checks.
pub(super) fn rows(root: &Path) -> Vec<Row> {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap_or_default();
    vec![
        version(&release),
        types(root),
        cgroup(&read("proc/self/mountinfo")),
        capabilities(&read("proc/self/status")),
    ]
}

fn version(release: &str) -> Row {
    let mut parts = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    match (parts.next(), parts.next()) {
        (Some(Ok(major)), Some(Ok(minor))) if (major, minor) >= MINIMUM => {
            Row::pass("kernel", release)
        }
        _ => Row::warn(
            "kernel",
            format!("{release} is older than {}.{}", MINIMUM.0, MINIMUM.1),
            format!("use a newer kernel; {EXPLICIT}"),
        ),
    }
}

fn types(root: &Path) -> Row {
    if root.join("sys/kernel/btf/vmlinux").exists() {
        Row::pass("kernel types", "BTF is there")
    } else {
        Row::warn(
            "kernel types",
            "no /sys/kernel/btf/vmlinux",
            format!("use a kernel built with CONFIG_DEBUG_INFO_BTF; {EXPLICIT}"),
        )
    }
}

/// Where cgroup v2 is mounted, by the format of proc(5) `mountinfo`.
fn cgroup(mounts: &str) -> Row {
    let mounted = mounts.lines().find_map(|line| {
        let (mount, filesystem) = line.split_once(" - ")?;
        (filesystem.split(' ').next() == Some("cgroup2")).then(|| mount.split(' ').nth(4))?
    });
    match mounted {
        Some("/sys/fs/cgroup") => Row::pass("cgroup v2", "/sys/fs/cgroup"),
        Some(path) => Row::pass("cgroup v2", format!("{path} (beside version 1)")),
        None => Row::warn(
            "cgroup v2",
            "not mounted: nothing to attach the programs to",
            format!("mount it: `mount -t cgroup2 none /sys/fs/cgroup`; {EXPLICIT}"),
        ),
    }
}

/// The capabilities of this process, by the format of proc(5) `status`.
fn capabilities(status: &str) -> Row {
    let held = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or(0);
    let missing: Vec<_> = confine::HELPER
        .iter()
        .filter(|(capability, ..)| held & capability.bits() == 0)
        .map(|(_, name, purpose)| format!("{name} ({purpose})"))
        .collect();
    if missing.is_empty() {
        Row::pass("capabilities", "all there")
    } else {
        Row::warn(
            "capabilities",
            format!("this user lacks {}", missing.join(", ")),
            format!("run the daemon as a service or as root; {EXPLICIT}"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::Status;
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        for good in ["5.15.0-91-generic", "6.1.0", "6.18.44", "10.0-rc1"] {
            assert_eq!(version(good).status, Status::Pass, "{good}");
        }
        for old in ["5.4.0", "4.19.0-26-amd64", "5.9", "odd"] {
            assert_eq!(version(old).status, Status::Warn, "{old}");
        }
    }

    #[test]
    fn cgroup_v2_is_found_alone_and_beside_version_1() {
        let line = "29 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n";
        assert_eq!(cgroup(line).detail, "/sys/fs/cgroup");
        let hybrid = "30 25 0:27 / /sys/fs/cgroup/unified rw - cgroup2 none rw\n";
        assert!(cgroup(hybrid).detail.contains("unified"));
        let old = "31 25 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
        assert_eq!(cgroup(old).status, Status::Warn);
    }

    #[test]
    fn missing_capabilities_are_named() {
        assert_eq!(capabilities("CapEff:\t000001ffffffffff\n").status, Status::Pass);
        let row = capabilities("CapEff:\t0000000000001000\n");
        assert!(row.detail.contains("CAP_BPF") && !row.detail.contains("NET_ADMIN"), "{row:?}");
    }
}
