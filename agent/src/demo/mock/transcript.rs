//! Answers as bytes on the wire: whole bodies, and streams played event by event.

use std::convert::Infallible;
use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::stream;
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use serde_json::Value;

use super::script::{Ending, Script};

/// What the mock sends.
pub(super) type Body = UnsyncBoxBody<Bytes, Cut>;

/// Makes hyper drop the connection in the middle of a body.
#[derive(Debug, thiserror::Error)]
#[error("cut by the script")]
pub(super) struct Cut;

/// An answer before it becomes a body.
#[derive(Debug)]
pub(super) enum Answer {
    Unary(Value),
    Stream(Transcript),
}

/// A stream's events: `delta` is sent as often as the script says, so a long stream costs no
/// more memory than a short one.
#[derive(Debug)]
pub(super) struct Transcript {
    pub(super) before: Vec<Bytes>,
    pub(super) delta: Bytes,
    pub(super) after: Vec<Bytes>,
    /// Sent instead of the rest when the script ends in an error event.
    pub(super) error: Bytes,
}

/// An event without a name, as OpenAI's older APIs send it.
pub(super) fn data(body: &Value) -> Bytes {
    format!("data: {body}\n\n").into()
}

/// A named event.
pub(super) fn event(name: &str, body: &Value) -> Bytes {
    format!("event: {name}\ndata: {body}\n\n").into()
}

/// A body sent at once, or half of it and a cut.
pub(super) fn whole(bytes: Bytes, script: &Script) -> Body {
    let bytes = if script.gzip { squeezed(&bytes) } else { bytes };
    if matches!(script.ending, Ending::Cut { .. }) {
        let half = bytes.slice(..bytes.len() / 2);
        let frames = stream::unfold(Some(half), |half| async move {
            match half {
                Some(half) => Some((Ok(Frame::data(half)), None)),
                None => Some((Err(cut().await), None)),
            }
        });
        return BodyExt::boxed_unsync(StreamBody::new(frames));
    }
    Full::new(bytes).map_err(|never: Infallible| match never {}).boxed_unsync()
}

/// A body that sends one event at a time.
pub(super) fn played(transcript: Transcript, script: &Script) -> Body {
    let player = Player {
        gzip: script.gzip.then(|| GzEncoder::new(Vec::new(), Compression::fast())),
        transcript,
        script: *script,
        at: 0,
        over: false,
    };
    let frames = stream::unfold(player, |mut player| async move {
        player.next().await.map(|frame| (frame.map(Frame::data), player))
    });
    BodyExt::boxed_unsync(StreamBody::new(frames))
}

struct Player {
    transcript: Transcript,
    script: Script,
    gzip: Option<GzEncoder<Vec<u8>>>,
    at: usize,
    over: bool,
}

impl Player {
    async fn next(&mut self) -> Option<Result<Bytes, Cut>> {
        if self.over {
            return None;
        }
        if self.at > 0 && !self.script.pace.is_zero() {
            tokio::time::sleep(self.script.pace).await;
        }
        let event = self.event();
        self.at += 1;
        match event {
            Some(Ok(event)) => Some(Ok(self.encoded(event))),
            Some(Err(Cut)) => {
                self.over = true;
                Some(Err(cut().await))
            }
            None => {
                self.over = true;
                self.gzip.take().and_then(|gzip| gzip.finish().ok()).map(|tail| Ok(tail.into()))
            }
        }
    }

    /// The event at `self.at`, or how the stream ends there.
    fn event(&self) -> Option<Result<Bytes, Cut>> {
        let Transcript { before, delta, after, error } = &self.transcript;
        let Some(content) = self.at.checked_sub(before.len()) else {
            return Some(Ok(before[self.at].clone()));
        };
        let reached = |count: u32| usize::try_from(count).is_ok_and(|count| content >= count);
        match self.script.ending {
            Ending::Cut { after } if reached(after) => return Some(Err(Cut)),
            Ending::ErrorEvent { after } if reached(after) => {
                let first = usize::try_from(after) == Ok(content);
                return first.then(|| Ok(error.clone()));
            }
            _ => {}
        }
        if !reached(self.script.chunks) {
            return Some(Ok(delta.clone()));
        }
        let past = usize::try_from(self.script.chunks).map_or(0, |chunks| content - chunks);
        after.get(past).cloned().map(Ok)
    }

    /// One event is one frame, compressed or not: a proxy sees it when it happens.
    fn encoded(&mut self, event: Bytes) -> Bytes {
        let Some(gzip) = &mut self.gzip else { return event };
        let written = gzip.write_all(&event).and_then(|()| gzip.flush());
        debug_assert!(written.is_ok(), "writing to memory cannot fail");
        std::mem::take(gzip.get_mut()).into()
    }
}

/// hyper drops what it has not written when a body fails: a pause lets it write first.
async fn cut() -> Cut {
    tokio::task::yield_now().await;
    Cut
}

fn squeezed(bytes: &[u8]) -> Bytes {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    let written = gzip.write_all(bytes);
    debug_assert!(written.is_ok(), "writing to memory cannot fail");
    gzip.finish().unwrap_or_default().into()
}
