//! Reading the configuration again: the route and what it answers.

use axum::Router;
use axum::extract::{Extension, Json, State};
use axum::routing::put;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::access::Caller;
use super::routes::{Answer, Shared, ask};
use crate::config::{Change, Problem};

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reloaded {
    /// Version of this shape.
    pub schema_version: u32,
    /// Whether the configuration was taken over; if not, nothing changed.
    pub ok: bool,
    /// Why it was not.
    pub problems: Vec<Problem>,
    /// What holds from now on, by key.
    pub changes: Vec<Change>,
    /// What differs and holds from the next start on.
    pub needs_restart: Vec<Change>,
    /// What does no harm and should be known.
    pub warnings: Vec<String>,
}

pub(super) fn router() -> Router<Shared> {
    Router::new().route("/api/config/reload", put(reload))
}

async fn reload(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
) -> Answer<Reloaded> {
    caller.may_change()?;
    ask(&shared, |agent| Ok(agent.reload())).await.map(Json)
}
