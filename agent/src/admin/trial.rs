//! `/api/policies/test`: what would be said of a call that nobody makes.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::calls::DecisionRow;
use super::money::Usd;

/// The call: the parameters of `/api/policies/test`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TrialQuery {
    /// Its workload: a whole name (`unit:etl.service`), or one as rules may leave it bare.
    pub workload: String,
    /// Model asked for.
    pub model: String,
    /// Provider asked; where none is named, the one whose model it is.
    pub provider: Option<String>,
    /// Its user, by name or id; where none is named, a member of `team`, or else root.
    pub user: Option<String>,
    /// The team it is to belong to; an error where it does not.
    pub team: Option<String>,
    /// Its environment; that of the configuration where none is named.
    pub environment: Option<String>,
    /// Input tokens; 1,000 where not named.
    pub input_tokens: Option<u64>,
    /// Most output tokens, as the client asks for; no such limit where not named.
    pub max_output: Option<u64>,
    /// When; now where not named.
    pub at: Option<Timestamp>,
}

/// What would be said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Trial {
    /// Version of this shape.
    pub schema_version: u32,
    /// Whether policies act (`mode: enforce`); where they do not, no call is refused whatever the
    /// verdict is.
    pub acting: bool,
    /// Whether the call would be made.
    pub verdict: TrialVerdict,
    /// The policy that refuses it.
    pub refused_by: Option<String>,
    /// The call as it was understood.
    pub call: TrialCall,
    /// What each policy says; `at_ms` is always `null`.
    pub decisions: Vec<DecisionRow>,
}

/// Whether a call would be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TrialVerdict {
    /// It would.
    Pass,
    /// It would not.
    Refuse,
}

/// A call as it was understood.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TrialCall {
    /// Workload.
    pub workload: String,
    /// User's name, or the id where it has none.
    pub user: String,
    /// Team, where the configuration names one.
    pub team: Option<String>,
    /// Environment.
    pub environment: String,
    /// Provider.
    pub provider: String,
    /// Model.
    pub model: String,
    /// Input tokens.
    pub input_tokens: u64,
    /// Most output tokens.
    pub max_output: u64,
    /// What it would cost at most; `null` where the price is unknown.
    pub cost_usd: Option<Usd>,
    /// When.
    pub at: Timestamp,
}
