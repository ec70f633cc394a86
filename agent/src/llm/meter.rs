//! Watches a response body on its way to the client.
//!
//! The bytes go on as they came, at once and without a copy, with two exceptions: the event with
//! which a stream ends is handed over apart, to be released when its record is safe; and the one
//! chunk that exists only because the agent asked for usage is cut. Whatever can't be read
//! (broken, compressed strangely, too large) flows all the same and says why in the reading.

use bytes::Bytes;

use super::call::Route;
use super::decode::Decoder;
pub use super::decode::Encoding;
use super::dialect::Dialect;
use super::providers::Format;
use super::reading::{Facts, Unread};
pub use super::reading::{Reading, StreamError};
use super::stream::Stream;
use super::usage::Usage;

/// A whole body beyond this is not kept for parsing.
const MAX_BODY: usize = 16 << 20;

/// What is known of a response when its head has arrived.
#[derive(Debug, Clone, Copy)]
pub struct MeterOptions {
    /// What was asked for.
    pub route: Route,
    /// What the provider speaks. The route's operation decides how the body is read, as hosts of
    /// one format answer paths of the other too.
    pub format: Format,
    /// Whether the body is a stream of events (`content-type: text/event-stream`).
    pub sse: bool,
    /// Its content encoding.
    pub encoding: Encoding,
    /// Whether the agent asked for the usage the client did not want: the chunk that only carries
    /// it is cut. Works on bodies that are not encoded.
    pub hide_usage: bool,
    /// The response's status.
    pub status: u16,
}

/// Watches one response body.
#[derive(Debug)]
pub struct Meter {
    body: Body,
    facts: Facts,
    normalise: fn(&super::reading::Counts) -> Usage,
    success: bool,
}

#[derive(Debug)]
enum Body {
    /// Not read.
    Ignored,
    Events(Stream),
    Whole(Whole),
    /// Events that come one by one, without a frame of their own around them.
    Messages(Dialect),
    /// Decoded on the side.
    Encoded(Box<(Decoder, Self)>),
}

/// A body that is parsed when it is over.
#[derive(Debug)]
struct Whole {
    dialect: Dialect,
    /// The first piece, which is often the only one, as it came.
    first: Bytes,
    /// All pieces, once there are several.
    all: Vec<u8>,
}

/// What to do with a piece of the body.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fed {
    /// May go to the client now.
    pub release: Bytes,
    /// Begins with the event that ends the stream (or with what of it is in this piece): to be
    /// released once the record is safe. Empty before that event, and everything after it.
    pub hold: Bytes,
    /// Whether the first output of the stream is in this piece.
    pub content: bool,
}

impl Meter {
    /// Begins to watch.
    pub fn new(options: MeterOptions) -> Self {
        let MeterOptions { route, format: _, sse, encoding, hide_usage, status } = options;
        let mut facts = Facts::default();
        let dialect = Dialect::of(route);
        let body = dialect.map_or(Body::Ignored, |dialect| {
            let hiding = hide_usage && encoding == Encoding::Identity;
            let plain = if sse {
                Body::Events(Stream::new(dialect, hiding))
            } else {
                Body::Whole(Whole { dialect, first: Bytes::new(), all: Vec::new() })
            };
            match (encoding, Decoder::new(encoding)) {
                (Encoding::Identity, _) => plain,
                (_, Some(decoder)) => Body::Encoded(Box::new((decoder, plain))),
                (_, None) => {
                    facts.unread = Some(Unread::Encoding);
                    Body::Ignored
                }
            }
        });
        let normalise = dialect.unwrap_or(Dialect::Chat).normalise();
        Self { body, facts, normalise, success: (200..300).contains(&status) }
    }

    /// Watches what is said of one response over a WebSocket: each piece is one message.
    pub fn messages(route: Route) -> Self {
        let dialect = Dialect::of(route);
        Self {
            body: dialect.map_or(Body::Ignored, Body::Messages),
            facts: Facts::default(),
            normalise: dialect.unwrap_or(Dialect::Chat).normalise(),
            success: true,
        }
    }

