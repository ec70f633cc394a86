//! What happens when a call fails: retries, breakers, failover.
//!
//! Pure: told what happened and when, it says what to do. Along a call: [`Reliability::begin`],
//! then for each try [`Reliability::gate`], [`Reliability::report`] and, where it failed,
//! [`Reliability::after`].

pub mod verdict;
pub mod retry;
pub mod breaker;
pub mod breakers;
pub mod balance;
pub mod chain;
pub mod course;
pub mod repeats;
pub mod presets;
pub mod settings;
mod next;
mod toggles;
mod adopt;

use std::sync::Arc;

pub use self::breakers::{Blocked, Permit};
pub use self::chain::{Chain, Hop};
pub use self::course::{Course, Sought};
pub use self::next::{Failure, Next, Step};
pub use self::presets::Preset;
pub use self::repeats::{Earlier, Print};
pub use self::settings::{HealthChecks, Rules, Settings, Timeouts};
pub use self::verdict::{Class, Failed, Sign, classify};

use self::balance::{Balance, Ejected};
use self::breaker::Change;
use self::breakers::{Breakers, Changed, Reset, Told};
use self::repeats::Repeats;
use self::retry::Budget;
use self::toggles::{Done, Toggles};
use super::Enforcement;
use super::view::{BreakerView, PolicyView};
use crate::clock::Now;
use crate::llm::translate::Feature;
use crate::record::{Notice, Topic};

/// How providers fare, and what to do about it.
#[derive(Debug)]
pub struct Reliability {
    settings: Arc<Settings>,
    breakers: Breakers,
    balance: Balance,
    budget: Budget,
    repeats: Repeats,
    toggles: Toggles,
    /// Calls begun.
    calls: u64,
}

/// Whether a try may be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gate {
    /// It may. Its result is to be reported with the permit.
    Pass {
        /// See [`Reliability::report`].
        permit: Permit,
        /// The breaker that would have rejected it, were it enforced.
        would: Option<Blocked>,
    },
    /// It may not.
    Reject(Blocked),
}

/// One decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The policy.
    pub policy: Arc<str>,
    /// `retry`, `failover`, `skip`, `refuse`, …, with `would-` before it where it did not act.
    pub action: &'static str,
    /// What it rests on.
    pub detail: String,
}

/// The policy behind retries.
pub const RETRY: &str = "retry";

impl Reliability {
    /// Begins with every breaker closed.
    pub fn new(settings: Settings, now: Now) -> Self {
        let mut balance = Balance::default();
        balance.set(&settings.endpoints);
        Self {
            settings: Arc::new(settings),
            balance,
            breakers: Breakers::default(),
            budget: Budget::new(now.mono),
            repeats: Repeats::default(),
            toggles: Toggles::default(),
            calls: 0,
        }
    }

    /// Takes other settings over; breakers and endpoints stay as they are, and calls that have begun
    /// go on by those they began with.
    pub fn replace(&mut self, settings: Settings, _now: Now) {
        self.balance.set(&settings.endpoints);
        self.settings = Arc::new(settings);
    }

    /// How it is set.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// A call begins.
    pub fn begin(&mut self, call: &Sought<'_>, now: Now) -> Course {
        let retry = &self.settings.rules(call.provider).retry;
        self.calls += 1;
        self.budget.earn(retry.budget_percent);
        let asked = Hop {
            provider: Arc::clone(call.provider),
            model: call.model.map_or_else(|| Arc::from(""), Arc::clone),
        };
        let retries = self.toggles.effective(RETRY, self.settings.retries);
        let mut course = Course {
            target: asked.clone(),
            named: call.model.is_some(),
            start: asked.clone(),
            asked,
            retries_act: call.acting && retries.acts_on(RETRY, call.workload),
            hops_act: false,
            chain: None,
            left_out: Vec::new(),
            position: 0,
            hops_left: self.settings.max_hops,
            attempts_left: retry.attempts.saturating_sub(call.tries_before).max(1),
            retries: 0,
            tries: call.tries_before,
            retry: retry.clone(),
            started: now.mono,
            workload: Arc::clone(call.workload),
            acting: call.acting,
            repeatable: call.repeatable,
            movable: call.movable && call.repeatable,
            settings: Arc::clone(&self.settings),
        };
        self.follow(&mut course);
        course
    }

