//! What the programs log where they were asked to (`--log-bpf`), passed on to this process's log.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use aya::Ebpf;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::pipe::{PipeFlags, pipe_with};

/// Passed on by a thread of its own while this lives.
#[derive(Debug)]
pub(super) struct Narration {
    /// Closed, it ends the thread.
    _over: OwnedFd,
}

impl Narration {
    /// Begins, with programs that are loaded and not yet linked.
    pub(super) fn start(ebpf: &mut Ebpf) -> io::Result<Self> {
        let mut logger = aya_log::EbpfLogger::init(ebpf).map_err(io::Error::other)?;
        let (end, over) = pipe_with(PipeFlags::CLOEXEC)?;
        let run = move || {
            loop {
                let mut fds = [
                    PollFd::from_borrowed_fd(logger.as_fd(), PollFlags::IN),
                    PollFd::new(&end, PollFlags::IN),
                ];
                let polled = poll(&mut fds, None);
                let ended = !fds[1].revents().is_empty();
                match polled {
                    Err(rustix::io::Errno::INTR) => continue,
                    Err(_) => return,
                    Ok(_) => logger.flush(),
                }
                if ended {
                    return;
                }
            }
        };
        std::thread::Builder::new().name("weir-narration".to_owned()).spawn(run)?;
        Ok(Self { _over: over })
    }
}
