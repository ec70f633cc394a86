//! Webhooks that others call: a signed request becomes a prompt, the model's answer is posted back.
//!
//! ```text
//! POST /v1/webhooks/NAME ─► intake    who signed it, is it new, is there room (signature, seen)
//!                           spool     kept on disk, then answered with 202
//!                           work      begun when it is its turn; at most once
//!                           call      the model is asked through the pipeline, as `webhook:NAME`
//!                           callback  its answer is posted, signed, again and again if need be
//! ```
//! Nobody's call waits for any of this: what is slow happens in tasks of its own, on files of its
//! own. Everything is bounded: bodies, deliveries that wait, calls at a time, answers to be posted,
//! what is remembered.

pub mod settings;
mod signature;
mod seen;
mod prompt;
mod run;
mod lane;
mod spool;
mod intake;
mod work;
mod ask;
mod call;
mod callback;

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use ulid::Ulid;

pub use self::run::{Callback, Called, Run, Status};
pub use self::settings::Settings;

use self::call::Means;
use self::lane::{Lane, Lanes};
use self::settings::Definition;
use self::spool::{Spool, State};
use crate::alerts::{Dial, Pace};
use crate::clock::Clock;
use crate::drain::Drain;
use crate::pipeline::Rules;
use crate::record::Sink;
use crate::secret::Secret;
use crate::upstream::Pool;

/// What webhooks need.
#[derive(Debug)]
pub struct Parts {
    /// Which there are.
    pub settings: Settings<Secret>,
    /// What calls go by.
    pub rules: Arc<ArcSwap<Rules>>,
    /// Connections to providers.
    pub pool: Arc<Pool>,
    /// Where records go.
    pub sink: Arc<dyn Sink>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Runs and ends tasks.
    pub drain: Drain,
    /// The way to receivers of callbacks.
    pub dial: Dial,
    /// How often and how fast callbacks are tried.
    pub pace: Pace,
}

/// The webhooks, and what became of what was posted to them.
#[derive(Debug)]
pub struct Webhooks {
    settings: ArcSwap<Settings<Secret>>,
    lanes: Mutex<Lanes>,
    spool: Spool,
    means: Means,
    dial: Dial,
    pace: Pace,
    /// Deliveries that a task of ours waits with.
    waiting: Mutex<HashSet<Ulid>>,
    counts: Mutex<BTreeMap<Count, u64>>,
}

/// What is counted: of which webhook, what, and what came of it.
type Count = (Arc<str>, Counted, &'static str);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Counted {
    Request,
    Run,
    Callback,
}

/// How it goes, for metrics: webhook, what came of it, how many since the start.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Health {
    /// Requests; those for names that are none are counted as `unknown`.
    pub requests: Vec<(Arc<str>, &'static str, u64)>,
    /// Deliveries that are over.
    pub runs: Vec<(Arc<str>, &'static str, u64)>,
    /// Attempts to post an answer, and their ends.
    pub callbacks: Vec<(Arc<str>, &'static str, u64)>,
    /// Deliveries that wait or run now.
    pub waiting: Vec<(Arc<str>, usize)>,
}

impl Webhooks {
    /// Those of the settings, with their files in the state directory. Nothing is done before
    /// [`Webhooks::run`]: not even what an agent before this one has left.
    pub fn new(state: &Path, parts: Parts) -> Self {
        let Parts { settings, rules, pool, sink, clock, drain, dial, pace } = parts;
        let owner = Ulid::from_datetime(clock.now().wall);
        let webhooks = Self {
            settings: ArcSwap::default(),
            lanes: Mutex::default(),
            spool: Spool::new(state.join("webhooks"), owner),
            means: Means { rules, pool, sink, clock, drain },
            dial,
            pace,
            waiting: Mutex::default(),
            counts: Mutex::default(),
        };
        webhooks.replace(settings);
        webhooks
    }

    /// Takes other settings over, from the next request on; what waits goes by them too.
    pub fn replace(&self, settings: Settings<Secret>) {
        let now = self.means.clock.now().wall;
        let mut lanes = self.lanes.lock();
        lanes.renew(&settings.definitions, now);
        self.settings.store(Arc::new(settings));
    }

    /// Webhooks that nobody can call, with the reason.
    pub fn broken(&self) -> Vec<(Arc<str>, String)> {
        let settings = self.settings.load();
        let broken = settings.definitions.iter().filter_map(|definition| {
            let why = definition.secret.as_ref().err()?;
            Some((Arc::clone(&definition.name), why.clone()))
        });
        broken.collect()
    }

    /// Deliveries, oldest first: those that one user's processes posted, or all. Reads files.
    pub fn runs(&self, uid: Option<u32>) -> io::Result<Vec<Run>> {
        let mut runs: BTreeMap<Ulid, Run> = BTreeMap::new();
        // Of one that changes its state meanwhile, what stands later holds.
        for entry in self.spool.entries()?.iter().filter(|it| it.state != State::Callback) {
            let Some(mut run) = self.spool.read(entry) else { continue };
            if entry.state == State::Running {
                run.status = Status::Running;
            }
            if uid.is_none_or(|uid| uid == run.poster.uid) {
                runs.insert(run.id, run);
            }
        }
        Ok(runs.into_values().collect())
    }

    /// How it goes.
    pub fn health(&self) -> Health {
        let counts = self.counts.lock();
        let of = |what: Counted| {
            let counted = counts.iter().filter(|((_, counted, _), _)| *counted == what);
            counted.map(|((name, _, result), total)| (Arc::clone(name), *result, *total)).collect()
        };
        let lanes = self.lanes.lock();
        Health {
            requests: of(Counted::Request),
            runs: of(Counted::Run),
            callbacks: of(Counted::Callback),
            waiting: lanes.iter().map(|(name, lane)| (Arc::clone(name), lane.taken())).collect(),
        }
    }

    /// A webhook as it is set now.
    fn definition(&self, name: &str) -> Option<Definition<Secret>> {
        self.settings.load().get(name).cloned()
    }

    fn lane(&self, name: &str) -> Option<Lane> {
        self.lanes.lock().get(name).cloned()
    }

    fn count(&self, webhook: &Arc<str>, what: Counted, result: &'static str) {
        *self.counts.lock().entry((Arc::clone(webhook), what, result)).or_default() += 1;
    }
}
