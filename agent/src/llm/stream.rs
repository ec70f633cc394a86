//! A stream of events on its way to the client: which bytes may go, which wait, which are cut.

use std::ops::Range;

use bytes::{Bytes, BytesMut};

use super::dialect::Dialect;
use super::meter::Fed;
use super::reading::Facts;
use super::sse::{Events, Part, Taken};

/// An unfinished event larger than this is not the usage chunk: it goes out as it comes.
const MAX_CARRY: usize = 16 << 10;

/// Reads the events of a stream that is not compressed.
#[derive(Debug)]
pub(super) struct Stream {
    dialect: Dialect,
    events: Events,
    /// The chunk that only carries usage is still to be cut.
    hiding: bool,
    /// While hiding: the beginning of an event whose end has not come.
    carry: Bytes,
    /// What is known of the event that has begun.
    event: Event,
    /// The cut ended in a CR; an LF that follows belongs to it.
    cut_lf: bool,
}

/// What becomes of an event while the usage chunk is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    /// Not known yet.
    Open,
    /// It is the one to cut.
    Doomed,
    /// Its beginning is with the client already: it can't be cut any more.
    Exposed,
}

impl Stream {
    pub(super) fn new(dialect: Dialect, hiding: bool) -> Self {
        Self {
            dialect,
            events: Events::default(),
            hiding,
            carry: Bytes::new(),
            event: Event::Open,
            cut_lf: false,
        }
    }

    /// Takes the next piece of the stream.
    pub(super) fn feed(&mut self, chunk: Bytes, facts: &mut Facts) -> Fed {
        let had_content = facts.content;
        let read = self.carry.len();
        let piece = join(std::mem::take(&mut self.carry), chunk);
        // Once the stream has said its end, all that follows waits with it.
        let mut hold_from = if facts.terminal { 0 } else { piece.len() };
        let mut cut = 0..0;
        let mut begin = 0;
        if self.cut_lf && !piece.is_empty() {
            self.cut_lf = false;
            cut = 0..usize::from(piece[0] == b'\n');
        }
        let Self { dialect, events, hiding, event, .. } = self;
        events.feed(&piece, read, |part| match part {
            Part::Data(data) => {
                let was_over = facts.terminal;
                let (taken, usage_only) = read_event(*dialect, data, facts);
                // Behind the end nothing is cut: there, pieces are not put together any more.
                event.judge(*hiding && usage_only && !was_over);
                if facts.terminal && !was_over {
                    hold_from = begin;
                }
                taken
            }
            Part::End(end) => {
                if std::mem::replace(event, Event::Open) == Event::Doomed {
                    cut = begin..end;
                    *hiding = false;
                }
                begin = end;
                Taken::Yes
            }
        });
        self.cut_lf = !cut.is_empty() && cut.end == piece.len() && piece.ends_with(b"\r");
        let mut end = piece.len();
        if self.hiding && !facts.terminal {
            if end - begin <= MAX_CARRY && self.event != Event::Exposed {
                self.carry = piece.slice(begin..);
                end = begin;
            } else {
                self.event = Event::Exposed;
            }
        }
        let hold_from = hold_from.min(end);
        Fed {
            release: without(&piece, 0..hold_from, &cut),
            hold: without(&piece, hold_from..end, &cut),
            content: facts.content && !had_content,
        }
    }

    /// The stream is over; returns what was still held back.
    pub(super) fn end(&mut self, facts: &mut Facts) -> Bytes {
        let Self { dialect, events, hiding, event, .. } = self;
        events.finish(|part| {
            let Part::Data(data) = part else { return Taken::Yes };
            let (taken, usage_only) = read_event(*dialect, data, facts);
            event.judge(*hiding && usage_only);
            taken
        });
        let carry = std::mem::take(&mut self.carry);
        if self.event == Event::Doomed { Bytes::new() } else { carry }
    }
}

impl Event {
    fn judge(&mut self, usage_only: bool) {
        if usage_only && *self == Self::Open {
            *self = Self::Doomed;
        }
    }
}

/// Reads the data of one event; tells whether it made sense and whether it only carries usage.
fn read_event(dialect: Dialect, data: &[u8], facts: &mut Facts) -> (Taken, bool) {
    if data.trim_ascii_end() == b"[DONE]" {
        facts.terminal = true;
        return (Taken::Yes, false);
    }
    if !data.starts_with(b"{") {
        return (Taken::Yes, false);
    }
    match dialect.read(data, facts) {
        Ok(seen) => (Taken::Yes, seen.usage_only),
        Err(_) => (Taken::No, false),
    }
}

/// Two pieces as one; copies only where both have something.
fn join(first: Bytes, second: Bytes) -> Bytes {
    if first.is_empty() {
        return second;
    }
    if second.is_empty() {
        return first;
    }
    let mut both = BytesMut::with_capacity(first.len() + second.len());
    both.extend_from_slice(&first);
    both.extend_from_slice(&second);
    both.freeze()
}

/// A range of a piece without what is cut from it.
fn without(piece: &Bytes, range: Range<usize>, cut: &Range<usize>) -> Bytes {
    let start = cut.start.clamp(range.start, range.end);
    let end = cut.end.clamp(start, range.end);
    if start == end {
        return piece.slice(range);
    }
    join(piece.slice(range.start..start), piece.slice(end..range.end))
}
