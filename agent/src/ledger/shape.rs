//! What many calls have in common. A host's calls differ in identity, figures and times, and agree
//! in the rest; that rest is written once and referred to by number, in the journal and in the
//! database alike, which is what keeps a call's own line and row small.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hash};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use super::acted;
use crate::record::{Billing, Flag, Kind, Limits, Opened, Outcome, Record, UsageSource, Via};
use crate::subject::Subject;

/// Entries an interner holds before it starts afresh: paths and models come from clients.
const INTERNED: usize = 4_096;

/// Shapes compared before any is looked up.
const RECENT: usize = 8;

/// The facts about a call that take few values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Shape {
    pub(super) kind: Kind,
    pub(super) via: Via,
    pub(super) environment: Arc<str>,
    #[serde(default)]
    pub(super) team: Option<Arc<str>>,
    #[serde(default)]
    pub(super) account: Option<Arc<str>>,
    pub(super) agent_name: Option<Arc<str>>,
    pub(super) provider: Arc<str>,
    pub(super) host: Arc<str>,
    pub(super) operation: Arc<str>,
    pub(super) method: Arc<str>,
    pub(super) path: Arc<str>,
    pub(super) model: Option<Arc<str>>,
    pub(super) model_served: Option<Arc<str>>,
    pub(super) stream: bool,
    pub(super) status: Option<u16>,
    /// `None` while the call is open.
    pub(super) outcome: Option<Outcome>,
    pub(super) usage_source: UsageSource,
    pub(super) billing: Billing,
    pub(super) price_version: Option<Arc<str>>,
    pub(super) attempts: u32,
    pub(super) flags: Vec<Flag>,
    /// What policies did about it; see [`acted`]. `None` while it is open.
    #[serde(default)]
    pub(super) acted: Option<Arc<str>>,
}

/// A [`Shape`] by reference: compares and hashes a record without building anything.
#[derive(PartialEq, Eq, Hash)]
struct Facts<'a> {
    kind: Kind,
    via: Via,
    environment: &'a str,
    team: Option<&'a str>,
    account: Option<&'a str>,
    agent_name: Option<&'a str>,
    provider: &'a str,
    host: &'a str,
    operation: &'a str,
    method: &'a str,
    path: &'a str,
    model: Option<&'a str>,
    model_served: Option<&'a str>,
    stream: bool,
    status: Option<u16>,
    outcome: Option<Outcome>,
    usage_source: UsageSource,
    billing: Billing,
    price_version: Option<&'a str>,
    attempts: u32,
    flags: &'a [Flag],
    acted: Option<&'a str>,
}

impl Shape {
    /// The shape of a call that is still open.
    pub(super) fn opening(opened: &Opened) -> Self {
        Self {
            kind: opened.kind,
            via: opened.via,
            environment: Arc::clone(&opened.environment),
            team: opened.team.clone(),
            account: opened.account.clone(),
            agent_name: opened.agent_name.clone(),
            provider: Arc::clone(&opened.provider),
            host: Arc::clone(&opened.host),
            operation: Arc::clone(&opened.operation),
            method: Arc::clone(&opened.method),
            path: Arc::clone(&opened.path),
            model: opened.model.clone(),
            model_served: None,
            stream: false,
            status: None,
            outcome: None,
            usage_source: UsageSource::Unknown,
            billing: Billing::Unknown,
            price_version: None,
            attempts: 0,
            flags: Vec::new(),
            acted: None,
        }
    }

    fn settled(record: &Record, acted: &str) -> Self {
        Self {
            kind: record.kind,
            via: record.via,
            environment: Arc::clone(&record.environment),
            team: record.team.clone(),
            account: record.account.clone(),
            agent_name: record.agent_name.clone(),
            provider: Arc::clone(&record.provider),
            host: Arc::clone(&record.host),
            operation: Arc::clone(&record.operation),
            method: Arc::clone(&record.method),
            path: Arc::clone(&record.path),
            model: record.model.clone(),
            model_served: record.model_served.clone(),
            stream: record.stream,
            status: record.status,
            outcome: Some(record.outcome),
            usage_source: record.usage_source,
            billing: record.billing,
            price_version: record.price_version.clone(),
            attempts: tries(record),
            flags: record.flags.clone(),
            acted: Some(Arc::from(acted)),
        }
    }

