//! Who may still ask: what was used and reserved, and the rules over it.
//!
//! A call is admitted by all rules that are about it, or by none: what it can come to is reserved
//! before it is made and put right after, so that calls at the same time cannot overshoot, and a
//! refused one uses nothing up. Rules that do not act decide and count all the same.
//!
//! Memory is bounded: 10,000 counters per rule (what happens beyond: [`super::counters`]), each
//! of at most 130 steps per limit.

mod admit;
mod settle;
mod restore;
mod show;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::calendar::minute_of_day;
use super::call::{Actual, Admission, Bound, Call, Further, Ticket, Tries};
use super::gauge::Reading;
use super::rules::{Profiles, Rule};
use super::selector::Selector;
use super::settings::{self, Per, Says, UnknownPrice};
use super::teams::Teams;
use super::text::Words;
use super::view::{BudgetView, PolicyView, UsageView};
use super::{Enforcement, Settings};
use crate::clock::Now;
use crate::record::{Decision, Notice};
use crate::subject::Subject;

/// All limits and budgets, and what was used of them.
#[derive(Debug)]
pub struct Engine {
    line: Line,
    zone: TimeZone,
    teams: Teams,
    /// In the order in which they are asked.
    rules: Vec<Rule>,
    /// Whether any rule asks for the time of day.
    by_hours: bool,
    next_id: u64,
    profiles: Profiles,
    words: Words,
}

/// A part of what was spent before this start, from the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spent {
    /// When.
    pub at: SystemTime,
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
    /// Money that is owed: the notional dollars of flat plans are left out.
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

/// The engine's line of time: nanoseconds that never go back.
#[derive(Debug, Clone, Copy)]
struct Line {
    origin: Instant,
    last: u64,
}

/// Where on the line an engine begins, so that what was before it has a place too: two years on.
const BEGINNING: u64 = 2 * 366 * 86_400 * 1_000_000_000;

impl Line {
    /// Callers read the clock before they wait for the lock, so readings may come out of order.
    fn at(&mut self, now: Now) -> u64 {
        self.last = self.last.max(self.peek(now));
        self.last
    }

    fn peek(&self, now: Now) -> u64 {
        let since = now.mono.saturating_duration_since(self.origin).as_nanos();
        BEGINNING.saturating_add(u64::try_from(since).unwrap_or(u64::MAX)).max(self.last)
    }
}

impl Engine {
    /// Begins to count.
    pub fn new(settings: Settings, now: Now) -> Self {
        let mut engine = Self {
            line: Line { origin: now.mono, last: BEGINNING },
            zone: TimeZone::UTC,
            teams: Teams::default(),
            rules: Vec::new(),
            by_hours: false,
            next_id: 0,
            profiles: Profiles::default(),
            words: Words::new(),
        };
        engine.take(settings, now);
        engine
    }

    /// Takes other rules over; what was used stays used wherever a rule of this name is still
    /// there. What limits that are new should know of can be restored afterwards, as at the start:
    /// [`Self::horizon`] and [`Self::restore`] then are about those alone.
    pub fn replace(&mut self, settings: Settings, now: Now) {
        self.take(settings, now);
    }

    fn take(&mut self, settings: Settings, now: Now) {
        let Settings { teams, rules, unknown_price, zone } = settings;
        self.zone = zone;
        self.teams = Teams::new(&teams);
        let t = Reading { at: self.line.at(now), wall: now.wall, zone: &self.zone };
        let mut old = std::mem::take(&mut self.rules);
        for set in rules.into_iter().chain(price_rule(unknown_price)) {
            let same = |rule: &Rule| rule.set.name == set.name;
            self.next_id += 1;
            let rule = if let Some(place) = old.iter().position(same) {
                let mut rule = old.swap_remove(place);
                rule.renew(set, self.next_id, t);
                rule
            } else {
                Rule::new(self.next_id, set, now.wall)
            };
            self.rules.push(rule);
        }
        self.rules.sort_by_key(|rule| Rule::class(&rule.set));
        self.by_hours = self.rules.iter().any(|rule| rule.set.selector.hours.is_some());
        self.profiles.clear();
    }

    /// The team a subject belongs to.
    pub fn team_of(&self, subject: &Subject) -> Option<Arc<str>> {
        if self.teams.is_empty() {
            return None;
        }
        self.teams.of(subject, &subject.workload.stems()).map(Arc::clone)
    }

    /// Decides on a call, and reserves what it can come to. `acting` is false where the agent only
    /// meters: everything is decided and nothing done.
    pub fn admit(&mut self, call: &Call<'_>, acting: bool, now: Now) -> Admission {
        let Self { line, zone, teams, rules, by_hours, profiles, words, .. } = self;
        let t = Reading { at: line.at(now), wall: now.wall, zone };
        let minute = if *by_hours { minute_of_day(now.wall, zone) } else { 0 };
        let entries = profiles.of(call.subject, call.agent_name, (rules, teams));
        admit::Stage::new(rules, entries, (call, acting), (t, minute), words).run()
    }

