//! OpenTelemetry: calls as spans, sums and log lines, sent to a collector by OTLP over HTTP.
//!
//! Whoever settles a call leaves it here and goes on: queues are bounded, and where one is full,
//! what is new is dropped and counted. One task for each signal sends what waits in batches, and
//! tries again as the protocol says. A collector that is slow, gone or talks nonsense costs its own
//! telemetry and nothing else. At the end what waits is sent once more, within a bound.

pub mod settings;
mod semconv;
mod attributes;
mod wire;
mod span;
mod log;
mod meter;
mod queue;
mod pack;
mod post;
mod counts;
mod worker;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::Notify;

pub use self::counts::Counted;
pub use self::log::{Said, Severity};
pub use self::pack::Origin;
pub use self::post::Target;
pub use self::settings::{Endpoint, Settings, Signal, Signals};

use self::counts::Counts;
use self::log::Entry;
use self::meter::Meter;
use self::queue::Queue;
use crate::clock::Clock;
use crate::record::{Kind, Record};

/// Whether and where telemetry is sent.
#[derive(Debug)]
pub enum State {
    /// It is not wanted.
    Off,
    /// It is wanted, and cannot be sent for this reason.
    Broken(String),
    /// It is sent there.
    On(Arc<Target>),
}

/// How fast, and how often.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// How long the first of a batch waits for others.
    pub delay: Duration,
    /// Times a message is sent at most.
    pub attempts: u32,
    /// The wait after the first time; doubled with each.
    pub first: Duration,
    /// No wait is longer, but what a collector asks for.
    pub longest: Duration,
    /// No collector is waited for longer.
    pub asked: Duration,
    /// How long a message under way is waited for when the agent stops.
    pub end: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            delay: seconds(1),
            attempts: 5,
            first: seconds(1),
            longest: seconds(30),
            asked: seconds(120),
            end: seconds(3),
        }
    }
}

/// Takes calls and sends them on.
#[derive(Debug)]
pub struct Telemetry {
    state: ArcSwap<State>,
    /// Told when the state is another.
    changed: Notify,
    traces: Queue<Arc<Record>>,
    logs: Queue<Entry>,
    meter: Mutex<Meter>,
    counts: Counts,
    origin: Origin,
    since: SystemTime,
    clock: Arc<dyn Clock>,
    pace: Pace,
}

impl Telemetry {
    /// Nothing is sent before it runs.
    pub fn new(state: State, origin: Origin, clock: Arc<dyn Clock>, pace: Pace) -> Self {
        Self {
            state: ArcSwap::from_pointee(state),
            changed: Notify::new(),
            traces: Queue::default(),
            logs: Queue::default(),
            meter: Mutex::default(),
            counts: Counts::default(),
            origin,
            since: clock.now().wall,
            clock,
            pace,
        }
    }

    /// Sends it elsewhere from now on, or not at all.
    pub fn replace(&self, state: State) {
        self.state.store(Arc::new(state));
        for signal in Signal::ALL {
            self.counts.of(signal).forget();
        }
        self.changed.notify_one();
    }

    /// Takes a call that is over. Never waits.
    pub fn call(&self, record: &Arc<Record>) {
        let state = self.state.load();
        let State::On(target) = &**state else { return };
        if record.kind == Kind::Request {
            return;
        }
        let signals = target.settings.signals;
        if signals.traces && record.trace.is_some() && !self.traces.push(Arc::clone(record)) {
            self.counts.of(Signal::Traces).dropped(worker::spans_of(record));
        }
        if signals.metrics {
            self.meter.lock().add(record);
        }
        if signals.logs {
            self.log(Entry::Call(Arc::clone(record)));
        }
    }

    /// Takes what the agent says in its own log. Never waits.
    pub fn say(&self, said: Said) {
        let is_wanted =
            matches!(&**self.state.load(), State::On(target) if target.settings.signals.logs);
        if is_wanted {
            self.log(Entry::Said(said));
        }
    }

    fn log(&self, entry: Entry) {
        if !self.logs.push(entry) {
            self.counts.of(Signal::Logs).dropped(1);
        }
    }

    /// What came of each signal since the start.
    pub fn counted(&self) -> [(Signal, Counted); 3] {
        Signal::ALL.map(|signal| (signal, self.counts.of(signal).counted()))
    }

    /// Why telemetry does not arrive, where it does not.
    pub fn trouble(&self) -> Option<String> {
        match &**self.state.load() {
            State::Off => None,
            State::Broken(why) => Some(why.clone()),
            State::On(target) => {
                let Settings { endpoint, signals, .. } = &target.settings;
                // A message that was under way when its signal was switched off may have failed since.
                let mut wanted = Signal::ALL.into_iter().filter(|signal| signals.has(*signal));
                let why = wanted.find_map(|signal| self.counts.of(signal).trouble());
                why.map(|why| format!("nothing arrives at {endpoint}: {why}"))
            }
        }
    }

    /// Where it is sent to, where it is.
    fn target(&self) -> Option<Arc<Target>> {
        match &**self.state.load() {
            State::On(target) => Some(Arc::clone(target)),
            State::Off | State::Broken(_) => None,
        }
    }
}

/// Nanoseconds since the epoch, as the protocol has times.
fn nanos(at: SystemTime) -> u64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod sample;
#[cfg(test)]
mod tests;
