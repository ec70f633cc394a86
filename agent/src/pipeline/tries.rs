//! The tries of one call in its record: what each came to, and what it cost.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::Exchange;
use crate::llm::call::Kind;
use crate::llm::providers::Provider;
use crate::llm::usage::{NanoUsd, Usage};
use crate::record::{Attempt, Outcome, Record, UsageSource};

/// Who answers in the place of the one that was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Serving {
    /// The provider.
    pub provider: Arc<Provider>,
    /// The model asked for there.
    pub model: Arc<str>,
}

impl Exchange {
    /// Begins a try, at whoever answers now.
    pub(super) fn attempt(&mut self) {
        let now = self.context.clock.now();
        let serving = self.serving.clone();
        self.note(|record| {
            record.status = None;
            record.attempts.push(Attempt {
                provider: serving.as_ref().map_or_else(
                    || Arc::clone(&record.provider),
                    |serving| Arc::clone(&serving.provider.name),
                ),
                model: match serving {
                    Some(serving) => Some(serving.model),
                    None => record.model.clone(),
                },
                started_at: now.wall,
                status: None,
                // Until it turns out that nothing could be sent.
                outcome: Outcome::Lost,
                upstream: Duration::ZERO,
                cost: None,
            });
        });
    }

    /// The head of an answer came.
    pub(super) fn answered(&mut self, status: u16) {
        self.note(|record| {
            record.status = Some(status);
            if let Some(attempt) = record.attempts.last_mut() {
                attempt.status = Some(status);
            }
        });
    }

    /// A try failed, and another one is to follow.
    pub(super) fn attempt_failed(&mut self, outcome: Outcome) {
        let now = self.context.clock.now().wall;
        let unanswered = outcome == Outcome::UpstreamCut;
        // What was sent and broke off may be charged for, at least what was to be read.
        let input = if unanswered { self.wanted().input() } else { 0 };
        let mut guess = None;
        if input > 0 {
            self.note(|record| guess = Some(guessed(record, input)));
        }
        let cost = match guess {
            Some(guess) => self.cost(&guess, None).ok().map(|priced| priced.cost),
            None => Some(NanoUsd::default()),
        };
        self.note(|record| {
            if let Some(attempt) = record.attempts.last_mut() {
                attempt.outcome = outcome;
                attempt.upstream = since(attempt, now);
                attempt.cost = cost;
            }
        });
    }
}

/// The record of a call that was sent and never answered.
fn guessed(record: &Record, input: u64) -> Record {
    Record {
        usage: Usage { input, ..Usage::default() },
        usage_source: UsageSource::Estimated,
        model_served: None,
        ..record.clone()
    }
}

/// The call is over: what is known of it as a whole is its last try's, and its cost is that of all
/// tries.
pub(super) fn close(record: &mut Record, now: SystemTime) {
    let Some((last, earlier)) = record.attempts.split_last_mut() else { return };
    last.outcome = record.outcome;
    last.cost = record.cost;
    last.upstream = if earlier.is_empty() { record.upstream } else { since(last, now) };
    if record.kind == Kind::Call {
        let earlier = earlier.iter().map(|attempt| attempt.cost);
        record.cost = earlier.fold(record.cost, |sum, cost| Some(sum?.saturating_add(cost?)));
    }
}

/// Both are of the wall clock, which may have been stepped.
fn since(attempt: &Attempt, now: SystemTime) -> Duration {
    now.duration_since(attempt.started_at).unwrap_or_default()
}