    /// As [`Self::admit`], for a call whose input is only guessed and could be counted: where fewer
    /// input tokens could let it pass as it was asked, and it would not pass so now, `None`; nothing
    /// has happened then, and the call is to be asked for again, by [`Self::admit`].
    pub fn admit_unless_tight(
        &mut self,
        call: &Call<'_>,
        acting: bool,
        now: Now,
    ) -> Option<Admission> {
        let Self { line, zone, teams, rules, by_hours, profiles, words, .. } = self;
        let t = Reading { at: line.at(now), wall: now.wall, zone };
        let minute = if *by_hours { minute_of_day(now.wall, zone) } else { 0 };
        let entries = profiles.of(call.subject, call.agent_name, (rules, teams));
        let stage = admit::Stage::new(rules, entries, (call, acting), (t, minute), words);
        stage.run_unless_tight()
    }

    /// A call that runs has come to this much so far; raises its reservation.
    pub fn extend(&mut self, ticket: &mut Ticket, so_far: &Bound, now: Now) -> Extension {
        let t = Reading { at: self.line.at(now), wall: now.wall, zone: &self.zone };
        settle::extend(&mut self.rules, ticket, so_far, t)
    }

    /// Decides on a further try of a call that was let through, and raises its reservation to what
    /// all of its tries can come to. `call` is the try: the model and the provider that it asks,
    /// and what it alone can come to. Where those are others than before, rules that are about
    /// them are asked too, and limits that had not been about the call reserve this try. A try that
    /// may not be made changes nothing.
    pub fn further(
        &mut self,
        ticket: &mut Ticket,
        (call, tries): (&Call<'_>, &Tries),
        acting: bool,
        now: Now,
    ) -> Further {
        let Self { line, zone, teams, rules, by_hours, profiles, words, .. } = self;
        let t = Reading { at: line.at(now), wall: now.wall, zone };
        let minute = if *by_hours { minute_of_day(now.wall, zone) } else { 0 };
        let entries = profiles.of(call.subject, call.agent_name, (rules, teams));
        admit::Stage::new(rules, entries, (call, acting), (t, minute), words).further(ticket, tries)
    }

    /// A call is over: puts what it came to in the place of what was reserved. A cost that is not
    /// known leaves the reservation as it is: no unknown is a zero.
    pub fn settle(&mut self, ticket: Ticket, actual: &Actual, now: Now) -> Vec<Notice> {
        let t = Reading { at: self.line.at(now), wall: now.wall, zone: &self.zone };
        let notices = settle::settle(&mut self.rules, &ticket, actual, t);
        // Settled once: nobody can hand it in again.
        drop(ticket);
        notices
    }

    /// What would be said of a call if policies acted; nothing is reserved.
    pub fn test(&self, call: &Call<'_>, now: Now) -> Vec<Decision> {
        let mut trial = self.trial(call);
        trial.admit(call, true, now).decisions
    }

    /// A copy that knows only what this caller has used.
    fn trial(&self, call: &Call<'_>) -> Self {
        let entries =
            super::rules::entries(call.subject, call.agent_name, (&self.rules, &self.teams));
        let rules = entries.iter().filter_map(|entry| {
            let rule = self.rules.get(entry.rule)?;
            let counters = rule.counters.only(&entry.key);
            let (set, limits) = (rule.set.clone(), Arc::clone(&rule.limits));
            Some(Rule { set, limits, counters, is_new: rule.is_new.clone(), ..*rule })
        });
        Self {
            rules: rules.collect(),
            zone: self.zone.clone(),
            teams: self.teams.clone(),
            profiles: Profiles::default(),
            words: self.words.clone(),
            ..*self
        }
    }

    /// All rules.
    pub fn policies(&self) -> Vec<PolicyView> {
        self.rules.iter().map(show::policy).collect()
    }

    /// Changes how far a rule goes; `None` gives it back to the configuration. False where there
    /// is no such rule.
    pub fn set(&mut self, name: &str, enforcement: Option<Enforcement>) -> bool {
        let Some(rule) = self.rules.iter_mut().find(|rule| *rule.set.name == *name) else {
            return false;
        };
        rule.by_hand = enforcement;
        self.profiles.clear();
        true
    }

    /// What is used of every limit, of those whose policy or subject is `of`.
    pub fn usage(&self, of: Option<&str>, now: Now) -> Vec<UsageView> {
        let t = Reading { at: self.line.peek(now), wall: now.wall, zone: &self.zone };
        self.rules.iter().flat_map(|rule| show::usage(rule, of, t)).collect()
    }

    /// How every budget stands.
    pub fn budgets(&self, now: Now) -> Vec<BudgetView> {
        let t = Reading { at: self.line.peek(now), wall: now.wall, zone: &self.zone };
        self.rules.iter().flat_map(|rule| show::budgets(rule, t)).collect()
    }
}

/// Unknown prices are a rule like others, so that they can be tried out and explained.
fn price_rule(unknown: UnknownPrice) -> Option<settings::Rule> {
    (unknown != UnknownPrice::AllowAndFlag).then(|| settings::Rule {
        name: "unknown_price".into(),
        about: "*".into(),
        enforcement: Enforcement::Enforce,
        selector: Selector::default(),
        per: Per::All,
        says: Says::Price(unknown),
    })
}
