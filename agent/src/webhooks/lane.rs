//! What one webhook may have under way at once, and what it has taken.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::seen::Seen;
use super::settings::Definition;

/// Answers that may wait to be posted; above it they are given up at once.
const CALLBACKS: usize = 256;
/// Answers posted at a time: a receiver that is slow for one is not waited for by all.
const POSTS: usize = 8;

/// The bounds of one webhook.
#[derive(Debug, Clone)]
pub(super) struct Lane {
    /// For deliveries that wait or run.
    places: Arc<Semaphore>,
    /// For calls.
    pub(super) calls: Arc<Semaphore>,
    /// For answers that wait to be posted.
    callbacks: Arc<Semaphore>,
    /// For attempts to post one.
    pub(super) posts: Arc<Semaphore>,
    /// Requests that were taken.
    pub(super) seen: Arc<Mutex<Seen>>,
    /// What the first two were made for.
    size: (u32, u32),
}

impl Lane {
    pub(super) fn new<S>(definition: &Definition<S>) -> Self {
        let size = (definition.concurrency.get(), definition.queue.get());
        Self {
            places: semaphore(size.0.saturating_add(size.1)),
            calls: semaphore(size.0),
            callbacks: Arc::new(Semaphore::new(CALLBACKS)),
            posts: Arc::new(Semaphore::new(POSTS)),
            seen: Arc::default(),
            size,
        }
    }

    /// For what was accepted for a webhook that is gone: it only has to be ended.
    pub(super) fn nobodys() -> Self {
        Self {
            places: semaphore(0),
            calls: semaphore(1),
            callbacks: semaphore(0),
            posts: semaphore(0),
            seen: Arc::default(),
            size: (0, 0),
        }
    }

    /// The same after a reload: what was taken stays known. What is under way keeps the bounds it
    /// began with.
    pub(super) fn renewed<S>(&self, definition: &Definition<S>) -> Self {
        let new = Self::new(definition);
        let (callbacks, posts) = (Arc::clone(&self.callbacks), Arc::clone(&self.posts));
        let kept = Self { callbacks, posts, seen: Arc::clone(&self.seen), ..new };
        if kept.size != self.size {
            return kept;
        }
        Self { places: Arc::clone(&self.places), calls: Arc::clone(&self.calls), ..kept }
    }

    /// Room for one more delivery; `None` where there is none.
    pub(super) fn place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.places).try_acquire_owned().ok()
    }

    /// Room for one more answer that waits to be posted; `None` where there is none.
    pub(super) fn callback(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.callbacks).try_acquire_owned().ok()
    }

    /// Deliveries that wait or run.
    pub(super) fn taken(&self) -> usize {
        let all = self.size.0.saturating_add(self.size.1) as usize;
        all.saturating_sub(self.places.available_permits())
    }
}

fn semaphore(permits: u32) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(permits as usize))
}
