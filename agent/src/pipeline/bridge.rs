//! An answer in another provider's format on its way to the client.

use bytes::Bytes;

use crate::llm::translate::Stream;

/// What becomes of the provider's bytes once the meter has seen them.
#[derive(Debug)]
pub enum Bridge {
    /// Each piece is translated as it comes.
    Events(Box<Stream>),
    /// All of it was translated beforehand.
    Whole(Bytes),
}

impl Bridge {
    /// Takes the next piece; returns what goes to the client.
    pub(super) fn feed(&mut self, piece: &Bytes) -> Bytes {
        match self {
            Self::Events(stream) if !piece.is_empty() => stream.feed(piece),
            Self::Events(_) | Self::Whole(_) => Bytes::new(),
        }
    }

    /// The provider's body is over; returns the rest.
    pub(super) fn end(&mut self) -> Bytes {
        match self {
            Self::Events(stream) => stream.end(),
            Self::Whole(body) => std::mem::take(body),
        }
    }
}
