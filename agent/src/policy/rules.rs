//! The rules at work: how far each goes, what it has counted, and which of them mean whom.

use std::sync::Arc;
use std::time::SystemTime;

use foldhash::HashMap;

use super::Enforcement;
use super::counters::{Counter, Counters};
use super::gauge::Reading;
use super::selector::{Meant, Who};
use super::settings::{self, Cap, Per, Quantity, Says};
use super::teams::Teams;
use crate::record::Limits;
use crate::subject::Subject;

/// Profiles kept; then all are forgotten, for they are quickly made again.
const MOST_PROFILES: usize = 16_384;

/// Longest `X-Agent-Name` that is looked at.
const LONGEST_NAME: usize = 128;

/// A rule at work.
#[derive(Debug, Clone)]
pub(super) struct Rule {
    /// Tells rules apart over reloads.
    pub(super) id: u64,
    pub(super) set: settings::Rule,
    /// Set by hand, over what the configuration says.
    pub(super) by_hand: Option<Enforcement>,
    pub(super) counters: Counters,
    pub(super) tally: Tally,
    /// Since when it says what it says.
    pub(super) began: SystemTime,
    /// Of each of its limits, whether it counts only since then, so that what was used before is
    /// to be restored.
    pub(super) is_new: Vec<bool>,
    /// What its decisions say of its limits: the same for every call.
    pub(super) limits: Arc<Limits>,
    /// When people were last told of it, for rules that have no period.
    pub(super) told: Option<u64>,
}

/// How often a rule did what.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tally {
    pub(super) passed: u64,
    pub(super) acted: u64,
    pub(super) shadowed: u64,
}

impl Rule {
    pub(super) fn new(id: u64, set: settings::Rule, now: SystemTime) -> Self {
        Self {
            id,
            limits: limits(&set),
            is_new: vec![true; caps(&set).len()],
            set,
            by_hand: None,
            counters: Counters::default(),
            tally: Tally::default(),
            began: now,
            told: None,
        }
    }

    /// What it limits.
    pub(super) fn caps(&self) -> &[Cap] {
        caps(&self.set)
    }

    pub(super) fn enforcement(&self) -> Enforcement {
        self.by_hand.unwrap_or(self.set.enforcement)
    }

    /// Goes on as another version of itself; as `next_id` where it counts others from now on.
    pub(super) fn renew(&mut self, set: settings::Rule, next_id: u64, t: Reading<'_>) {
        // What was set by hand holds until the file says something else.
        if set.enforcement != self.set.enforcement {
            self.by_hand = None;
        }
        // Other subjects are counted: nothing of the old ones means anything, and what calls that
        // still run have reserved there must not be looked for in the new ones.
        let counts_others = set.per != self.set.per;
        let was_there =
            |cap: &Cap| caps(&self.set).iter().any(|old| (old.of, old.over) == (cap.of, cap.over));
        self.is_new = caps(&set).iter().map(|cap| counts_others || !was_there(cap)).collect();
        self.began = t.wall;
        match &set.says {
            _ if counts_others => {
                self.id = next_id;
                self.counters = Counters::default();
            }
            Says::Limit(limit) => self.counters.renew(limit, t),
            Says::Guard(_) | Says::Price(_) | Says::Loops(_) => {}
        }
        self.limits = limits(&set);
        self.set = set;
    }

    /// Guardrails are asked first, then whether the price is known; of limits, budgets before tokens
    /// before requests. Loops come last: a call that a limit refuses repeats nothing.
    pub(super) fn class(set: &settings::Rule) -> u8 {
        match &set.says {
            Says::Guard(_) => 0,
            Says::Price(_) => 1,
            Says::Limit(limit) => limit.caps.iter().map(|cap| class(cap.of)).min().unwrap_or(4),
            Says::Loops(_) => 5,
        }
    }
}

fn limits(set: &settings::Rule) -> Arc<Limits> {
    let of = caps(set).iter().map(|cap| (Arc::from(cap.unit), cap.of, cap.limit.get()));
    Arc::new(Limits { policy: Arc::clone(&set.name), of: of.collect() })
}

fn caps(set: &settings::Rule) -> &[Cap] {
    match &set.says {
        Says::Limit(limit) => &limit.caps,
        Says::Guard(_) | Says::Price(_) | Says::Loops(_) => &[],
    }
}

/// The order in which limits are named: money, tokens, requests.
pub(super) fn class(of: Quantity) -> u8 {
    match of {
        Quantity::Usd => 2,
        Quantity::Tokens => 3,
        Quantity::Requests => 4,
    }
}

/// The rules that mean one kind of caller, found once and kept.
#[derive(Debug, Clone, Default)]
pub(super) struct Profiles {
    places: HashMap<Box<str>, usize>,
    known: Vec<Vec<Entry>>,
    scratch: String,
}

