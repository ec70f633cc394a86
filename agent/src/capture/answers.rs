//! The packets that the programs pass on from name servers, as they come.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use agent_common::Packet;
use aya::maps::{MapData, RingBuf};
use tokio::io::unix::AsyncFd;
use tokio_util::sync::CancellationToken;

use super::events::watch;
use crate::drain::Drain;

/// Packets that are handed on before others get their turn on this thread.
const AT_A_TIME: usize = 32;

/// The programs' ring buffer. What does not fit into it is dropped and counted by them.
pub struct Answers {
    buffer: RingBuf<MapData>,
    ready: AsyncFd<OwnedFd>,
    drain: Drain,
    over: CancellationToken,
}

impl Answers {
    pub(super) fn new(
        buffer: RingBuf<MapData>,
        drain: &Drain,
        over: CancellationToken,
    ) -> io::Result<Self> {
        let ready = watch(buffer.as_fd().try_clone_to_owned()?)?;
        Ok(Self { buffer, ready, drain: drain.clone(), over })
    }

    /// Hands each packet to `take`, from its IP header on, until the programs are detached or the
    /// agent is told to finish.
    ///
    /// A packet leaves the buffer when it has been taken, and not before: as long as it is there, the
    /// programs lead connections here whose addresses it may be about.
    pub async fn run(mut self, mut take: impl FnMut(&[u8])) {
        loop {
            tokio::select! {
                () = self.over.cancelled() => return,
                () = self.drain.signalled() => return,
                ready = self.ready.readable() => match ready {
                    // Before reading: what is written while we read must wake us again.
                    Ok(mut guard) => guard.clear_ready(),
                    Err(error) => {
                        tracing::error!(%error, "name servers' answers are no longer heard");
                        return;
                    }
                },
            }
            let mut taken = 0;
            while let Some(item) = self.buffer.next() {
                if let Some(packet) = Packet::of_item(&item) {
                    take(packet);
                }
                drop(item);
                taken += 1;
                if taken % AT_A_TIME == 0 {
                    tokio::task::yield_now().await;
                }
            }
        }
    }
}

impl std::fmt::Debug for Answers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answers").finish_non_exhaustive()
    }
}
