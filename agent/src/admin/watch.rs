//! `/api/errors` and `/api/watch`: why calls failed, and who fails more, takes longer or spends more
//! than they should.

use axum::extract::{Extension, State};
use axum::routing::get;
use axum::{Json, Router};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::access::Caller;
use super::money::Usd;
use super::routes::{Answer, Asked, Shared, ask};
use super::{Failure, SCHEMA_VERSION};
use crate::record::FailureClass;

/// What the routes need of whoever watches. Methods may block on the ledger: they are called on the
/// blocking pool.
pub trait Watching: Send + Sync + 'static {
    /// Why calls failed, and how available providers were.
    fn errors(&self, query: &ErrorQuery) -> Result<Errors, Failure>;

    /// How error budgets, latencies and spending stand: of everyone, or of what is this user's
    /// alone.
    fn watch(&self, uid: Option<u32>) -> Watch;
}

/// What failures are grouped by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ErrorsBy {
    /// Workload.
    Workload,
    /// Provider.
    Provider,
    /// Model asked for.
    Model,
}

/// Which failures: the parameters of `/api/errors`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ErrorQuery {
    /// Of calls that began at or after this time.
    pub since: Option<Timestamp>,
    /// Of calls that began before this time.
    pub until: Option<Timestamp>,
    /// One row per class and this; one per class without it.
    pub by: Option<ErrorsBy>,
    /// Only of calls of this user id. Set by who asks, never by what is asked.
    #[serde(skip)]
    pub uid: Option<u32>,
}

/// Why calls failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Errors {
    /// Version of this shape.
    pub schema_version: u32,
    /// As asked for.
    pub since: Option<Timestamp>,
    /// As asked for.
    pub until: Option<Timestamp>,
    /// LLM calls that are over.
    pub calls: u64,
    /// Those of them that did not end well, for whatever reason: the sum of the rows.
    pub errors: u64,
    /// Who fails most first.
    pub rows: Vec<ErrorRow>,
    /// One for each provider that was asked.
    pub availability: Vec<Availability>,
}

/// Failures of one class, in one group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorRow {
    /// The group, where there are some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Why they failed.
    pub class: FailureClass,
    /// How many calls.
    pub count: u64,
    /// Their share of the group's failures, in percent.
    pub percent: f64,
    /// How many calls the group has, failed or not.
    pub calls: u64,
}

/// How available a provider was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Availability {
    /// The provider.
    pub provider: String,
    /// Tries that were sent to it, without those that a client or a policy ended.
    pub calls: u64,
    /// Those of them that it failed: no answer, no whole answer, or an error of its own. A limit, a
    /// bad key and a bad request are answers.
    pub failed: u64,
    /// The share that it did not fail, 0 to 1.
    pub availability: f64,
}

/// How what is watched stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Watch {
    /// Version of this shape.
    pub schema_version: u32,
    /// One for each workload and task, those in trouble first.
    pub workloads: Vec<WatchRow>,
    /// One for each workload and model.
    pub models: Vec<ModelRow>,
    /// Workloads that spend far more than usual.
    pub spike: Vec<SpikeRow>,
    /// Budgets that will be spent before their period ends, at the present rate.
    pub forecast: Vec<ForecastRow>,
}

/// Whether all is well.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum WatchState {
    /// It is.
    Ok,
    /// Most of an error budget is used.
    Warning,
    /// An error budget is used up, or calls take too long.
    Breached,
}

/// The last calls of a window.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WindowRow {
    /// How many; at most 100.
    pub calls: u32,
    /// Those of them that failed.
    pub errors: u32,
    /// The share, 0 to 1; `null` without calls.
    pub rate: Option<f64>,
}

/// How long calls of a window took; each figure is the time some call took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LatencyRow {
    /// Half took no longer; `null` without calls.
    pub p50_ms: Option<f64>,
    /// 95 of 100 took no longer.
    pub p95_ms: Option<f64>,
    /// 99 of 100 took no longer.
    pub p99_ms: Option<f64>,
    /// How many calls that rests on; at most 100.
    pub samples: u32,
}

/// A task of a workload.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WatchRow {
    /// The workload.
    pub workload: String,
    /// The task: the rule's name, or the operation.
    pub task: String,
    /// Its last calls, without those that a client or a policy ended.
    pub window: WindowRow,
    /// The share that may fail, 0 to 1; `null` where no rule says so.
    pub target: Option<f64>,
    /// How much of that is used; 1 is all of it.
    pub budget_used: Option<f64>,
    /// How long its calls take.
    pub latency: LatencyRow,
    /// The strictest limit on the latency of the workload's models; `null` without one.
    pub sla_ms: Option<f64>,
    /// The worst of the error budget and of the workload's latencies.
    pub state: WatchState,
}

/// A model that a workload uses.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ModelRow {
    /// The workload.
    pub workload: String,
    /// The model asked for.
    pub model: String,
    /// How long its calls take.
    pub latency: LatencyRow,
    /// What its 95th percentile is held against; `null` without a rule.
    pub sla_ms: Option<f64>,
    /// Whether it takes longer.
    pub state: WatchState,
}

/// A workload that spends far more than usual.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SpikeRow {
    /// The workload.
    pub workload: String,
    /// What it spends by the hour, by its last ten minutes.
    pub rate_usd_per_hour: Usd,
    /// What an hour usually costs.
    pub baseline_usd_per_hour: Usd,
    /// How many times that is; `null` where nothing is usual.
    pub factor: Option<f64>,
    /// When it began.
    pub since: Timestamp,
}

/// A budget that will not last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ForecastRow {
    /// The policy.
    pub budget: String,
    /// Whom it counts.
    pub subject: String,
    /// `day`, `month`, `24h`, ….
    pub period: String,
    /// When it is spent at the present rate.
    pub exhausted_at: Timestamp,
}

pub(super) fn router() -> Router<Shared> {
    Router::new().route("/api/errors", get(errors)).route("/api/watch", get(watch))
}

async fn errors(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    query: Asked<ErrorQuery>,
) -> Answer<Errors> {
    let uid = caller.rows_of()?;
    let query = ErrorQuery { uid, ..query?.0 };
    ask(&shared, move |agent| agent.errors(&query)).await.map(Json)
}

async fn watch(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
) -> Answer<Watch> {
    let uid = caller.rows_of()?;
    ask(&shared, move |agent| Ok(agent.watch(uid))).await.map(Json)
}

impl Errors {
    /// Nothing failed, because nothing was called.
    pub fn none(query: &ErrorQuery) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            since: query.since,
            until: query.until,
            calls: 0,
            errors: 0,
            rows: Vec::new(),
            availability: Vec::new(),
        }
    }
}