    /// Takes the next piece of the body. The pieces handed back, in order and with
    /// [`Self::end`]'s, are the body.
    pub fn feed(&mut self, chunk: Bytes) -> Fed {
        self.body.feed(chunk, &mut self.facts)
    }

    /// The body is over, or cut off: returns what was still held back, normally nothing.
    pub fn end(&mut self) -> Bytes {
        self.body.end(&mut self.facts, self.success)
    }

    /// What is known so far. A whole body that is not yet over is read as far as it came.
    pub fn reading(&self) -> Reading {
        let Some(whole) = self.body.unread() else { return self.facts.reading(self.normalise) };
        let mut facts = Facts { unread: self.facts.unread, ..Facts::default() };
        whole.read(&mut facts, self.success);
        facts.reading(self.normalise)
    }
}

impl Body {
    fn feed(&mut self, chunk: Bytes, facts: &mut Facts) -> Fed {
        match self {
            Self::Ignored => Fed { release: chunk, ..Fed::default() },
            Self::Events(stream) => stream.feed(chunk, facts),
            Self::Messages(dialect) => {
                let had_content = facts.content;
                if dialect.read(&chunk, facts).is_err() {
                    facts.unread = Some(Unread::NotJson);
                }
                let content = facts.content && !had_content;
                if facts.terminal {
                    Fed { hold: chunk, content, ..Fed::default() }
                } else {
                    Fed { release: chunk, content, ..Fed::default() }
                }
            }
            Self::Whole(whole) => {
                if !whole.keep(&chunk) {
                    facts.unread = Some(Unread::TooLarge);
                    *self = Self::Ignored;
                }
                Fed { release: chunk, ..Fed::default() }
            }
            Self::Encoded(both) => {
                let (decoder, plain) = &mut **both;
                let content = if let Ok(text) = decoder.feed(&chunk) {
                    plain.feed(text.into(), facts).content
                } else {
                    facts.unread = Some(Unread::Corrupt);
                    *self = Self::Ignored;
                    false
                };
                // Where in the compressed bytes the last event begins is not known: all of this
                // piece waits with it.
                if facts.terminal {
                    Fed { hold: chunk, content, ..Fed::default() }
                } else {
                    Fed { release: chunk, content, ..Fed::default() }
                }
            }
        }
    }

    fn end(&mut self, facts: &mut Facts, success: bool) -> Bytes {
        match self {
            Self::Ignored | Self::Messages(_) => Bytes::new(),
            Self::Events(stream) => stream.end(facts),
            Self::Whole(whole) => {
                whole.read(facts, success);
                *self = Self::Ignored;
                Bytes::new()
            }
            Self::Encoded(both) => both.1.end(facts, success),
        }
    }

    /// The body that is still to be parsed.
    fn unread(&self) -> Option<&Whole> {
        match self {
            Self::Whole(whole) => Some(whole),
            Self::Encoded(both) => both.1.unread(),
            Self::Ignored | Self::Events(_) | Self::Messages(_) => None,
        }
    }
}

impl Whole {
    /// Keeps a piece; `false` where that would be too much.
    fn keep(&mut self, piece: &Bytes) -> bool {
        if self.seen().len().saturating_add(piece.len()) > MAX_BODY {
            return false;
        }
        if self.seen().is_empty() {
            self.first = piece.clone();
        } else {
            // One buffer, not a list of pieces: those can be one byte each.
            self.all.extend_from_slice(&std::mem::take(&mut self.first));
            self.all.extend_from_slice(piece);
        }
        true
    }

    fn seen(&self) -> &[u8] {
        if self.all.is_empty() { &self.first } else { &self.all }
    }

    fn read(&self, facts: &mut Facts, success: bool) {
        let seen = self.seen();
        if seen.is_empty() {
            return;
        }
        if self.dialect.read(seen, facts).is_err() && success {
            facts.unread = Some(Unread::NotJson);
            facts.said(seen.len() as u64);
        }
        // Errors end streams; a whole body ends by itself.
        facts.terminal = false;
    }
}
