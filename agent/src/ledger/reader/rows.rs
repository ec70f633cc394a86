//! The answers. Their field names are those of the JSON output.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::llm::usage::NanoUsd;
use crate::record::{
    Billing, CallId, FailureClass, Flag, Kind, Outcome, Treatment, UsageSource, Via,
};

use super::form::{maybe_millis, maybe_money, money};
use super::query::Dimension;

/// Spend of one group in one stretch of time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SpendRow {
    /// The group: a value for each dimension asked for, `None` where calls have none. In JSON,
    /// fields of the row itself.
    #[serde(flatten, with = "keys")]
    pub keys: Vec<(Dimension, Option<String>)>,
    /// Begin of the stretch of time, where buckets were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bucket_start: Option<Timestamp>,
    /// LLM calls.
    pub calls: u64,
    /// Requests to LLM hosts that are no calls.
    pub requests: u64,
    /// Requests to LLM hosts of which it is not known what they are.
    pub opaque: u64,
    /// Uncached text (and image) input tokens.
    pub input_tokens: u64,
    /// Input tokens read from the provider's cache.
    pub cache_read_tokens: u64,
    /// Input tokens written to the provider's cache for 5 minutes.
    pub cache_write_5m_tokens: u64,
    /// Input tokens written to the provider's cache for an hour.
    pub cache_write_1h_tokens: u64,
    /// Visible output tokens.
    pub output_tokens: u64,
    /// Reasoning output tokens.
    pub reasoning_tokens: u64,
    /// Audio input tokens.
    pub audio_input_tokens: u64,
    /// Audio output tokens.
    pub audio_output_tokens: u64,
    /// Cost of what has a known cost.
    #[serde(with = "money")]
    pub cost_usd: NanoUsd,
    /// Part of it that is billed per token.
    #[serde(with = "money")]
    pub metered_usd: NanoUsd,
    /// Part of it that falls under a flat plan: notional dollars.
    #[serde(with = "money")]
    pub subscription_usd: NanoUsd,
    /// Part of it of which it is not known how it is billed.
    #[serde(with = "money")]
    pub unknown_billing_usd: NanoUsd,
    /// Calls (also opaque and lost ones) whose cost is not known: they are not in `cost_usd`.
    pub unknown_cost_calls: u64,
    /// Calls whose tokens were estimated.
    pub estimated_calls: u64,
    /// Calls that failed, by the provider's or our fault.
    pub errors: u64,
    /// Metered share of the group's LLM connections, 0 to 1; `None` where there were none, or
    /// where a dimension (model, environment, team) is unknown for connections.
    pub coverage: Option<f64>,
}

/// One call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "as in `record::Record`, whose fields these are")]
pub struct CallRow {
    pub call_id: CallId,
    pub started_at: Timestamp,
    pub kind: Kind,
    pub via: Via,
    pub workload: String,
    pub app: Option<String>,
    pub unit: Option<String>,
    pub container: Option<String>,
    pub pid: u32,
    pub start_ticks: u64,
    pub exe: String,
    pub command: String,
    pub uid: u32,
    pub user: Option<String>,
    pub verified: bool,
    pub environment: String,
    #[serde(default)]
    pub team: Option<String>,
    #[serde(default)]
    pub account: Option<String>,
    pub agent_name: Option<String>,
    pub provider: String,
    pub host: String,
    pub operation: String,
    pub method: String,
    pub path: String,
    pub model: Option<String>,
    pub model_served: Option<String>,
    pub stream: bool,
    pub status: Option<u16>,
    /// `None` while the call is open.
    pub outcome: Option<Outcome>,
    pub error: Option<String>,
    pub input_tokens: u64,
    pub cache_read_tokens: u64,
    pub cache_write_5m_tokens: u64,
    pub cache_write_1h_tokens: u64,
    pub output_tokens: u64,
    pub reasoning_tokens: u64,
    pub audio_input_tokens: u64,
    pub audio_output_tokens: u64,
    pub usage_source: UsageSource,
    /// `None` where unknown.
    #[serde(with = "maybe_money")]
    pub cost_usd: Option<NanoUsd>,
    pub billing: Billing,
    pub price_version: Option<String>,
    #[serde(with = "maybe_millis", rename = "ttft_ms")]
    pub ttft: Option<Duration>,
    /// `None` while the call is open, and where it was lost.
    #[serde(with = "maybe_millis", rename = "latency_ms")]
    pub latency: Option<Duration>,
    #[serde(with = "maybe_millis", rename = "upstream_ms")]
    pub upstream: Option<Duration>,
    pub attempts: u32,
    pub retry_of: Option<CallId>,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub flags: Vec<Flag>,
}

/// One call with everything kept about it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CallDetail {
    /// The call.
    #[serde(flatten)]
    pub row: CallRow,
    /// Every try, in order.
    #[serde(rename = "tries")]
    pub attempts: Vec<AttemptRow>,
    /// Every decision, in order.
    pub decisions: Vec<DecisionRow>,
}

