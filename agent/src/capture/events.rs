//! What the programs report: connections to targets that open directly, and all that end.
#![expect(unsafe_code, reason = "registering a descriptor with the reactor takes the word")]

use std::io;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use agent_common::{kind, verdict};
use aya::maps::{MapData, RingBuf};
use rustix::event::{PollFd, PollFlags, Timespec};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::flows;
use super::origin::Origin;
use crate::drain::Drain;

/// Events waiting for whoever takes them. Behind it lies the kernel's own buffer with room for
/// some 2,000 more; what does not fit there is dropped and counted by the programs.
const QUEUE: usize = 1024;

/// What became of a connection to a target in connect(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Redirected to the agent.
    Redirected,
    /// Left alone, because redirecting is off.
    Observed,
    /// Left alone, because no listener of ours lives in the caller's network namespace.
    NoListener,
    /// Left alone, because the agent gave no sign of life.
    Stale,
    /// Left alone, because the socket is bound to a device and that could not be undone.
    Device,
    /// Left alone, because no record could be saved.
    Unsaved,
}

/// A connection that goes direct begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// Where it goes, and who opened it.
    pub origin: Origin,
    /// Why it goes direct.
    pub verdict: Verdict,
}

/// A connection to a target is over, redirected or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// Where it was going, and who opened it.
    pub origin: Origin,
    /// What became of it.
    pub verdict: Verdict,
    /// Whether the agent had it.
    pub redirected: bool,
    /// Bytes the client received; one too many where a client that had half-closed read on.
    pub rx: u64,
    /// Bytes of the client that were acknowledged.
    pub tx: u64,
    /// From connect(2) to the end.
    pub duration: Duration,
    /// Whether it was never established.
    pub failed: bool,
}

/// What the programs report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A datagram to a target was refused as QUIC: of a connected socket, the first.
    Refused(Origin),
    /// A connection that goes direct begins; its process can be examined now.
    Opened(Opened),
    /// A connection to a target is over.
    Closed(Closed),
}

impl Event {
    /// The connection it is about.
    pub fn origin(&self) -> &Origin {
        match self {
            Self::Refused(origin) => origin,
            Self::Opened(opened) => &opened.origin,
            Self::Closed(closed) => &closed.origin,
        }
    }
}

/// The programs' ring buffer.
pub(super) struct Ring {
    buffer: RingBuf<MapData>,
    since: Duration,
}

impl Ring {
    pub(super) fn new(buffer: RingBuf<MapData>) -> Self {
        Self { buffer, since: Duration::ZERO }
    }

    /// The next event that has been written already.
    pub(super) fn next(&mut self) -> Option<Event> {
        while let Some(item) = self.buffer.next() {
            if let Some(event) = parse(&item)
                && event.origin().caller.at >= self.since
            {
                return Some(event);
            }
        }
        None
    }

    /// The next event, for which it waits at most `patience`.
    pub(super) fn wait(&mut self, patience: &Timespec) -> Option<Event> {
        let next = self.next();
        if next.is_some() {
            return next;
        }
        let mut poll = [PollFd::new(&self.buffer, PollFlags::IN)];
        rustix::event::poll(&mut poll, Some(patience)).ok()?;
        self.next()
    }

    /// Leaves out connections that were opened before `since` (since boot).
    pub(super) fn skip_before(&mut self, since: Duration) {
        self.since = since;
    }

    /// Passes events on until `over`, or until the agent is told to finish.
    pub(super) fn run(
        self,
        drain: &Drain,
        over: CancellationToken,
    ) -> io::Result<mpsc::Receiver<Event>> {
        let (events, receiver) = mpsc::channel(QUEUE);
        let ready = watch(self.buffer.as_fd().try_clone_to_owned()?)?;
        let signal = drain.clone();
        let mut ring = self;
        drain.spawn(async move {
            let reading = async {
                while let Ok(mut guard) = ready.readable().await {
                    // Before reading: what is written while we read must wake us again.
                    guard.clear_ready();
                    if ring.pass_on(&events).await.is_break() {
                        return;
                    }
                }
            };
            tokio::select! {
                () = reading => {}
                () = over.cancelled() => {}
                () = signal.signalled() => {}
            }
        });
        Ok(receiver)
    }

    /// Waits where the queue is full: the programs drop and count what the buffer cannot hold.
    async fn pass_on(&mut self, events: &mpsc::Sender<Event>) -> ControlFlow<()> {
        while let Some(event) = self.next() {
            if events.send(event).await.is_err() {
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    }
}

/// A descriptor of which the runtime tells when it can be read.
pub(super) fn watch(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is open for as long as it lives, and always the same.
    let registered = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
    registered.map_err(|error| error.into_parts().1)
}

fn parse(bytes: &[u8]) -> Option<Event> {
    let event = agent_common::Event::from_bytes(bytes)?;
    let verdict = match event.record.verdict {
        verdict::REDIRECTED => Verdict::Redirected,
        verdict::OBSERVED => Verdict::Observed,
        verdict::NO_LISTENER => Verdict::NoListener,
        verdict::STALE => Verdict::Stale,
        verdict::DEVICE => Verdict::Device,
        _ => Verdict::Unsaved,
    };
    let origin = flows::origin(&event.record);
    match event.kind {
        kind::REFUSED => Some(Event::Refused(origin)),
        kind::OPENED => Some(Event::Opened(Opened { origin, verdict })),
        kind::CLOSED => Some(Event::Closed(Closed {
            origin,
            verdict,
            redirected: verdict == Verdict::Redirected,
            rx: event.payload_received(),
            tx: event.payload_sent(),
            duration: Duration::from_nanos(event.at.saturating_sub(event.record.at)),
            failed: event.failed(),
        })),
        _ => None,
    }
}
