//! Metrics of the ledger's storage.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

use super::advance;
use crate::ledger::Health;

#[derive(Debug)]
pub(super) struct Storage {
    backlog: IntGauge,
    segments: IntGauge,
    dropped: IntCounter,
    errors: IntCounterVec,
    lost: IntCounter,
}

impl Storage {
    pub(super) fn new(registry: &Registry) -> prometheus::Result<Self> {
        let counter = |name, help| {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        let gauge = |name, help| {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        let errors = IntCounterVec::new(
            Opts::new(
                "weir_ledger_errors_total",
                "Failures of the ledger's storage, by operation; each is tried again.",
            ),
            &["operation"],
        )?;
        registry.register(Box::new(errors.clone()))?;
        Ok(Self {
            backlog: gauge("weir_ledger_backlog", "Records waiting to be written to the journal.")?,
            segments: gauge(
                "weir_ledger_segments",
                "Journal segments waiting to be imported into the database.",
            )?,
            dropped: counter("weir_ledger_dropped_total", "Records that could not be kept.")?,
            errors,
            lost: counter(
                "weir_ledger_lost_calls_total",
                "Calls found open at start and settled as lost.",
            )?,
        })
    }

    pub(super) fn show(&self, health: &Health) {
        self.backlog.set(i64::try_from(health.backlog).unwrap_or(i64::MAX));
        self.segments.set(i64::try_from(health.segments).unwrap_or(i64::MAX));
        advance(&self.dropped, health.dropped);
        advance(&self.lost, health.lost_calls);
        for (operation, total) in [
            ("write", health.write_errors),
            ("sync", health.sync_errors),
            ("import", health.import_errors),
            ("read", health.corrupt_lines),
            ("database", health.renewed),
        ] {
            advance(&self.errors.with_label_values(&[operation]), total);
        }
    }
}
