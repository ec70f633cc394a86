//! The routes of `/api/analytics`.

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Json, Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header;

use super::super::SCHEMA_VERSION;
use super::super::access::Caller;
use super::super::calls::CallQuery;
use super::super::routes::{Answer, Asked, Refusal, Shared, ask};
use super::export::Export;
use super::{EventQuery, Events, ExportQuery, Format, Span, Summary, WorkloadReport};

/// Events of one answer, where no number is asked for, and at most.
const EVENTS: (u32, u32) = (100, 1000);

pub(in crate::admin) fn router() -> Router<Shared> {
    Router::new()
        .route("/api/analytics/summary", get(summary))
        .route("/api/analytics/agents/{id}", get(workload))
        .route("/api/analytics/events", get(events))
        .route("/api/analytics/export", get(export))
}

async fn summary(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    query: Asked<Span>,
) -> Answer<Summary> {
    let uid = caller.rows_of()?;
    let span = Span { uid, ..query?.0 };
    ask(&shared, move |agent| agent.summary(&span)).await.map(Json)
}

async fn workload(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    name: Result<Path<String>, PathRejection>,
    query: Asked<Span>,
) -> Answer<WorkloadReport> {
    let uid = caller.rows_of()?;
    let (Path(name), span) = (name?, Span { uid, ..query?.0 });
    let found = ask(&shared, move |agent| agent.workload(&name, &span)).await?;
    // Another user's workload is as unknown as one that never was.
    let unknown = || Refusal::NotFound("nothing is known of a workload of this name".to_owned());
    found.map(Json).ok_or_else(unknown)
}

async fn events(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    query: Asked<EventQuery>,
) -> Answer<Events> {
    let uid = caller.rows_of()?;
    let EventQuery { agent_id, limit, after } = query?.0;
    let limit = bounded(limit, EVENTS)?;
    let answer = ask(&shared, move |agent| {
        let about = |name: Option<&str>| agent_id.is_none() || agent_id.as_deref() == name;
        let (found, more) = agent
            .events()
            .kept(after, limit, |event| event.is_for(uid) && about(event.workload.as_deref()));
        // One that has no JSON form is no event: there is none such.
        let rows: Vec<_> = found.iter().filter_map(|event| event.event().ok()).collect();
        let next = rows.last().filter(|_| more).map(|last| last.id);
        Ok(Events { schema_version: SCHEMA_VERSION, rows, next })
    });
    answer.await.map(Json)
}

/// A number of rows within bounds.
pub(in crate::admin) fn bounded(
    asked: Option<u32>,
    (usual, most): (u32, u32),
) -> Result<usize, Refusal> {
    let limit = asked.unwrap_or(usual);
    if !(1..=most).contains(&limit) {
        return Err(Refusal::Nonsense(format!("limit is a number from 1 to {most}, not {limit}")));
    }
    Ok(limit as usize)
}

async fn export(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    query: Asked<ExportQuery>,
) -> Result<Response, Refusal> {
    let uid = caller.rows_of()?;
    let ExportQuery { format, days, since, until, zone, workload } = query?.0;
    let span = Span { days: days.unwrap_or_default(), zone: zone.0, uid };
    let (begin, now) = ask(&shared, move |agent| agent.ends(&span)).await?;
    let (since, until) = (since.or(Some(begin)), until.or(Some(now)));
    let calls = CallQuery { since, until, workload, uid, ..CallQuery::default() };
    let (kind, name) = match format {
        Format::Csv => ("text/csv; charset=utf-8; header=present", "calls.csv"),
        Format::Json => ("application/json", "calls.json"),
    };
    let headers = [
        (header::CONTENT_TYPE, kind.to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")),
    ];
    let body = Body::from_stream(Export::new(shared, calls, format).stream());
    Ok((headers, body).into_response())
}
