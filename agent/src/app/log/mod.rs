//! The agent's own log: to journald with its fields apart where it reads us, else to stderr.
//!
//! Requests' contents and credentials are never logged, at any level, and what is logged can be
//! changed while the agent runs, but never to what libraries say at their lowest levels: they may
//! log whatever passes them.

mod filter;
mod repeats;
mod journal;
mod told;

use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::reload::{self, Handle};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, Registry, fmt};

pub(crate) use self::filter::{Filter, FilterError};
use self::journal::Journal;
use self::repeats::Repeats;
use self::told::{Ear, Told};
use crate::config::{Level, Log, LogFormat};
use crate::telemetry::Telemetry;

/// Starts logging under the name of this process, and returns what changes it later.
pub(crate) fn start(log: Log, name: &'static str) -> Dial {
    let configured = Filter::of(log.level);
    let (filter, handle) = reload::Layer::new(configured.targets());
    let repeats = Arc::new(Repeats::default());
    let journal = (log.format == LogFormat::Text).then(|| Journal::of_stderr(name)).flatten();
    let is_journal = journal.is_some();
    let ear = Ear::default();
    let lines = fmt::layer().with_writer(std::io::stderr).with_target(false);
    let output = match (journal, log.format) {
        (Some(journal), _) => journal.boxed(),
        (None, LogFormat::Text) => lines.with_ansi(false).boxed(),
        (None, LogFormat::Json) => lines.json().boxed(),
    };
    tracing_subscriber::registry()
        .with(filter)
        .with(repeats::Gate(Arc::clone(&repeats)))
        .with(output)
        .with(Told(Arc::clone(&ear)))
        .init();
    let state = Mutex::new(State { configured, set: None, number: 0 });
    Dial { handle, repeats, is_journal, state, ear }
}

/// Changes what is logged.
pub(crate) struct Dial {
    handle: Handle<Targets, Registry>,
    repeats: Arc<Repeats>,
    is_journal: bool,
    state: Mutex<State>,
    ear: Ear,
}

#[derive(Debug)]
struct State {
    configured: Filter,
    set: Option<Set>,
    /// How often it was set: who comes to end a setting must find his own.
    number: u64,
}

/// What was set by hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Set {
    pub(super) filter: Filter,
    /// When it ends by itself.
    pub(super) until: Option<SystemTime>,
}

impl Dial {
    /// What is set by hand, if anything, and what the configuration says.
    pub(super) fn standing(&self) -> (Option<Set>, Filter) {
        let state = self.state.lock();
        (state.set.clone(), state.configured.clone())
    }

    /// Whether journald gets the fields apart.
    pub(super) fn is_journal(&self) -> bool {
        self.is_journal
    }

    /// Sets what is logged from now on; `None` gives it back to the configuration. The number is
    /// the setting's own.
    pub(super) fn set(&self, set: Option<Set>) -> u64 {
        let mut state = self.state.lock();
        state.set = set;
        state.number += 1;
        self.apply(&state);
        state.number
    }

    /// Ends a setting, unless there is another one by now.
    pub(super) fn end(&self, number: u64) -> bool {
        let mut state = self.state.lock();
        let is_own = state.number == number && state.set.take().is_some();
        if is_own {
            self.apply(&state);
        }
        is_own
    }

    /// Takes the configuration's level over; what is set by hand stays.
    pub(super) fn configure(&self, level: Level) {
        let mut state = self.state.lock();
        state.configured = Filter::of(level);
        self.apply(&state);
    }

    /// Hands warnings to whoever sends telemetry, from now on.
    pub(super) fn tell(&self, telemetry: &Arc<Telemetry>) {
        // There is one, made at the start.
        let _first = self.ear.set(Arc::clone(telemetry));
    }

    /// Sums up what was suppressed and has not come again.
    pub(super) fn flush(&self) {
        self.repeats.flush();
    }

    fn apply(&self, state: &State) {
        let filter = state.set.as_ref().map_or(&state.configured, |set| &set.filter);
        if let Err(error) = self.handle.reload(filter.targets()) {
            // Only where nothing logs any more.
            tracing::warn!(%error, "what is logged could not be changed");
        }
    }
}
