//! Kernel pipes for splice(2), shared by all tunnels.
//!
//! A pipe is taken only while bytes are in flight and handed back empty, so that an idle tunnel
//! holds none: descriptors and kernel buffers grow with traffic, not with connections.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::pipe::{PipeFlags, pipe_with};

/// Bytes moved per splice, and the kernel's default capacity of a pipe. Measured best: larger pipes
/// cost cache misses, smaller ones system calls.
pub(super) const CAPACITY: usize = 64 * 1024;

/// A bounded stock of pipes.
#[derive(Debug)]
pub(super) struct Pipes {
    limit: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    idle: Vec<(OwnedFd, OwnedFd)>,
    /// Pipes that exist, idle ones included.
    open: usize,
}

impl Pipes {
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, state: Mutex::default() })
    }

    /// An empty pipe; `None` at the limit, or where the system has no descriptors left.
    pub(super) fn take(self: &Arc<Self>) -> Option<Pipe> {
        let mut state = self.state.lock();
        let (read, write) = match state.idle.pop() {
            Some(ends) => ends,
            None if state.open >= self.limit => return None,
            None => {
                let ends = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok()?;
                state.open += 1;
                ends
            }
        };
        Some(Pipe { ends: Some((read, write)), filled: 0, home: Arc::clone(self) })
    }

    #[cfg(test)]
    pub(super) fn counts(&self) -> (usize, usize) {
        let state = self.state.lock();
        (state.open, state.idle.len())
    }
}

/// A pipe on loan: goes back when dropped empty, and is closed when bytes are stuck in it.
#[derive(Debug)]
pub(super) struct Pipe {
    /// Read and write end; taken out only by `drop`.
    ends: Option<(OwnedFd, OwnedFd)>,
    /// Bytes inside.
    pub(super) filled: usize,
    home: Arc<Pipes>,
}

impl Pipe {
    /// The read and the write end.
    pub(super) fn ends(&self) -> (&OwnedFd, &OwnedFd) {
        #[expect(clippy::expect_used, reason = "the ends are there until the pipe is dropped")]
        let (read, write) = self.ends.as_ref().expect("a pipe on loan has its ends");
        (read, write)
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        let Some(ends) = self.ends.take() else { return };
        let mut state = self.home.state.lock();
        if self.filled == 0 {
            state.idle.push(ends);
        } else {
            state.open -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pipes_are_reused_bounded_and_closed_when_dirty() {
        let pipes = Pipes::new(2);
        let first = pipes.take().unwrap();
        let mut second = pipes.take().unwrap();
        assert!(pipes.take().is_none());
        drop(first);
        assert_eq!(pipes.counts(), (2, 1));
        second.filled = 1;
        drop(second);
        assert_eq!(pipes.counts(), (1, 1));
        assert!(pipes.take().is_some());
        assert_eq!(pipes.counts(), (1, 1));
    }
}
