//! What is kept of each workload: per task how calls ended, per model how long they took, and how
//! fast it spends.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::budget::Level;
use super::seen::Seen;
use super::settings::{ErrorBudget, Share, Sla};
use super::window::{Latencies, Outcomes};
use crate::record::FailureClass;

/// Fewer calls than this have no 95th percentile to speak of.
pub(super) const FEWEST_SAMPLES: u32 = 20;

/// Whose calls they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    One(u32),
    Several,
}

impl Owner {
    pub(super) fn of(seen: &Seen<'_>) -> Self {
        Self::One(seen.subject.process.uid)
    }

    /// One more call.
    pub(super) fn and(&mut self, seen: &Seen<'_>) {
        if *self != Self::of(seen) {
            *self = Self::Several;
        }
    }

    /// The user, where it is one's.
    pub(super) fn uid(self) -> Option<u32> {
        match self {
            Self::One(uid) => Some(uid),
            Self::Several => None,
        }
    }
}

/// A task of a workload.
#[derive(Debug, Clone)]
pub(super) struct Task {
    pub(super) owner: Owner,
    pub(super) outcomes: Outcomes,
    pub(super) latencies: Latencies,
    pub(super) last: SystemTime,
    pub(super) budget: Option<Budget>,
    pub(super) level: Level,
}

/// The rule that a task is held against, as far as it is needed with every call.
#[derive(Debug, Clone)]
pub(super) struct Budget {
    pub(super) policy: Arc<str>,
    pub(super) target: Share,
    minimum: u32,
}

impl From<&ErrorBudget> for Budget {
    fn from(rule: &ErrorBudget) -> Self {
        let (policy, minimum) = (Arc::clone(&rule.policy), rule.minimum_calls.get());
        Self { policy, target: rule.target, minimum }
    }
}

impl Task {
    pub(super) fn new(seen: &Seen<'_>) -> Self {
        Self {
            owner: Owner::of(seen),
            outcomes: Outcomes::default(),
            latencies: Latencies::default(),
            last: seen.ended_at,
            budget: None,
            level: Level::Ok,
        }
    }

    /// Takes a call; the level before it.
    pub(super) fn take(&mut self, seen: &Seen<'_>, rule: Option<&ErrorBudget>) -> Level {
        self.owner.and(seen);
        self.last = self.last.max(seen.ended_at);
        if seen.is_timed() {
            self.latencies.push(seen.latency);
        }
        if seen.class.is_none_or(FailureClass::is_counted) {
            self.outcomes.push(seen.class);
        }
        let before = self.level;
        self.replace(rule);
        self.level = self.budget.as_ref().map_or(Level::Ok, |budget| {
            self.level.next(&self.outcomes, budget.target, budget.minimum)
        });
        before
    }

    /// Nobody goes on looking: all is well. The level before that.
    pub(super) fn leave(&mut self) -> Level {
        std::mem::replace(&mut self.level, Level::Ok)
    }

    /// Holds it against another rule from the next call on, or none.
    pub(super) fn replace(&mut self, rule: Option<&ErrorBudget>) {
        let is_same = match (&self.budget, rule) {
            (Some(known), Some(rule)) => Arc::ptr_eq(&known.policy, &rule.policy),
            (None, None) => true,
            _ => false,
        };
        if !is_same {
            self.budget = rule.map(Budget::from);
        }
        if self.budget.is_none() {
            self.level = Level::Ok;
        }
    }
}

/// A model that a workload uses, for the calls that one rule is about, or none.
#[derive(Debug, Clone)]
pub(super) struct Model {
    pub(super) owner: Owner,
    pub(super) latencies: Latencies,
    pub(super) last: SystemTime,
    pub(super) sla: Option<(Arc<str>, Duration)>,
    pub(super) breached: bool,
}

impl Model {
    pub(super) fn new(seen: &Seen<'_>) -> Self {
        Self {
            owner: Owner::of(seen),
            latencies: Latencies::default(),
            last: seen.ended_at,
            sla: None,
            breached: false,
        }
    }

    /// Takes a call; whether it was too slow before it.
    pub(super) fn take(&mut self, seen: &Seen<'_>, rule: Option<&Sla>) -> bool {
        self.owner.and(seen);
        self.last = self.last.max(seen.ended_at);
        self.hold_against(rule);
        self.latencies.push(seen.latency);
        let is_enough = self.latencies.samples() >= FEWEST_SAMPLES;
        // Passed once, it has to come well below.
        let next = if self.breached {
            self.latencies.is_near()
        } else {
            is_enough && self.latencies.is_over()
        };
        std::mem::replace(&mut self.breached, next)
    }

    /// Nobody goes on looking: all is well. Whether it was too slow before that.
    pub(super) fn leave(&mut self) -> bool {
        std::mem::take(&mut self.breached)
    }

    /// Holds it against a rule, or none.
    pub(super) fn hold_against(&mut self, rule: Option<&Sla>) {
        let is_same = match (&self.sla, rule) {
            (Some((policy, _)), Some(rule)) => Arc::ptr_eq(policy, &rule.policy),
            (None, None) => true,
            _ => false,
        };
        if !is_same {
            self.sla = rule.map(|rule| (Arc::clone(&rule.policy), rule.p95));
            self.latencies.hold_against(rule.map(|rule| rule.p95));
        }
    }
}
