//! The tasks that send: one for each signal, each with its own patience.

use std::sync::Arc;
use std::time::Duration;

use super::log::Entry;
use super::post::{Again, Message, Target};
use super::queue::Queue;
use super::settings::Signal;
use super::{Telemetry, log, pack, span};
use crate::drain::Drain;
use crate::record::Record;

/// While no sums are sent, how long until one looks again; a change is told at once.
const IDLE: Duration = Duration::from_hours(1);

/// Bytes that an item seldom exceeds.
const ROOM: usize = 2_048;

/// A signal whose items wait in a queue.
trait Lane: Copy + Send + 'static {
    type Item: Send + 'static;
    const SIGNAL: Signal;

    fn queue(telemetry: &Telemetry) -> &Queue<Self::Item>;
    fn is_wanted(target: &Target) -> bool;
    /// Spans or lines of an item.
    fn weight(item: &Self::Item) -> u64;
    fn encode(telemetry: &Telemetry, target: &Target, batch: &[Self::Item]) -> Vec<u8>;
}

#[derive(Clone, Copy)]
struct Traces;
#[derive(Clone, Copy)]
struct Logs;

impl Lane for Traces {
    type Item = Arc<Record>;
    const SIGNAL: Signal = Signal::Traces;

    fn queue(telemetry: &Telemetry) -> &Queue<Arc<Record>> {
        &telemetry.traces
    }

    fn is_wanted(target: &Target) -> bool {
        target.settings.signals.traces
    }

    fn weight(record: &Arc<Record>) -> u64 {
        spans_of(record)
    }

    fn encode(telemetry: &Telemetry, target: &Target, batch: &[Arc<Record>]) -> Vec<u8> {
        pack::items((&telemetry.origin, &target.environment), batch.len() * ROOM, |spans| {
            for record in batch {
                if let Some(trace) = &record.trace {
                    span::write(spans, pack::ITEMS, record, trace);
                }
            }
        })
    }
}

impl Lane for Logs {
    type Item = Entry;
    const SIGNAL: Signal = Signal::Logs;

    fn queue(telemetry: &Telemetry) -> &Queue<Entry> {
        &telemetry.logs
    }

    fn is_wanted(target: &Target) -> bool {
        target.settings.signals.logs
    }

    fn weight(_: &Entry) -> u64 {
        1
    }

    fn encode(telemetry: &Telemetry, target: &Target, batch: &[Entry]) -> Vec<u8> {
        let now = telemetry.clock.now().wall;
        pack::items((&telemetry.origin, &target.environment), batch.len() * ROOM, |lines| {
            for entry in batch {
                lines.within(pack::ITEMS, |line| log::write(line, entry, now));
            }
        })
    }
}

/// Spans that a call comes to.
pub(super) fn spans_of(record: &Record) -> u64 {
    1 + record.attempts.len() as u64
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// It arrived, or never will.
    Over,
    /// The agent stops, and it has not arrived.
    Stopped,
}

impl Telemetry {
    /// Sends until drained. What waits then is left for [`Telemetry::flush`]: calls that are still
    /// going on are to be in it.
    pub async fn run(self: Arc<Self>, drain: Drain) {
        tokio::join!(
            Arc::clone(&self).queued(Traces, &drain),
            Arc::clone(&self).queued(Logs, &drain),
            self.summed(&drain),
        );
    }

    async fn queued<L: Lane>(self: Arc<Self>, lane: L, drain: &Drain) {
        let queue = L::queue(&self);
        loop {
            // Nothing is woken while there is nothing to send.
            tokio::select! {
                biased;
                () = drain.signalled() => return,
                () = queue.first() => {}
            }
            tokio::select! {
                biased;
                () = drain.signalled() => return,
                () = queue.batch() => {}
                () = tokio::time::sleep(self.pace.delay) => {}
            }
            let batch = queue.take();
            let weight = batch.iter().map(L::weight).sum();
            let packing = Arc::clone(&self);
            // Milliseconds that calls on this thread would feel.
            let packed = drain.spawn_blocking(move || (packing.packed(lane, &batch), batch));
            let Ok((Some(message), batch)) = packed.await else {
                // Not wanted any more; or a panic, which has been reported.
                self.counts.of(L::SIGNAL).dropped(weight);
                continue;
            };
            if self.deliver(&message, drain).await == Ended::Stopped {
                return queue.put_back(batch);
            }
        }
    }

    async fn summed(self: Arc<Self>, drain: &Drain) {
        loop {
            let interval = self.target().filter(|target| target.settings.signals.metrics);
            let interval = interval.map_or(IDLE, |target| target.settings.metrics_interval);
            tokio::select! {
                biased;
                () = drain.signalled() => return,
                () = self.changed.notified() => continue,
                () = tokio::time::sleep(interval) => {}
            }
            let packing = Arc::clone(&self);
            let packed = drain.spawn_blocking(move || packing.sums()).await;
            if let Ok(Some(message)) = packed {
                // What does not arrive is in what is sent next.
                self.deliver(&message, drain).await;
            }
        }
    }

