//! What the end of a response waits for.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Sleep;

use crate::record::{Durability, Sink};

/// How long a response's end waits for its record to be safe.
const SETTLE_WAIT: Duration = Duration::from_millis(50);

/// The wait for the ledger, bounded.
#[derive(Debug)]
pub(super) struct Settling {
    answer: oneshot::Receiver<Durability>,
    sink: Arc<dyn Sink>,
    bound: Option<Pin<Box<Sleep>>>,
}

impl Settling {
    pub(super) fn new(answer: oneshot::Receiver<Durability>, sink: Arc<dyn Sink>) -> Self {
        Self { answer, sink, bound: None }
    }

    /// Ready when the record is safe, or cannot be made so in time.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Poll::Ready(answer) = Pin::new(&mut self.answer).poll(cx) {
            if answer != Ok(Durability::Kept) {
                self.sink.unconfirmed();
            }
            return Poll::Ready(());
        }
        let bound = self.bound.get_or_insert_with(|| Box::pin(tokio::time::sleep(SETTLE_WAIT)));
        ready!(bound.as_mut().poll(cx));
        self.sink.unconfirmed();
        Poll::Ready(())
    }
}
