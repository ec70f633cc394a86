//! Child cgroups: what the kernel half is attached to, so that the rest of the host stays out.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::{cgroup_mount, scratch::unique};

/// How often, and how far apart, removal is tried: a killed process leaves its cgroup only once
/// its parent or init has reaped it.
const TRIES: u32 = 100;
const PAUSE: Duration = Duration::from_millis(10);

/// A cgroup of ours; dropped, it ends the processes still in it and goes.
#[derive(Debug)]
pub struct Cgroup(PathBuf);

impl Cgroup {
    /// Makes a cgroup directly under the cgroup2 mount.
    pub fn create(name: &str) -> io::Result<Self> {
        let path = cgroup_mount()?.join(unique(name));
        fs::create_dir(&path)?;
        Ok(Self(path))
    }

    /// Makes a cgroup inside this one. Drop it first.
    pub fn child(&self, name: &str) -> io::Result<Self> {
        let path = self.0.join(name);
        fs::create_dir(&path)?;
        Ok(Self(path))
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// A command that is in the cgroup from its first instruction on: a shell joins and becomes
    /// the program, so there is no moment in which the program runs outside.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", "echo $$ >\"$0/cgroup.procs\" && exec \"$@\""])
            .arg(&self.0)
            .arg(program);
        command
    }

    /// The processes in it, not those of its children.
    pub fn processes(&self) -> Vec<u32> {
        let list = fs::read_to_string(self.0.join("cgroup.procs")).unwrap_or_default();
        list.lines().filter_map(|pid| pid.parse().ok()).collect()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        for _ in 0..TRIES {
            for pid in self.processes() {
                let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { continue };
                // It may have ended meanwhile.
                kill_process(pid, Signal::KILL).ok();
            }
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(PAUSE);
        }
    }
}

/// The cgroup2 mount in `/proc/…/mountinfo`, also on hybrid hosts where it is not at the top.
pub(super) fn mount_point(mountinfo: &str) -> Option<PathBuf> {
    mountinfo.lines().find_map(|line| {
        let (mount, filesystem) = line.split_once(" - ")?;
        let is_cgroup2 = filesystem.split(' ').next() == Some("cgroup2");
        is_cgroup2.then(|| mount.split(' ').nth(4).map(PathBuf::from)).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_mount_on_unified_and_hybrid_hosts() {
        let unified = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw";
        let hybrid = "31 30 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                      32 30 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw";
        assert_eq!(mount_point(unified), Some("/sys/fs/cgroup".into()));
        assert_eq!(mount_point(hybrid), Some("/sys/fs/cgroup/unified".into()));
        assert_eq!(mount_point("22 1 8:1 / / rw - ext4 /dev/sda1 rw"), None);
    }
}
