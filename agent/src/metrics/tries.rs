//! Metrics of what was tried besides a call's first try, and of circuit breakers.

use std::sync::Arc;

use prometheus::{IntCounter, IntCounterVec, IntGaugeVec, Opts, Registry};

use super::names::Names;
use crate::record::{Attempt, Outcome, Record};

#[derive(Debug)]
pub(super) struct Tries {
    names: Arc<Names>,
    retries: IntCounter,
    failovers: IntCounterVec,
    breakers: IntGaugeVec,
    availability: prometheus::GaugeVec,
}

impl Tries {
    pub(super) fn new(registry: &Registry, names: Arc<Names>) -> prometheus::Result<Self> {
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
        let breakers = IntGaugeVec::new(
            Opts::new("circuit_breaker_state", "0 closed, 1 open, 2 half-open."),
            &["agent_name"],
        )?;
        let availability = prometheus::GaugeVec::new(
            Opts::new(
                "weir_provider_availability_ratio",
                "Share of the calls to a provider, or to one of its models, that did not fail of \
                 late.",
            ),
            &["agent_name"],
        )?;
        registry.register(Box::new(retries.clone()))?;
        registry.register(Box::new(failovers.clone()))?;
        registry.register(Box::new(breakers.clone()))?;
        registry.register(Box::new(availability.clone()))?;
        Ok(Self { names, retries, failovers, breakers, availability })
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
        self.failovers.with_label_values(&[&*from, &*to, reason]).inc();
    }

    /// How breakers stand: name, state and share of failures in percent. Those that are gone are
    /// shown no longer.
    pub(super) fn breakers<'b>(&self, all: impl Iterator<Item = (&'b str, i64, u8)>) {
        self.breakers.reset();
        self.availability.reset();
        for (name, state, failed) in all {
            self.breakers.with_label_values(&[name]).set(state);
            let share = 1.0 - f64::from(failed) / 100.0;
            self.availability.with_label_values(&[name]).set(share);
        }
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
