//! What to do after a failure: the same again, another model, or nothing.

use std::sync::Arc;
use std::time::Duration;

use super::toggles::Done;
use super::verdict::{Class, Escalation, Fallback};
use super::{Course, Hop, Note, RETRY, Reliability};
use crate::clock::Now;
use crate::policy::Enforcement;

/// How a try failed.
#[derive(Debug, Clone, Copy)]
pub struct Failure<'a> {
    /// Its class.
    pub class: Class,
    /// How long the provider asked to wait.
    pub retry_after: Option<Duration>,
    /// What failed, in a few words: `status 503`.
    pub what: &'a str,
    /// A random number from 0 to 1, to spread waits.
    pub random: f64,
}

/// What to do after a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The same again, after a wait.
    Retry(Duration),
    /// Another model.
    Hop(Hop),
    /// Nothing: the client gets what there is.
    GiveUp,
}

/// What to do after a failure, and what to write down about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Next {
    /// What to do.
    pub step: Step,
    /// Decisions, for `weir explain`.
    pub notes: Vec<Note>,
    /// Whether somebody is to be told that the call failed for good.
    pub escalate: bool,
}

impl Reliability {
    /// What to do after a failure.
    pub fn after(&mut self, course: &mut Course, failure: &Failure<'_>, now: Now) -> Next {
        let Failure { class, what, .. } = *failure;
        let mut notes = Vec::new();
        let fallback = class.fallback(&self.settings.fallback_on);
        let step = 'step: {
            let elsewhere = fallback != Fallback::Never && course.attempts_left > 0;
            if fallback == Fallback::AtOnce
                && elsewhere
                && let Some(hop) = self.hop(course, what, &mut notes)
            {
                break 'step Step::Hop(hop);
            }
            // One try is kept for the other model, where there is one that may be asked.
            let kept = u32::from(elsewhere && course.hops_act && course.coming().is_some());
            if class.is_retried()
                && course.repeatable
                && course.attempts_left > kept
                && let Some(wait) = self.retry(course, failure, &mut notes, now)
            {
                break 'step Step::Retry(wait);
            }
            if fallback == Fallback::AfterRetries
                && elsewhere
                && let Some(hop) = self.hop(course, what, &mut notes)
            {
                break 'step Step::Hop(hop);
            }
            Step::GiveUp
        };
        let escalate = course.acting
            && match class.escalation() {
                Escalation::Never => false,
                Escalation::WhenAllFail => step == Step::GiveUp,
                Escalation::AtOnce => true,
            };
        Next { step, notes, escalate }
    }

    /// The next model where the target itself is not asked at all: its breaker is open, or it
    /// can't take the request.
    pub fn instead(&mut self, course: &mut Course, why: &str) -> (Option<Hop>, Vec<Note>) {
        let mut notes = Vec::new();
        let hop = self.hop(course, why, &mut notes);
        (hop, notes)
    }

    fn hop(&mut self, course: &mut Course, why: &str, notes: &mut Vec<Note>) -> Option<Hop> {
        let policy = Arc::clone(&course.chain.as_ref()?.policy);
        for Hop { provider, model } in course.left_out.drain(..) {
            let detail = format!("{provider}/{model}: there is no api_key for {provider}");
            notes.push(Note { policy: Arc::clone(&policy), action: "skip", detail });
        }
        let from = Arc::clone(&course.target.model);
        let enforcement = self.toggles.effective(&policy, course.chain.as_ref()?.enforcement);
        if !course.hops_act {
            let next = course.coming().filter(|_| enforcement != Enforcement::Off)?;
            let detail = format!("{from} -> {}/{}: {why}", next.provider, next.model);
            if !notes.iter().any(|note| note.action == "would-failover") {
                self.toggles.count(&policy, Done::Shadowed);
                notes.push(Note { policy, action: "would-failover", detail });
            }
            return None;
        }
        let next = course.move_on()?;
        self.toggles.count(&policy, Done::Acted);
        let detail = format!("{from} -> {}/{}: {why}", next.provider, next.model);
        notes.push(Note { policy, action: "failover", detail });
        Some(next)
    }

    /// The wait before another try of the same, where there is to be one.
    fn retry(
        &mut self,
        course: &mut Course,
        failure: &Failure<'_>,
        notes: &mut Vec<Note>,
        now: Now,
    ) -> Option<Duration> {
        let policy: Arc<str> = Arc::from(RETRY);
        let enforcement = self.toggles.effective(RETRY, self.settings.retries);
        if enforcement == Enforcement::Off {
            return None;
        }
        let asked = failure.retry_after.filter(|asked| !asked.is_zero());
        let wait = asked.unwrap_or_else(|| course.retry.delay(course.retries, failure.random));
        let mut note = |action, detail| {
            notes.push(Note { policy: Arc::clone(&policy), action, detail });
        };
        if !course.is_in_time(wait, now.mono) {
            let most = course.retry.total_timeout;
            note("skip", format!("{}: {wait:?} is beyond the {most:?} of a call", failure.what));
            return None;
        }
        if !course.retries_act {
            note("would-retry", format!("{}: after {wait:?}", failure.what));
            self.toggles.count(RETRY, Done::Shadowed);
            return None;
        }
        if !self.budget.take(now.mono) {
            note("skip", format!("{}: the host's retry budget is used up", failure.what));
            return None;
        }
        course.retries += 1;
        self.toggles.count(RETRY, Done::Acted);
        let number = course.retries;
        note("retry", format!("{}: number {number}, after {wait:?}", failure.what));
        Some(wait)
    }
}