    fn packed<L: Lane>(&self, _: L, batch: &[L::Item]) -> Option<Message> {
        let target = self.target().filter(|target| L::is_wanted(target))?;
        let message = L::encode(self, &target, batch);
        Some(Message {
            signal: L::SIGNAL,
            body: pack::body(message, target.settings.compress),
            compressed: target.settings.compress,
            count: batch.iter().map(L::weight).sum(),
        })
    }

    /// All sums as they are now; `None` where there are none, or they are not wanted.
    fn sums(&self) -> Option<Message> {
        let target = self.target().filter(|target| target.settings.signals.metrics)?;
        // A copy: nobody who settles a call waits while it is written down.
        let meter = self.meter.lock().clone();
        if meter.is_empty() {
            return None;
        }
        let (count, metrics) = (meter.points(), meter.metrics(self.since, self.clock.now().wall));
        let message = pack::metrics(metrics, (&self.origin, &target.environment));
        let compressed = target.settings.compress;
        let body = pack::body(message, compressed);
        Some(Message { signal: Signal::Metrics, body, compressed, count })
    }

    /// Sends a message until it arrives or is given up.
    async fn deliver(&self, message: &Message, drain: &Drain) -> Ended {
        let pace = self.pace;
        for number in 1..=pace.attempts {
            // A collector that was changed meanwhile is the one to try, if it is to have this.
            let target = self.target();
            let is_wanted = |it: &Arc<Target>| it.settings.signals.has(message.signal);
            let Some(target) = target.filter(is_wanted) else { break };
            let late = async {
                drain.signalled().await;
                tokio::time::sleep(pace.end).await;
            };
            let again = tokio::select! {
                biased;
                again = self.send(&target, message) => again,
                () = late => return Ended::Stopped,
            };
            let wait = match again {
                None => return Ended::Over,
                Some(Again::Never) => break,
                Some(_) if number == pace.attempts => break,
                Some(Again::After(asked)) => asked.min(pace.asked),
                Some(Again::Later) => pace.wait(number, fastrand::f64()),
            };
            tokio::select! {
                biased;
                () = drain.signalled() => return Ended::Stopped,
                () = tokio::time::sleep(wait) => {}
            }
        }
        if message.signal != Signal::Metrics {
            self.counts.of(message.signal).dropped(message.count);
        }
        Ended::Over
    }

    /// Sends a message once; whether it may be sent again where it did not arrive.
    async fn send(&self, target: &Target, message: &Message) -> Option<Again> {
        let (counts, signal) = (self.counts.of(message.signal), message.signal.word());
        let endpoint = &target.settings.endpoint;
        let answer = match Box::pin(target.post(message)).await {
            Ok(answer) => answer,
            Err(failed) => {
                if counts.failed(&failed.what) {
                    tracing::warn!(signal, %endpoint, %failed, "telemetry does not arrive");
                }
                return Some(failed.again);
            }
        };
        let (rejected, why) = pack::rejected(message.signal, &answer).unwrap_or_default();
        let rejected = rejected.min(message.count);
        if counts.arrived(message.count - rejected) {
            tracing::info!(signal, %endpoint, "telemetry arrives again");
        }
        if rejected > 0 && counts.refused(rejected) {
            tracing::warn!(signal, %endpoint, rejected, why, "the collector took only part of it");
        }
        None
    }

    /// Sends what waits, once, for at most so long: for the end, when nobody adds to it any more.
    pub async fn flush(&self, within: Duration) {
        let all = async {
            tokio::join!(self.last(Traces), self.last(Logs), async {
                if let (Some(target), Some(message)) = (self.target(), self.sums()) {
                    self.send(&target, &message).await;
                }
            })
        };
        let in_time = tokio::time::timeout(within, all).await.is_ok();
        let left = self.traces.len() + self.logs.len();
        if left > 0 || !in_time {
            tracing::warn!(left, in_time, "telemetry that was not sent before the end");
        }
    }

    async fn last<L: Lane>(&self, lane: L) {
        let queue = L::queue(self);
        loop {
            let batch = queue.take();
            if batch.is_empty() {
                return;
            }
            let Some(message) = self.packed(lane, &batch) else { return };
            let Some(target) = self.target() else { return };
            if self.send(&target, &message).await.is_some() {
                self.counts.of(L::SIGNAL).dropped(message.count);
                return;
            }
        }
    }
}

impl super::Pace {
    /// The wait after so many times; `random` is from 0 to 1.
    fn wait(&self, number: u32, random: f64) -> Duration {
        let doubled = self.first.saturating_mul(1 << (number - 1).min(16));
        // Between half and all of it: agents that failed together are not to come back together.
        doubled.min(self.longest).mul_f64(0.5 + random / 2.0)
    }
}