impl CallRow {
    /// Tokens of every kind.
    pub(super) fn tokens(&self) -> u64 {
        [
            self.input_tokens,
            self.cache_read_tokens,
            self.cache_write_5m_tokens,
            self.cache_write_1h_tokens,
            self.output_tokens,
            self.reasoning_tokens,
            self.audio_input_tokens,
            self.audio_output_tokens,
        ]
        .iter()
        .fold(0, |sum, tokens| sum.saturating_add(*tokens))
    }
}

/// One try of a call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "as in `record::Attempt`, whose fields these are")]
pub struct AttemptRow {
    pub provider: String,
    pub model: Option<String>,
    pub started_at: Timestamp,
    pub status: Option<u16>,
    pub outcome: Outcome,
    #[serde(with = "maybe_millis", rename = "upstream_ms")]
    pub upstream: Option<Duration>,
    #[serde(with = "maybe_money")]
    pub cost_usd: Option<NanoUsd>,
}

/// One decision on a call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "as in `record::Decision`, whose fields these are")]
pub struct DecisionRow {
    #[serde(with = "maybe_millis", rename = "at_ms")]
    pub at: Option<Duration>,
    pub rule: String,
    pub action: String,
    pub detail: String,
}

/// One process instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProcessRow {
    /// Process id.
    pub pid: u32,
    /// Start time in clock ticks since boot; tells instances of one pid apart.
    pub start_ticks: u64,
    /// Its workload.
    pub workload: String,
    /// User id.
    pub uid: u32,
    /// User name, where there is one.
    pub user: Option<String>,
    /// Executable.
    pub exe: String,
    /// Command line, redacted.
    pub command: String,
    /// LLM calls.
    pub calls: u64,
    /// Cost of those whose cost is known.
    #[serde(with = "money")]
    pub cost_usd: NanoUsd,
    /// Calls whose cost is not known.
    pub unknown_cost_calls: u64,
    /// Start of its latest call, or end of its latest connection, whichever is later.
    pub last_seen: Timestamp,
    /// Its connections to LLM hosts.
    pub connections: Vec<ProcessConnections>,
}

/// Connections of a process that were treated alike.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessConnections {
    /// Provider's name.
    pub provider: String,
    /// How they were treated.
    pub treatment: Treatment,
    /// Why.
    pub reason: String,
    /// How many.
    pub count: u64,
    /// Those of them that failed to open.
    pub failed: u64,
    /// Bytes to the provider.
    pub bytes_up: u64,
    /// Bytes from the provider.
    pub bytes_down: u64,
}

/// How much of the LLM traffic was metered.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Coverage {
    /// Connections whose calls are recorded.
    pub metered: u64,
    /// All connections that could have carried calls.
    pub total: u64,
    /// The others, most frequent first.
    pub reasons: Vec<CoverageReason>,
}

/// Connections that were not metered, for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CoverageReason {
    /// How they were treated.
    pub treatment: Treatment,
    /// Why.
    pub reason: String,
    /// How many.
    pub count: u64,
}

impl Coverage {
    /// The metered share, 0 to 1; `None` where there was nothing to meter.
    pub fn ratio(&self) -> Option<f64> {
        #[expect(clippy::cast_precision_loss, reason = "a share of counts needs no more")]
        (self.total > 0).then(|| self.metered as f64 / self.total as f64)
    }
}

/// Calls of one model without known cost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unpriced {
    /// Provider's name.
    pub provider: String,
    /// The model asked for, or served.
    pub model: Option<String>,
    /// How many calls.
    pub calls: u64,
    /// Of these, calls whose usage is not known either.
    pub unknown_usage: u64,
}

/// The group's values as fields named like the dimensions.
mod keys {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serializer};
    use serde_json::Value;

    use crate::ledger::store::{parse, word};

    use super::Dimension;

    type Keys = Vec<(Dimension, Option<String>)>;

    pub(super) fn serialize<S: Serializer>(keys: &Keys, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(keys.iter().map(|(dimension, value)| (word(dimension), value)))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Keys, D::Error> {
        let fields = BTreeMap::<String, Value>::deserialize(from)?;
        let keys = fields.into_iter().filter_map(|(name, value)| {
            let value = match value {
                Value::String(text) => Some(text),
                _ => None,
            };
            Some((parse(&name)?, value))
        });
        Ok(keys.collect())
    }
}

/// Why calls failed, and how available providers were.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Errors {
    /// LLM calls that are over.
    pub calls: u64,
    /// Those of them that did not end well, for whatever reason.
    pub errors: u64,
    /// Who fails most first.
    pub rows: Vec<ErrorRow>,
    /// One for each provider that was asked.
    pub availability: Vec<Availability>,
}

/// Failures of one class, in one group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorRow {
    /// The group, where there are some.
    pub key: Option<String>,
    /// The class.
    pub class: FailureClass,
    /// How many calls.
    pub count: u64,
    /// How many calls of the group failed in any way.
    pub errors: u64,
    /// How many calls the group has.
    pub calls: u64,
}

/// How available a provider was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Availability {
    /// The provider.
    pub provider: String,
    /// Tries that were sent to it, without those that the client or a policy ended.
    pub calls: u64,
    /// Those of them that it failed.
    pub failed: u64,
}

/// What a workload spent in an hour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HourRow {
    /// The workload.
    pub workload: String,
    /// Hours since 1970.
    pub hour: u64,
    /// What is owed for it.
    pub cost: NanoUsd,
}
