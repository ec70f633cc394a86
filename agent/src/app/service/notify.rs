//! What the service manager is told. Where there is none, and where it does not listen, the agent
//! works as well.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use sd_notify::NotifyState;

/// Whether there is a service manager that wants to be told.
#[expect(clippy::disallowed_methods, reason = "the protocol's own variable, read here only")]
pub(in crate::app) fn is_told() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some()
}

/// The start, or a reload, is over.
pub(in crate::app) fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// The start is over, and this is the main process from now on.
pub(in crate::app) fn ready_as_main(status: &str) {
    let own = NotifyState::MainPid(std::process::id());
    tell(&[own, NotifyState::Ready, NotifyState::Status(status)]);
}

/// The configuration is being read again.
pub(in crate::app) fn reloading() {
    // Without the time (systemd 253) it would count as failed.
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        tell(&[NotifyState::Reloading, now]);
    }
}

/// The end has begun.
pub(in crate::app) fn stopping(status: &str) {
    tell(&[NotifyState::Stopping, NotifyState::Status(status)]);
}

/// What follows may take this long.
pub(in crate::app) fn wait_longer(time: Duration) {
    let time = u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
    tell(&[NotifyState::ExtendTimeoutUsec(time)]);
}

/// What is being done.
pub(super) fn status(status: &str) {
    tell(&[NotifyState::Status(status)]);
}

/// A sign of life.
pub(super) fn alive() {
    tell(&[NotifyState::Watchdog]);
}

/// Keeps a descriptor for the next start, under a name.
pub(super) fn keep(name: &str, socket: BorrowedFd<'_>) {
    let states = [NotifyState::FdStore, NotifyState::FdName(name)];
    told(sd_notify::notify_with_fds(&states, &[socket]));
}

/// Keeps what has this name no longer.
pub(super) fn forget(name: &str) {
    tell(&[NotifyState::FdStoreRemove, NotifyState::FdName(name)]);
}

fn tell(states: &[NotifyState<'_>]) {
    told(sd_notify::notify(states));
}

fn told(done: std::io::Result<()>) {
    if let Err(error) = done {
        tracing::warn!(%error, "the service manager cannot be told");
    }
}
