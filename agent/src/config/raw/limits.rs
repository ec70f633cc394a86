//! Limits, budgets, guardrails and whom they are for, as written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::amount::{Count, Dollars, Enforcement, Percent, TimeOfDay, Words};
use crate::config::value::{OneOrMany, Size, Span};

#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Team")]
pub(in crate::config) struct RawTeam {
    /// Workloads, as rules name them.
    pub(in crate::config) workloads: Vec<String>,
    /// Users, by name or id.
    pub(in crate::config) users: Vec<String>,
}

/// Names, each a whole one or the beginning of one (`gpt-4o*`).
pub(in crate::config) type Names = Option<Words<String>>;

/// Which calls a rule is about, where its key alone does not say it. Every part given must hold;
/// of several names one must.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Match")]
pub(in crate::config) struct RawMatch {
    /// Workloads, by name (`unit:batch.service`) or stem (`batch`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) workload: Names,
    /// Units, with or without `.service`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) unit: Names,
    /// Executables, by path or file name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) exe: Names,
    /// Containers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) container: Names,
    /// Users, by name or id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) user: Names,
    /// Teams.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) team: Names,
    /// Environments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) environment: Names,
    /// Providers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) provider: Names,
    /// Models asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) model: Names,
    /// Request paths.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) path: Names,
    /// When: `09:00-17:30`, in `timezone`; past midnight where the end is the earlier one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) time_of_day: Option<TimeOfDay>,
}

/// Who shares a counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum RawPer {
    /// Everyone the rule is about.
    All,
    /// Each workload has its own.
    Workload,
    /// Each user has their own.
    User,
    /// Each team has its own.
    Team,
}

/// What happens to a call that does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum RawAction {
    /// It is refused.
    Deny,
    /// It is made with `downgrade_to` instead.
    Downgrade,
    /// It waits, at most `throttle_up_to`.
    Throttle,
    /// It is refused, and its workload frozen.
    Freeze,
    /// It is made, and people are told.
    Alert,
}

/// What becomes of a stream that has run past what was reserved for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum RawOverrun {
    /// It goes on.
    Extend,
    /// It ends where nothing is left.
    Cut,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Rate limit")]
