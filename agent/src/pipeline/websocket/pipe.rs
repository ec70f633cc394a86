//! One direction of a socket: reads, hears what is said, writes.

use std::collections::VecDeque;
use std::io;

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;

use super::frame::{Frames, Piece};
use super::session::Session;

/// Read at once, at most.
const READ: usize = 16 << 10;
/// Kept of a message without asking for room.
const SMALL: usize = 64 << 10;

/// Who talks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Provider,
}

/// What becomes of a message.
#[derive(Debug)]
pub(super) enum Next {
    /// It passes as it came.
    Pass,
    /// This passes in its place.
    Instead(Bytes),
    /// Nothing passes.
    Drop,
}

/// Messages of our own that wait for their turn in one direction.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    queue: Mutex<VecDeque<Bytes>>,
    more: Notify,
}

impl Outbox {
    /// Puts a whole frame behind what passes now.
    pub(super) fn put(&self, frame: Bytes) {
        self.queue.lock().push_back(frame);
        self.more.notify_one();
    }

    fn take(&self) -> Option<Bytes> {
        self.queue.lock().pop_front()
    }
}

/// Relays one direction until its reader has nothing more, or either end breaks.
pub(super) async fn relay<R, W>(session: &Session, from: Side, mut reader: R, mut writer: W)
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut direction = Direction::new(session, from);
    let ended = direction.run(&mut reader, &mut writer).await;
    // The end of this side goes on to the other.
    drop(writer.shutdown().await);
    let other = match from {
        Side::Client => Side::Provider,
        Side::Provider => Side::Client,
    };
    match ended {
        Ok(()) => session.ended(from, None),
        Err(Broken::Read(error)) => session.ended(from, Some(&error)),
        Err(Broken::Write(error)) => session.ended(other, Some(&error)),
    }
}

/// Which end broke.
enum Broken {
    Read(io::Error),
    Write(io::Error),
}

struct Direction<'s> {
    session: &'s Session,
    from: Side,
    frames: Frames,
    came: BytesMut,
    /// The rest of the message that passes now is left out.
    skipping: bool,
    /// A close frame has passed: nothing may follow it (RFC 6455 §5.5.1).
    closed: bool,
}

impl<'s> Direction<'s> {
    fn new(session: &'s Session, from: Side) -> Self {
        Self {
            session,
            from,
            frames: Frames::new(session.limit(from)),
            came: BytesMut::new(),
            skipping: false,
            closed: false,
        }
    }

    async fn run(
        &mut self,
        reader: &mut (impl AsyncRead + Unpin),
        writer: &mut (impl AsyncWrite + Unpin),
    ) -> Result<(), Broken> {
        let mut claim = None;
        loop {
            while let Some(piece) = self.frames.next(&mut self.came) {
                if let Some(bytes) = self.hear(piece).await {
                    writer.write_all(&bytes).await.map_err(Broken::Write)?;
                }
                self.ours(writer).await?;
            }
            self.ours(writer).await?;
            writer.flush().await.map_err(Broken::Write)?;
            let held = self.came.len() + self.frames.kept();
            if held <= SMALL {
                claim = None;
                self.frames.read_up_to(self.session.limit(self.from));
            } else if !claim.get_or_insert_with(|| self.session.claim()).extend(held) {
                self.frames.read_up_to(0);
            }
            self.came.reserve(READ);
            let outbox = self.session.outbox(self.from);
            tokio::select! {
                read = reader.read_buf(&mut self.came) => {
                    if read.map_err(Broken::Read)? == 0 {
                        let rest = self.frames.rest(&mut self.came);
                        return writer.write_all(&rest).await.map_err(Broken::Write);
                    }
                }
                () = outbox.more.notified() => {}
            }
        }
    }

    /// Writes what we have to say, where it may stand.
    async fn ours(&self, writer: &mut (impl AsyncWrite + Unpin)) -> Result<(), Broken> {
        while !self.closed && self.frames.is_between() {
            let Some(frame) = self.session.outbox(self.from).take() else { break };
            writer.write_all(&frame).await.map_err(Broken::Write)?;
        }
        Ok(())
    }

    /// What passes of a piece.
    async fn hear(&mut self, piece: Piece) -> Option<Bytes> {
        if self.skipping {
            self.skipping = !self.frames.is_between();
            return None;
        }
        let session = self.session;
        match piece {
            Piece::Pass(bytes) => {
                session.passed(self.from, bytes.len());
                Some(bytes)
            }
            Piece::Close(bytes) => {
                self.closed = true;
                session.ended(self.from, None);
                Some(bytes)
            }
            Piece::Broken(bytes) => {
                session.unread("what is said on it is no WebSocket");
                session.passed(self.from, bytes.len());
                Some(bytes)
            }
            Piece::Over(bytes) => {
                if session.over(self.from).await {
                    session.passed(self.from, bytes.len());
                    return Some(bytes);
                }
                self.skipping = !self.frames.is_between();
                None
            }
            Piece::Message(message) => {
                let next = match self.from {
                    Side::Client => session.asks(&message).await,
                    Side::Provider => session.answers(&message).await,
                };
                match next {
                    Next::Pass => Some(message.raw),
                    Next::Instead(bytes) => Some(bytes),
                    Next::Drop => None,
                }
            }
        }
    }
}
