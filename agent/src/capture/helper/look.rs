//! What `/proc` says of one process instance, as one answer in which everything belongs together.
//!
//! The process is read through a handle that stays with one instance, and a pidfd must still call
//! it alive at the end: then the pid cannot have changed hands in between.

use std::io::ErrorKind;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};

use super::proc::{Handle, Stat};

/// A process to look at.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::capture) struct Look {
    /// Its pid, in this pid namespace.
    pub(in crate::capture) pid: u32,
    /// Whether its user is asked for: of a redirected connection the kernel half has told it.
    pub(in crate::capture) user: bool,
    /// What it was before: where that still holds, nothing more is read.
    pub(in crate::capture) known: Option<Instance>,
}

/// What must not change for a process to be the same caller: one that turns into another program
/// or user is examined again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::capture) struct Instance {
    /// See [`Stat`].
    pub(in crate::capture) start_ticks: u64,
    /// See [`Stat`].
    pub(in crate::capture) image: [u64; 4],
    /// Path of the executable, where it may be seen.
    pub(in crate::capture) exe: Option<String>,
    /// User.
    pub(in crate::capture) uid: u32,
}

/// What was seen.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::capture) enum Sight {
    /// No such process, or not any more.
    Gone,
    /// It is what it was.
    Same,
    /// It is new, or has changed.
    Process(Box<Facts>),
}

/// A process instance.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::capture) struct Facts {
    pub(in crate::capture) stat: Stat,
    /// Path of the executable; `None` for threads of the kernel, and without the privilege to look.
    pub(in crate::capture) exe: Option<String>,
    /// Real user id, where it was asked for.
    pub(in crate::capture) uid: Option<u32>,
    /// Command line; empty where there is none.
    pub(in crate::capture) arguments: Vec<String>,
    /// Every line of `cgroup`.
    pub(in crate::capture) cgroups: String,
}

/// Looks at a process.
pub(super) fn identify(look: &Look) -> Sight {
    examine(look).unwrap_or(Sight::Gone)
}

fn examine(look: &Look) -> Option<Sight> {
    let process = Handle::open(look.pid).ok()?;
    let stat = process.stat().ok()?;
    let exe = match process.exe() {
        Ok(path) => Some(path),
        // Without memory there is no executable: kernel threads never have any, all others are on
        // their way out.
        Err(error) if error.kind() == ErrorKind::NotFound && !stat.kernel => return None,
        Err(_) => None,
    };
    let uid = if look.user { Some(process.uid().ok()?) } else { None };
    if look.known.as_ref().is_some_and(|known| known.is_still(&stat, exe.as_ref(), uid)) {
        return Some(Sight::Same);
    }
    let pid = Pid::from_raw(look.pid.try_into().ok()?)?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).ok()?;
    let arguments = process.arguments().ok()?;
    let cgroups = process.cgroups().ok()?;
    if has_exited(&pidfd) {
        return None;
    }
    Some(Sight::Process(Box::new(Facts { stat, exe, uid, arguments, cgroups })))
}

impl Instance {
    /// A user that was not asked for does not count.
    fn is_still(&self, stat: &Stat, exe: Option<&String>, uid: Option<u32>) -> bool {
        self.start_ticks == stat.start_ticks
            && self.image == stat.image
            && self.exe.as_ref() == exe
            && uid.is_none_or(|uid| uid == self.uid)
    }
}

/// Whether the process has ended, be it not yet reaped: a pidfd becomes readable then.
fn has_exited(pidfd: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
    !matches!(poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })), Ok(0))
}
