//! The routes: each asks who is asking, then the agent.

use std::collections::HashSet;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Extension, Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use axum::{Json, Router};
use http::{StatusCode, header};
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use super::access::{Caller, Denied};
use super::calls::{CallDetail, CallQuery, CallRow, Calls};
use super::prices::{PriceQuery, Prices, UnknownPrices};
use super::processes::{ProcessQuery, Processes};
use super::spend::{Spend, SpendQuery};
use super::status::{CaptureState, ModeState, Status};
use super::{
    Agent, Failure, SCHEMA_VERSION, accounts, alerts, bypass, control, dashboard, reload, upgrade,
    upkeep,
};
use crate::config::Mode;
use crate::drain::Drain;
use crate::record::CallId;

/// What every route needs.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) agent: Arc<dyn Agent>,
    pub(super) drain: Drain,
    /// Metrics need a token.
    pub(super) guarded: bool,
}

/// The routes, the same on the socket and over HTTP; the [`Caller`] makes the difference.
pub(super) fn router(shared: Shared) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/api/status", get(status))
        .route("/api/spend", get(spend))
        .route("/api/calls", get(calls))
        .route("/api/calls/{id}", get(call))
        .route("/api/processes", get(processes))
        .route("/api/prices", get(prices))
        .route("/api/prices/unknown", get(unknown_prices))
        .route("/api/mode", get(mode).put(set_mode))
        .route("/api/capture", put(set_capture))
        .merge(alerts::router())
        .merge(control::routes::router())
        .merge(accounts::router())
        .merge(reload::router())
        .merge(upgrade::router())
        .merge(upkeep::router())
        .merge(bypass::router())
        .merge(dashboard::router())
        .fallback(async || Refusal::NotFound("there is no such route".to_owned()))
        .layer(DefaultBodyLimit::max(4096))
        .with_state(shared)
}

/// `PUT /api/mode`.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetMode {
    /// From now on.
    pub mode: Mode,
}

/// `PUT /api/capture`.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetCapture {
    /// Whether to intercept.
    pub on: bool,
}

pub(super) type Answer<T> = Result<Json<T>, Refusal>;
pub(super) type Asked<T> = Result<Query<T>, QueryRejection>;

