//! Prometheus metrics: what the host's workloads ask of LLM providers, and how the agent itself
//! does.
//!
//! Label values are bounded: workloads and models by a cap each, above which they are counted as
//! `other`; everything else by being one of few words. Families of many labels have a bound on their
//! series besides. There is never a pid, a path or a key. Series that do not grow go after a while.

mod names;
mod series;
mod shown;
mod calls;
mod policies;
mod tries;
mod connections;
mod contacts;
mod alerts;
mod webhooks;
mod telemetry;
mod watch;
mod storage;
mod condition;
mod host;
mod process;
mod continued;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use prometheus::core::Metric as _;
use prometheus::{
    Encoder as _, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
    TextEncoder,
};

pub use self::condition::Condition;
pub use self::host::Places;
pub use self::policies::{BudgetGauge, LimitGauge, QuotaGauge, Standing};
pub use self::watch::Watched;

use self::alerts::Alerts;
use self::calls::Calls;
use self::condition::Conditions;
use self::connections::Connections;
use self::contacts::Contacts;
use self::continued::Continued;
use self::host::Host;
use self::names::Names;
use self::policies::Policies;
use self::storage::Storage;
use crate::ledger::Health;
use crate::record::{Connection, Notice, Record, UsageSource};

/// Faults that are there from the start, at zero: of these the first is seen to be one more.
const WATCHED: [[&str; 2]; 6] = [
    ["admin", "unauthenticated"],
    ["admin", "forbidden"],
    ["socket", "forbidden"],
    ["proxy", "no_owner"],
    ["proxy", "forbidden_target"],
    ["intercept", "not_redirected"],
];

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
    connections: Connections,
    contacts: Contacts,
    faults: IntCounterVec,
    capture: IntCounterVec,
    namespaces: IntGauge,
    namespaces_left_out: IntCounterVec,
    storage: Storage,
    alerts: Alerts,
    webhooks: webhooks::Webhooks,
    condition: Conditions,
    host: Host,
    telemetry: telemetry::Telemetry,
    watch: watch::Watch,
    process: process::Process,
    expired: IntCounter,
}

/// A workload, a provider, and when the two were first seen together.
pub type Seen = (Arc<str>, Arc<str>, SystemTime);

impl Metrics {
    /// Registers everything, at zero.
    pub fn new(settings: Settings) -> prometheus::Result<Self> {
        let registry = Registry::new();
        let overflow = IntCounterVec::new(
            Opts::new(
                "weir_metrics_overflow_total",
                "Times something was counted as `other`, or not shown, for want of room.",
            ),
            &["bound"],
        )?;
        registry.register(Box::new(overflow.clone()))?;
        let names = Arc::new(Names::new(settings.per_user, &overflow));
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
        let faults = counters(
            "weir_client_faults_total",
            "What clients did that none should, by the listener they did it to.",
            &["listener", "fault"],
        )?;
        for labels in WATCHED {
            faults.with_label_values(&labels);
        }
        Ok(Self {
            calls: Calls::new(&registry, Arc::clone(&names), &overflow)?,
            policies: Policies::new(&registry, settings.per_user, &overflow)?,
            tries: tries::Tries::new(&registry, Arc::clone(&names), &overflow)?,
            overhead,
            estimated: counter(
                "weir_estimated_settlements_total",
                "Calls whose usage had to be estimated, because the provider's figures never came.",
            )?,
            unconfirmed: counter(
                "weir_unconfirmed_settlements_total",
                "Responses that went out before their record was confirmed to be safe.",
            )?,
            connections: Connections::new(&registry, Arc::clone(&names), &overflow)?,
            contacts: Contacts::new(&registry, &overflow)?,
            faults,
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
            storage: Storage::new(&registry)?,
            alerts: Alerts::new(&registry, Arc::clone(&names))?,
            webhooks: webhooks::Webhooks::new(&registry)?,
            condition: Conditions::new(&registry)?,
            host: Host::new(&registry, settings.per_user)?,
            telemetry: telemetry::Telemetry::new(&registry)?,
            watch: watch::Watch::new(&registry, Arc::clone(&names), &overflow)?,
            process: process::Process::new(&registry)?,
            expired: counter(
                "weir_metrics_expired_total",
                "Series that were let go because nothing was added to them any more.",
            )?,
            names,
            registry,
            continued: Continued::default(),
        })
    }

