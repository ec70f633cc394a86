//! Who may still ask: what was used and reserved, and the rules over it.

use std::sync::Arc;

use super::call::{Actual, Admission, Bound, Call, Ticket, Verdict};
use super::view::{BudgetView, PolicyView, UsageView};
use super::{Enforcement, Settings};
use crate::clock::Now;
use crate::record::{Decision, Notice};
use crate::subject::Subject;

/// All limits and budgets, and what was used of them.
#[derive(Debug)]
pub struct Engine {
    settings: Settings,
}

/// A part of what was spent before this start, from the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spent {
    /// When.
    pub at: std::time::SystemTime,
    /// Who.
    pub subject: Arc<Subject>,
    /// `X-Agent-Name`.
    pub agent_name: Option<Arc<str>>,
    /// `environment` then.
    pub environment: Arc<str>,
    /// Provider.
    pub provider: Arc<str>,
    /// Model asked for.
    pub model: Option<Arc<str>>,
    /// Calls.
    pub requests: u64,
    /// Tokens of all kinds but those read from a cache.
    pub tokens: u64,
    /// Money.
    pub cost: crate::llm::usage::NanoUsd,
}

/// What becomes of a stream that has run past what was reserved for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extension {
    /// It goes on; the reservation was raised.
    Raised,
    /// A policy says that it ends here.
    Cut,
}

impl Engine {
    /// Begins to count.
    pub fn new(settings: Settings, _now: Now) -> Self {
        Self { settings }
    }

    /// Takes other rules over; what was used stays used wherever a rule is still there.
    pub fn replace(&mut self, settings: Settings, _now: Now) {
        self.settings = settings;
    }

    /// Counts what was spent before this start.
    pub fn restore(&mut self, _spent: &Spent, _now: Now) {}

    /// How far back [`Self::restore`] has to go for every rule to hold; `None` where no rule
    /// outlives a restart.
    pub fn horizon(&self, _now: Now) -> Option<std::time::SystemTime> {
        None
    }

    /// The team a subject belongs to.
    pub fn team_of(&self, _subject: &Subject) -> Option<Arc<str>> {
        None
    }

    /// Decides on a call, and reserves what it can come to. `acting` is false where the agent only
    /// meters: everything is decided and nothing done.
    pub fn admit(&mut self, _call: &Call<'_>, _acting: bool, _now: Now) -> Admission {
        let verdict = Verdict::Pass {
            ticket: Ticket::default(),
            delay: std::time::Duration::ZERO,
            max_output: None,
            downgrade: None,
        };
        Admission { verdict, decisions: Vec::new(), notices: Vec::new() }
    }

    /// A call that runs has come to this much so far; raises its reservation.
    pub fn extend(&mut self, _ticket: &mut Ticket, _so_far: &Bound, _now: Now) -> Extension {
        Extension::Raised
    }

    /// A call is over: puts what it came to in the place of what was reserved.
    pub fn settle(&mut self, ticket: Ticket, _actual: &Actual, _now: Now) -> Vec<Notice> {
        drop(ticket);
        Vec::new()
    }

    /// What would be said of a call; nothing is reserved.
    pub fn test(&self, _call: &Call<'_>, _now: Now) -> Vec<Decision> {
        Vec::new()
    }

    /// All rules.
    pub fn policies(&self) -> Vec<PolicyView> {
        Vec::new()
    }

    /// Changes how far a rule goes; `None` gives it back to the configuration. False where there
    /// is no such rule.
    pub fn set(&mut self, _name: &str, _enforcement: Option<Enforcement>) -> bool {
        false
    }

    /// What is used of every limit, of those whose policy or subject is `of`.
    pub fn usage(&self, _of: Option<&str>, _now: Now) -> Vec<UsageView> {
        Vec::new()
    }

    /// How every budget stands.
    pub fn budgets(&self, _now: Now) -> Vec<BudgetView> {
        Vec::new()
    }
}
