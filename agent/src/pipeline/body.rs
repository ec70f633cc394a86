//! A response's body, as our server asks for it.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};

use super::relay::Relay;
use crate::upstream::BoxError;

/// A response body towards the client.
#[derive(Debug)]
pub enum Body {
    /// Made by ourselves.
    Own(Option<Bytes>),
    /// Passed on unmetered: a host that is no provider's, through the explicit proxy.
    Through(Incoming),
    /// Comes from the provider.
    Relayed(Box<Relay>),
}

/// A JSON response of our own.
pub fn own(status: StatusCode, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::Own(Some(body)));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut *self {
            Self::Own(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Through(inner) => Pin::new(inner).poll_frame(cx).map_err(Into::into),
            Self::Relayed(relay) => relay.poll_relay(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(bytes) => bytes.is_none(),
            Self::Through(inner) => inner.is_end_stream(),
            Self::Relayed(relay) => relay.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Self::Through(inner) => inner.size_hint(),
            Self::Relayed(relay) => relay.size_hint(),
        }
    }
}
