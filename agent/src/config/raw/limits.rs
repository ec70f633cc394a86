//! Limits, budgets, guardrails and whom they are for, as written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Team")]
pub(in crate::config) struct RawTeam {
    /// Workloads, as rules name them.
    pub(in crate::config) workloads: Vec<String>,
    /// Users, by name or id.
    pub(in crate::config) users: Vec<String>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Rate limit")]
pub(in crate::config) struct RawRateLimit {}

#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Budget")]
pub(in crate::config) struct RawBudget {}

#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Guardrail")]
pub(in crate::config) struct RawGuardrail {}

#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Loop protection")]
pub(in crate::config) struct RawLoops {}
