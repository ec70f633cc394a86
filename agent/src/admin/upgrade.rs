//! Handing over to a successor: the route and what it answers.

use axum::Router;
use axum::extract::{Extension, Json, State};
use axum::routing::put;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Agent;
use super::access::Caller;
use super::routes::{Answer, Shared, ask};

/// One of the two.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Generation {
    /// Its version.
    pub version: String,
    /// Its process.
    pub pid: u32,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Upgraded {
    /// Version of this shape.
    pub schema_version: u32,
    /// Who has handed over, and ends when the last of its calls has.
    pub from: Generation,
    /// Who serves from now on.
    pub to: Generation,
    /// Calls that the former still has in flight.
    pub draining: u64,
}

pub(super) fn router() -> Router<Shared> {
    Router::new().route("/api/upgrade", put(upgrade))
}

async fn upgrade(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
) -> Answer<Upgraded> {
    caller.may_change()?;
    ask(&shared, Agent::upgrade).await.map(Json)
}
