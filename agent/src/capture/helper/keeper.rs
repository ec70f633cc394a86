//! Keeps one serving process alive: starts it, hands its socket to the daemon, and starts another
//! when it ends. The daemon has no privileges left from which it could start one itself.
//!
//! It reads nothing of what the daemon sends but whether there is anything: that asks for another
//! process in place of one that hangs; or, where a socket comes with it, for a successor of the
//! daemon's at the other end of that. What is started then was said when the keeper was.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::RecvFlags;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::frame;
use crate::clock;

/// Before the first restart; then twice as long each time, up to the longest.
const PAUSE: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(30);
/// How long a process may take to end by itself.
const GRACE: Duration = Duration::from_secs(5);
/// Who has run this long has not failed at its start.
const PROVED: Duration = Duration::from_mins(1);

/// What ended a wait.
#[derive(Debug)]
enum News {
    /// The daemon is gone.
    Over,
    /// The daemon asks for another process.
    Replace,
    /// The daemon asks for its successor.
    Succeed(OwnedFd),
    /// The process has ended.
    Ended,
    /// Nothing, in the time given.
    Nothing,
}

/// Keeps processes of `command` running, each with its socket as standard input, until the daemon
/// closes its end. `launch` starts what starts the daemon's successor, with such a socket as its
/// standard input, and is not waited for by it.
pub(super) fn run(
    daemon: &OwnedFd,
    mut command: impl FnMut() -> Command,
    mut launch: impl FnMut() -> Command,
) -> io::Result<()> {
    let mut pause = PAUSE;
    loop {
        let (ours, theirs) = frame::pair()?;
        let started = clock::since_boot();
        let mut child = command().stdin(Stdio::from(theirs)).stdout(Stdio::null()).spawn()?;
        frame::send(daemon, &[], &[ours.as_fd()])?;
        drop(ours);
        if watch(daemon, &mut child, &mut launch)? {
            return Ok(());
        }
        if clock::since_boot().saturating_sub(started) > PROVED {
            pause = PAUSE;
        }
        tracing::error!(?pause, "the process that holds the privileges ended; it is started again");
        match wait(daemon, None, Some(pause))? {
            News::Over => return Ok(()),
            News::Succeed(socket) => succeed(launch(), socket),
            News::Replace | News::Ended | News::Nothing => {}
        }
        pause = LONGEST.min(pause * 2);
    }
}

/// Until the child has ended (false) or the daemon has (true).
fn watch(
    daemon: &OwnedFd,
    child: &mut Child,
    launch: &mut impl FnMut() -> Command,
) -> io::Result<bool> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or(io::ErrorKind::InvalidData)?;
    let ended = pidfd_open(pid, PidfdFlags::empty())?;
    loop {
        match wait(daemon, Some(&ended), None)? {
            News::Over => {
                // Its own socket has closed too: it detaches and ends by itself, unless it hangs.
                let patience = Timespec::try_from(GRACE).ok();
                let mut fds = [PollFd::new(&ended, PollFlags::IN)];
                if poll(&mut fds, patience.as_ref()) == Ok(0) {
                    child.kill()?;
                }
                child.wait()?;
                return Ok(true);
            }
            News::Replace => child.kill()?,
            News::Succeed(socket) => succeed(launch(), socket),
            News::Ended => {
                let status = child.wait()?;
                tracing::debug!(%status, "the serving process ended");
                return Ok(false);
            }
            News::Nothing => {}
        }
    }
}

/// Starts the successor. That it did not start, the daemon learns from the socket's end.
fn succeed(mut launch: Command, socket: OwnedFd) {
    let started = launch.stdin(Stdio::from(socket)).stdout(Stdio::null()).spawn();
    // It ends as soon as it has started what it starts.
    if let Err(error) = started.and_then(|mut child| child.wait()) {
        tracing::error!(%error, "the successor cannot be started");
    }
}

fn wait(daemon: &OwnedFd, ended: Option<&OwnedFd>, patience: Option<Duration>) -> io::Result<News> {
    let patience = patience.and_then(|patience| Timespec::try_from(patience).ok());
    let mut fds = vec![PollFd::new(daemon, PollFlags::IN)];
    fds.extend(ended.map(|ended| PollFd::new(ended, PollFlags::IN)));
    loop {
        match poll(&mut fds, patience.as_ref()) {
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
            Ok(_) => break,
        }
    }
    let woken: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
    if woken.first() == Some(&true) {
        return Ok(match frame::receive(daemon, RecvFlags::DONTWAIT) {
            Ok(Some(mut frame)) => frame.fds.pop().map_or(News::Replace, News::Succeed),
            _ => News::Over,
        });
    }
    Ok(if woken.get(1) == Some(&true) { News::Ended } else { News::Nothing })
}
