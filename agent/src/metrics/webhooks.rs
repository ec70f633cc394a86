//! What was posted to webhooks, and what came of it.

use prometheus::{IntCounterVec, IntGaugeVec, Opts, Registry};

use super::{Metrics, advance};
use crate::webhooks::Health;

#[derive(Debug)]
pub(super) struct Webhooks {
    requests: IntCounterVec,
    runs: IntCounterVec,
    callbacks: IntCounterVec,
    waiting: IntGaugeVec,
}

impl Webhooks {
    pub(super) fn new(registry: &Registry) -> prometheus::Result<Self> {
        let counters = |name, help, labels: &[&str]| {
            let counters = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(counters.clone()))?;
            Ok::<_, prometheus::Error>(counters)
        };
        let waiting = IntGaugeVec::new(
            Opts::new("weir_webhook_waiting", "Deliveries to a webhook that wait or run."),
            &["webhook"],
        )?;
        registry.register(Box::new(waiting.clone()))?;
        Ok(Self {
            requests: counters(
                "weir_webhook_requests_total",
                "Requests to webhooks: accepted, or why not. Names that are none are `unknown`.",
                &["webhook", "result"],
            )?,
            runs: counters(
                "weir_webhook_runs_total",
                "Accepted deliveries that are over: ok, refused, failed, interrupted.",
                &["webhook", "status"],
            )?,
            callbacks: counters(
                "weir_webhook_callbacks_total",
                "Attempts to post an answer: delivered, retried (failed, tried again), dead (given up).",
                &["webhook", "result"],
            )?,
            waiting,
        })
    }
}

impl Metrics {
    /// Takes over the figures of webhooks.
    pub fn webhooks(&self, health: &Health) {
        let mine = &self.webhooks;
        for (of, counters) in [
            (&health.requests, &mine.requests),
            (&health.runs, &mine.runs),
            (&health.callbacks, &mine.callbacks),
        ] {
            for (webhook, result, total) in of {
                advance(&counters.with_label_values(&[&**webhook, result]), *total);
            }
        }
        // Those that a reload has taken away are not shown with what they had.
        mine.waiting.reset();
        for (webhook, waiting) in &health.waiting {
            let waiting = i64::try_from(*waiting).unwrap_or(i64::MAX);
            mine.waiting.with_label_values(&[&**webhook]).set(waiting);
        }
    }
}
