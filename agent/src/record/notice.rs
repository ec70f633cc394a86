//! What people may want to be told of.

use std::sync::Arc;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::CallId;
use crate::llm::usage::NanoUsd;

/// What people may want to be told of, besides the record of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Topic {
    /// A budget passed one of its thresholds; told once per threshold and period.
    BudgetThreshold,
    /// A budget is spent.
    BudgetExceeded,
    /// A budget will be spent before its period ends, at the present rate.
    BudgetForecast,
    /// A workload spends far more than it used to.
    CostSpike,
    /// A workload repeats itself.
    Loop,
    /// A circuit breaker opened.
    BreakerOpened,
    /// A circuit breaker closed.
    BreakerClosed,
    /// A call failed for good.
    Escalation,
    /// A guardrail blocked or warned.
    Guardrail,
    /// A workload was frozen, or let go on.
    Freeze,
    /// What a workload spends is usual again.
    CostSpikeOver,
    /// A task's error budget is nearly used up.
    ErrorBudgetThreshold,
    /// A task's error budget is used up.
    ErrorBudgetExceeded,
    /// A task fails no more than it may.
    ErrorBudgetRecovered,
    /// A workload's calls take longer than they may.
    SlaBreached,
    /// They do no longer.
    SlaRecovered,
}

/// What was measured, for notices that rest on a measurement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The task, or the model, that it is about.
    pub task: Option<Arc<str>>,
    /// What was found, with its unit: `15.0%`, `12.4s`, `$9.00/h`.
    pub measured: String,
    /// What it was held against, likewise.
    pub target: String,
}

/// Something that happened, for whoever is to be told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// When.
    pub at: SystemTime,
    /// What about.
    pub topic: Topic,
    /// The policy behind it: `budgets.code-reviewer`, `breaker.openai`.
    pub policy: Arc<str>,
    /// Whom it is about: a workload, user, team or provider.
    pub subject: Arc<str>,
    /// The user it belongs to, where it is one's.
    pub uid: Option<u32>,
    /// The call that brought it about, where one did.
    pub call_id: Option<CallId>,
    /// One sentence, without content or secrets.
    pub message: String,
    /// Spent so far, for budgets.
    pub spent: Option<NanoUsd>,
    /// The limit, for budgets.
    pub limit: Option<NanoUsd>,
    /// The failure class, for escalations and error budgets.
    pub class: Option<Arc<str>>,
    /// What was measured, for error budgets, latencies and spikes.
    #[serde(default)]
    pub finding: Option<Finding>,
}
