//! Prometheus metrics: what the host's workloads ask of LLM providers, and how the agent itself
//! does.
//!
//! Label values are bounded: workloads and models by a cap each, above which they are counted as
//! `other`; everything else by being one of few words. There is never a pid, a path or a key.
//! Series live as long as the process.

mod alerts;
mod calls;
mod continued;
mod names;
mod policies;
mod process;
mod tries;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use prometheus::core::Metric as _;
use prometheus::{
    Encoder as _, Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts,
    Registry, TextEncoder,
};

pub use self::policies::{BudgetGauge, LimitGauge, QuotaGauge, Standing};
pub use self::watch::Watched;

use self::alerts::Alerts;
use self::calls::Calls;
use self::continued::Continued;
use self::names::Names;
use self::policies::Policies;
use crate::ledger::Health;
use crate::record::{Connection, Notice, Record, Treatment, UsageSource};

/// What is shown.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Whether workloads are told apart; otherwise all are `all`.
    pub per_user: bool,
}

/// All metrics of the process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    continued: Continued,
    names: Arc<Names>,
    calls: Calls,
    policies: Policies,
    tries: tries::Tries,
    overhead: Histogram,
    estimated: IntCounter,
    unconfirmed: IntCounter,
    reloads: IntCounterVec,
    connections: IntCounterVec,
    connection_bytes: IntCounterVec,
    unattributed: IntCounter,
    distrust: IntCounterVec,
    faults: IntCounterVec,
    certificates: IntCounterVec,
    coverage: Gauge,
    metered: IntCounter,
    seen: IntCounter,
    capture: IntCounterVec,
    namespaces: IntGauge,
    namespaces_left_out: IntCounterVec,
    ledger: LedgerMetrics,
    alerts: Alerts,
    watch: watch::Watch,
    process: process::Process,
}

#[derive(Debug)]
struct LedgerMetrics {
    backlog: IntGauge,
    segments: IntGauge,
    dropped: IntCounter,
    errors: IntCounterVec,
    lost: IntCounter,
}

