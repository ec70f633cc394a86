//! New network and mount namespaces for the calling thread.
#![expect(unsafe_code, reason = "unshare(2) has no safe wrapper: it is unsafe for CLONE_FILES")]

use std::io;

use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::thread::{UnshareFlags, unshare_unsafe};

/// Enters them. Mounts made from here on stay here.
pub(super) fn enter() -> io::Result<()> {
    // SAFETY: the file descriptor table stays shared (no `FILES`), which is the one hazard the
    // wrapper is marked for.
    unsafe { unshare_unsafe(UnshareFlags::NEWNET | UnshareFlags::NEWNS) }?;
    // systemd mounts everything shared: without this our mounts would appear on the host.
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    Ok(())
}
