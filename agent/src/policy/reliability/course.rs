//! The way of one call: which target it is at, and what may still be tried.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::chain::{Chain, Hop};
use super::retry;
use super::settings::Settings;

/// A call that is about to be sent, as far as it matters here.
#[derive(Debug, Clone, Copy)]
pub struct Sought<'a> {
    /// Provider it is addressed to.
    pub provider: &'a Arc<str>,
    /// Model it asks for.
    pub model: Option<&'a Arc<str>>,
    /// Name of its workload, for canaries.
    pub workload: &'a Arc<str>,
    /// Whether it can be sent again: its body is at hand, and it is a call.
    pub repeatable: bool,
    /// Whether it can be asked of another model.
    pub movable: bool,
    /// Tries its client has made of it before this one.
    pub tries_before: u32,
    /// Whether policies act.
    pub acting: bool,
}

/// One call on its way.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is an answer that does not change")]
pub struct Course {
    /// Where it is now.
    pub target: Hop,
    /// Whether the target names a model.
    pub named: bool,
    /// What the client asked for.
    pub(super) asked: Hop,
    /// Where it begins: at what was asked for, or at what a policy puts in its place.
    pub(super) start: Hop,
    pub(super) chain: Option<Chain>,
    /// Hops of the chain that nobody has a key for, until that has been said.
    pub(super) left_out: Vec<Hop>,
    /// The next hop of the chain.
    pub(super) position: usize,
    pub(super) hops_left: u32,
    pub(super) attempts_left: u32,
    /// Retries at this target.
    pub(super) retries: u32,
    pub(super) tries: u32,
    pub(super) retry: retry::Settings,
    pub(super) retries_act: bool,
    pub(super) hops_act: bool,
    pub(super) started: Instant,
    pub(super) workload: Arc<str>,
    pub(super) acting: bool,
    pub(super) repeatable: bool,
    /// Whether it can be asked of other models when it fails.
    pub(super) movable: bool,
    /// What held when it began, and does until its end.
    pub(super) settings: Arc<Settings>,
}

impl Course {
    /// A try begins.
    pub fn tries(&mut self) {
        self.attempts_left = self.attempts_left.saturating_sub(1);
        self.tries += 1;
        if self.retries == 0 && self.target != self.start {
            self.hops_left = self.hops_left.saturating_sub(1);
        }
    }

    /// Tries made so far, those of the calls it repeats included.
    pub fn tried(&self) -> u32 {
        self.tries
    }

    /// Whether it is at another model or provider than the client asked for.
    pub fn is_elsewhere(&self) -> bool {
        self.target != self.asked
    }

    /// The policy behind its chain, where it has one.
    pub fn policy(&self) -> Option<&Arc<str>> {
        self.chain.as_ref().map(|chain| &chain.policy)
    }

    /// Back to where it was, but for the models that have been passed by.
    pub fn back_to(&mut self, before: Self) {
        let position = self.position;
        *self = Self { position, left_out: Vec::new(), ..before };
    }

    /// Whether policies act on it at all.
    pub fn is_acting(&self) -> bool {
        self.acting
    }

    /// Whether a failure could still be answered with another try: only then it is worth holding
    /// an answer's beginning back.
    pub fn has_more(&self) -> bool {
        let retry = self.retries_act && self.repeatable;
        self.attempts_left > 0 && (retry || self.hops_act && self.coming().is_some())
    }

    /// The model to ask next.
    pub(super) fn coming(&self) -> Option<&Hop> {
        let hops = &self.chain.as_ref()?.hops;
        let rest = hops.get(self.position..)?.iter();
        let passed = |hop: &&Hop| **hop != self.start && **hop != self.asked;
        rest.filter(|_| self.hops_left > 0).find(passed)
    }

    /// Goes on to the next model.
    pub(super) fn move_on(&mut self) -> Option<Hop> {
        let next = self.coming()?.clone();
        let hops = &self.chain.as_ref()?.hops;
        self.position += 1 + hops[self.position..].iter().position(|hop| *hop == next)?;
        self.target = next.clone();
        self.named = true;
        self.retries = 0;
        Some(next)
    }

    /// Whether a try that begins after `wait` begins in time.
    pub(super) fn is_in_time(&self, wait: Duration, now: Instant) -> bool {
        now.saturating_duration_since(self.started).saturating_add(wait) <= self.retry.total_timeout
    }
}