impl Metrics {
    /// Registers everything, at zero.
    pub fn new(settings: Settings) -> prometheus::Result<Self> {
        let registry = Registry::new();
        let names = Arc::new(Names::new(settings.per_user));
        let overhead = Histogram::with_opts(
            HistogramOpts::new(
                "weir_overhead_seconds",
                "Time a call spent in the agent itself: all of it less waiting for the provider.",
            )
            .const_label("stage", "call")
            .buckets(vec![
                0.00005, 0.0001, 0.0002, 0.0003, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.25,
            ]),
        )?;
        registry.register(Box::new(overhead.clone()))?;
        let build = IntGauge::with_opts(
            Opts::new("weir_build_info", "1, with the version as a label.")
                .const_label("version", env!("CARGO_PKG_VERSION")),
        )?;
        build.set(1);
        registry.register(Box::new(build))?;
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
        let counters = |name, help, labels: &[&str]| {
            let counters = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(counters.clone()))?;
            Ok::<_, prometheus::Error>(counters)
        };
        let coverage = Gauge::new(
            "weir_coverage_ratio",
            "Share of the connections to LLM hosts that were metered, since the agent started.",
        )?;
        registry.register(Box::new(coverage.clone()))?;
        Ok(Self {
            calls: Calls::new(&registry, Arc::clone(&names))?,
            policies: Policies::new(&registry, settings.per_user)?,
            tries: tries::Tries::new(&registry, Arc::clone(&names))?,
            overhead,
            estimated: counter(
                "weir_estimated_settlements_total",
                "Calls whose usage had to be estimated, because the provider's figures never came.",
            )?,
            unconfirmed: counter(
                "weir_unconfirmed_settlements_total",
                "Responses that went out before their record was confirmed to be safe.",
            )?,
            reloads: counters(
                "weir_config_reloads_total",
                "Times the configuration was read again, and whether it was taken over.",
                &["result"],
            )?,
            connections: counters(
                "weir_connections_total",
                "Connections to LLM hosts, by how they were treated and why.",
                &["workload", "provider", "mode", "reason"],
            )?,
            connection_bytes: counters(
                "weir_connection_bytes_total",
                "Bytes of connections to LLM hosts; up is from the client.",
                &["workload", "provider", "direction"],
            )?,
            unattributed: counter(
                "weir_unattributed_connections_total",
                "Connections whose process was gone before it could be looked at.",
            )?,
            distrust: counters(
                "weir_tls_trust_failures_total",
                "Signs of clients that do not accept the CA.",
                &["signal"],
            )?,
            faults: counters(
                "weir_client_faults_total",
                "What clients did that none should, by the listener they did it to.",
                &["listener", "fault"],
            )?,
            certificates: counters(
                "weir_upstream_certificate_failures_total",
                "Handshakes with providers that were broken off over their certificate.",
                &["host", "problem"],
            )?,
            coverage,
            metered: counter(
                "weir_metered_connections_total",
                "Connections to LLM hosts whose calls were read.",
            )?,
            seen: counter("weir_seen_connections_total", "Connections to LLM hosts.")?,
            capture: counters(
                "weir_capture_events_total",
                "What the kernel half counted, by kind.",
                &["event"],
            )?,
            namespaces: gauge(
                "weir_namespaces_armed",
                "Network namespaces other than the agent's own whose connections are redirected.",
            )?,
            namespaces_left_out: counters(
                "weir_namespaces_left_out_total",
                "Times a network namespace was to be armed and could not be, by reason.",
                &["reason"],
            )?,
            ledger: LedgerMetrics {
                backlog: gauge(
                    "weir_ledger_backlog",
                    "Records waiting to be written to the journal.",
                )?,
                segments: gauge(
                    "weir_ledger_segments",
                    "Journal segments waiting to be imported into the database.",
                )?,
                dropped: counter("weir_ledger_dropped_total", "Records that could not be kept.")?,
                errors: counters(
                    "weir_ledger_errors_total",
                    "Failures of the ledger's storage, by operation; each is tried again.",
                    &["operation"],
                )?,
                lost: counter(
                    "weir_ledger_lost_calls_total",
                    "Calls found open at start and settled as lost.",
                )?,
            },
            alerts: Alerts::new(&registry, Arc::clone(&names))?,
            watch: watch::Watch::new(&registry, Arc::clone(&names))?,
            process: process::Process::new(&registry)?,
            names,
            registry,
            continued: Continued::default(),
        })
    }

    /// Takes a settled call.
    pub fn call(&self, record: &Record) {
        self.calls.count(record);
        self.policies.count(record);
        self.tries.count(record);
        self.watch.count(record);
        let overhead = record.latency.saturating_sub(record.upstream);
        self.overhead.observe(overhead.as_secs_f64());
        if record.usage_source == UsageSource::Estimated {
            self.estimated.inc();
        }
    }

    /// Takes a connection that is over.
    pub fn connection(&self, connection: &Connection) {
        let subject = &connection.subject;
        let workload = self.names.workload(&subject.workload.name);
        let provider = &*connection.provider;
        let (mode, metered) = match connection.treatment {
            Treatment::Metered => ("metered", true),
            Treatment::Opaque => ("opaque", false),
            Treatment::Direct => ("direct", false),
            Treatment::Blocked => ("blocked", false),
        };
        let labels = [&*workload, provider, mode, &*connection.reason];
        self.connections.with_label_values(&labels).inc();
        for (direction, bytes) in [("up", connection.bytes_up), ("down", connection.bytes_down)] {
            let labels = [&*workload, provider, direction];
            self.connection_bytes.with_label_values(&labels).inc_by(bytes);
        }
        if !subject.process.verified {
            self.unattributed.inc();
        }
        // As the ledger has it: what never came about needs no covering.
        if provider != "unknown" && !connection.failed {
            self.seen.inc();
            if metered {
                self.metered.inc();
            }
            #[expect(clippy::cast_precision_loss, reason = "a share of counts needs no more")]
            self.coverage.set(self.metered.get() as f64 / self.seen.get() as f64);
        }
    }

    /// The configuration was read again; whether it was taken over, or had problems.
    pub fn reloaded(&self, taken: bool) {
        self.reloads.with_label_values(&[if taken { "taken" } else { "refused" }]).inc();
    }

    /// A response went out before its record was confirmed.
    pub fn unconfirmed(&self) {
        self.unconfirmed.inc();
    }

    /// A client showed that it does not accept the CA.
    pub fn distrusted(&self, signal: &'static str) {
        self.distrust.with_label_values(&[signal]).inc();
    }

    /// A client did what none should.
    pub fn fault(&self, listener: &'static str, fault: &'static str) {
        self.faults.with_label_values(&[listener, fault]).inc();
    }

    /// Takes over how often each host's certificate was refused, and over what.
    pub fn certificates<'h>(
        &self,
        refused: impl IntoIterator<Item = (&'h str, &'static str, u64)>,
    ) {
        for (host, problem, total) in refused {
            advance(&self.certificates.with_label_values(&[host, problem]), total);
        }
    }

    /// Takes over how policies and accounts stand.
    pub fn policies(&self, standing: &Standing) {
        self.policies.show(standing);
    }

    /// Takes over how circuit breakers stand: name, state (0 closed, 1 open, 2 half-open) and share
    /// of failures in percent.
    pub fn breakers<'b>(&self, all: impl Iterator<Item = (&'b str, i64, u8)>) {
        self.tries.breakers(all);
    }

    /// Takes over the ledger's own figures.
    pub fn ledger(&self, health: &Health) {
        let mine = &self.ledger;
        mine.backlog.set(i64::try_from(health.backlog).unwrap_or(i64::MAX));
        mine.segments.set(i64::try_from(health.segments).unwrap_or(i64::MAX));
        advance(&mine.dropped, health.dropped);
        advance(&mine.lost, health.lost_calls);
        for (operation, total) in [
            ("write", health.write_errors),
            ("sync", health.sync_errors),
            ("import", health.import_errors),
            ("read", health.corrupt_lines),
            ("database", health.renewed),
        ] {
            advance(&mine.errors.with_label_values(&[operation]), total);
        }
    }

    /// Something happened that people may want to be told of.
    pub fn notice(&self, notice: &Notice) {
        self.alerts.notice(notice);
    }

    /// Takes over the figures of what people were told.
    pub fn alerts(&self, health: &crate::alerts::Health) {
        self.alerts.health(health);
    }

    /// Takes over how error budgets, latencies and spending stand.
    pub fn watched(&self, watched: &Watched) {
        self.watch.show(watched);
    }

    /// Takes over what the kernel half counted since it was attached.
    pub fn capture(&self, counters: &[(&'static str, u64)]) {
        for (event, total) in counters {
            advance(&self.capture.with_label_values(&[event]), *total);
        }
    }

    /// Takes over how many network namespaces are armed, and how often one could not be.
    pub fn namespaces(&self, armed: u64, left_out: impl IntoIterator<Item = (&'static str, u64)>) {
        self.namespaces.set(i64::try_from(armed).unwrap_or(i64::MAX));
        for (reason, total) in left_out {
            advance(&self.namespaces_left_out.with_label_values(&[reason]), total);
        }
    }

    /// Median and 99th percentile of the time added to calls; `None` before the first call. The
    /// figures are upper bounds of the histogram's buckets.
    pub fn overhead_quantiles(&self) -> Option<(Duration, Duration)> {
        let metric = self.overhead.metric();
        let histogram = metric.get_histogram();
        let total = histogram.get_sample_count();
        let at = |permille: u64| {
            let buckets = histogram.get_bucket().iter();
            let mut reached =
                buckets.filter(|bucket| bucket.cumulative_count() * 1000 >= total * permille);
            let bound =
                reached.next().map_or(f64::INFINITY, prometheus::proto::Bucket::upper_bound);
            Duration::try_from_secs_f64(bound).unwrap_or(Duration::from_secs(1))
        };
        (total > 0).then(|| (at(500), at(990)))
    }

    /// Goes on counting where another agent's text says that it has stopped.
    pub fn go_on(&self, text: &str) {
        self.continued.take(text);
    }

    /// Everything in the Prometheus text format.
    pub fn render(&self) -> String {
        self.process.look();
        let mut text = Vec::new();
        match TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            Ok(()) => self.continued.added(String::from_utf8_lossy(&text).into_owned()),
            Err(error) => {
                tracing::error!(%error, "metrics cannot be written");
                String::new()
            }
        }
    }
}

/// Brings a counter up to a total kept elsewhere; a total that starts again counts from there.
fn advance(counter: &IntCounter, total: u64) {
    counter.inc_by(total.saturating_sub(counter.get()));
}

#[cfg(test)]
mod tests;
