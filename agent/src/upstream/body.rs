//! A request body on its way to the provider: read whole, or passed through as it comes.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

/// Any error of a body or connection, as hyper takes it.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The body of an upstream request.
#[derive(Debug, Default)]
pub enum Outgoing {
    /// No body.
    #[default]
    Empty,
    /// Read whole; can be sent again.
    Whole(Bytes),
    /// What was read before the limit was hit, then the rest as it comes.
    Through {
        /// Already read; `None` once sent.
        head: Option<Bytes>,
        /// Still with the client.
        rest: Incoming,
    },
}

impl Outgoing {
    /// A body passed through as it comes.
    pub fn through(rest: Incoming) -> Self {
        if rest.is_end_stream() { Self::Empty } else { Self::Through { head: None, rest } }
    }

    /// A body from bytes already at hand.
    pub fn whole(bytes: Bytes) -> Self {
        if bytes.is_empty() { Self::Empty } else { Self::Whole(bytes) }
    }
}

impl From<Incoming> for Outgoing {
    fn from(body: Incoming) -> Self {
        Self::through(body)
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut *self {
            Self::Empty => Poll::Ready(None),
            Self::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                *self = Self::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Self::Through { head, rest } => match head.take() {
                Some(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
                None => Pin::new(rest).poll_frame(cx).map_err(Into::into),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Whole(_) => false,
            Self::Through { head, rest } => head.is_none() && rest.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Through { head, rest } => {
                let sent_first = head.as_ref().map_or(0, |head| head.len() as u64);
                rest.size_hint()
                    .exact()
                    .map_or_else(SizeHint::new, |rest| SizeHint::with_exact(sent_first + rest))
            }
        }
    }
}
