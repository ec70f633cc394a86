//! What people were told, and what failed for good.

use std::sync::Arc;

use prometheus::{Gauge, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

use super::advance;
use super::names::Names;
use crate::alerts::Health;
use crate::alerts::settings::word;
use crate::record::{Notice, Topic};

#[derive(Debug)]
pub(super) struct Alerts {
    names: Arc<Names>,
    notices: IntCounterVec,
    escalations: IntCounterVec,
    deliveries: IntCounterVec,
    dropped: IntCounter,
    write_errors: IntCounter,
    open: IntGauge,
    rate: Gauge,
}

impl Alerts {
    pub(super) fn new(registry: &Registry, names: Arc<Names>) -> prometheus::Result<Self> {
        let counters = |name, help, labels: &[&str]| {
            let counters = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(counters.clone()))?;
            Ok::<_, prometheus::Error>(counters)
        };
        let counter = |name, help| {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        let alerts = Self {
            names,
            notices: counters(
                "weir_notices_total",
                "What people may want to be told of, by topic.",
                &["topic"],
            )?,
            escalations: counters(
                "weir_escalations_total",
                "Calls that failed for good, by failure class.",
                &["class"],
            )?,
            deliveries: counters(
                "weir_alert_deliveries_total",
                "Attempts to tell someone: delivered, retried (failed, tried again), dead (given up).",
                &["channel", "result"],
            )?,
            dropped: counter(
                "weir_alerts_dropped_total",
                "Notices and deliveries dropped because too many were waiting.",
            )?,
            write_errors: counter(
                "weir_alerts_write_errors_total",
                "Alerts and escalations that could not be written to the state directory.",
            )?,
            open: IntGauge::new(
                "weir_escalations_open",
                "Escalations that nobody has acknowledged or resolved.",
            )?,
            rate: Gauge::new(
                "weir_escalation_rate",
                "Share of the calls of the last 24 hours that failed for good; the aim is below 0.05.",
            )?,
        };
        registry.register(Box::new(alerts.open.clone()))?;
        registry.register(Box::new(alerts.rate.clone()))?;
        Ok(alerts)
    }

    pub(super) fn notice(&self, notice: &Notice) {
        self.notices.with_label_values(&[word(notice.topic)]).inc();
        if notice.topic == Topic::Escalation {
            let class = self.names.class(notice.class.as_ref());
            self.escalations.with_label_values(&[&*class]).inc();
        }
    }

    pub(super) fn health(&self, health: &Health) {
        for (channel, result, total) in &health.deliveries {
            advance(&self.deliveries.with_label_values(&[&**channel, result]), *total);
        }
        advance(&self.dropped, health.dropped);
        advance(&self.write_errors, health.write_errors);
        self.open.set(i64::try_from(health.open).unwrap_or(i64::MAX));
        self.rate.set(health.rate().unwrap_or_default());
    }
}
