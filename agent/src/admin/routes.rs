//! The routes: each asks who is asking, then the agent.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Extension, Path, Query, State};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use axum::{Json, Router};
use http::{HeaderName, HeaderValue, StatusCode, header};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use super::access::Caller;
use super::analytics::{self, bounded};
use super::calls::{CallDetail, CallQuery, CallRow, Calls};
use super::prices::{PriceQuery, Prices, UnknownPrices};
pub(super) use super::problem::Refusal;
use super::processes::{ProcessQuery, Processes};
use super::sessions::{self, Sessions};
use super::spend::{Spend, SpendQuery};
use super::status::{CaptureState, ModeState, Status};
use super::{
    Agent, Failure, SCHEMA_VERSION, accounts, alerts, bypass, control, dashboard, openapi, reload,
    stream, upgrade, upkeep, watch, webhooks,
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
    pub(super) sessions: Arc<Sessions>,
    /// The address of the HTTP listener, where there is one.
    pub(super) http: Option<SocketAddr>,
}

/// Calls of one page, where no number is asked for, and at most.
const PAGE: (u32, u32) = (100, 1000);

/// Said of every answer: that it is what its content type says, nobody else's to embed, and not to
/// be kept.
const SAID: [(HeaderName, HeaderValue); 3] = [
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        HeaderValue::from_static("same-origin"),
    ),
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
];

/// The routes, the same on the socket and over HTTP; the [`Caller`] makes the difference.
pub(super) fn router(shared: Shared) -> Router {
    routes()
        .merge(dashboard::router())
        .fallback(async || Refusal::NotFound("there is no such route".to_owned()))
        .method_not_allowed_fallback(async || Refusal::Method)
        .layer(DefaultBodyLimit::max(4096))
        .layer(map_response(say))
        .with_state(shared)
}

/// What there is to ask; each of them is in the table of [`openapi`].
pub(super) fn routes() -> Router<Shared> {
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
        .merge(webhooks::router())
        .merge(control::routes::router())
        .merge(accounts::router())
        .merge(reload::router())
        .merge(upgrade::router())
        .merge(upkeep::router())
        .merge(bypass::router())
        .merge(watch::router())
        .merge(sessions::router())
        .merge(analytics::router())
        .merge(stream::router())
        .merge(openapi::router())
}

async fn say(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in SAID {
        headers.entry(name).or_insert(value);
    }
    response
}

/// `PUT /api/mode`.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetMode {
    /// From now on.
    pub mode: Mode,
}

/// `PUT /api/capture`.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
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
    // Without a session nobody is known: no workload, no figure, no warning that could name someone.
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
    if query.limit.is_some() {
        return page(&shared, query).await.map(IntoResponse::into_response);
    }
    // Subscribed before the past is read, so that no call falls between the two.
    let live = query.follow.then(|| shared.agent.subscribe());
    let asked = query.clone();
    let rows = ask(&shared, move |agent| agent.calls(&asked)).await?;
    let Some(live) = live else {
        let calls = Calls { schema_version: SCHEMA_VERSION, rows, next: None };
        return Ok(Json(calls).into_response());
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

/// Calls in the order in which they began, so many at a time.
async fn page(shared: &Shared, query: CallQuery) -> Answer<Calls> {
    if query.follow || query.last.is_some() {
        let what = "limit goes with neither last nor follow: it reads from the beginning on";
        return Err(Refusal::Nonsense(what.to_owned()));
    }
    let limit = bounded(query.limit, PAGE)?;
    let rows = ask(shared, move |agent| agent.page(&query)).await?;
    let next = rows.last().filter(|_| rows.len() == limit).map(|last| last.call_id);
    Ok(Json(Calls { schema_version: SCHEMA_VERSION, rows, next }))
}

async fn call(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    id: Result<Path<String>, PathRejection>,
) -> Answer<CallDetail> {
    let uid = caller.rows_of()?;
    let unknown = || Refusal::NotFound("no call with this id is known".to_owned());
    let Path(id) = id?;
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
