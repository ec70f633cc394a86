//! `/api/analytics`: what calls came to over days, of all workloads and of one, the latest events,
//! and calls as a file.
//!
//! Days are calendar days in the zone asked for; the last one is today, as far as it has come. A
//! figure's `previous` is that of the same stretch of time, so many days earlier.

mod routes;
mod export;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Failure;
use super::calls::{CallQuery, CallRow};
use super::money::{Coverage, Usd};
use super::spend::{SpendRow, zone};
use crate::events::{Bus, Event};
use crate::record::{FailureClass, Treatment};

pub(super) use self::routes::{bounded, router};

/// The running agent's figures. As with [`Agent`](super::Agent), methods may block, and `uid`
/// limits the answer to one user's calls.
pub trait Analytics {
    /// What calls came to, and how that differs from before.
    fn summary(&self, span: &Span) -> Result<Summary, Failure>;

    /// One workload; `None` where nothing is known of it.
    fn workload(&self, name: &str, span: &Span) -> Result<Option<WorkloadReport>, Failure>;

    /// Calls in the order in which they began: of those the query asks for, the first
    /// `query.limit` after `query.after`.
    fn page(&self, query: &CallQuery) -> Result<Vec<CallRow>, Failure>;

    /// What happens.
    fn events(&self) -> &Bus;

    /// When the days of a span begin, and when the last one ends: now.
    fn ends(&self, span: &Span) -> Result<(Timestamp, Timestamp), Failure>;
}

/// Which days: the parameters of `/api/analytics/summary` and `/api/analytics/agents/{id}`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Span {
    /// So many, today included.
    pub days: Days,
    /// Where the calendar of the days is: an IANA name, or an offset from UTC.
    #[serde(with = "zone")]
    #[schemars(with = "String")]
    pub zone: TimeZone,
    /// Only calls of this user id. Set by who asks, never by what is asked.
    #[serde(skip)]
    pub uid: Option<u32>,
}

impl Default for Span {
    fn default() -> Self {
        Self { days: Days::default(), zone: TimeZone::UTC, uid: None }
    }
}

/// So many days: 1 to 366.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "u16", into = "u16")]
#[schemars(with = "u16", extend("minimum" = 1, "maximum" = 366))]
pub struct Days(u16);

impl Days {
    /// How many.
    pub fn get(self) -> i64 {
        i64::from(self.0)
    }
}

impl Default for Days {
    fn default() -> Self {
        Self(30)
    }
}

/// The number is no such number of days.
#[derive(Debug, thiserror::Error)]
#[error("days is a number from 1 to 366, not {0}")]
pub struct NotDays(u16);

impl TryFrom<u16> for Days {
    type Error = NotDays;

    fn try_from(days: u16) -> Result<Self, NotDays> {
        if (1..=366).contains(&days) { Ok(Self(days)) } else { Err(NotDays(days)) }
    }
}

impl From<Days> for u16 {
    fn from(days: Days) -> Self {
        days.0
    }
}

/// `GET /api/analytics/summary`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Summary {
    /// Version of this shape.
    pub schema_version: u32,
    /// Begin of the first day.
    pub since: Timestamp,
    /// Now.
    pub until: Timestamp,
    /// How many days.
    pub days: Days,
    /// The figures.
    pub kpis: Kpis,
    /// Money, by the calendar.
    pub spend: SpendSummary,
    /// Share of connections to LLM hosts in the span that were metered.
    pub coverage: Coverage,
}

/// The eight figures. Only LLM calls are counted, and only those that are over.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Kpis {
    /// LLM calls.
    pub total_requests: Kpi<u64>,
    /// Calls that failed for good, as a share of the calls; those on the list of escalations are
    /// counted.
    pub escalation_rate: Kpi<f64>,
    /// Times that a policy refused, delayed, downgraded or cut a call or froze its workload.
    pub guardrails_enforced: Kpi<u64>,
    /// What calls that a policy took to another model would have cost at the model they asked for,
    /// less what they cost. Calls of which either is not known are left out.
    pub cost_savings_usd: Kpi<Usd>,
    /// Users who made calls.
    pub unique_users: Kpi<u64>,
    /// From the request's head to the last byte of the answer, on average over the calls that were
    /// not refused.
    pub average_response_ms: Kpi<f64>,
    /// Calls that ended well, as a share of the calls.
    pub success_rate: Kpi<f64>,
    /// Tokens of all kinds.
    pub total_tokens: Kpi<u64>,
}

/// A figure over the span. `null` is where there is nothing to make it from: no calls for a share,
/// or calls of a version of the agent that did not keep it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Kpi<T> {
    /// Over the span.
    pub value: Option<T>,
    /// Over the same stretch of time, so many days earlier.
    pub previous: Option<T>,
    /// Day by day, oldest first.
    pub trend: Vec<Point<T>>,
}

