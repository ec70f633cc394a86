//! What the journal holds and the database takes: records in compact form, with the text most
//! calls share replaced by references.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::llm::usage::{NanoUsd, Usage};
use crate::record::{Attempt, CallId, Connection, Opened, Outcome, Record, Treatment};

use super::shape::{Interner, Known, KnownSubject, Shape};
use super::steps::Steps;

/// Counts are cut here, far above anything real: a sum over rows must not overflow because one
/// provider once reported nonsense.
const MOST: i64 = 1_000_000_000_000;

/// One thing to keep.
#[derive(Debug)]
pub(super) enum Entry {
    /// A call began.
    Open(Box<Call>),
    /// A call is over. Boxed: entries are moved several times on their way.
    Settle(Box<Call>),
    /// A connection is over.
    Connection(Link),
}

/// A call. Times are microseconds, since 1970 UTC where they are points in time.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) id: CallId,
    pub(super) at: i64,
    pub(super) subject: Arc<KnownSubject>,
    pub(super) shape: Arc<Known<Shape>>,
    pub(super) figures: Figures,
    /// What went wrong.
    pub(super) error: Option<Box<str>>,
    /// Every try, unless [`Figures::only`] says it all.
    pub(super) tries: Vec<Try>,
    /// What was decided on it.
    pub(super) steps: Steps,
}

/// The numbers of a call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Packed", into = "Packed")]
pub(super) struct Figures {
    /// `None` while the call is open.
    pub(super) latency: Option<i64>,
    pub(super) upstream: i64,
    pub(super) ttft: Option<i64>,
    /// Nano-dollars.
    pub(super) cost: Option<i64>,
    pub(super) bytes_in: i64,
    pub(super) bytes_out: i64,
    /// Input and output tokens.
    pub(super) tokens: (i64, i64),
    /// The rarer kinds, in the order of [`Usage`].
    pub(super) rarer: [i64; 6],
    /// The only try, where it agrees with the call: start after the call's, and duration.
    pub(super) only: Option<(i64, i64)>,
    pub(super) retry_of: Option<CallId>,
}

/// [`Figures`] as an array, which costs a fraction of writing their names a thousand times a
/// second.
type Packed = (
    (Option<i64>, i64, Option<i64>),
    Option<i64>,
    (i64, i64),
    (i64, i64),
    Option<[i64; 6]>,
    Option<(i64, i64)>,
    Option<CallId>,
);

impl From<Figures> for Packed {
    fn from(it: Figures) -> Self {
        (
            (it.latency, it.upstream, it.ttft),
            it.cost,
            (it.bytes_in, it.bytes_out),
            it.tokens,
            (it.rarer != [0; 6]).then_some(it.rarer),
            it.only,
            it.retry_of,
        )
    }
}

impl From<Packed> for Figures {
    fn from((times, cost, bytes, tokens, rarer, only, retry_of): Packed) -> Self {
        let (latency, upstream, ttft) = times;
        let (bytes_in, bytes_out) = bytes;
        let rarer = rarer.unwrap_or_default();
        Self { latency, upstream, ttft, cost, bytes_in, bytes_out, tokens, rarer, only, retry_of }
    }
}

/// One try of a call that took several, or whose try ended otherwise than the call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Try {
    pub(super) at: i64,
    pub(super) provider: Arc<str>,
    pub(super) model: Option<Arc<str>>,
    pub(super) status: Option<u16>,
    pub(super) outcome: Outcome,
    pub(super) upstream: i64,
    pub(super) cost: Option<i64>,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) subject: Arc<KnownSubject>,
    pub(super) facts: LinkFacts,
}

/// What is known of a connection besides whose it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LinkFacts {
    pub(super) opened_at: i64,
    pub(super) closed_at: i64,
    pub(super) provider: Arc<str>,
    pub(super) host: Arc<str>,
    pub(super) treatment: Treatment,
    pub(super) reason: Arc<str>,
    pub(super) bytes_up: i64,
    pub(super) bytes_down: i64,
    pub(super) failed: bool,
}

