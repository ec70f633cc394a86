//! `GET /api/accounts`: what providers say of their own limits. `GET /api/frozen` and
//! `PUT /api/frozen/WORKLOAD`: workloads a policy has frozen, and their way back.

use axum::Router;
use axum::extract::rejection::{JsonRejection, PathRejection};
use axum::extract::{Extension, Json, Path, State};
use axum::routing::{get, put};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::access::Caller;
use super::routes::{Answer, Shared, ask};
use super::{Failure, SCHEMA_VERSION};
use crate::record::Billing;

/// `GET /api/accounts`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Accounts {
    /// See [`crate::admin::SCHEMA_VERSION`].
    pub schema_version: u32,
    /// One for each limit of each account.
    pub rows: Vec<AccountRow>,
}

/// One of a provider's limits on one account.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AccountRow {
    /// The provider.
    pub provider: String,
    /// The account, as a keyed hash of its credential.
    pub account: String,
    /// How it is billed.
    pub billing: Billing,
    /// Which limit: `requests`, `tokens`, `input_tokens`, `output_tokens`, `5h`, `7d`, …
    pub kind: String,
    /// The share that is left, 0 to 1.
    pub remaining_ratio: f64,
    /// What is left, where the provider gives numbers.
    pub remaining: Option<u64>,
    /// Of how much.
    pub limit: Option<u64>,
    /// When there is all of it again.
    pub resets_at: Option<Timestamp>,
    /// When the provider said so.
    pub seen_at: Timestamp,
    /// Workload of the call it said so to.
    pub workload: String,
    /// Process of that call.
    pub pid: u32,
    /// User of that call.
    pub uid: u32,
}

/// `GET /api/frozen`, and the answer to `PUT /api/frozen/WORKLOAD`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FrozenWorkloads {
    /// See [`crate::admin::SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Frozen, or let go on.
    pub rows: Vec<FrozenRow>,
}

/// A frozen workload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FrozenRow {
    /// Its name.
    pub workload: String,
    /// Whose it is.
    pub uid: u32,
    /// The policy that froze it.
    pub policy: String,
    /// Path of its cgroup.
    pub cgroup: String,
    /// Since when.
    pub since: Timestamp,
}

/// `PUT /api/frozen/WORKLOAD`.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetFrozen {
    /// Only policies freeze: false lets it go on.
    pub frozen: bool,
}

pub(super) fn router() -> Router<Shared> {
    Router::new()
        .route("/api/accounts", get(accounts))
        .route("/api/frozen", get(frozen))
        .route("/api/frozen/{*workload}", put(thaw))
}

async fn accounts(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
) -> Answer<Accounts> {
    let uid = caller.rows_of()?;
    let rows = ask(&shared, move |agent| Ok(agent.accounts(uid))).await?;
    Ok(Json(Accounts { schema_version: SCHEMA_VERSION, rows }))
}

async fn frozen(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
) -> Answer<FrozenWorkloads> {
    let uid = caller.rows_of()?;
    let rows = ask(&shared, move |agent| Ok(agent.frozen(uid))).await?;
    Ok(Json(FrozenWorkloads { schema_version: SCHEMA_VERSION, rows }))
}

async fn thaw(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    workload: Result<Path<String>, PathRejection>,
    body: Result<Json<SetFrozen>, JsonRejection>,
) -> Answer<FrozenWorkloads> {
    caller.may_change()?;
    let Path(workload) = workload?;
    if body?.0.frozen {
        let what = "only policies freeze workloads".to_owned();
        let fix = Some("give a budget `on_breach: freeze`".to_owned());
        return Err(Failure::Refused { what, fix }.into());
    }
    let rows = ask(&shared, move |agent| match agent.thaw(&workload) {
        none if none.is_empty() => Err(Failure::NotFound {
            what: format!("nothing of {workload} is frozen, or it cannot be let go on"),
            fix: Some("weir policy frozen".to_owned()),
        }),
        rows => Ok(rows),
    });
    Ok(Json(FrozenWorkloads { schema_version: SCHEMA_VERSION, rows: rows.await? }))
}
