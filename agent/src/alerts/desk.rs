//! Where notices are filed: which channels are told, what was told, and what came of it.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use ulid::Ulid;

use super::delivery::{Delivery, Pace, Status};
use super::escalation::Escalations;
use super::journal::Journal;
use super::settings::{Channel, Settings};
use super::shape::shortened;
use super::{Parts, TestError};
use crate::clock::Clock;
use crate::record::{Notice, Topic};
use crate::secret::Secret;

/// Deliveries remembered; above it the oldest that are over go first.
const MOST: usize = 2000;
/// Deliveries that may wait for one channel; above it they are dead at once.
const QUEUE: usize = 256;
/// Longest message kept and sent, in characters.
const MESSAGE: usize = 1000;

/// A channel with what waits for it.
pub(super) type Queue = (Arc<Channel<Secret>>, mpsc::Receiver<Delivery>);

/// Everything that worker, channels and those who ask share.
#[derive(Debug)]
pub(super) struct Desk {
    settings: Mutex<Arc<Settings<Secret>>>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) host: Arc<str>,
    pub(super) pace: Pace,
    /// Held while a line is written: locked where blocking is allowed, or for a look.
    pub(super) books: Mutex<Books>,
    pub(super) dropped: AtomicU64,
    pub(super) write_errors: AtomicU64,
    queues: Mutex<HashMap<Arc<str>, mpsc::Sender<Delivery>>>,
    counts: Mutex<BTreeMap<(Arc<str>, &'static str), u64>>,
}

/// What outlives the process.
#[derive(Debug)]
pub(super) struct Books {
    pub(super) deliveries: Journal<Delivery>,
    pub(super) escalations: Escalations,
}

impl Desk {
    /// Reads what is kept, and puts what was not over into the channels' queues again.
    pub(super) fn open(state: &Path, parts: Parts) -> io::Result<(Self, Vec<Queue>)> {
        let Parts { settings, clock, host, pace } = parts;
        let books = Books {
            deliveries: Journal::open(&state.join("deliveries.jsonl"), MOST)?,
            escalations: Escalations::open(&state.join("escalations.jsonl"))?,
        };
        let (senders, queues) = open_queues(&settings);
        let desk = Self {
            settings: Mutex::new(Arc::new(settings)),
            clock,
            host,
            pace,
            dropped: AtomicU64::new(0),
            write_errors: AtomicU64::new(0),
            queues: Mutex::new(senders),
            counts: Mutex::default(),
            books: Mutex::new(books),
        };
        let waiting: Vec<_> = desk.waiting();
        for delivery in waiting {
            desk.queue(delivery);
        }
        Ok((desk, queues))
    }

    /// How it is set.
    pub(super) fn settings(&self) -> Arc<Settings<Secret>> {
        Arc::clone(&self.settings.lock())
    }

    /// Takes other settings over, and returns the queues of its channels. What waits for the
    /// channels as they were is still told as they were: their queues end with what is in them.
    pub(super) fn replace(&self, settings: Settings<Secret>) -> Vec<Queue> {
        let (senders, queues) = open_queues(&settings);
        *self.settings.lock() = Arc::new(settings);
        *self.queues.lock() = senders;
        queues
    }

    fn waiting(&self) -> Vec<Delivery> {
        let books = self.books.lock();
        let waits = |delivery: &&Delivery| delivery.status == Status::Queued;
        books.deliveries.iter().filter(waits).cloned().collect()
    }

    /// Files a notice, and queues it for the channels that its routes name.
    pub(super) fn file(&self, mut notice: Notice) {
        notice.message = shortened(&notice.message, MESSAGE);
        if notice.topic == Topic::Escalation {
            let (is_new, written) = self.books.lock().escalations.take(&notice);
            self.note(&written);
            // Known trouble: who is told has been told.
            if !is_new {
                return;
            }
        }
        let now = self.clock.now().wall;
        for channel in self.told(&notice) {
            let delivery = self.begin(|id| Delivery::new(id, now, &channel, notice.clone()));
            self.queue(delivery);
        }
    }

    /// The channels a notice goes to, each once.
    fn told(&self, notice: &Notice) -> Vec<Arc<str>> {
        let settings = self.settings();
        let takes = |name: &Arc<str>| {
            settings.routes.is_empty()
                || settings
                    .routes
                    .iter()
                    .any(|route| route.channels.contains(name) && route.takes(notice))
        };
        let names = settings.channels.iter().map(|channel| &channel.name);
        names.filter(|name| takes(name)).cloned().collect()
    }