impl Call {
    pub(super) fn opening(opened: &Opened, interner: &mut Interner) -> Box<Self> {
        Box::new(Self {
            id: opened.call_id,
            at: micros(opened.started_at),
            subject: interner.subject(&opened.subject),
            shape: interner.opening(opened),
            figures: Figures::default(),
            error: None,
            tries: Vec::new(),
            steps: Steps::default(),
        })
    }

    pub(super) fn settled(record: &Record, interner: &mut Interner) -> Box<Self> {
        let at = micros(record.started_at);
        let only = only_try(record);
        let tries = match only {
            Some(_) => Vec::new(),
            None => record.attempts.iter().map(Try::of).collect(),
        };
        let usage = &record.usage;
        Box::new(Self {
            id: record.call_id,
            at,
            subject: interner.subject(&record.subject),
            shape: interner.settled(record),
            figures: Figures {
                latency: Some(span(record.latency)),
                upstream: span(record.upstream),
                ttft: record.ttft.map(span),
                cost: record.cost.map(nanos),
                bytes_in: whole(record.bytes_in),
                bytes_out: whole(record.bytes_out),
                tokens: (whole(usage.input), whole(usage.output)),
                rarer: rarer(usage),
                only: only.map(|it| (micros(it.started_at) - at, span(it.upstream))),
                retry_of: record.retry_of,
            },
            error: record.error.as_deref().map(Into::into),
            tries,
            steps: Steps::of(&record.decisions, interner),
        })
    }
}

impl Link {
    pub(super) fn of(connection: &Connection, interner: &mut Interner) -> Self {
        let opened_at = micros(connection.opened_at);
        Self {
            subject: interner.subject(&connection.subject),
            facts: LinkFacts {
                opened_at,
                closed_at: opened_at.saturating_add(span(connection.duration)),
                provider: Arc::clone(&connection.provider),
                host: Arc::clone(&connection.host),
                treatment: connection.treatment,
                reason: Arc::clone(&connection.reason),
                bytes_up: whole(connection.bytes_up),
                bytes_down: whole(connection.bytes_down),
                failed: connection.failed,
            },
        }
    }
}

impl Try {
    fn of(attempt: &Attempt) -> Self {
        Self {
            at: micros(attempt.started_at),
            provider: Arc::clone(&attempt.provider),
            model: attempt.model.clone(),
            status: attempt.status,
            outcome: attempt.outcome,
            upstream: span(attempt.upstream),
            cost: attempt.cost.map(nanos),
        }
    }
}

/// The only attempt, where it says nothing the call does not say.
fn only_try(record: &Record) -> Option<&Attempt> {
    let [only] = record.attempts.as_slice() else { return None };
    let agrees = only.outcome == record.outcome
        && only.status == record.status
        && only.cost == record.cost
        && only.provider == record.provider
        && only.model == record.model;
    agrees.then_some(only)
}

fn rarer(usage: &Usage) -> [i64; 6] {
    [
        usage.cache_read,
        usage.cache_write_5m,
        usage.cache_write_1h,
        usage.reasoning,
        usage.audio_input,
        usage.audio_output,
    ]
    .map(whole)
}

/// Microseconds since 1970; 0 for anything earlier.
pub(super) fn micros(at: SystemTime) -> i64 {
    at.duration_since(UNIX_EPOCH).map_or(0, span)
}

/// Whole microseconds, up to the largest the database holds.
pub(super) fn span(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// A count as `SQLite` takes it, which has no unsigned integers.
fn whole(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(MOST).min(MOST)
}

/// An amount in nano-dollars, at most a million dollars.
fn nanos(cost: NanoUsd) -> i64 {
    cost.0.clamp(-MOST * 1_000, MOST * 1_000)
}
