//! Metrics of the agent's own condition: its version, mode, configuration, certificate authority.

use std::time::{Duration, SystemTime};

use prometheus::{Gauge, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

/// How the agent stands at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Condition {
    /// The mode asked for: 0 off, 1 observe, 2 meter, 3 enforce.
    pub wanted: u8,
    /// The mode in effect.
    pub effective: u8,
    /// Whether connections are intercepted; `None` where they are not to be.
    pub capturing: Option<bool>,
    /// Calls being made.
    pub in_flight: u64,
    /// When the CA ends.
    pub ca_until: Option<SystemTime>,
}

#[derive(Debug)]
pub(super) struct Conditions {
    mode: IntGaugeVec,
    capturing: IntGaugeVec,
    in_flight: IntGauge,
    ca_until: IntGaugeVec,
    reloads: IntCounterVec,
    reloaded: IntGauge,
    reloaded_at: Gauge,
}

impl Conditions {
    pub(super) fn new(registry: &Registry) -> prometheus::Result<Self> {
        let build = IntGauge::with_opts(
            Opts::new("weir_build_info", "1, with the version as a label.")
                .const_label("version", env!("CARGO_PKG_VERSION")),
        )?;
        build.set(1);
        registry.register(Box::new(build))?;
        let gauge = |name, help| {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        let gauges = |name, help, labels: &[&str]| {
            let gauges = IntGaugeVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(gauges.clone()))?;
            Ok::<_, prometheus::Error>(gauges)
        };
        let reloads = IntCounterVec::new(
            Opts::new(
                "weir_config_reloads_total",
                "Times the configuration was read again, and whether it was taken over.",
            ),
            &["result"],
        )?;
        registry.register(Box::new(reloads.clone()))?;
        let reloaded_at = Gauge::new(
            "weir_config_last_reload_success_timestamp_seconds",
            "When the configuration in effect was read, in seconds since 1970.",
        )?;
        registry.register(Box::new(reloaded_at.clone()))?;
        let conditions = Self {
            mode: gauges(
                "weir_mode",
                "0 off, 1 observe, 2 meter, 3 enforce: as asked for, and as in effect.",
                &["kind"],
            )?,
            // Families without a series are not shown: there may be nothing to intercept with.
            capturing: gauges(
                "weir_capture_active",
                "Whether connections are intercepted, where they are to be.",
                &[],
            )?,
            in_flight: gauge("weir_calls_in_flight", "Calls being made.")?,
            ca_until: gauges(
                "weir_ca_expiry_timestamp_seconds",
                "When the CA ends, in seconds since 1970.",
                &[],
            )?,
            reloads,
            reloaded: gauge(
                "weir_config_last_reload_successful",
                "Whether the configuration was taken over when it was last read.",
            )?,
            reloaded_at,
        };
        for result in ["taken", "refused"] {
            conditions.reloads.with_label_values(&[result]);
        }
        Ok(conditions)
    }

    /// The configuration is in effect since then, without having been read again.
    pub(super) fn loaded(&self, at: SystemTime) {
        self.reloaded.set(1);
        self.reloaded_at.set(since_epoch(at).as_secs_f64());
    }

    /// The configuration was read again; whether it was taken over.
    pub(super) fn reloaded(&self, taken: bool, at: SystemTime) {
        self.reloads.with_label_values(&[if taken { "taken" } else { "refused" }]).inc();
        if taken {
            self.loaded(at);
        } else {
            self.reloaded.set(0);
        }
    }

    pub(super) fn show(&self, condition: &Condition) {
        const NONE: [&str; 0] = [];
        for (kind, mode) in [("wanted", condition.wanted), ("effective", condition.effective)] {
            self.mode.with_label_values(&[kind]).set(mode.into());
        }
        if let Some(capturing) = condition.capturing {
            self.capturing.with_label_values(&NONE).set(capturing.into());
        }
        self.in_flight.set(i64::try_from(condition.in_flight).unwrap_or(i64::MAX));
        if let Some(until) = condition.ca_until {
            let seconds = i64::try_from(since_epoch(until).as_secs()).unwrap_or(i64::MAX);
            self.ca_until.with_label_values(&NONE).set(seconds);
        }
    }
}

pub(super) fn since_epoch(at: SystemTime) -> Duration {
    at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}
