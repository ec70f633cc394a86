//! What administrators do to the running agent itself: what it logs, and a pause.

use std::time::Duration;

use axum::Router;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Extension, Json, State};
use axum::routing::{get, put};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Failure;
use super::access::Caller;
use super::routes::{Answer, Shared, ask};
use super::status::CaptureState;

/// The longest that anything is set for: beyond it, a configuration or `weir down` is meant.
pub const LONGEST: Duration = Duration::from_hours(31 * 24);

/// The running agent's own upkeep. As with [`Agent`](super::Agent), methods may block.
pub trait Upkeep {
    /// What is logged.
    fn log(&self) -> LogState;

    /// Logs something else from now on, until the agent ends at the latest.
    fn set_log(&self, set: &SetLog) -> Result<LogState, Failure>;

    /// Ends interception, and begins it again by itself after this time, also where the agent is
    /// started anew meanwhile.
    fn pause(&self, length: Duration) -> Result<CaptureState, Failure>;
}

/// What is logged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogState {
    /// Version of this shape.
    pub schema_version: u32,
    /// The filter in effect: `info,upstream=debug`.
    pub filter: String,
    /// What the configuration says (`log.level`).
    pub configured: String,
    /// Until when another filter than that is in effect, where it ends by itself.
    pub until: Option<Timestamp>,
    /// Where it goes: `journal` (with fields apart) or `stderr`.
    pub output: String,
}

/// `PUT /api/log`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetLog {
    /// The filter from now on; without one the configuration holds again.
    pub filter: Option<String>,
    /// For how long; without it until the agent ends.
    #[serde(default)]
    pub for_seconds: Option<u64>,
}

/// `PUT /api/pause`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetPause {
    /// For how long.
    pub seconds: u64,
}

pub(super) fn router() -> Router<Shared> {
    Router::new().route("/api/log", get(log).put(set_log)).route("/api/pause", put(pause))
}

async fn log(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
) -> Answer<LogState> {
    caller.rows_of()?;
    ask(&shared, |agent| Ok(agent.log())).await.map(Json)
}

async fn set_log(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    body: Result<Json<SetLog>, JsonRejection>,
) -> Answer<LogState> {
    caller.may_change()?;
    let set = body?.0;
    if let Some(seconds) = set.for_seconds {
        span(seconds)?;
    }
    ask(&shared, move |agent| agent.set_log(&set)).await.map(Json)
}

async fn pause(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    body: Result<Json<SetPause>, JsonRejection>,
) -> Answer<CaptureState> {
    caller.may_change()?;
    let length = span(body?.0.seconds)?;
    ask(&shared, move |agent| agent.pause(length)).await.map(Json)
}

fn span(seconds: u64) -> Result<Duration, Failure> {
    let span = Duration::from_secs(seconds);
    if span.is_zero() || span > LONGEST {
        let what = format!("{seconds} s is no time to set: from a second to 31 days");
        return Err(Failure::Refused { what, fix: None });
    }
    Ok(span)
}
