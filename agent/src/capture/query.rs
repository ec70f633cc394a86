//! Asks the kernel which programs sit at a cgroup's hook: who is in our way, and whether we are
//! there already. The loader has no call for it.
#![expect(unsafe_code, reason = "bpf(2) has no safe wrapper for BPF_PROG_QUERY")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use aya::programs::loaded_programs;

/// A hook of a cgroup, by its number in the kernel's `enum bpf_attach_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Hook {
    SkbIngress = 0,
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
