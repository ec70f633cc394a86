//! `/api/status`: whether the agent does what it was asked to, and why not.

use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::alerts::EscalationRate;
use super::breakers::BreakerRow;
use super::budgets::BudgetRow;
use super::money::Coverage;
use super::policies::Reach;
use super::spend::SpendRow;
use crate::config::Mode;

/// Everything at a glance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// Version of this shape.
    pub schema_version: u32,
    /// Version of the agent.
    pub version: String,
    /// Process id of the daemon.
    pub pid: u32,
    /// When it started.
    pub since: Timestamp,
    /// Whether all is well; see [`State::of`].
    pub state: State,
    /// What it does.
    pub mode: ModeState,
    /// Whether it intercepts.
    pub capture: CaptureState,
    /// Containers and other network namespaces whose connections are intercepted too.
    #[serde(default)]
    pub namespaces: NamespaceState,
    /// Share of today's connections to LLM hosts that were metered.
    pub coverage: Coverage,
    /// Calls, tokens and dollars since local midnight.
    pub today: SpendRow,
    /// Today's most expensive workloads.
    pub top: Vec<SpendRow>,
    /// What the kernel half can do here.
    pub capabilities: Vec<Capability>,
    /// Addresses listened on.
    pub listeners: Vec<Listener>,
    /// Whether clients accept the CA.
    pub trust: TrustState,
    /// How far policies go.
    pub policies: PolicyState,
    /// Budgets near or over their limit, fullest first.
    pub budgets: Vec<BudgetRow>,
    /// Breakers that are not closed.
    pub breakers: Vec<BreakerRow>,
    /// What someone should look at.
    pub warnings: Vec<Warning>,
    /// Calls that failed for good.
    pub escalations: EscalationState,
    /// Time added to calls, where any were measured.
    pub overhead: Option<Overhead>,
    /// Version of the price catalogue.
    pub price_version: Option<String>,
}

/// Whether all is well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It does what it was asked to.
    Healthy,
    /// It does less; warnings say why.
    Degraded,
}

impl State {
    /// Degraded where the mode is not the one asked for, or a warning says so.
    pub fn of(mode: &ModeState, warnings: &[Warning]) -> Self {
        if mode.wanted != mode.effective || warnings.iter().any(|warning| warning.degrades) {
            Self::Degraded
        } else {
            Self::Healthy
        }
    }
}

/// The mode asked for and the one in effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ModeState {
    /// Asked for by the configuration or by `weir mode`.
    pub wanted: Mode,
    /// In effect.
    pub effective: Mode,
    /// Why they differ, or what overrides the file.
    pub reason: Option<String>,
}

/// Whether connections are intercepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CaptureState {
    /// False after `weir down`, and where the kernel half is not attached.
    pub on: bool,
    /// Why not.
    pub reason: Option<String>,
}

/// Network namespaces other than the agent's own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NamespaceState {
    /// How many are intercepted.
    pub armed: u64,
    /// How many were to be and can't be at the moment, by reason: `port_taken`, `no_loopback`,
    /// `privilege`, `bound`, `error`.
    pub left_out: BTreeMap<String, u64>,
}

/// One hook of the kernel half.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Capability {
    /// Its name (`connect4`).
    pub hook: String,
    /// Whether it works.
    pub ok: bool,
    /// The kernel feature or capability that is missing.
    pub missing: Option<String>,
    /// What does not work without it.
    pub consequence: Option<String>,
}

/// An address listened on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Listener {
    /// What it is for: `intercept`, `proxy`, `admin`, `socket`.
    pub name: String,
    /// Address, or path of a socket.
    pub address: String,
}

/// Whether clients accept the agent's CA.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TrustState {
    /// The public root certificate.
    pub root: Option<PathBuf>,
    /// Whether it is installed, or taken to be (`trust.assume`).
    pub installed: bool,
    /// In a few words: `system store`, `assumed`, `not installed`.
    pub detail: String,
}

/// How far policies go.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PolicyState {
    /// Whether they act (`mode: enforce`).
    pub acting: bool,
    /// All policies.
    pub total: u64,
    /// Those that only decide.
    pub shadow: u64,
    /// Those that act for some workloads.
    pub canary: u64,
    /// Those that do nothing.
    pub off: u64,
    /// Those set by `weir policy` to something else than the file says.
    pub overridden: Vec<Overridden>,
}

/// A policy that is not as the file says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Overridden {
    /// The policy.
    pub name: String,
    /// How far it goes.
    pub enforcement: Reach,
    /// How far the file says it goes.
    pub configured: Reach,
}

/// Something to look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Warning {
    /// What is the matter.
    pub what: String,
    /// What to do about it: a command where there is one.
    pub fix: Option<String>,
    /// Whether the agent does less than asked because of it.
    pub degrades: bool,
}

/// Calls that failed for good.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EscalationState {
    /// Nobody has looked at these.
    pub open: u64,
    /// How many calls are escalated; for administrators only.
    pub rate: Option<EscalationRate>,
}

/// Time added to calls: all of it less what the provider took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Overhead {
    /// Median, in microseconds.
    pub p50_us: u64,
    /// 99th percentile, in microseconds.
    pub p99_us: u64,
}
