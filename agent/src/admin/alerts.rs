//! `/api/escalations` and `/api/webhooks`: what failed for good, and what people were told.

use std::fmt;

use axum::extract::rejection::{JsonRejection, PathRejection};
use axum::extract::{Extension, Path, State};
use axum::routing::{get, put};
use axum::{Json, Router};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::access::Caller;
use super::routes::{Answer, Asked, Refusal, Shared, ask};
use super::serve::Who;
use super::{Failure, SCHEMA_VERSION};
use crate::record::CallId;

/// What the routes need of whoever tells people. Methods may block: they are called on the
/// blocking pool. `uid` limits an answer to one user's rows.
pub trait Alerts: Send + Sync + 'static {
    /// Escalations, oldest first.
    fn escalations(&self, query: &EscalationQuery) -> Result<Escalations, Failure>;

    /// Brings an escalation into another state, in the name of `by`; `None` where there is none
    /// with this id.
    fn set_escalation(
        &self,
        id: &str,
        state: EscalationState,
        by: Option<u32>,
    ) -> Result<Option<EscalationRow>, Failure>;

    /// Deliveries, oldest first.
    fn deliveries(&self, query: &DeliveryQuery) -> Result<Deliveries, Failure>;

    /// Sends a channel something to see whether it arrives; the delivery waits when this returns.
    fn test_channel(&self, channel: &str) -> Result<DeliveryRow, Failure>;
}

/// What has become of an escalation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EscalationState {
    /// Nobody has looked at it.
    Open,
    /// Somebody is at it.
    Acked,
    /// It is done with.
    Resolved,
}

impl fmt::Display for EscalationState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::Acked => "acked",
            Self::Resolved => "resolved",
        })
    }
}

/// Which escalations: the parameters of `/api/escalations`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EscalationQuery {
    /// The resolved ones too.
    pub all: bool,
    /// Only of this user id. Set by who asks, never by what is asked.
    #[serde(skip)]
    pub uid: Option<u32>,
}

/// Escalations, oldest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Escalations {
    /// Version of this shape.
    pub schema_version: u32,
    /// One per kind of trouble.
    pub rows: Vec<EscalationRow>,
    /// How many calls are escalated; for administrators only.
    pub rate: Option<EscalationRate>,
}

/// How many calls are escalated.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EscalationRate {
    /// Calls of the last 24 hours, since the agent's start at most.
    pub calls: u64,
    /// Those of them that failed for good.
    pub escalated: u64,
    /// The share; `None` without calls. The aim is below 0.05.
    pub rate: Option<f64>,
}

/// Calls that failed for good in the same way, one soon after the other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EscalationRow {
    /// Identifies it.
    pub id: String,
    /// When it first happened.
    pub at: Timestamp,
    /// When it last happened.
    pub last_at: Timestamp,
    /// How often.
    pub count: u64,
    /// The policy behind it.
    pub policy: String,
    /// Whose calls failed.
    pub workload: String,
    /// The user they belong to.
    pub uid: Option<u32>,
    /// The failure class.
    pub class: Option<String>,
    /// The latest of the calls.
    #[schemars(with = "Option<String>")]
    pub call_id: Option<CallId>,
    /// What happened the last time.
    pub message: String,
    /// What has become of it.
    pub state: EscalationState,
    /// The user id that brought it into this state.
    pub by: Option<u32>,
    /// When that was.
    pub changed_at: Option<Timestamp>,
}

/// `PUT /api/escalations/{id}`.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetEscalation {
    /// From now on.
    pub state: EscalationState,
}

/// What has become of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryStatus {
    /// It waits for its first or next attempt.
    Queued,
    /// The receiver took it.
    Delivered,
    /// It was given up.
    Dead,
}

impl fmt::Display for DeliveryStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Queued => "queued",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
        })
    }
}

/// Which deliveries: the parameters of `/api/webhooks/history`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DeliveryQuery {
    /// Only this one.
    pub id: Option<String>,
    /// To this channel.
    pub channel: Option<String>,
    /// In this state.
    pub status: Option<DeliveryStatus>,
    /// The last so many.
    pub last: Option<u32>,
    /// Only of this user id. Set by who asks, never by what is asked.
    #[serde(skip)]
    pub uid: Option<u32>,
}

impl DeliveryQuery {
    /// Whether a row is asked for, `last` aside.
    pub fn matches(&self, row: &DeliveryRow) -> bool {
        self.id.as_ref().is_none_or(|id| *id == row.id)
            && self.channel.as_ref().is_none_or(|channel| *channel == row.channel)
            && self.status.is_none_or(|status| status == row.status)
    }
}

/// Deliveries, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Deliveries {
    /// Version of this shape.
    pub schema_version: u32,
    /// One per notice and channel.
    pub rows: Vec<DeliveryRow>,
}

/// One notice on its way to one channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeliveryRow {
    /// Identifies it, also to the receiver.
    pub id: String,
    /// When it was filed.
    pub at: Timestamp,
    /// The channel.
    pub channel: String,
    /// What it is about, in a word; `test` where it is about nothing.
    pub topic: String,
    /// The policy behind it.
    pub policy: String,
    /// Whom it is about.
    pub subject: String,
    /// What happened.
    pub message: String,
    /// What has become of it.
    pub status: DeliveryStatus,
    /// Attempts made.
    pub attempts: u32,
    /// Why the last failed attempt did.
    pub error: Option<String>,
    /// When it was delivered or given up.
    pub ended_at: Option<Timestamp>,
}

pub(super) fn router() -> Router<Shared> {
    Router::new()
        .route("/api/escalations", get(escalations))
        .route("/api/escalations/{id}", put(set_escalation))
        .route("/api/webhooks/history", get(deliveries))
        .route("/api/webhooks/{name}/test", put(test_channel))
}

async fn escalations(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    query: Asked<EscalationQuery>,
) -> Answer<Escalations> {
    let uid = caller.rows_of()?;
    let query = EscalationQuery { uid, ..query?.0 };
    ask(&shared, move |agent| agent.escalations(&query)).await.map(Json)
}

async fn set_escalation(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    who: Option<Extension<Who>>,
    id: Result<Path<String>, PathRejection>,
    body: Result<Json<SetEscalation>, JsonRejection>,
) -> Answer<EscalationRow> {
    caller.may_change()?;
    let (Path(id), state) = (id?, body?.0.state);
    let by = who.map(|Extension(Who(uid))| uid);
    let row = ask(&shared, move |agent| agent.set_escalation(&id, state, by)).await?;
    let unknown = || Refusal::NotFound("no escalation with this id is known".to_owned());
    row.map(Json).ok_or_else(unknown)
}

async fn deliveries(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    query: Asked<DeliveryQuery>,
) -> Answer<Deliveries> {
    let uid = caller.rows_of()?;
    let query = DeliveryQuery { uid, ..query?.0 };
    let mut rows = ask(&shared, {
        let query = query.clone();
        move |agent| agent.deliveries(&query)
    })
    .await?
    .rows;
    rows.retain(|row| query.matches(row));
    if let Some(last) = query.last {
        rows.drain(..rows.len().saturating_sub(last as usize));
    }
    Ok(Json(Deliveries { schema_version: SCHEMA_VERSION, rows }))
}

async fn test_channel(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    name: Result<Path<String>, PathRejection>,
) -> Answer<DeliveryRow> {
    caller.may_change()?;
    let Path(name) = name?;
    ask(&shared, move |agent| agent.test_channel(&name)).await.map(Json)
}