    /// The course of a call that begins at another model than was asked for: what is asked where
    /// that one fails is that one's chain.
    pub fn divert(&mut self, course: &Course, to: &Hop) -> Course {
        let mut course = Course {
            target: to.clone(),
            start: to.clone(),
            named: true,
            chain: None,
            left_out: Vec::new(),
            hops_act: false,
            ..course.clone()
        };
        self.follow(&mut course);
        course
    }

    /// Gives a course the chain of the model it starts at.
    fn follow(&mut self, course: &mut Course) {
        if !course.named || !course.movable {
            return;
        }
        let found = chain::find(&course.settings.chains, &course.start.model);
        let Some(mut chain) = found.cloned() else { return };
        let reachable = Arc::clone(&course.settings);
        let reachable = &reachable.reachable;
        let home = &course.asked.provider;
        let out = |hop: &mut Hop| hop.provider != *home && !reachable.contains(&hop.provider);
        course.left_out = chain.hops.extract_if(.., out).collect();
        self.toggles.count(&chain.policy, Done::Passed);
        let enforcement = self.toggles.effective(&chain.policy, chain.enforcement);
        course.hops_act = course.acting && enforcement.acts_on(&chain.policy, &course.workload);
        course.chain = Some(chain);
    }

    /// How long the course's target may take; as long as the client waits where policies do not
    /// act.
    pub fn timeouts(&self, course: &Course) -> Timeouts {
        if !course.acting {
            return Timeouts::default();
        }
        course.settings.rules(&course.target.provider).timeouts
    }

    /// Whether a try at the course's target may be made.
    pub fn gate(&mut self, course: &Course, now: Now) -> Gate {
        let Hop { provider, model } = &course.target;
        let at = (provider, course.named.then_some(&**model));
        let settings = &course.settings.rules(provider).breaker;
        match self.breakers.ask(at, settings, now.mono) {
            Ok(permit) => Gate::Pass { permit, would: None },
            Err(blocked) => {
                let policy = breaker_policy(&blocked.breaker);
                let enforcement = self.toggles.effective(&policy, course.settings.breakers);
                if course.acting && enforcement.acts_on(&policy, &course.workload) {
                    self.toggles.count(&policy, Done::Acted);
                    return Gate::Reject(blocked);
                }
                let permit = self.breakers.watch(at, now.mono);
                let seen = enforcement != Enforcement::Off;
                if seen {
                    self.toggles.count(&policy, Done::Shadowed);
                }
                Gate::Pass { permit, would: seen.then_some(blocked) }
            }
        }
    }

    /// A try turned out one way or the other: its first content came, or it failed.
    pub fn report(
        &mut self,
        course: &Course,
        permit: Permit,
        failure: Option<&Failure<'_>>,
        now: Now,
    ) -> Vec<Notice> {
        let Hop { provider, model } = &course.target;
        let told = Told {
            class: failure.map(|failure| failure.class),
            retry_after: failure.and_then(|failure| failure.retry_after),
            what: failure.map_or("", |failure| failure.what),
        };
        let settings = &course.settings.rules(provider).breaker;
        let at = (provider, course.named.then_some(model));
        let changes = self.breakers.report(at, permit, &told, (settings, now.mono));
        changes.into_iter().filter_map(|changed| self.told(changed, course.acting, now)).collect()
    }

    /// A permit that is not used.
    pub fn release(&mut self, course: &Course, permit: Permit) {
        let Hop { provider, model } = &course.target;
        self.breakers.release((provider, course.named.then_some(&**model)), permit);
    }

    /// The endpoint of a provider that the next try asks, of those that `fit`: another than the
    /// one to `avoid`, where there is one. `None` where the provider has none of them.
    pub fn endpoint(
        &mut self,
        provider: &str,
        avoid: Option<&str>,
        fits: impl Fn(&str) -> bool,
        now: Now,
    ) -> Option<Arc<str>> {
        self.balance.choose(provider, avoid, fits, now.mono)
    }

    /// A try at an endpoint turned out one way or the other; says so where that one is left out
    /// from now on.
    pub fn endpoint_told(
        &mut self,
        provider: &str,
        endpoint: &str,
        told: (Sign, &str),
        now: Now,
    ) -> Option<Ejected> {
        self.balance.report(provider, endpoint, told, now.mono)
    }