pub(in crate::config) struct RawRateLimit {
    /// Requests in any minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) requests_per_minute: Option<Count>,
    /// Requests in any hour.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) requests_per_hour: Option<Count>,
    /// Requests in any 24 hours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) requests_per_day: Option<Count>,
    /// Tokens in any minute; those read from a cache are not counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) tokens_per_minute: Option<Count>,
    /// Tokens in any hour.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) tokens_per_hour: Option<Count>,
    /// Tokens in any 24 hours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) tokens_per_day: Option<Count>,
    /// Dollars in any minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) usd_per_minute: Option<Dollars>,
    /// Dollars in any hour.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) usd_per_hour: Option<Dollars>,
    /// Dollars in any 24 hours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) usd_per_day: Option<Dollars>,
    /// Which calls it is about; without it, those its key names.
    #[serde(rename = "match", skip_serializing_if = "Option::is_none")]
    pub(in crate::config) matching: Option<RawMatch>,
    /// Who shares a counter; everyone it is about, unless the key says otherwise (`user:*`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) per: Option<RawPer>,
    /// `off`, `shadow` (decides, counts, does not act), `enforce`, or `canary:PERCENT`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) enforcement: Option<Enforcement>,
    /// What happens to a call that does not fit: `deny` by default.
    #[serde(alias = "action", skip_serializing_if = "Option::is_none")]
    pub(in crate::config) on_breach: Option<RawAction>,
    /// For `downgrade`: a model, or `tier:NAME`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) downgrade_to: Option<String>,
    /// For `throttle`: the longest a call waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) throttle_up_to: Option<Span>,
    /// What becomes of a stream that runs past its reservation: `extend` by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) on_stream_overrun: Option<RawOverrun>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Budget")]
pub(in crate::config) struct RawBudget {
    /// Dollars in any hour.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) hourly_limit_usd: Option<Dollars>,
    /// Dollars in a calendar day.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) daily_limit_usd: Option<Dollars>,
    /// Dollars in a calendar week, from Monday.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) weekly_limit_usd: Option<Dollars>,
    /// Dollars in a calendar month.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) monthly_limit_usd: Option<Dollars>,
    /// Dollars in any stretch of so many hours or days; one, or a list of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) rolling: Option<OneOrMany<RawRolling>>,
    /// Percentages of a limit at which people are told, once per period: 80 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) alert_at_percent: Option<Words<Percent>>,
    /// Whether people are told that a budget will be spent before its period ends; on by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) forecast: Option<bool>,
    /// People are told when an hour costs more than this many percent of the usual one: 300 by
    /// default, 0 for never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) cost_spike_percent: Option<u32>,
    /// Which calls it is about; without it, those its key names.
    #[serde(rename = "match", skip_serializing_if = "Option::is_none")]
    pub(in crate::config) matching: Option<RawMatch>,
    /// Who shares a counter; everyone it is about, unless the key says otherwise (`user:*`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) per: Option<RawPer>,
    /// `off`, `shadow` (decides, counts, does not act), `enforce`, or `canary:PERCENT`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) enforcement: Option<Enforcement>,
    /// What happens to a call that does not fit: `deny` by default.
    #[serde(alias = "action", skip_serializing_if = "Option::is_none")]
    pub(in crate::config) on_breach: Option<RawAction>,
    /// For `downgrade`: a model, or `tier:NAME`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) downgrade_to: Option<String>,
    /// For `throttle`: the longest a call waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) throttle_up_to: Option<Span>,
    /// What becomes of a stream that runs past its reservation: `extend` by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) on_stream_overrun: Option<RawOverrun>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Rolling budget")]
pub(in crate::config) struct RawRolling {
    /// Its length in hours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) hours: Option<u32>,
    /// Its length in days.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) days: Option<u32>,
    /// Dollars.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) limit_usd: Option<Dollars>,
}

/// What happens to a call that breaks a guardrail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum RawGuardAction {
    /// It is refused.
    Block,
    /// It is made, and people are told.
    Warn,
    /// It is made, and the decision kept with its record.
    Log,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Guardrail")]
pub(in crate::config) struct RawGuardrail {
    /// The only models allowed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(in crate::config) allow_models: Vec<String>,
    /// Models not allowed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(in crate::config) deny_models: Vec<String>,
    /// The only hosts allowed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(in crate::config) allow_hosts: Vec<String>,
    /// Hosts not allowed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(in crate::config) deny_hosts: Vec<String>,
    /// The only paths allowed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(in crate::config) allow_paths: Vec<String>,
    /// Paths not allowed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(in crate::config) deny_paths: Vec<String>,
    /// Most input tokens of a call, by an estimate that is rather high.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) max_input_tokens: Option<Count>,
    /// Most output tokens of a call. A call that names no limit of its own is given this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) max_output_tokens: Option<Count>,
    /// Largest request body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) max_body_size: Option<Size>,
    /// Which calls it is about; without it, those its key names.
    #[serde(rename = "match", skip_serializing_if = "Option::is_none")]
    pub(in crate::config) matching: Option<RawMatch>,
    /// `off`, `shadow` (decides, counts, does not act), `enforce`, or `canary:PERCENT`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) enforcement: Option<Enforcement>,
    /// What happens to a call that breaks it: `block` by default.
    #[serde(alias = "action", skip_serializing_if = "Option::is_none")]
    pub(in crate::config) on_breach: Option<RawGuardAction>,
}

/// Off where nothing is written.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Loop protection")]
pub(in crate::config) struct RawLoops {
    /// Calls of one workload with the same prompt in any minute: 30 by default, 0 for any number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) identical_prompts_per_minute: Option<Count>,
    /// Failed calls of one workload in any minute: 60 by default, 0 for any number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) errors_per_minute: Option<Count>,
    /// Which calls it is about; without it, all.
    #[serde(rename = "match", skip_serializing_if = "Option::is_none")]
    pub(in crate::config) matching: Option<RawMatch>,
    /// `off`, `shadow` (decides, counts, does not act), `enforce`, or `canary:PERCENT`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) enforcement: Option<Enforcement>,
    /// What happens to one more call: `throttle` (by default), `alert` or `deny`.
    #[serde(alias = "action", skip_serializing_if = "Option::is_none")]
    pub(in crate::config) on_breach: Option<RawAction>,
    /// For `throttle`: how long each call waits; 10s by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) throttle_up_to: Option<Span>,
}