    pub(super) fn test(&self, name: &str) -> Result<Delivery, TestError> {
        let unknown = || TestError::Unknown(name.to_owned());
        let queues = self.queues.lock();
        let known =
            queues.get_key_value(name).map(|(name, queue)| (Arc::clone(name), queue.clone()));
        drop(queues);
        let (channel, queue) = known.ok_or_else(unknown)?;
        let at = self.clock.now().wall;
        let notice = Notice {
            at,
            topic: Topic::Guardrail,
            policy: Arc::from("test"),
            subject: Arc::from("test"),
            uid: None,
            call_id: None,
            message: format!("This is a test of the alert channel {name}."),
            spent: None,
            limit: None,
            class: None,
            finding: None,
        };
        let place = queue.try_reserve().map_err(|_| TestError::Full(name.to_owned()))?;
        let new = |id| Delivery { test: true, ..Delivery::new(id, at, &channel, notice) };
        let delivery = self.begin(new);
        place.send(delivery.clone());
        Ok(delivery)
    }

    /// Hands a delivery to its channel, or gives it up.
    fn queue(&self, delivery: Delivery) {
        let queue = self.queues.lock().get(&delivery.channel).cloned();
        let Some(queue) = queue else {
            return self.bury(delivery, "the channel is no longer configured".to_owned());
        };
        // A queue that is closed belongs to an agent that stops: the next one queues it again.
        if let Err(TrySendError::Full(delivery)) = queue.try_send(delivery) {
            self.dropped.fetch_add(1, Relaxed);
            self.bury(delivery, "too many deliveries wait for this channel".to_owned());
        }
    }

    /// Gives a delivery up: it stays as a dead letter.
    pub(super) fn bury(&self, delivery: Delivery, why: String) {
        tracing::warn!(
            channel = &*delivery.channel,
            topic = delivery.topic(),
            policy = &*delivery.notice.policy,
            why,
            "an alert was not delivered"
        );
        self.count(&delivery.channel, "dead");
        let ended_at = Some(self.clock.now().wall);
        self.put(Delivery { status: Status::Dead, error: Some(why), ended_at, ..delivery });
    }

    /// Keeps a new delivery.
    fn begin(&self, new: impl FnOnce(Ulid) -> Delivery) -> Delivery {
        let mut books = self.books.lock();
        let delivery = new(books.deliveries.fresh(self.clock.now().wall));
        let kept = books.deliveries.put(delivery.clone());
        drop(books);
        self.kept(kept);
        delivery
    }

    /// Keeps how a delivery stands.
    pub(super) fn put(&self, delivery: Delivery) {
        let kept = self.books.lock().deliveries.put(delivery);
        self.kept(kept);
    }

    fn kept(&self, (gone, written): (Option<Delivery>, io::Result<()>)) {
        if gone.is_some_and(|gone| gone.status == Status::Queued) {
            self.dropped.fetch_add(1, Relaxed);
        }
        self.note(&written);
    }

    fn note(&self, written: &io::Result<()>) {
        if let Err(error) = written
            && self.write_errors.fetch_add(1, Relaxed) == 0
        {
            tracing::error!(%error, "alerts cannot be kept: a restart would lose them");
        }
    }

    /// Counts what came of an attempt.
    pub(super) fn count(&self, channel: &Arc<str>, result: &'static str) {
        *self.counts.lock().entry((Arc::clone(channel), result)).or_default() += 1;
    }

    pub(super) fn counted(&self) -> Vec<(Arc<str>, &'static str, u64)> {
        let counts = self.counts.lock();
        counts
            .iter()
            .map(|((channel, result), count)| (Arc::clone(channel), *result, *count))
            .collect()
    }
}

type Senders = HashMap<Arc<str>, mpsc::Sender<Delivery>>;

fn open_queues(settings: &Settings<Secret>) -> (Senders, Vec<Queue>) {
    let pair = |channel: &Channel<Secret>| {
        let (sender, queue) = mpsc::channel(QUEUE);
        ((Arc::clone(&channel.name), sender), (Arc::new(channel.clone()), queue))
    };
    settings.channels.iter().map(pair).unzip()
}
