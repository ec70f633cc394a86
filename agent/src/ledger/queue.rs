//! The way from the call path into the ledger: bounded, and never blocking whoever puts something
//! in beyond a short lock.

use std::sync::Arc;
use std::time::Duration;
use std::{mem, sync::mpsc};

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use crate::record::{Connection, Durability, Opened, Record};

use super::entry::Entry;
use super::stats::{Stats, count, set};

/// Records that may wait for the journal thread: about 30 MB of ordinary calls, two thirds of a
/// second of a stalled disk at the highest load.
const CAPACITY: usize = 16_384;

/// How long what nobody waits for may lie before the journal thread looks at it. Most calls are
/// over by then, so that their opening need not be written at all.
pub(super) const LULL: Duration = Duration::from_millis(20);

/// What the call path hands over.
pub(super) enum Item {
    Open(Opened),
    Settle(Arc<Record>, oneshot::Sender<Durability>),
    Connection(Connection),
    /// What another agent has recorded that this one has followed.
    Foreign(Vec<Entry>, oneshot::Sender<Durability>),
}

/// Told whether everything queued before it is in the database.
pub(super) type Flush = mpsc::SyncSender<bool>;

pub(super) struct Queue {
    state: Mutex<State>,
    ready: Condvar,
    stats: Arc<Stats>,
}

#[derive(Default)]
struct State {
    items: Vec<Item>,
    flushes: Vec<Flush>,
    /// Somebody waits for an item: the thread must not sleep on it.
    urgent: bool,
    closed: bool,
    /// Nobody takes anything for now: what comes in waits.
    paused: bool,
    parked: Parked,
}

/// How the journal thread sleeps, so that it is woken no more than needed.
#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Parked {
    #[default]
    Awake,
    /// Wakes by itself soon enough for anything that is not urgent.
    Shortly,
    Indefinitely,
}

/// What the journal thread found besides items.
pub(super) struct Taken {
    pub(super) flushes: Vec<Flush>,
    pub(super) closed: bool,
}

impl Queue {
    pub(super) fn new(stats: Arc<Stats>) -> Self {
        Self { state: Mutex::default(), ready: Condvar::new(), stats }
    }

    /// Puts an item in; when the queue is full or closed, counts it as dropped. A settlement that
    /// is dropped answers at once.
    pub(super) fn push(&self, item: Item) {
        let urgent = matches!(item, Item::Settle(..) | Item::Foreign(..));
        let mut state = self.state.lock();
        if state.closed || state.items.len() >= CAPACITY {
            drop(state);
            count(&self.stats.dropped, 1);
            if let Item::Settle(_, waiting) | Item::Foreign(_, waiting) = item {
                // The caller may have stopped waiting.
                waiting.send(Durability::Dropped).ok();
            }
            return;
        }
        state.items.push(item);
        set(&self.stats.queued, state.items.len());
        state.urgent |= urgent;
        let wake = match state.parked {
            Parked::Awake => false,
            Parked::Shortly => urgent,
            Parked::Indefinitely => true,
        };
        if wake {
            state.parked = Parked::Awake;
            drop(state);
            self.ready.notify_one();
        }
    }

    /// Asks for everything queued so far to reach the database. False when closed.
    pub(super) fn flush(&self, done: Flush) -> bool {
        let mut state = self.state.lock();
        if state.closed {
            return false;
        }
        state.flushes.push(done);
        state.parked = Parked::Awake;
        drop(state);
        self.ready.notify_one();
        true
    }

    /// Lets the journal thread finish with what is there; what comes in later waits for the next.
    pub(super) fn pause(&self) {
        let mut state = self.state.lock();
        state.paused = true;
        state.parked = Parked::Awake;
        drop(state);
        self.ready.notify_one();
    }

    /// There is a thread again that takes what has come in.
    pub(super) fn resume(&self) {
        self.state.lock().paused = false;
    }

    /// The journal thread has ended. Nobody waits for one that is gone, unless another follows.
    pub(super) fn abandoned(&self) {
        let paused = self.state.lock().paused;
        if !paused {
            self.close();
        }
    }

    /// Takes nothing more in, and lets the journal thread finish.
    pub(super) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        state.parked = Parked::Awake;
        drop(state);
        self.ready.notify_one();
    }

    /// Waits until there is something to do, or `patience` is over, and moves the items to `into`.
    pub(super) fn take(&self, into: &mut Vec<Item>, patience: Option<Duration>) -> Taken {
        let mut state = self.state.lock();
        loop {
            if state.urgent || state.closed || state.paused || !state.flushes.is_empty() {
                break;
            }
            let limit = match patience {
                _ if !state.items.is_empty() => Some(patience.map_or(LULL, |it| it.min(LULL))),
                Some(patience) => Some(patience),
                None => None,
            };
            let Some(limit) = limit else {
                state.parked = Parked::Indefinitely;
                self.ready.wait(&mut state);
                continue;
            };
            state.parked = if limit <= LULL { Parked::Shortly } else { Parked::Indefinitely };
            if self.ready.wait_for(&mut state, limit).timed_out() {
                break;
            }
        }
        state.parked = Parked::Awake;
        state.urgent = false;
        mem::swap(&mut state.items, into);
        set(&self.stats.queued, 0);
        let closed = state.closed || state.paused;
        Taken { flushes: mem::take(&mut state.flushes), closed }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::ledger::sample;

    #[test]
    fn a_full_queue_answers_at_once_and_counts() {
        let stats = Arc::new(Stats::default());
        let queue = Queue::new(Arc::clone(&stats));
        let record = Arc::new(sample::record(1, SystemTime::UNIX_EPOCH));
        for _ in 0..CAPACITY {
            queue.push(Item::Settle(Arc::clone(&record), oneshot::channel().0));
        }
        let (waiting, mut answer) = oneshot::channel();
        queue.push(Item::Settle(record, waiting));
        assert_eq!(answer.try_recv(), Ok(Durability::Dropped));
        assert_eq!(stats.health().dropped, 1);
        assert_eq!(stats.health().backlog, CAPACITY as u64);
    }

    #[test]
    fn nothing_is_taken_in_after_the_end() {
        let stats = Arc::new(Stats::default());
        let queue = Queue::new(Arc::clone(&stats));
        queue.close();
        queue.push(Item::Open(sample::opened(1, SystemTime::UNIX_EPOCH)));
        assert_eq!(stats.health().dropped, 1);
        let mut items = Vec::new();
        assert!(queue.take(&mut items, None).closed);
        assert!(items.is_empty());
        assert!(!queue.flush(mpsc::sync_channel(1).0));
    }
}
