//! `/api/bypass`: who is left alone because an administrator asked for it.

use axum::Router;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Extension, Json, State};
use axum::routing::get;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::access::Caller;
use super::routes::{Answer, Shared, ask};
use super::{Failure, SCHEMA_VERSION};

/// What a bypass is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "BypassKind")]
pub enum Kind {
    /// A workload.
    Process,
    /// An executable.
    Exe,
    /// A systemd unit.
    Unit,
    /// A user.
    User,
    /// A provider's host.
    Host,
}

/// A bypass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BypassRow {
    /// What it is about.
    pub kind: Kind,
    /// Its name; a trailing `*` stands for anything.
    pub name: String,
    /// Until when; for good where `null`.
    pub until: Option<Timestamp>,
}

/// All of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BypassList {
    /// Version of this shape.
    pub schema_version: u32,
    /// Oldest first.
    pub rows: Vec<BypassRow>,
}

/// `PUT /api/bypass`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetBypass {
    /// What it is about.
    pub kind: Kind,
    /// Its name; a trailing `*` stands for anything.
    pub name: String,
    /// Whether it is to be: false ends one.
    pub on: bool,
    /// For how long; for good without it.
    #[serde(default)]
    pub for_seconds: Option<u64>,
}

/// The running agent's bypasses. As with [`Agent`](super::Agent), methods may block.
pub trait Bypassing {
    /// All of them.
    fn bypasses(&self) -> Vec<BypassRow>;

    /// Adds one, in place of one for the same, or ends it; kept over restarts.
    fn set_bypass(&self, set: &SetBypass) -> Result<Vec<BypassRow>, Failure>;
}

pub(super) fn router() -> Router<Shared> {
    Router::new().route("/api/bypass", get(list).put(set))
}

async fn list(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
) -> Answer<BypassList> {
    // Who has to know why he is not metered, asks `weir ps`; this list names others.
    caller.may_change()?;
    let rows = ask(&shared, |agent| Ok(agent.bypasses())).await?;
    Ok(Json(BypassList { schema_version: SCHEMA_VERSION, rows }))
}

async fn set(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    body: Result<Json<SetBypass>, JsonRejection>,
) -> Answer<BypassList> {
    caller.may_change()?;
    let set = body?.0;
    let refused = |what: &str| Failure::Refused { what: what.to_owned(), fix: None };
    if set.name.trim_matches('*').trim().is_empty() || set.name.len() > 4096 {
        let everything = "that would be everything";
        let fix = Some("weir down, or weir pause".to_owned());
        return Err(Failure::Refused { what: everything.to_owned(), fix }.into());
    }
    if set.for_seconds == Some(0) {
        return Err(refused("0 s is no time to set").into());
    }
    let rows = ask(&shared, move |agent| agent.set_bypass(&set)).await?;
    Ok(Json(BypassList { schema_version: SCHEMA_VERSION, rows }))
}
