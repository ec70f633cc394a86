//! Asks the kernel which programs sit at a cgroup's hook: who is in our way, and whether we are
//! there already. The loader has no call for it.
#![expect(unsafe_code, reason = "bpf(2) has no safe wrapper for BPF_PROG_QUERY")]

use std::fmt;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::Path;

use aya::programs::loaded_programs;

/// A hook of a cgroup, by its number in the kernel's `enum bpf_attach_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Hook {
    SkbIngress = 0,
    SkbEgress = 1,
    SockOps = 3,
    Connect4 = 10,
    Connect6 = 11,
    Sendmsg4 = 14,
    Sendmsg6 = 15,
    Peername4 = 29,
    Peername6 = 30,
}

/// Which programs to list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Scope {
    /// Those attached to this very cgroup.
    Attached = 0,
    /// Those that run for its processes: its own and those of its ancestors.
    Effective = 1,
}

/// Number of `BPF_PROG_QUERY` in the kernel's `enum bpf_cmd`.
const BPF_PROG_QUERY: libc::c_long = 16;
/// Most open files of one process that are looked at.
const MOST_FILES: usize = 16_384;
/// More programs than the kernel lets be attached to one hook of a cgroup.
const MOST: usize = 64;

/// The part of the kernel's `union bpf_attr` that this command reads and writes.
#[repr(C)]
#[derive(Default)]
struct Attr {
    target_fd: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    prog_cnt: u32,
    pad: u32,
}

/// Ids and names of the programs at `hook` of `cgroup`. Names hold at most 15 bytes, and are empty
/// where the kernel would not tell.
pub(super) fn programs(
    cgroup: BorrowedFd<'_>,
    hook: Hook,
    scope: Scope,
) -> io::Result<Vec<(u32, String)>> {
    let mut ids = [0_u32; MOST];
    let mut attr = Attr {
        target_fd: cgroup.as_raw_fd().unsigned_abs(),
        attach_type: hook as u32,
        query_flags: scope as u32,
        prog_ids: ids.as_mut_ptr() as u64,
        prog_cnt: u32::try_from(MOST).unwrap_or(u32::MAX),
        ..Attr::default()
    };
    // SAFETY: the kernel writes at most `prog_cnt` ids to `prog_ids`, and the count back into
    // `attr`, whose size it is told; both outlive the call.
    let done =
        unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_QUERY, &raw mut attr, size_of::<Attr>()) };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    let found = ids.get(..attr.prog_cnt as usize).unwrap_or(&ids);
    let mut programs: Vec<_> = found.iter().map(|id| (*id, String::new())).collect();
    for info in loaded_programs().filter_map(Result::ok) {
        if let Some((_, name)) = programs.iter_mut().find(|(id, _)| *id == info.id()) {
            *name = String::from_utf8_lossy(info.name()).into_owned();
        }
    }
    Ok(programs)
}

/// Who holds the link of a program, as `NAME (pid N)`. Names of programs take `CAP_SYS_ADMIN`; what
/// is said of a descriptor in `/proc` takes no more than looking into its process.
pub(super) fn owner(id: u32) -> Option<Owner> {
    fs::read_dir("/proc").ok()?.flatten().find_map(|process| {
        let pid: u32 = process.file_name().to_str()?.parse().ok()?;
        let files = fs::read_dir(process.path().join("fd")).ok()?;
        let holds = files.flatten().take(MOST_FILES).any(|file| {
            fs::read_link(file.path()).is_ok_and(|to| is_program(&to))
                && fs::read_to_string(process.path().join("fdinfo").join(file.file_name()))
                    .is_ok_and(|info| is_about(&info, id))
        });
        holds.then(|| Owner {
            name: fs::read_to_string(process.path().join("comm"))
                .unwrap_or_default()
                .trim()
                .to_owned(),
            pid,
        })
    })
}

/// A process that holds a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) name: String,
    pub(super) pid: u32,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (pid {})", self.name, self.pid)
    }
}

fn is_program(descriptor: &Path) -> bool {
    descriptor.to_str().is_some_and(|to| to.starts_with("anon_inode:") && to.contains("bpf"))
}

/// By the format of `/proc/PID/fdinfo/N`.
fn is_about(info: &str, id: u32) -> bool {
    let told = info.lines().find_map(|line| line.strip_prefix("prog_id:"));
    told.is_some_and(|told| told.trim().parse() == Ok(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_of_programs_are_told_by_what_the_kernel_says_of_them() {
        assert!(is_program(Path::new("anon_inode:bpf_link")));
        assert!(is_program(Path::new("anon_inode:[bpf-prog]")));
        assert!(!is_program(Path::new("/usr/bin/bpftool")));
        let info = "pos:\t0\nlink_type:\tcgroup\nlink_id:\t3\nprog_id:\t47\n";
        assert!(is_about(info, 47) && !is_about(info, 4) && !is_about("pos:\t0\n", 0));
    }
}