    fn facts(&self) -> Facts<'_> {
        Facts {
            kind: self.kind,
            via: self.via,
            environment: &self.environment,
            team: self.team.as_deref(),
            account: self.account.as_deref(),
            agent_name: self.agent_name.as_deref(),
            provider: &self.provider,
            host: &self.host,
            operation: &self.operation,
            method: &self.method,
            path: &self.path,
            model: self.model.as_deref(),
            model_served: self.model_served.as_deref(),
            stream: self.stream,
            status: self.status,
            outcome: self.outcome,
            usage_source: self.usage_source,
            billing: self.billing,
            price_version: self.price_version.as_deref(),
            attempts: self.attempts,
            flags: &self.flags,
            acted: self.acted.as_deref(),
        }
    }
}

impl<'a> Facts<'a> {
    fn of(record: &'a Record, acted: &'a str) -> Self {
        Self {
            kind: record.kind,
            via: record.via,
            environment: &record.environment,
            team: record.team.as_deref(),
            account: record.account.as_deref(),
            agent_name: record.agent_name.as_deref(),
            provider: &record.provider,
            host: &record.host,
            operation: &record.operation,
            method: &record.method,
            path: &record.path,
            model: record.model.as_deref(),
            model_served: record.model_served.as_deref(),
            stream: record.stream,
            status: record.status,
            outcome: Some(record.outcome),
            usage_source: record.usage_source,
            billing: record.billing,
            price_version: record.price_version.as_deref(),
            attempts: tries(record),
            flags: &record.flags,
            acted: Some(acted),
        }
    }
}

fn tries(record: &Record) -> u32 {
    u32::try_from(record.attempts.len()).unwrap_or(u32::MAX)
}

/// A value many records refer to, with the number they refer to it by. A number is never used
/// twice in a process.
#[derive(Debug)]
pub(super) struct Known<T> {
    pub(super) number: u64,
    pub(super) value: T,
    /// The journal epoch in which it was last written out.
    defined_in: AtomicU64,
}

impl<T> Known<T> {
    pub(super) fn new(value: T, numbers: &AtomicU64) -> Arc<Self> {
        let number = numbers.fetch_add(1, Ordering::Relaxed);
        Arc::new(Self { number, value, defined_in: AtomicU64::new(u64::MAX) })
    }

    /// One that has its number from elsewhere.
    pub(super) fn numbered(number: u64, value: T) -> Arc<Self> {
        Arc::new(Self { number, value, defined_in: AtomicU64::new(u64::MAX) })
    }

    /// Whether it still has to be written out in this epoch; says so once.
    pub(super) fn undefined_in(&self, epoch: u64) -> bool {
        self.defined_in.swap(epoch, Ordering::Relaxed) != epoch
    }
}

pub(super) type KnownSubject = Known<Arc<Subject>>;

pub(super) type KnownLimits = Known<Arc<Limits>>;

/// Finds the [`Known`] of a record's subject and shape.
pub(super) struct Interner {
    numbers: Arc<AtomicU64>,
    /// By address, which the `Arc` beside it keeps taken: calls of a process share one.
    addresses: HashMap<usize, (Arc<Subject>, Arc<KnownSubject>)>,
    /// By hash of the value. Two values of one hash take turns, which costs a line and no more.
    subjects: HashMap<u64, Arc<KnownSubject>>,
    shapes: HashMap<u64, Arc<Known<Shape>>>,
    /// By address, as subjects: calls share those of a policy.
    limits: HashMap<usize, Arc<KnownLimits>>,
    recent: Vec<Arc<Known<Shape>>>,
    hasher: RandomState,
}

impl Interner {
    pub(super) fn new(numbers: Arc<AtomicU64>) -> Self {
        Self {
            numbers,
            addresses: HashMap::new(),
            subjects: HashMap::new(),
            shapes: HashMap::new(),
            limits: HashMap::new(),
            recent: Vec::with_capacity(RECENT),
            hasher: RandomState::new(),
        }
    }

    pub(super) fn subject(&mut self, subject: &Arc<Subject>) -> Arc<KnownSubject> {
        let address = Arc::as_ptr(subject).addr();
        if let Some((_, known)) = self.addresses.get(&address) {
            return Arc::clone(known);
        }
        let hash = self.hasher.hash_one(parts(subject));
        let known = match self.subjects.get(&hash) {
            Some(known) if *known.value == **subject => Arc::clone(known),
            _ => Known::new(Arc::clone(subject), &self.numbers),
        };
        remember(&mut self.subjects, hash, Arc::clone(&known));
        remember(&mut self.addresses, address, (Arc::clone(subject), Arc::clone(&known)));
        known
    }

