//! Metrics of connections to LLM hosts: how each was treated, and what share was metered.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus::{Gauge, IntCounter, IntCounterVec, Opts, Registry};

use super::advance;
use super::names::Names;
use super::series::{Bound, Family, Series};
use crate::record::{Connection, Treatment};

#[derive(Debug)]
pub(super) struct Connections {
    names: Arc<Names>,
    total: Series<IntCounterVec>,
    bytes: Series<IntCounterVec>,
    unattributed: IntCounter,
    distrust: IntCounterVec,
    certificates: Series<IntCounterVec>,
    coverage: Gauge,
    metered: IntCounter,
    seen: IntCounter,
}

impl Connections {
    pub(super) fn new(
        registry: &Registry,
        names: Arc<Names>,
        overflow: &IntCounterVec,
    ) -> prometheus::Result<Self> {
        let counter = |name, help| {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        let family = |name, help, labels: &[&str], bound| {
            let counters = IntCounterVec::new(Opts::new(name, help), labels)?;
            Series::new(registry, counters, bound, overflow)
        };
        let distrust = IntCounterVec::new(
            Opts::new(
                "weir_tls_trust_failures_total",
                "Signs of clients that do not accept the CA.",
            ),
            &["signal"],
        )?;
        registry.register(Box::new(distrust.clone()))?;
        let coverage = Gauge::new(
            "weir_coverage_ratio",
            "Share of the connections to LLM hosts that were metered, since the agent started.",
        )?;
        registry.register(Box::new(coverage.clone()))?;
        Ok(Self {
            names,
            total: family(
                "weir_connections_total",
                "Connections to LLM hosts, by how they were treated and why.",
                &["workload", "provider", "mode", "reason"],
                Bound { most: 600, open: &["workload"] },
            )?,
            bytes: family(
                "weir_connection_bytes_total",
                "Bytes of connections to LLM hosts; up is from the client.",
                &["workload", "provider", "direction"],
                Bound { most: 600, open: &["workload"] },
            )?,
            unattributed: counter(
                "weir_unattributed_connections_total",
                "Connections whose process was gone before it could be looked at.",
            )?,
            distrust,
            certificates: family(
                "weir_upstream_certificate_failures_total",
                "Handshakes with providers that were broken off over their certificate.",
                &["host", "problem"],
                Bound { most: 100, open: &["host"] },
            )?,
            coverage,
            metered: counter(
                "weir_metered_connections_total",
                "Connections to LLM hosts whose calls were read.",
            )?,
            seen: counter("weir_seen_connections_total", "Connections to LLM hosts.")?,
        })
    }

    /// Takes a connection that is over.
    pub(super) fn count(&self, connection: &Connection) {
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
        self.total.add(&labels, IntCounter::inc);
        for (direction, bytes) in [("up", connection.bytes_up), ("down", connection.bytes_down)] {
            let labels = [&*workload, provider, direction];
            self.bytes.add(&labels, |counter| counter.inc_by(bytes));
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

    /// A client showed that it does not accept the CA.
    pub(super) fn distrusted(&self, signal: &'static str) {
        self.distrust.with_label_values(&[signal]).inc();
    }

    /// Takes over how often a host's certificate was refused, and over what.
    pub(super) fn certificate(&self, host: &str, problem: &str, total: u64) {
        self.certificates.add(&[host, problem], |counter| advance(counter, total));
    }

    /// Takes away series that have not grown for `ttl`; how many.
    pub(super) fn sweep(&self, now: Instant, ttl: Duration) -> u64 {
        // What counts certificates is kept elsewhere, and would come back.
        let families: [&dyn Family; 2] = [&self.total, &self.bytes];
        families.iter().map(|family| family.remove(&family.idle(now, ttl))).sum()
    }

    /// The workloads that are told of.
    pub(super) fn workloads(&self, into: &mut HashSet<String>) {
        self.total.values("workload", into);
        self.bytes.values("workload", into);
    }
}
