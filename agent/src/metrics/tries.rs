//! Metrics of what was tried besides a call's first try, and of circuit breakers.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus::{IntCounter, IntCounterVec, Opts, Registry};

use super::names::Names;
use super::series::{Bound, Family as _, Series};
use super::shown::Shown;
use crate::record::{Attempt, Outcome, Record};

#[derive(Debug)]
pub(super) struct Tries {
    names: Arc<Names>,
    retries: IntCounter,
    failovers: Series<IntCounterVec>,
    breakers: Shown<1>,
    availability: Shown<1>,
}

impl Tries {
    pub(super) fn new(
        registry: &Registry,
        names: Arc<Names>,
        overflow: &IntCounterVec,
    ) -> prometheus::Result<Self> {
        let retries = IntCounter::new(
            "weir_retries_total",
            "Tries of the same model at the same provider, after one that failed.",
        )?;
        let failovers = IntCounterVec::new(
            Opts::new(
                "weir_failovers_total",
                "Calls taken to another model, by what was the matter.",
            ),
            &["from", "to", "reason"],
        )?;
        registry.register(Box::new(retries.clone()))?;
        let bound = Bound { most: 200, open: &["from", "to"] };
        Ok(Self {
            names,
            retries,
            failovers: Series::new(registry, failovers, bound, overflow)?,
            breakers: Shown::new(
                registry,
                Opts::new("circuit_breaker_state", "0 closed, 1 open, 2 half-open."),
                &["agent_name"],
            )?,
            availability: Shown::new(
                registry,
                Opts::new(
                    "weir_provider_availability_ratio",
                    "Share of the calls to a provider, or to one of its models, that did not fail \
                     of late.",
                ),
                &["agent_name"],
            )?,
        })
    }

    pub(super) fn count(&self, record: &Record) {
        let Some(first) = record.attempts.first() else { return };
        // The first try itself is elsewhere where a breaker stood in the way of what was asked.
        if first.provider != record.provider || first.model != record.model {
            self.failover(record.model.as_ref(), first.model.as_ref(), "breaker_open");
        }
        for pair in record.attempts.windows(2) {
            let [before, after] = pair else { continue };
            if before.provider == after.provider && before.model == after.model {
                self.retries.inc();
            } else {
                self.failover(before.model.as_ref(), after.model.as_ref(), reason(before));
            }
        }
    }

    fn failover(&self, from: Option<&Arc<str>>, to: Option<&Arc<str>>, reason: &str) {
        let (from, to) = (self.names.model(from), self.names.model(to));
        self.failovers.add(&[&*from, &*to, reason], IntCounter::inc);
    }

    /// Takes away counters that have not grown for `ttl`; how many.
    pub(super) fn sweep(&self, now: Instant, ttl: Duration) -> u64 {
        self.failovers.remove(&self.failovers.idle(now, ttl))
    }

    /// The models that are told of.
    pub(super) fn models(&self, into: &mut HashSet<String>) {
        self.failovers.values("from", into);
        self.failovers.values("to", into);
    }

    /// How breakers stand: name, state and share of failures in percent. Those that are gone are
    /// shown no longer; of too many, those that are not closed and those that fail most.
    pub(super) fn breakers<'b>(&self, all: impl Iterator<Item = (&'b str, i64, u8)>) {
        let all: Vec<_> = all
            .map(|(name, state, failed)| {
                let open = if state == 0 { 0.0 } else { 1000.0 };
                ([Arc::from(name)], open + f64::from(failed), state, failed)
            })
            .collect();
        #[expect(clippy::cast_precision_loss, reason = "one of three small numbers")]
        let states =
            all.iter().map(|(name, weight, state, _)| (name.clone(), *weight, *state as f64));
        self.breakers.set(states);
        self.availability.set(all.iter().map(|(name, weight, _, failed)| {
            (name.clone(), *weight, 1.0 - f64::from(*failed) / 100.0)
        }));
    }
}

/// What was the matter with a try, in few words.
fn reason(attempt: &Attempt) -> &'static str {
    match (attempt.outcome, attempt.status) {
        (Outcome::RateLimited, _) => "rate_limit",
        (Outcome::ConnectError, _) => "connect",
        (Outcome::UpstreamCut, _) => "cut",
        (Outcome::StreamError, _) => "stream_error",
        (Outcome::UpstreamError, Some(500..)) => "server_error",
        (Outcome::UpstreamError, _) => "client_error",
        _ => "other",
    }
}
