//! The process that has a socket among its open files.

use std::os::unix::fs::MetadataExt;

use rustix::fd::OwnedFd;
use rustix::fs::{Dir, Mode, OFlags, open, readlinkat_raw};

/// Most open files looked at in one search, in all processes together: some tens of milliseconds.
const FILES: usize = 200_000;

/// The one of `pids` that holds socket `inode`.
pub(super) fn among(pids: impl IntoIterator<Item = u32>, inode: u64) -> Option<u32> {
    let mut budget = FILES;
    pids.into_iter().find(|&pid| holds(pid, inode, &mut budget))
}

/// The process that holds socket `inode`, created by `uid`: first those running as this user, the
/// youngest first, for who has just connected has often just started.
pub(super) fn of(inode: u64, uid: u32) -> Option<u32> {
    // An inode of 0 says that no process has the socket any more.
    if inode == 0 {
        return None;
    }
    let mut processes: Vec<(bool, u32)> = std::fs::read_dir("/proc")
        .ok()?
        .flatten()
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            // `/proc/PID` belongs to the process's effective user.
            let other = entry.metadata().is_ok_and(|meta| meta.uid() != uid);
            Some((other, pid))
        })
        .collect();
    processes.sort_by_key(|&(other, pid)| (other, std::cmp::Reverse(pid)));
    among(processes.into_iter().map(|(_, pid)| pid), inode)
}

fn holds(pid: u32, inode: u64, budget: &mut usize) -> bool {
    let Some(dir) = open_files(pid) else { return false };
    let Ok(entries) = Dir::read_from(&dir) else { return false };
    let wanted = format!("socket:[{inode}]");
    for entry in entries.flatten() {
        if *budget == 0 {
            return false;
        }
        *budget -= 1;
        let mut target = [0; 64];
        let length = readlinkat_raw(&dir, entry.file_name(), &mut target[..]);
        if length.is_ok_and(|length| &target[..length] == wanted.as_bytes()) {
            return true;
        }
    }
    false
}

fn open_files(pid: u32) -> Option<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    open(format!("/proc/{pid}/fd"), flags, Mode::empty()).ok()
}
