//! The tasks behind alerts: one that files notices, and one for each channel.

use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::mpsc;

use super::channel::Attempt;
use super::delivery::{Again, Delivery, Failed, Status};
use super::desk::{Desk, Queue};
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
}

impl Worker {
    pub(super) fn new(
        desk: Arc<Desk>,
        notices: mpsc::Receiver<Notice>,
        queues: Vec<Queue>,
    ) -> Self {
        Self { desk, notices, queues }
    }

    /// Runs until drained. What has been taken in is filed before the end; attempts that are under
    /// way are finished, waits are not.
    pub async fn run(self, drain: Drain) {
        let Self { desk, mut notices, queues } = self;
        for (channel, queue) in queues {
            drain.spawn(serve(Arc::clone(&desk), channel, queue, drain.clone()));
        }
        loop {
            let mut batch = Vec::new();
            tokio::select! {
                biased;
                () = drain.signalled() => break,
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

async fn serve(
    desk: Arc<Desk>,
    channel: Arc<Channel<Secret>>,
    mut queue: mpsc::Receiver<Delivery>,
    drain: Drain,
) {
    loop {
        let next = tokio::select! {
            biased;
            () = drain.signalled() => return,
            next = queue.recv() => next,
        };
        let Some(delivery) = next else { return };
        deliver(&desk, &channel, delivery, &drain).await;
    }
}

/// Tries until it is delivered or given up; or until the agent stops, and then it stays queued.
async fn deliver(
    desk: &Arc<Desk>,
    channel: &Channel<Secret>,
    mut delivery: Delivery,
    drain: &Drain,
) {
    let pace = desk.pace;
    for number in 1..=pace.attempts {
        let told = tokio::select! {
            told = attempt(desk, channel, &delivery) => told,
            () = drain.hurried() => return,
        };
        delivery.attempts = delivery.attempts.saturating_add(1);
        let Err(failed) = told else {
            desk.count(&channel.name, "delivered");
            let ended_at = Some(desk.clock.now().wall);
            let done = Delivery { status: Status::Delivered, ended_at, ..delivery };
            return keep(desk, drain, move |desk| desk.put(done)).await;
        };
        if failed.again == Again::Never || number == pace.attempts {
            return keep(desk, drain, move |desk| desk.bury(delivery, failed.what)).await;
        }
        desk.count(&channel.name, "retried");
        tracing::debug!(channel = &*channel.name, number, %failed, "an alert is tried again");
        delivery.error = Some(failed.what);
        let kept = delivery.clone();
        keep(desk, drain, move |desk| desk.put(kept)).await;
        tokio::select! {
            () = tokio::time::sleep(pace.wait(number, failed.again, fastrand::f64())) => {}
            () = drain.signalled() => return,
        }
    }
}

async fn attempt(
    desk: &Desk,
    channel: &Channel<Secret>,
    delivery: &Delivery,
) -> Result<(), Failed> {
    let now = desk.clock.now().wall.duration_since(SystemTime::UNIX_EPOCH);
    let with =
        Attempt { dial: &desk.dial, host: &desk.host, now: now.unwrap_or_default().as_secs() };
    match tokio::time::timeout(desk.pace.timeout, channel.tell(delivery, with)).await {
        Ok(told) => told,
        Err(_elapsed) => {
            Err(Failed::later(format!("no answer within {:?}", desk.pace.timeout)))
        }
    }
}

async fn keep(desk: &Arc<Desk>, drain: &Drain, write: impl FnOnce(&Desk) + Send + 'static) {
    let desk = Arc::clone(desk);
    if drain.spawn_blocking(move || write(&desk)).await.is_err() {
        tracing::error!("the state of an alert was lost to a panic");
    }
}
