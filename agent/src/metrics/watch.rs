//! Why calls fail, and how error budgets, latencies and spending stand.
//!
//! Failures are counted as calls settle; the rest is taken over when metrics are read.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus::{IntCounter, IntCounterVec, Opts, Registry};

use super::names::Names;
use super::series::{Bound, Family as _, Series};
use super::shown::Shown;
use crate::record::{FailureClass, Kind, Record};

/// How what is watched stands at a moment.
#[derive(Debug, Clone, Default)]
pub struct Watched {
    /// Workload, task, and how much of its error budget is used; 1 is all of it.
    pub budgets: Vec<(Arc<str>, Arc<str>, f64)>,
    /// Workloads that a limit on latency is about, and whether they pass it.
    pub sla: Vec<(Arc<str>, bool)>,
    /// Workloads that spend far more than usual.
    pub spikes: Vec<Arc<str>>,
}

#[derive(Debug)]
pub(super) struct Watch {
    names: Arc<Names>,
    errors: Series<IntCounterVec>,
    budgets: Shown<2>,
    sla: Shown<1>,
    spikes: Shown<1>,
}

impl Watch {
    pub(super) fn new(
        registry: &Registry,
        names: Arc<Names>,
        overflow: &IntCounterVec,
    ) -> prometheus::Result<Self> {
        let errors = IntCounterVec::new(
            Opts::new("weir_errors_total", "Calls that did not end well, by why."),
            &["workload", "provider", "class"],
        )?;
        let bound = Bound { most: 600, open: &["workload"] };
        Ok(Self {
            names,
            errors: Series::new(registry, errors, bound, overflow)?,
            budgets: Shown::new(
                registry,
                Opts::new(
                    "weir_error_budget_used_ratio",
                    "Used part of what may fail of the last 100 calls; above 1 more failed.",
                ),
                &["workload", "task"],
            )?,
            sla: Shown::new(
                registry,
                Opts::new(
                    "weir_sla_breached",
                    "1 where the 95th percentile of the latency of a workload's calls is above its limit.",
                ),
                &["workload"],
            )?,
            spikes: Shown::new(
                registry,
                Opts::new("weir_spend_spike", "1 where a workload spends far more than usual."),
                &["workload"],
            )?,
        })
    }

    /// Counts a call that failed.
    pub(super) fn count(&self, record: &Record) {
        let class = FailureClass::of(record.outcome, record.status, record.error.as_deref());
        let Some(class) = class.filter(|_| record.kind == Kind::Call) else { return };
        let workload = self.names.workload(&record.subject.workload.name);
        let labels = [&*workload, &*record.provider, class.word()];
        self.errors.add(&labels, IntCounter::inc);
    }

    /// Takes away counters that have not grown for `ttl`; how many.
    pub(super) fn sweep(&self, now: Instant, ttl: Duration) -> u64 {
        self.errors.remove(&self.errors.idle(now, ttl))
    }

    /// The workloads that are told of.
    pub(super) fn workloads(&self, into: &mut HashSet<String>) {
        self.errors.values("workload", into);
    }

    /// Shows how things stand. Of several workloads with one name the worst is shown.
    pub(super) fn show(&self, watched: &Watched) {
        let name = |workload: &Arc<str>| self.names.workload(workload);
        let budgets = watched.budgets.iter();
        self.budgets.set(budgets.map(|(workload, task, used)| {
            // Tasks without a rule's name are operations, and rules are few.
            ([name(workload), Arc::clone(task)], *used, *used)
        }));
        let sla = watched.sla.iter().map(|(workload, is_over)| (workload, f64::from(*is_over)));
        self.sla.set(sla.map(|(workload, is_over)| ([name(workload)], is_over, is_over)));
        self.spikes.set(watched.spikes.iter().map(|workload| ([name(workload)], 1.0, 1.0)));
    }
}
