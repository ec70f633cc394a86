//! What came of what is sent to a collector.

use prometheus::{IntCounterVec, Opts, Registry};

use super::advance;

#[derive(Debug)]
pub(super) struct Telemetry {
    exported: IntCounterVec,
    dropped: IntCounterVec,
    failures: IntCounterVec,
}

impl Telemetry {
    pub(super) fn new(registry: &Registry) -> prometheus::Result<Self> {
        let counters = |name, help| {
            let counters = IntCounterVec::new(Opts::new(name, help), &["signal"])?;
            registry.register(Box::new(counters.clone()))?;
            Ok::<_, prometheus::Error>(counters)
        };
        Ok(Self {
            exported: counters(
                "weir_telemetry_exported_total",
                "Spans, log lines and points of metrics that a collector took.",
            )?,
            dropped: counters(
                "weir_telemetry_dropped_total",
                "Spans and log lines dropped because too many were waiting or no collector took them.",
            )?,
            failures: counters(
                "weir_telemetry_failures_total",
                "Attempts to send telemetry that failed; most are made again.",
            )?,
        })
    }

    /// Signal, exported, dropped, failures.
    pub(super) fn show(&self, all: impl IntoIterator<Item = (&'static str, u64, u64, u64)>) {
        for (signal, exported, dropped, failures) in all {
            for (counters, total) in
                [(&self.exported, exported), (&self.dropped, dropped), (&self.failures, failures)]
            {
                advance(&counters.with_label_values(&[signal]), total);
            }
        }
    }
}