impl<T> Default for Kpi<T> {
    fn default() -> Self {
        Self { value: None, previous: None, trend: Vec::new() }
    }
}

/// A figure of one day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Point<T> {
    /// The day: `2026-11-22`.
    pub period: String,
    /// Its figure.
    pub value: Option<T>,
}

/// Money, by the calendar of the zone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SpendSummary {
    /// Today.
    pub today_usd: Usd,
    /// This month.
    pub month_usd: Usd,
    /// This month at its end, at the rate of what has passed of it.
    pub projected_month_usd: Usd,
}

/// `GET /api/analytics/agents/{id}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WorkloadReport {
    /// Version of this shape.
    pub schema_version: u32,
    /// The workload.
    pub workload: String,
    /// Begin of the first day.
    pub since: Timestamp,
    /// Now.
    pub until: Timestamp,
    /// Calls, tokens and dollars.
    pub total: SpendRow,
    /// The same by model.
    pub models: Vec<SpendRow>,
    /// The same by day; days without calls are left out.
    pub days: Vec<SpendRow>,
    /// From the request's head to the last byte of the answer.
    pub latency: Quantiles,
    /// From the request's head to the first content byte of a stream.
    pub ttft: Quantiles,
    /// Calls that did not end well, by what went wrong.
    pub errors: Vec<ErrorRow>,
    /// Its connections to LLM hosts.
    pub connections: Vec<ConnectionRow>,
    /// What policies did about its calls, or would have done.
    pub policies: Vec<PolicyHits>,
    /// The newest of its calls, newest first.
    pub calls: Vec<CallRow>,
}

/// Times below which so many of the calls stayed; `null` without calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Quantiles {
    /// Half of them.
    pub p50_ms: Option<f64>,
    /// 95 %.
    pub p95_ms: Option<f64>,
    /// 99 %.
    pub p99_ms: Option<f64>,
    /// The calls this rests on: the newest 100,000 at most.
    pub samples: u64,
}

/// Calls that went wrong in one way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "WorkloadErrorRow")]
pub struct ErrorRow {
    /// Why they failed.
    pub class: FailureClass,
    /// How many.
    pub count: u64,
    /// In percent of the workload's calls.
    pub percent: f64,
}

/// Connections that were treated alike.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConnectionRow {
    /// How.
    pub mode: Treatment,
    /// Why, where they were not metered.
    pub reason: String,
    /// How many.
    pub count: u64,
}

/// What a policy did about calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PolicyHits {
    /// The policy.
    pub policy: String,
    /// What it did: `refuse`, `downgrade`; `would-refuse` where it did not act.
    pub action: String,
    /// How often.
    pub count: u64,
}

/// Which events: the parameters of `/api/analytics/events`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EventQuery {
    /// About this workload.
    pub agent_id: Option<String>,
    /// At most so many: 1 to 1000, 100 where not named.
    pub limit: Option<u32>,
    /// After this one; the latest ones where not named.
    pub after: Option<u64>,
}

/// The latest events, oldest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Events {
    /// Version of this shape.
    pub schema_version: u32,
    /// The events; the agent keeps the latest 4,096, and 256 once nobody has asked in five minutes.
    pub rows: Vec<Event>,
    /// To be sent as `after` for what follows; `null` where nothing does yet.
    pub next: Option<u64>,
}

/// The parameters of `/api/analytics/export`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ExportQuery {
    /// How it is written.
    pub format: Format,
    /// So many days, today included; 30 where neither this nor `since` is named.
    pub days: Option<Days>,
    /// Calls that began at or after this time, in place of `days`.
    pub since: Option<Timestamp>,
    /// Calls that began before this time; now where not named.
    pub until: Option<Timestamp>,
    /// Where the calendar of the days is; UTC where not named.
    pub zone: Zone,
    /// Of this workload.
    pub workload: Option<String>,
}

/// A time zone.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Zone(
    #[serde(with = "zone")]
    #[schemars(with = "String")]
    pub TimeZone,
);

impl Default for Zone {
    fn default() -> Self {
        Self(TimeZone::UTC)
    }
}

/// How calls are written into a file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "ExportFormat")]
pub enum Format {
    /// A heading and a line for each call.
    Csv,
    /// One array.
    #[default]
    Json,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_a_year_at_most() {
        let read = |text: &str| serde_json::from_str::<Days>(text).map(Days::get);
        assert_eq!((read("1").unwrap(), read("366").unwrap()), (1, 366));
        for text in ["0", "367", "-1", "\"x\"", "70000"] {
            assert!(read(text).is_err(), "{text}");
        }
        assert_eq!(Days::default().get(), 30);
    }
}
