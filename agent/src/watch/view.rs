//! How what is watched stands, for those who ask.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::budget::Level;
use super::series::{Model, Task};
use super::settings::Share;
use super::spike::Spike;
use super::told;
use super::window::{Latencies, Percentiles};
use super::{Key, ModelKey};

/// A task of a workload.
#[derive(Debug, Clone)]
pub struct TaskView {
    /// The workload.
    pub workload: Arc<str>,
    /// The task.
    pub task: Arc<str>,
    /// The user whose calls they all are; `None` where they are several's.
    pub uid: Option<u32>,
    /// Calls in the window.
    pub calls: u32,
    /// Those of them that failed.
    pub failed: u32,
    /// The share that may fail, where a rule says so.
    pub target: Option<Share>,
    /// How much of that is used; 1 is all of it.
    pub used: Option<f64>,
    /// How it stands.
    pub level: Level,
    /// One sentence, where all is not well.
    pub trouble: Option<String>,
    latencies: Latencies,
}

impl TaskView {
    pub(super) fn new(key: &Key, task: &Task) -> Self {
        let (calls, failed) = (task.outcomes.calls(), task.outcomes.failed());
        let budget = task.budget.as_ref();
        let trouble = budget.filter(|_| task.level > Level::Ok);
        Self {
            workload: Arc::clone(&key.0),
            task: Arc::clone(&key.1),
            uid: task.owner.uid(),
            calls,
            failed,
            target: budget.map(|budget| budget.target),
            used: budget.map(|budget| budget.target.used(failed, calls)),
            level: task.level,
            trouble: trouble.map(|budget| told::standing(key, task, budget)),
            latencies: task.latencies.clone(),
        }
    }

    /// How long its calls take. Sorts them: not for where calls wait.
    pub fn latency(&self) -> Option<Percentiles> {
        self.latencies.percentiles()
    }
}

/// A model that a workload uses.
#[derive(Debug, Clone)]
pub struct ModelView {
    /// The workload.
    pub workload: Arc<str>,
    /// The model.
    pub model: Arc<str>,
    /// The user whose calls they all are.
    pub uid: Option<u32>,
    /// How long 95 of 100 calls may take, where a rule says so.
    pub sla: Option<Duration>,
    /// Whether they take longer.
    pub breached: bool,
    latencies: Latencies,
}

impl ModelView {
    pub(super) fn new((workload, name, _): &ModelKey, model: &Model) -> Self {
        Self {
            workload: Arc::clone(workload),
            model: Arc::clone(name),
            uid: model.owner.uid(),
            sla: model.sla.as_ref().map(|(_, limit)| *limit),
            breached: model.breached,
            latencies: model.latencies.clone(),
        }
    }

    /// How long its calls take. Sorts them: not for where calls wait.
    pub fn latency(&self) -> Option<Percentiles> {
        self.latencies.percentiles()
    }

    /// One sentence, where they take too long.
    pub fn trouble(&self) -> Option<String> {
        let limit = self.sla.filter(|_| self.breached)?;
        Some(told::latency((&self.workload, &self.model), self.latency()?.p95, limit))
    }
}

/// A workload that spends far more than usual.
#[derive(Debug, Clone)]
pub struct SpikeView {
    /// The workload.
    pub workload: Arc<str>,
    /// The user whose calls they all are.
    pub uid: Option<u32>,
    /// What it spends, and what is usual.
    pub spike: Spike,
}

impl SpikeView {
    /// One sentence.
    pub fn trouble(&self) -> String {
        told::spending(&self.workload, &self.spike)
    }

    /// Since when.
    pub fn since(&self) -> SystemTime {
        self.spike.since
    }

    /// How many times the usual hour it is; `None` where nothing is usual.
    pub fn factor(&self) -> Option<f64> {
        #[expect(clippy::cast_precision_loss, reason = "a factor needs no more")]
        let factor = self.spike.rate.0 as f64 / self.spike.usual.0 as f64;
        (self.spike.usual.0 > 0).then_some(factor)
    }
}
