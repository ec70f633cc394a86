//! The routes about policies, limits, budgets and breakers.

use axum::Router;
use axum::extract::rejection::{JsonRejection, PathRejection};
use axum::extract::{Extension, Json, Path, State};
use axum::routing::get;

use super::super::access::{Caller, Denied};
use super::super::breakers::{BreakerRow, Breakers, SetBreaker};
use super::super::budgets::{BudgetQuery, Budgets};
use super::super::near;
use super::super::policies::{Policies, PolicyDetail, PolicyRow, SetPolicy};
use super::super::routes::{Answer, Asked, Shared, ask};
use super::super::trial::{Trial, TrialQuery};
use super::super::usage::{Usage, UsageQuery};
use super::super::{Agent, Failure, SCHEMA_VERSION};

/// Names of models, and so of policies and breakers, may have slashes in them: a name is all that
/// is left of the path.
pub(in crate::admin) fn router() -> Router<Shared> {
    Router::new()
        .route("/api/policies", get(policies))
        .route("/api/policies/test", get(test))
        .route("/api/policies/{*name}", get(policy).put(set_policy))
        .route("/api/usage", get(usage))
        .route("/api/ratelimit/usage", get(usage))
        .route("/api/budgets", get(budgets))
        .route("/api/breakers", get(breakers))
        .route("/api/breakers/{*name}", get(breaker).put(set_breaker))
}

async fn policies(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
) -> Answer<Policies> {
    let uid = caller.rows_of()?;
    let (acting, rows) = ask(&shared, |agent| Ok((agent.acting(), agent.policies()))).await?;
    let rows = match uid {
        None => rows,
        // The rules are for everyone to know; how often others broke them is not.
        Some(_) => rows.into_iter().map(PolicyRow::without_counts).collect(),
    };
    Ok(Json(Policies { schema_version: SCHEMA_VERSION, acting, rows }))
}

async fn policy(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    name: Result<Path<String>, PathRejection>,
) -> Answer<PolicyDetail> {
    let uid = caller.rows_of()?;
    let Path(name) = name?;
    let mut detail = ask(&shared, move |agent| detail(agent, &name)).await?;
    if uid.is_some() {
        detail.policy = detail.policy.without_counts();
        detail.usage.retain(|row| row.uid == uid);
        detail.budgets.retain(|row| row.uid == uid);
    }
    Ok(Json(detail))
}

async fn set_policy(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    name: Result<Path<String>, PathRejection>,
    body: Result<Json<SetPolicy>, JsonRejection>,
) -> Answer<PolicyDetail> {
    caller.may_change()?;
    let (Path(name), reach) = (name?, body?.0.enforcement);
    let set = move |agent: &dyn Agent| {
        if agent.set_policy(&name, reach)? {
            return detail(agent, &name);
        }
        Err(unknown_policy(agent, &name))
    };
    ask(&shared, set).await.map(Json)
}

async fn test(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    query: Asked<TrialQuery>,
) -> Answer<Trial> {
    // What is said of a call tells what others have used.
    if caller.rows_of()?.is_some() {
        return Err(Denied::NotForUsers.into());
    }
    let query = query?.0;
    ask(&shared, move |agent| agent.test(&query)).await.map(Json)
}

async fn usage(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    query: Asked<UsageQuery>,
) -> Answer<Usage> {
    let uid = caller.rows_of()?;
    let query = UsageQuery { uid, ..query?.0 };
    let rows = ask(&shared, move |agent| Ok(agent.usage(&query))).await?;
    Ok(Json(Usage { schema_version: SCHEMA_VERSION, only_uid: uid, rows }))
}

async fn budgets(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    query: Asked<BudgetQuery>,
) -> Answer<Budgets> {
    let uid = caller.rows_of()?;
    let query = BudgetQuery { uid, ..query?.0 };
    let find = move |agent: &dyn Agent| {
        let rows = agent.budgets(&query);
        match &query.name {
            // One that nobody has spent of is as much a budget as any other.
            Some(name) if rows.is_empty() => budget(agent, name).map(|()| rows),
            _ => Ok(rows),
        }
    };
    let rows = ask(&shared, find).await?;
    Ok(Json(Budgets { schema_version: SCHEMA_VERSION, only_uid: uid, rows }))
}

async fn breakers(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
) -> Answer<Breakers> {
    caller.rows_of()?;
    let rows = ask(&shared, |agent| Ok(agent.breakers())).await?;
    Ok(Json(Breakers { schema_version: SCHEMA_VERSION, rows }))
}

async fn breaker(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    name: Result<Path<String>, PathRejection>,
) -> Answer<BreakerRow> {
    caller.rows_of()?;
    let Path(name) = name?;
    ask(&shared, move |agent| row_of(agent, &name)).await.map(Json)
}

async fn set_breaker(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    name: Result<Path<String>, PathRejection>,
    body: Result<Json<SetBreaker>, JsonRejection>,
) -> Answer<BreakerRow> {
    caller.may_change()?;
    let (Path(name), hand) = (name?, body?.0.state);
    let set = move |agent: &dyn Agent| {
        agent.set_breaker(&name, hand).ok_or_else(|| unknown_breaker(agent, &name))
    };
    ask(&shared, set).await.map(Json)
}

fn detail(agent: &dyn Agent, name: &str) -> Result<PolicyDetail, Failure> {
    agent.policy(name).ok_or_else(|| unknown_policy(agent, name))
}

fn unknown_policy(agent: &dyn Agent, name: &str) -> Failure {
    let known: Vec<_> = agent.policies().into_iter().map(|policy| policy.name).collect();
    missing("policy", name, &known, "weir policy list")
}

fn budget(agent: &dyn Agent, name: &str) -> Result<(), Failure> {
    let all = agent.policies().into_iter().map(|policy| policy.name);
    let known: Vec<_> = all.filter(|name| name.starts_with("budgets.")).collect();
    let is = |known: &String| known == name || known.strip_prefix("budgets.") == Some(name);
    if known.iter().any(is) {
        return Ok(());
    }
    Err(missing("budget", name, &known, "weir budget list"))
}

fn row_of(agent: &dyn Agent, name: &str) -> Result<BreakerRow, Failure> {
    let found = agent.breakers().into_iter().find(|breaker| breaker.name == name);
    found.ok_or_else(|| unknown_breaker(agent, name))
}

fn unknown_breaker(agent: &dyn Agent, name: &str) -> Failure {
    let known: Vec<_> = agent.breakers().into_iter().map(|breaker| breaker.name).collect();
    missing("breaker", name, &known, "weir breaker list")
}

fn missing(kind: &str, name: &str, known: &[String], list: &str) -> Failure {
    let what = format!("there is no {kind} `{name}`{}", near::question(name, known));
    Failure::NotFound { what, fix: Some(list.to_owned()) }
}