    /// What a change of a breaker is told as; nothing where breakers do not act.
    fn told(&self, changed: Changed, acting: bool, now: Now) -> Option<Notice> {
        let Changed { breaker, change, reason } = changed;
        let policy = breaker_policy(&breaker);
        let enforcement = self.toggles.effective(&policy, self.settings.breakers);
        if !acting || matches!(enforcement, Enforcement::Off | Enforcement::Shadow) {
            return None;
        }
        let (topic, message) = match change {
            Change::Opened => {
                let why = reason.unwrap_or_default();
                (Topic::BreakerOpened, format!("The circuit breaker of {breaker} opened: {why}"))
            }
            Change::Closed => {
                (Topic::BreakerClosed, format!("The circuit breaker of {breaker} closed"))
            }
        };
        Some(Notice {
            at: now.wall,
            topic,
            policy,
            subject: breaker,
            uid: None,
            call_id: None,
            message,
            spent: None,
            limit: None,
            class: None,
            finding: None,
        })
    }

    /// The call that one of the same print repeats.
    pub fn earlier(&self, print: Print, now: Now) -> Option<Earlier> {
        self.repeats.find(print, now.mono)
    }

    /// Remembers a call that failed, as its client may make it again.
    pub fn remember(&mut self, print: Print, earlier: Earlier, now: Now) {
        self.repeats.remember(print, earlier, now.mono);
    }

    /// What may get lost where another provider takes this call over.
    pub fn allowed_loss(&self, course: &Course) -> Vec<Feature> {
        let own = course.chain.iter().flat_map(|chain| &chain.allow_loss);
        course.settings.allow_loss.iter().chain(own).copied().collect()
    }

    /// The models of a tier, best first.
    pub fn tier(&self, name: &str) -> Option<&[Hop]> {
        self.settings.tier(name)
    }

    /// A health check found a provider well: an open breaker finds out early.
    pub fn hint_well(&mut self, provider: &str, now: Now) {
        self.breakers.hint_well(provider, now.mono);
    }

    /// All its policies: `failover.MODEL`, `breaker.NAME`, `retry`.
    pub fn policies(&self) -> Vec<PolicyView> {
        toggles::views(self)
    }

    /// Changes how far a policy goes; `None` gives it back to the configuration. False where there
    /// is no such policy.
    pub fn set(&mut self, name: &str, enforcement: Option<Enforcement>) -> bool {
        let known = match name.split_once('.') {
            None => name == RETRY,
            Some(("failover", _)) => {
                self.settings.chains.iter().any(|chain| &*chain.policy == name)
            }
            Some(("breaker", breaker)) => self.split(breaker).is_some(),
            Some(_) => false,
        };
        if known {
            self.toggles.set(name, enforcement);
        }
        known
    }

    /// Every breaker of which anything is known, and every endpoint of providers that have several
    /// (`PROVIDER@ENDPOINT`).
    pub fn breakers(&self, now: Now) -> Vec<BreakerView> {
        let rules = |provider: &str| self.settings.rules(provider).breaker.clone();
        let mut views = self.breakers.views(rules, now);
        views.extend(self.balance.views(now));
        views
    }

    /// Opens a breaker by hand, or takes an endpoint out, until it is reset. False where the name is
    /// no provider's or endpoint's.
    pub fn trip(&mut self, name: &str, now: Now) -> bool {
        if let Some((provider, endpoint)) = name.split_once('@')
            && self.balance.trip(provider, endpoint, now.mono)
        {
            return true;
        }
        let Some((provider, model)) = self.split(name) else { return false };
        self.breakers.trip(&provider, model, now.mono);
        true
    }

    /// Closes a breaker by hand. False where there is none of this name.
    pub fn reset(&mut self, name: &str, now: Now) -> bool {
        if let Some((provider, endpoint)) = name.split_once('@')
            && self.balance.reset(provider, endpoint, now.mono)
        {
            return true;
        }
        let Some((provider, model)) = self.split(name) else { return false };
        self.breakers.reset(&provider, model, now.mono) != Reset::Unknown || model.is_none()
    }

    /// The provider and the model that a breaker's name means.
    fn split<'n>(&self, name: &'n str) -> Option<(Arc<str>, Option<&'n str>)> {
        let (provider, model) = match name.split_once('/') {
            Some((provider, model)) => (provider, Some(model).filter(|model| !model.is_empty())),
            None => (name, None),
        };
        let known = self.settings.known.iter().find(|known| ***known == *provider)?;
        Some((Arc::clone(known), model))
    }
}

/// The policy behind a breaker.
pub fn breaker_policy(breaker: &str) -> Arc<str> {
    Arc::from(format!("breaker.{breaker}"))
}

#[cfg(test)]
mod tests;