    pub(super) fn limits(&mut self, limits: &Arc<Limits>) -> Arc<KnownLimits> {
        let address = Arc::as_ptr(limits).addr();
        if let Some(known) = self.limits.get(&address) {
            return Arc::clone(known);
        }
        let known = Known::new(Arc::clone(limits), &self.numbers);
        remember(&mut self.limits, address, Arc::clone(&known));
        known
    }

    pub(super) fn settled(&mut self, record: &Record) -> Arc<Known<Shape>> {
        let acted = acted::of(&record.decisions);
        let facts = Facts::of(record, &acted);
        if let Some(known) = self.recent(&facts) {
            return known;
        }
        self.shape(&facts, || Shape::settled(record, &acted))
    }

    pub(super) fn opening(&mut self, opened: &Opened) -> Arc<Known<Shape>> {
        let shape = Shape::opening(opened);
        self.shape(&shape.facts(), || shape.clone())
    }

    /// A host's calls take turns between a few shapes: comparing with those is several times
    /// cheaper than hashing.
    fn recent(&mut self, facts: &Facts<'_>) -> Option<Arc<Known<Shape>>> {
        let at = self.recent.iter().position(|known| known.value.facts() == *facts)?;
        self.recent.swap(0, at);
        Some(Arc::clone(&self.recent[0]))
    }

    fn shape(&mut self, facts: &Facts<'_>, build: impl FnOnce() -> Shape) -> Arc<Known<Shape>> {
        let hash = self.hasher.hash_one(facts);
        let known = match self.shapes.get(&hash) {
            Some(known) if known.value.facts() == *facts => Arc::clone(known),
            _ => Known::new(build(), &self.numbers),
        };
        remember(&mut self.shapes, hash, Arc::clone(&known));
        self.recent.truncate(RECENT - 1);
        self.recent.insert(0, Arc::clone(&known));
        known
    }
}

fn remember<K: Eq + Hash, V>(map: &mut HashMap<K, V>, key: K, value: V) {
    if map.len() >= INTERNED {
        map.clear();
    }
    map.insert(key, value);
}

/// A subject's fields, to be hashed.
fn parts(subject: &Subject) -> impl Hash {
    let Subject { process: p, workload: w } = subject;
    (
        (p.pid, p.start_ticks, &*p.exe, &*p.command, p.uid, p.user.as_deref(), p.verified),
        (&*w.name, w.unit.as_deref(), w.container.as_deref(), w.pod.as_deref(), w.app.as_deref()),
    )
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::ledger::sample;

    #[test]
    fn calls_that_agree_share_a_shape_and_others_do_not() {
        let mut interner = Interner::new(Arc::default());
        let one = sample::record(1, SystemTime::UNIX_EPOCH);
        let mut two = sample::record(2, SystemTime::UNIX_EPOCH);
        assert_eq!(interner.settled(&one).number, interner.settled(&two).number);
        two.status = Some(201);
        assert_ne!(interner.settled(&one).number, interner.settled(&two).number);
        assert_eq!(interner.settled(&two).value, Shape::settled(&two, ""));
        let number = interner.settled(&two).number;
        two.decisions[1].action = "refuse".into();
        assert_ne!(interner.settled(&two).number, number, "what was done to it tells them apart");
    }

    #[test]
    fn equal_subjects_are_one_wherever_they_lie() {
        let mut interner = Interner::new(Arc::default());
        let (one, same) = (sample::subject("a.py", 1, 0), sample::subject("a.py", 1, 0));
        let number = interner.subject(&one).number;
        assert_eq!(interner.subject(&same).number, number);
        assert_eq!(interner.subject(&one).number, number);
        assert_ne!(interner.subject(&sample::subject("b.py", 1, 0)).number, number);
    }

    #[test]
    fn a_flood_of_paths_keeps_memory_bounded() {
        let mut interner = Interner::new(Arc::default());
        let mut record = sample::record(1, SystemTime::UNIX_EPOCH);
        for n in 0..3 * INTERNED {
            record.path = format!("/v1/things/{n}").into();
            interner.settled(&record);
        }
        assert!(interner.shapes.len() <= INTERNED);
    }
}