/// A rule that means a caller.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// Its place among the rules.
    pub(super) rule: usize,
    /// Whether it is asked at all, by its enforcement. What was spent before a start is restored
    /// all the same: it may be switched on later.
    pub(super) is_on: bool,
    /// Whether it acts on them, by its enforcement.
    pub(super) acts: bool,
    /// Whether it asks about each call, too.
    pub(super) asks: bool,
    /// Whom it counts.
    pub(super) key: Arc<str>,
    /// Their counter, once there is one.
    pub(super) slot: Option<(u32, u32)>,
}

impl Profiles {
    /// Forgets everything: the rules, or how far they go, have changed.
    pub(super) fn clear(&mut self) {
        self.places.clear();
        self.known.clear();
    }

    /// The rules that mean this caller.
    pub(super) fn of(
        &mut self,
        subject: &Subject,
        agent_name: Option<&str>,
        (rules, teams): (&[Rule], &Teams),
    ) -> &mut [Entry] {
        let agent_name = agent_name.filter(|name| name.len() <= LONGEST_NAME);
        self.scratch.clear();
        identify(&mut self.scratch, subject, agent_name);
        let place = if let Some(place) = self.places.get(self.scratch.as_str()) {
            *place
        } else {
            if self.known.len() >= MOST_PROFILES {
                self.clear();
            }
            self.known.push(entries(subject, agent_name, (rules, teams)));
            let place = self.known.len() - 1;
            self.places.insert(self.scratch.as_str().into(), place);
            place
        };
        self.known.get_mut(place).map_or(&mut [], Vec::as_mut_slice)
    }
}

/// Everything about a caller that a selector can ask for.
fn identify(text: &mut String, subject: &Subject, agent_name: Option<&str>) {
    let (workload, process) = (&subject.workload, &subject.process);
    text.push_str(&workload.name);
    for part in [&workload.unit, &workload.container] {
        text.push('\0');
        text.push_str(part.as_deref().unwrap_or_default());
    }
    text.push('\0');
    text.push_str(&process.exe);
    text.push('\0');
    text.push_str(process.user.as_deref().unwrap_or_default());
    text.push('\0');
    for byte in process.uid.to_le_bytes() {
        text.push(char::from(byte));
    }
    if let Some(name) = agent_name {
        text.push('\0');
        text.push_str(name);
    }
}

/// The rules that mean a caller, in the order in which they are asked.
pub(super) fn entries(
    subject: &Subject,
    agent_name: Option<&str>,
    (rules, teams): (&[Rule], &Teams),
) -> Vec<Entry> {
    let stems = subject.workload.stems();
    let name = &subject.workload.name;
    let who = Who {
        subject,
        stems: &stems,
        agent_name,
        team: teams.of(subject, &stems).map(|team| &**team),
        listed: rules.iter().any(|rule| rule.set.selector.lists(name, &stems)),
    };
    let entry = |(place, rule): (usize, &Rule)| {
        let meant = rule.set.selector.means(&who)?;
        Some(Entry {
            rule: place,
            is_on: rule.enforcement() != Enforcement::Off,
            acts: rule.enforcement().acts_on(&rule.set.name, name),
            asks: rule.set.selector.asks_of_calls(),
            key: key(rule, &who, meant)?,
            slot: None,
        })
    };
    rules.iter().enumerate().filter_map(entry).collect()
}

/// Whom a rule counts when it means this caller.
fn key(rule: &Rule, who: &Who<'_>, meant: Meant) -> Option<Arc<str>> {
    let workload = &who.subject.workload.name;
    let process = &who.subject.process;
    Some(match (rule.set.per, meant) {
        // Whoever claims a name counts by themselves: it must not use up what another one has.
        (Per::All, Meant::Claimed) => format!("{} in {workload}", rule.set.about).into(),
        (Per::All, Meant::Known) => Arc::clone(&rule.set.about),
        (Per::Workload, _) => Arc::clone(workload),
        (Per::User, _) => match &process.user {
            Some(user) => format!("user:{user}").into(),
            None => format!("user:{}", process.uid).into(),
        },
        (Per::Team, _) => format!("team:{}", who.team?).into(),
    })
}

impl Entry {
    /// The counter of the caller, made where there is none.
    pub(super) fn counter<'r>(
        &mut self,
        rule: &'r mut Rule,
        uid: u32,
        t: Reading<'_>,
    ) -> Option<&'r mut Counter> {
        let known =
            self.slot.filter(|(slot, generation)| rule.counters.of(*slot, *generation).is_some());
        let (slot, is_new) = match known {
            Some((slot, _)) => (slot, false),
            None => (rule.counters.slot(&self.key, &rule.set.says, t), true),
        };
        let counter = rule.counters.at(slot)?;
        if is_new {
            self.slot = Some((slot, counter.generation));
            counter.owner.meet(uid);
        }
        Some(counter)
    }
}
