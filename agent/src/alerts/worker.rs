//! The tasks behind alerts: one that files notices, and one for each channel.

use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::mpsc;

use super::channel::Attempt;
use super::delivery::{Again, Delivery, Failed, Status};
use super::desk::{Desk, Queue};
use super::dial::Dial;
use super::settings::Channel;
use crate::drain::Drain;
use crate::record::Notice;
use crate::secret::Secret;

/// Notices filed in one go.
const BATCH: usize = 64;

/// Files notices and tells people, once it runs.
#[derive(Debug)]
pub struct Worker {
    desk: Arc<Desk>,
    notices: mpsc::Receiver<Notice>,
    queues: Vec<Queue>,
    renewals: mpsc::UnboundedReceiver<Queue>,
}

impl Worker {
    pub(super) fn new(
        desk: Arc<Desk>,
        notices: mpsc::Receiver<Notice>,
        (queues, renewals): (Vec<Queue>, mpsc::UnboundedReceiver<Queue>),
    ) -> Self {
        Self { desk, notices, queues, renewals }
    }

    /// Runs until drained, telling people over `dial`. What has been taken in is filed before the end; attempts that are under
    /// way are finished, waits are not.
    pub async fn run(self, dial: Dial, drain: Drain) {
        let Self { desk, mut notices, queues, mut renewals } = self;
        let dial = Arc::new(dial);
        let tell = |(channel, queue): Queue| {
            let teller = Teller {
                desk: Arc::clone(&desk),
                channel,
                dial: Arc::clone(&dial),
                drain: drain.clone(),
            };
            drop(drain.spawn(teller.run(queue)));
        };
        queues.into_iter().for_each(tell);
        loop {
            let mut batch = Vec::new();
            tokio::select! {
                biased;
                () = drain.signalled() => break,
                Some(queue) = renewals.recv() => { tell(queue); continue },
                taken = notices.recv_many(&mut batch, BATCH) => if taken == 0 { return },
            }
            file(&desk, batch, &drain).await;
        }
        notices.close();
        let mut rest = Vec::new();
        while let Ok(notice) = notices.try_recv() {
            rest.push(notice);
        }
        file(&desk, rest, &drain).await;
    }
}

/// Writing may block: a full disk must not hold the calls that share this thread.
async fn file(desk: &Arc<Desk>, batch: Vec<Notice>, drain: &Drain) {
    let desk = Arc::clone(desk);
    let filed = drain.spawn_blocking(move || batch.into_iter().for_each(|one| desk.file(one)));
    if filed.await.is_err() {
        tracing::error!("notices were lost to a panic");
    }
}

/// The task of one channel.
struct Teller {
    desk: Arc<Desk>,
    channel: Arc<Channel<Secret>>,
    dial: Arc<Dial>,
    drain: Drain,
}

impl Teller {
    async fn run(self, mut queue: mpsc::Receiver<Delivery>) {
        loop {
            let next = tokio::select! {
                biased;
                () = self.drain.signalled() => return,
                next = queue.recv() => next,
            };
            let Some(delivery) = next else { return };
            self.deliver(delivery).await;
        }
    }

    /// Tries until it is delivered or given up; or until the agent stops, and then it stays queued.
    async fn deliver(&self, mut delivery: Delivery) {
        let Self { desk, channel, drain, .. } = self;
        let pace = desk.pace;
        for number in 1..=pace.attempts {
            let told = tokio::select! {
                told = self.attempt(&delivery) => told,
                () = drain.hurried() => return,
            };
            delivery.attempts = delivery.attempts.saturating_add(1);
            let Err(failed) = told else {
                desk.count(&channel.name, "delivered");
                let ended_at = Some(desk.clock.now().wall);
                let done = Delivery { status: Status::Delivered, ended_at, ..delivery };
                return self.keep(move |desk| desk.put(done)).await;
            };
            if failed.again == Again::Never || number == pace.attempts {
                return self.keep(move |desk| desk.bury(delivery, failed.what)).await;
            }
            desk.count(&channel.name, "retried");
            tracing::debug!(channel = &*channel.name, number, %failed, "an alert is tried again");
            delivery.error = Some(failed.what);
            let kept = delivery.clone();
            self.keep(move |desk| desk.put(kept)).await;
            tokio::select! {
                () = tokio::time::sleep(pace.wait(number, failed.again, fastrand::f64())) => {}
                () = drain.signalled() => return,
            }
        }
    }

    async fn attempt(&self, delivery: &Delivery) -> Result<(), Failed> {
        let desk = &self.desk;
        let now = desk.clock.now().wall.duration_since(SystemTime::UNIX_EPOCH);
        let now = now.unwrap_or_default().as_secs();
        let with = Attempt { dial: &self.dial, host: &desk.host, now };
        match tokio::time::timeout(desk.pace.timeout, self.channel.tell(delivery, with)).await {
            Ok(told) => told,
            Err(_elapsed) => {
                Err(Failed::later(format!("no answer within {:?}", desk.pace.timeout)))
            }
        }
    }

    /// As [`file`]: writing may block.
    async fn keep(&self, write: impl FnOnce(&Desk) + Send + 'static) {
        let desk = Arc::clone(&self.desk);
        if self.drain.spawn_blocking(move || write(&desk)).await.is_err() {
            tracing::error!("the state of an alert was lost to a panic");
        }
    }
}
