//! A provider's body: what was read ahead of the decision to pass it on, then the rest as it comes.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use crate::upstream::{BoxError, Link};

/// A provider's body.
#[derive(Debug)]
pub struct Source {
    /// Read already, in order.
    ahead: VecDeque<Frame<Bytes>>,
    /// What it broke with, after what was read ahead.
    broken: Option<BoxError>,
    /// `None` where all of it was read ahead.
    rest: Option<Incoming>,
    limits: Option<Limits>,
    /// Kept until the body is over, so that its connection can be used again.
    link: Option<Link>,
}

/// How long is waited for the body.
#[derive(Debug)]
struct Limits {
    idle: Option<(Duration, Pin<Box<Sleep>>)>,
    total: Option<Pin<Box<Sleep>>>,
}

impl Source {
    /// A body of which nothing has been read.
    pub fn new(rest: Incoming) -> Self {
        Self { ahead: VecDeque::new(), broken: None, rest: Some(rest), limits: None, link: None }
    }

    /// Keeps the link for as long as the body lasts.
    pub fn keep(&mut self, link: Link) {
        self.link = Some(link);
    }

    /// Gives up where nothing comes for `idle`, or when `end` is reached.
    pub fn limit(&mut self, idle: Option<Duration>, end: Option<Instant>) {
        if idle.is_none() && end.is_none() {
            return;
        }
        self.limits = Some(Limits {
            idle: idle.map(|idle| (idle, Box::pin(tokio::time::sleep(idle)))),
            total: end.map(|end| Box::pin(tokio::time::sleep_until(end))),
        });
    }

    /// The next frame from the provider itself, past what was read ahead.
    pub fn poll_rest(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Some(rest) = &mut self.rest else { return Poll::Ready(None) };
        match Pin::new(rest).poll_frame(cx) {
            Poll::Ready(frame) => {
                if let Some(Limits { idle: Some((idle, sleep)), .. }) = &mut self.limits {
                    sleep.as_mut().reset(Instant::now() + *idle);
                }
                Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
            }
            Poll::Pending => match self.limits.as_mut().and_then(|limits| limits.poll(cx)) {
                Some(why) => {
                    self.rest = None;
                    Poll::Ready(Some(Err(io::Error::new(io::ErrorKind::TimedOut, why).into())))
                }
                None => Poll::Pending,
            },
        }
    }

    /// The next frame.
    pub fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(frame) = self.ahead.pop_front() {
            return Poll::Ready(Some(Ok(frame)));
        }
        if let Some(error) = self.broken.take() {
            return Poll::Ready(Some(Err(error)));
        }
        self.poll_rest(cx)
    }

    /// Puts back what was read.
    pub fn put_back(&mut self, frame: Frame<Bytes>) {
        self.ahead.push_back(frame);
    }

    /// Puts back what it broke with.
    pub fn put_back_error(&mut self, error: BoxError) {
        self.rest = None;
        self.broken = Some(error);
    }

    /// What was read ahead, as one piece.
    pub fn bytes_ahead(&self) -> Bytes {
        let mut pieces = self.ahead.iter().filter_map(Frame::data_ref);
        match (pieces.next(), pieces.next()) {
            (None, _) => Bytes::new(),
            (Some(only), None) => only.clone(),
            (Some(first), Some(second)) => {
                let mut all = first.to_vec();
                all.extend_from_slice(second);
                pieces.for_each(|piece| all.extend_from_slice(piece));
                all.into()
            }
        }
    }

    /// Whether nothing more comes.
    pub fn is_end_stream(&self) -> bool {
        let rest = self.rest.as_ref();
        self.ahead.is_empty() && self.broken.is_none() && rest.is_none_or(Incoming::is_end_stream)
    }

    /// How much is still to come.
    pub fn size_hint(&self) -> SizeHint {
        let ahead: usize = self.ahead.iter().filter_map(Frame::data_ref).map(Bytes::len).sum();
        let rest = self.rest.as_ref().map_or(Some(0), |rest| rest.size_hint().exact());
        match rest.filter(|_| self.broken.is_none()) {
            Some(rest) => SizeHint::with_exact(rest + ahead as u64),
            None => SizeHint::new(),
        }
    }
}

impl Limits {
    /// Why the wait is over, where it is.
    fn poll(&mut self, cx: &mut Context<'_>) -> Option<String> {
        if let Some((idle, sleep)) = &mut self.idle
            && sleep.as_mut().poll(cx).is_ready()
        {
            return Some(format!("the provider said nothing for {idle:?}"));
        }
        let total = self.total.as_mut()?;
        total.as_mut().poll(cx).is_ready().then(|| "the answer took too long".to_owned())
    }
}
