//! Telling people: webhooks, Slack, PagerDuty, e-mail; and the list of escalations.
//!
//! A notice goes into a bounded queue, which never makes anyone wait. A worker files it (durable
//! from here on) and hands it to the channels its routes name. Each channel has a queue and a task
//! of its own, so that a slow receiver delays nobody but itself, and what it is told keeps its
//! order. A delivery is tried several times, always under the same id; what fails for good stays
//! as a dead letter. A delivery that was not over when the agent died is tried again at the next
//! start: a receiver may see it twice, with the same id.

pub mod settings;
pub mod template;
pub mod guard;
mod journal;
pub(crate) mod delivery;
mod escalation;
mod shape;
mod mail;
mod dial;
pub(crate) mod post;
mod smtp;
mod channel;
mod desk;
mod worker;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::SystemTime;

use parking_lot::Mutex;
use tokio::sync::mpsc;
use ulid::Ulid;

pub use self::delivery::{Delivery, Pace, Status};
pub use self::dial::Dial;
pub use self::escalation::{Escalation, State};
pub use self::settings::{Settings, word};
pub use self::worker::Worker;

use self::desk::{Desk, Queue};
use crate::clock::Clock;
use crate::record::{Notice, Topic};
use crate::secret::Secret;

/// Notices that may wait to be filed; above it they are dropped and counted.
const INTAKE: usize = 1024;

/// What telling people needs.
#[derive(Debug)]
pub struct Parts {
    /// Who is told of what, and how.
    pub settings: Settings<Secret>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// This host's name, which every message carries.
    pub host: Arc<str>,
    /// How often and how fast.
    pub pace: Pace,
}

/// There is no channel of this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TestError {
    /// There is none.
    #[error("there is no alert channel `{0}`")]
    Unknown(String),
    /// It has too much to do.
    #[error("the channel `{0}` has a full queue")]
    Full(String),
}

/// Where notices go, and where one can ask what became of them.
#[derive(Debug)]
pub struct Alerts {
    intake: mpsc::Sender<Notice>,
    renewed: mpsc::UnboundedSender<Queue>,
    desk: Arc<Desk>,
    rate: Mutex<escalation::Rate>,
}

/// How it goes, for metrics and the status.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Health {
    /// Notices and deliveries dropped because a queue or the list was full, since the start.
    pub dropped: u64,
    /// Failures to write to the state directory, since the start.
    pub write_errors: u64,
    /// Attempts and ends of deliveries since the start: channel, `delivered`, `retried` or `dead`,
    /// how many.
    pub deliveries: Vec<(Arc<str>, &'static str, u64)>,
    /// Escalations nobody has looked at.
    pub open: u64,
    /// Calls of the last 24 hours that this process saw.
    pub calls: u64,
    /// Those of them that were escalated.
    pub escalated: u64,
}

impl Health {
    /// Share of the calls that were escalated; `None` without calls.
    pub fn rate(&self) -> Option<f64> {
        #[expect(clippy::cast_precision_loss, reason = "a share of counts needs no more")]
        let share = (self.escalated as f64 / self.calls as f64).min(1.0);
        (self.calls > 0).then_some(share)
    }
}

impl Alerts {
    /// Opens what is kept in the state directory. Nothing is told before the worker runs.
    pub fn open(state: &Path, parts: Parts) -> io::Result<(Self, Worker)> {
        let (intake, notices) = mpsc::channel(INTAKE);
        let (desk, queues) = Desk::open(state, parts)?;
        let desk = Arc::new(desk);
        let (renewed, renewals) = mpsc::unbounded_channel();
        let worker = Worker::new(Arc::clone(&desk), notices, (queues, renewals));
        Ok((Self { intake, renewed, desk, rate: Mutex::default() }, worker))
    }

    /// Takes a notice. Never blocks: where the queue is full it is dropped and counted.
    pub fn notice(&self, notice: Notice) {
        if notice.topic == Topic::Escalation {
            self.rate.lock().escalated(notice.at);
        }
        if self.intake.try_send(notice).is_err() {
            self.desk.dropped.fetch_add(1, Relaxed);
        }
    }

    /// Takes other channels and routes over, from the next notice on.
    pub fn replace(&self, settings: Settings<Secret>) {
        for queue in self.desk.replace(settings) {
            // The worker is gone where the agent stops: what waits is queued again by the next one.
            drop(self.renewed.send(queue));
        }
    }

    /// A call was made, for the share of those that are escalated.
    pub fn call(&self, at: SystemTime) {
        self.rate.lock().call(at);
    }

    /// Deliveries, oldest first: one user's, or all.
    pub fn deliveries(&self, uid: Option<u32>) -> Vec<Delivery> {
        let books = self.desk.books.lock();
        let mine = |delivery: &&Delivery| uid.is_none_or(|uid| delivery.notice.uid == Some(uid));
        books.deliveries.iter().filter(mine).cloned().collect()
    }

    /// Sends a channel something to see whether it arrives. Blocks on the state directory.
    pub fn test(&self, channel: &str) -> Result<Delivery, TestError> {
        self.desk.test(channel)
    }

    /// Escalations, oldest first: one user's, or all.
    pub fn escalations(&self, uid: Option<u32>) -> Vec<Escalation> {
        self.desk.books.lock().escalations.list(uid).cloned().collect()
    }

    /// Brings an escalation into another state; `None` where there is none with this id. Blocks on
    /// the state directory.
    pub fn set_escalation(
        &self,
        id: Ulid,
        state: State,
        by: Option<u32>,
    ) -> io::Result<Option<Escalation>> {
        let at = self.desk.clock.now().wall;
        self.desk.books.lock().escalations.set(id, state, (by, at))
    }

    /// How it goes; `uid` limits the open escalations to one user's.
    pub fn health(&self, uid: Option<u32>) -> Health {
        let (calls, escalated) = self.rate.lock().totals(self.desk.clock.now().wall);
        Health {
            dropped: self.desk.dropped.load(Relaxed),
            write_errors: self.desk.write_errors.load(Relaxed),
            deliveries: self.desk.counted(),
            open: self.desk.books.lock().escalations.open_ones(uid),
            calls,
            escalated,
        }
    }

    /// Channels that cannot tell anyone, with the reason.
    pub fn broken(&self) -> Vec<(Arc<str>, String)> {
        let settings = self.desk.settings();
        let broken = settings.channels.iter().filter_map(|channel| {
            let why = channel.means.as_ref().err()?;
            Some((Arc::clone(&channel.name), why.clone()))
        });
        broken.collect()
    }
}

#[cfg(test)]
mod sample;
#[cfg(test)]
mod tests;