async fn ready(State(shared): State<Shared>) -> Response {
    match shared.agent.ready() {
        Ok(()) => "ok\n".into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}

async fn metrics(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Refusal> {
    caller.may_read_metrics(shared.guarded)?;
    let text = ask(&shared, |agent| Ok(agent.metrics())).await?;
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}

async fn status(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Refusal> {
    // Nobody is known over HTTP: no workload, no figure, no warning that could name someone.
    let uid = caller.rows_of();
    let status: Status = ask(&shared, move |agent| agent.status(uid.unwrap_or(None))).await?;
    let answer = match uid {
        Ok(_) => Json(status).into_response(),
        Err(_) => Json(serde_json::json!({
            "schema_version": status.schema_version,
            "version": status.version,
            "since": status.since,
            "state": status.state,
            "mode": {"wanted": status.mode.wanted, "effective": status.mode.effective},
        }))
        .into_response(),
    };
    Ok(answer)
}

async fn spend(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    query: Asked<SpendQuery>,
) -> Answer<Spend> {
    let uid = caller.rows_of()?;
    let query = SpendQuery { uid, ..query?.0 };
    ask(&shared, move |agent| agent.spend(&query)).await.map(Json)
}

async fn calls(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    query: Asked<CallQuery>,
) -> Result<Response, Refusal> {
    let uid = caller.rows_of()?;
    let query = CallQuery { uid, ..query?.0 };
    // Subscribed before the past is read, so that no call falls between the two.
    let live = query.follow.then(|| shared.agent.subscribe());
    let asked = query.clone();
    let rows = ask(&shared, move |agent| agent.calls(&asked)).await?;
    let Some(live) = live else {
        return Ok(Json(Calls { schema_version: SCHEMA_VERSION, rows }).into_response());
    };
    let seen = rows.iter().map(|row| row.call_id).collect();
    let past = rows.into_iter();
    let follow = Follow { past, seen, live, query, drain: shared.drain };
    let lines = futures_util::stream::unfold(follow, async |mut follow| {
        Some((Ok::<_, std::convert::Infallible>(follow.line().await?), follow))
    });
    let kind = [(header::CONTENT_TYPE, "application/x-ndjson")];
    Ok((kind, Body::from_stream(lines)).into_response())
}

async fn call(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Answer<CallDetail> {
    let uid = caller.rows_of()?;
    let unknown = || Refusal::NotFound("no call with this id is known".to_owned());
    let id: CallId = id.parse().map_err(|_| unknown())?;
    let detail = ask(&shared, move |agent| agent.call(id)).await?;
    // Another user's call is as unknown as one that never was.
    let own = |detail: &CallDetail| uid.is_none_or(|uid| uid == detail.call.uid);
    detail.filter(own).map(Json).ok_or_else(unknown)
}

async fn processes(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    query: Asked<ProcessQuery>,
) -> Answer<Processes> {
    let uid = caller.rows_of()?;
    let query = ProcessQuery { uid, ..query?.0 };
    let rows = ask(&shared, move |agent| agent.processes(&query)).await?;
    Ok(Json(Processes { schema_version: SCHEMA_VERSION, rows }))
}

async fn prices(State(shared): State<Shared>, query: Asked<PriceQuery>) -> Answer<Prices> {
    let query = query?.0;
    ask(&shared, move |agent| agent.prices(&query)).await.map(Json)
}

async fn unknown_prices(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
) -> Answer<UnknownPrices> {
    let uid = caller.rows_of()?;
    let rows = ask(&shared, move |agent| agent.unknown_prices(uid)).await?;
    Ok(Json(UnknownPrices { schema_version: SCHEMA_VERSION, rows }))
}

async fn mode(State(shared): State<Shared>) -> Answer<ModeState> {
    ask(&shared, |agent| Ok(agent.mode())).await.map(Json)
}

async fn set_mode(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    body: Result<Json<SetMode>, JsonRejection>,
) -> Answer<ModeState> {
    caller.may_change()?;
    let wanted = body?.0.mode;
    ask(&shared, move |agent| agent.set_mode(wanted)).await.map(Json)
}

async fn set_capture(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    body: Result<Json<SetCapture>, JsonRejection>,
) -> Answer<CaptureState> {
    caller.may_change()?;
    let on = body?.0.on;
    ask(&shared, move |agent| agent.set_capture(on)).await.map(Json)
}

/// Asks the agent on the blocking pool: its answers come from the ledger.
pub(super) async fn ask<T, F>(shared: &Shared, question: F) -> Result<T, Refusal>
where
    T: Send + 'static,
    F: FnOnce(&dyn Agent) -> Result<T, Failure> + Send + 'static,
{
    let agent = Arc::clone(&shared.agent);
    let answer = shared.drain.spawn_blocking(move || question(&*agent)).await;
    answer.map_err(|_| Refusal::Panicked)?.map_err(Refusal::Failed)
}

/// Calls of the past, then calls as they end, one JSON object per line.
struct Follow {
    past: std::vec::IntoIter<CallRow>,
    seen: HashSet<CallId>,
    live: broadcast::Receiver<Arc<CallRow>>,
    query: CallQuery,
    drain: Drain,
}

impl Follow {
    async fn line(&mut self) -> Option<Vec<u8>> {
        if let Some(row) = self.past.next() {
            return line(&row);
        }
        loop {
            let next = tokio::select! {
                () = self.drain.signalled() => return None,
                next = self.live.recv() => next,
            };
            match next {
                Ok(row) if self.seen.remove(&row.call_id) || !self.query.matches(&row) => {}
                Ok(row) => return line(&*row),
                Err(RecvError::Lagged(missed)) => {
                    return line(&serde_json::json!({"missed": missed}));
                }
                Err(RecvError::Closed) => return None,
            }
        }
    }
}

fn line(value: &impl Serialize) -> Option<Vec<u8>> {
    let mut line = serde_json::to_vec(value).ok()?;
    line.push(b'\n');
    Some(line)
}

/// Why a request was not answered.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error(transparent)]
    Denied(#[from] Denied),
    #[error(transparent)]
    Failed(#[from] Failure),
    #[error("{}", .0.body_text())]
    Query(#[from] QueryRejection),
    #[error("{}", .0.body_text())]
    Body(#[from] JsonRejection),
    #[error("{0}")]
    NotFound(String),
    #[error("the agent failed to answer; its log says more")]
    Panicked,
}

/// An error as the API writes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// What went wrong.
    pub error: ErrorText,
}

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorText {
    /// In one line.
    pub message: String,
    /// What to do about it.
    pub fix: Option<String>,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = match &self {
            Self::Denied(Denied::NoToken) => StatusCode::UNAUTHORIZED,
            Self::Denied(_) => StatusCode::FORBIDDEN,
            Self::Failed(Failure::Refused { .. }) => StatusCode::CONFLICT,
            Self::Failed(Failure::Unavailable(_)) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Query(_) | Self::Body(_) => StatusCode::BAD_REQUEST,
            Self::NotFound(_) | Self::Failed(Failure::NotFound { .. }) => StatusCode::NOT_FOUND,
            Self::Panicked => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let message = self.to_string();
        let fix = match self {
            Self::Denied(Denied::Http) => Some("ask over the unix socket: weir --help".to_owned()),
            Self::Denied(Denied::NotAnAdministrator | Denied::NotForUsers) => {
                Some("try again with sudo".to_owned())
            }
            Self::Failed(Failure::Refused { fix, .. } | Failure::NotFound { fix, .. }) => fix,
            _ => None,
        };
        (status, Json(ErrorBody { error: ErrorText { message, fix } })).into_response()
    }
}
