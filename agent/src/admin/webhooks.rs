//! `/api/webhooks/runs`: what was posted to this agent's webhooks, and what came of it.

use std::fmt;

use axum::extract::{Extension, State};
use axum::routing::get;
use axum::{Json, Router};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::access::Caller;
use super::alerts::DeliveryStatus;
use super::money::{Tokens, Usd};
use super::routes::{Answer, Asked, Shared, ask};
use super::{Failure, SCHEMA_VERSION};
use crate::record::CallId;

/// What has become of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// It waits for its turn.
    Queued,
    /// Its call is under way.
    Running,
    /// The model answered.
    Ok,
    /// A policy refused the call.
    Refused,
    /// The call failed.
    Failed,
    /// The agent stopped during the call.
    Interrupted,
}

impl fmt::Display for RunStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Ok => "ok",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
        })
    }
}

/// Which deliveries: the parameters of `/api/webhooks/runs`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RunQuery {
    /// Only this one.
    pub id: Option<String>,
    /// To this webhook.
    pub webhook: Option<String>,
    /// In this state.
    pub status: Option<RunStatus>,
    /// The last so many.
    pub last: Option<u32>,
    /// Only what processes of this user id posted. Set by who asks, never by what is asked.
    #[serde(skip)]
    pub uid: Option<u32>,
}

impl RunQuery {
    /// Whether a row is asked for, `last` aside.
    pub fn matches(&self, row: &RunRow) -> bool {
        self.id.as_ref().is_none_or(|id| *id == row.id)
            && self.webhook.as_ref().is_none_or(|webhook| *webhook == row.webhook)
            && self.status.is_none_or(|status| status == row.status)
    }
}

/// Deliveries, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Runs {
    /// Version of this shape.
    pub schema_version: u32,
    /// One per request that was accepted.
    pub rows: Vec<RunRow>,
}

/// One request to a webhook, from its acceptance on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunRow {
    /// Identifies it: the delivery id that its sender was told.
    pub id: String,
    /// When it was accepted.
    pub at: Timestamp,
    /// The webhook's name.
    pub webhook: String,
    /// The workload that its call counts for.
    pub workload: String,
    /// The process that posted it.
    pub poster: PosterRow,
    /// What has become of it.
    pub status: RunStatus,
    /// Its call in the ledger.
    #[schemars(with = "Option<String>")]
    pub call_id: Option<CallId>,
    /// Model that answered, or that was asked.
    pub model: Option<String>,
    /// The call's tokens.
    pub tokens: Option<Tokens>,
    /// What the call cost; `null` where that is unknown.
    pub cost_usd: Option<Usd>,
    /// What went wrong.
    pub error: Option<String>,
    /// How the posting of the answer stands; `null` where none is wanted, or the call is not over.
    pub callback: Option<CallbackRow>,
    /// When the call was over.
    pub ended_at: Option<Timestamp>,
}

/// The process that posted something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PosterRow {
    /// Its process id; 0 where unknown.
    pub pid: u32,
    /// Its executable.
    pub exe: String,
    /// Its user id.
    pub uid: u32,
    /// That user's name.
    pub user: Option<String>,
}

/// The posting of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CallbackRow {
    /// What has become of it.
    pub status: DeliveryStatus,
    /// Attempts made.
    pub attempts: u32,
    /// Why the last failed attempt did.
    pub error: Option<String>,
    /// When it was delivered or given up.
    pub ended_at: Option<Timestamp>,
}

/// The running agent's webhooks. As with [`Agent`](super::Agent), methods may block.
pub trait Inbound {
    /// What was posted to them.
    fn runs(&self, query: &RunQuery) -> Result<Runs, Failure>;
}

pub(super) fn router() -> Router<Shared> {
    Router::new().route("/api/webhooks/runs", get(runs))
}

async fn runs(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    query: Asked<RunQuery>,
) -> Answer<Runs> {
    let uid = caller.rows_of()?;
    let query = RunQuery { uid, ..query?.0 };
    let asked = query.clone();
    let mut rows = ask(&shared, move |agent| agent.runs(&asked)).await?.rows;
    rows.retain(|row| query.matches(row));
    if let Some(last) = query.last {
        rows.drain(..rows.len().saturating_sub(last as usize));
    }
    Ok(Json(Runs { schema_version: SCHEMA_VERSION, rows }))
}
