//! What waits to be sent: bounded, and nobody who adds to it waits.
//!
//! Where it is full the newest is dropped, as OpenTelemetry's own SDKs do: what an
//! incident began with is worth more than more of the same.

use std::collections::VecDeque;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// A queue for one signal.
#[derive(Debug)]
pub(super) struct Queue<T> {
    waiting: Mutex<VecDeque<T>>,
    /// Woken when something waits where nothing did.
    first: Notify,
    /// Woken when a whole batch waits: with each item would cost more than the item.
    batch: Notify,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { waiting: Mutex::default(), first: Notify::new(), batch: Notify::new() }
    }
}

impl<T> Queue<T> {
    /// Items that may wait.
    pub(super) const MOST: usize = 2_048;
    /// Items sent in one go.
    pub(super) const BATCH: usize = 512;

    /// Adds an item, where there is room; tells whether there was.
    #[must_use]
    pub(super) fn push(&self, item: T) -> bool {
        let mut waiting = self.waiting.lock();
        if waiting.len() >= Self::MOST {
            return false;
        }
        waiting.push_back(item);
        let count = waiting.len();
        drop(waiting);
        if count == 1 {
            self.first.notify_one();
        }
        if count == Self::BATCH {
            self.batch.notify_one();
        }
        true
    }

    /// Takes the oldest out, at most a batch.
    pub(super) fn take(&self) -> Vec<T> {
        let mut waiting = self.waiting.lock();
        let count = waiting.len().min(Self::BATCH);
        waiting.drain(..count).collect()
    }

    /// Puts back what could not be sent before the end.
    pub(super) fn put_back(&self, batch: Vec<T>) {
        let mut waiting = self.waiting.lock();
        for item in batch.into_iter().rev() {
            waiting.push_front(item);
        }
    }

    /// Resolves when anything waits.
    pub(super) async fn first(&self) {
        // Told too of what has been taken out since.
        while self.len() == 0 {
            self.first.notified().await;
        }
    }

    /// Resolves when a batch waits.
    pub(super) async fn batch(&self) {
        if self.len() < Self::BATCH {
            self.batch.notified().await;
        }
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.lock().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_finds_no_room() {
        let queue = Queue::default();
        assert!((0..Queue::<usize>::MOST).all(|number| queue.push(number)));
        assert!(!queue.push(usize::MAX));
        assert_eq!(queue.len(), Queue::<usize>::MOST);
        let first = queue.take();
        assert_eq!((first[0], first.len()), (0, Queue::<usize>::BATCH));
        queue.put_back(first);
        assert_eq!(queue.take()[..3], [0, 1, 2]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_wakes_whoever_waits_and_what_was_taken_does_not() {
        let queue = Queue::default();
        assert!(queue.push(1));
        queue.first().await;
        assert_eq!(queue.take(), [1]);
        let mut waiting = std::pin::pin!(queue.first());
        assert!(futures_util::poll!(&mut waiting).is_pending());
        assert!(queue.push(2));
        waiting.await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_whole_batch_wakes_whoever_waits() {
        let queue = Queue::default();
        let mut waiting = std::pin::pin!(queue.batch());
        for number in 0..Queue::<usize>::BATCH {
            assert!(futures_util::poll!(&mut waiting).is_pending());
            assert!(queue.push(number));
        }
        waiting.await;
        queue.batch().await;
    }
}