    /// Takes a settled call.
    pub fn call(&self, record: &Record) {
        self.contact(&record.subject.workload.name, &record.provider, record.started_at);
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
        let Connection { subject, provider, opened_at, .. } = connection;
        self.contact(&subject.workload.name, provider, *opened_at);
        self.connections.count(connection);
    }

    fn contact(&self, workload: &Arc<str>, provider: &Arc<str>, at: SystemTime) {
        // Other hosts are passed by, not called.
        if &**provider != "unknown" && !self.contacts.knows(workload, provider) {
            self.contacts.count(&self.names.whole(workload), provider, at);
        }
    }

    /// What workloads were seen with before the agent started: workload, provider, when first; `None`
    /// where that cannot be told.
    pub fn seen_before(&self, pairs: Option<Vec<Seen>>) {
        let name = |(workload, provider, at)| (self.names.whole(&workload), provider, at);
        self.contacts.before(pairs.map(|pairs| pairs.into_iter().map(name)));
    }

    /// The configuration in effect was read then.
    pub fn loaded(&self, at: SystemTime) {
        self.condition.loaded(at);
    }

    /// The configuration was read again; whether it was taken over, or had problems.
    pub fn reloaded(&self, taken: bool, at: SystemTime) {
        self.condition.reloaded(taken, at);
    }

    /// Takes over how the agent stands.
    pub fn condition(&self, condition: &Condition) {
        self.condition.show(condition);
    }

    /// Looks at the host, unless that was done a moment ago.
    pub fn host(&self, now: Instant, places: impl FnOnce() -> Places) {
        self.host.look(now, places);
    }

    /// A response went out before its record was confirmed.
    pub fn unconfirmed(&self) {
        self.unconfirmed.inc();
    }

    /// A client showed that it does not accept the CA.
    pub fn distrusted(&self, signal: &'static str) {
        self.connections.distrusted(signal);
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
            self.connections.certificate(host, problem, total);
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
        self.storage.show(health);
    }

    /// Something happened that people may want to be told of.
    pub fn notice(&self, notice: &Notice) {
        self.alerts.notice(notice);
    }

    /// Takes over the figures of what people were told.
    pub fn alerts(&self, health: &crate::alerts::Health) {
        self.alerts.health(health);
    }

    /// Takes over what came of telemetry: signal, exported, dropped, failures.
    pub fn telemetry(&self, all: impl IntoIterator<Item = (&'static str, u64, u64, u64)>) {
        self.telemetry.show(all);
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

    /// Lets go of series that have not grown for `ttl`.
    pub fn sweep(&self, now: Instant, ttl: Duration) {
        self.continued.sweep(now, ttl);
        let gone = self.calls.sweep(now, ttl)
            + self.policies.sweep(now, ttl)
            + self.tries.sweep(now, ttl)
            + self.connections.sweep(now, ttl)
            + self.watch.sweep(now, ttl);
        if gone == 0 {
            return;
        }
        self.expired.inc_by(gone);
        let (mut workloads, mut models) = (HashSet::new(), HashSet::new());
        self.calls.values("workload", &mut workloads);
        self.connections.workloads(&mut workloads);
        self.watch.workloads(&mut workloads);
        self.calls.values("model", &mut models);
        self.tries.models(&mut models);
        self.names.retain(&workloads, &models);
    }

    /// Everything in the Prometheus text format.
    pub fn render(&self) -> String {
        self.process.look();
        self.contacts.show();
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

/// Brings a counter up to a total kept elsewhere. A total that starts again adds nothing before it is
/// above where it was.
fn advance(counter: &IntCounter, total: u64) {
    counter.inc_by(total.saturating_sub(counter.get()));
}

#[cfg(test)]
mod tests;
