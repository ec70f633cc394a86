//! Single calls.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension as _, Row, params, params_from_iter};

use crate::ledger::steps;
use crate::ledger::store::{parse, word};
use crate::llm::usage::NanoUsd;
use crate::record::{Billing, CallId, Kind, Outcome, UsageSource, Via};

use super::query::CallQuery;
use super::range::Range;
use super::rows::{AttemptRow, CallDetail, CallRow, DecisionRow};

/// Calls answered at most, whatever was asked for.
const MOST: usize = 100_000;

/// Calls by query; `ended` are those that ended after the one followed from, where it is known.
pub(super) fn calls(
    connection: &Connection,
    query: &CallQuery,
    ended: Option<Vec<CallId>>,
) -> rusqlite::Result<Vec<CallRow>> {
    let (condition, values) = conditions(connection, query, ended.as_deref())?;
    let last = query.last.unwrap_or(MOST).min(MOST);
    let sql = format!("SELECT * FROM calls WHERE {condition} ORDER BY call_id DESC LIMIT {last}");
    let mut rows: Vec<CallRow> = connection
        .prepare_cached(&sql)?
        .query_map(params_from_iter(values), read)?
        .collect::<Result<_, _>>()?;
    rows.reverse();
    if let Some(ended) = ended {
        let order: HashMap<CallId, usize> =
            ended.into_iter().enumerate().map(|(index, id)| (id, index)).collect();
        rows.sort_by_key(|row| order.get(&row.call_id).copied());
    }
    Ok(rows)
}

/// The first calls of a query in the order in which they began, after the one named in it.
pub(super) fn page(
    connection: &Connection,
    query: &CallQuery,
    limit: usize,
) -> rusqlite::Result<Vec<CallRow>> {
    let (condition, values) = conditions(connection, query, None)?;
    let limit = limit.min(MOST);
    let sql = format!("SELECT * FROM calls WHERE {condition} ORDER BY call_id LIMIT {limit}");
    connection.prepare_cached(&sql)?.query_map(params_from_iter(values), read)?.collect()
}

pub(super) fn detail(connection: &Connection, id: CallId) -> rusqlite::Result<Option<CallDetail>> {
    let text = id.to_string();
    let row = connection
        .prepare_cached("SELECT * FROM calls WHERE call_id = ?")?
        .query_row([&text], read)
        .optional()?;
    let Some(row) = row else { return Ok(None) };
    let attempts = connection
        .prepare_cached("SELECT * FROM attempts WHERE call_id = ? ORDER BY n")?
        .query_map([&text], |row| {
            Ok(AttemptRow {
                provider: row.get("provider")?,
                model: row.get("model")?,
                started_at: timestamp(row.get("started_at")?),
                status: row.get("status")?,
                outcome: parse(row.get_ref("outcome")?.as_str()?).unwrap_or(Outcome::Internal),
                upstream: span(row.get("upstream_us")?),
                cost_usd: row.get::<_, Option<i64>>("cost_nanos")?.map(NanoUsd),
            })
        })?
        .collect::<Result<_, _>>()?;
    let mut decisions = decisions(connection, &text)?;
    told_by_the_call(&row, &mut decisions);
    Ok(Some(CallDetail { row, attempts, decisions }))
}

/// Adds the decisions that are kept in the call itself: whom it went to, and its price.
fn told_by_the_call(row: &CallRow, decisions: &mut Vec<DecisionRow>) {
    if row.outcome.is_none() || row.kind == Kind::Opaque {
        return;
    }
    // Ledgers of earlier versions have these beside the others.
    let missing =
        |decisions: &[DecisionRow], rule: &str| decisions.iter().all(|it| it.rule != rule);
    if missing(decisions, "route") {
        let route = DecisionRow {
            at: Some(Duration::ZERO),
            rule: "route".to_owned(),
            action: row.provider.clone(),
            detail: format!("host {}", row.host),
        };
        decisions.insert(0, route);
    }
    if let (Some(cost), Some(version)) = (row.cost_usd, &row.price_version)
        && missing(decisions, "price")
    {
        decisions.push(DecisionRow {
            at: row.latency,
            rule: "price".to_owned(),
            action: format!("${cost}"),
            detail: format!("{} tokens at prices of {version}", row.tokens()),
        });
    }
}

fn decisions(connection: &Connection, id: &str) -> rusqlite::Result<Vec<DecisionRow>> {
    let kept: Option<(Option<String>, Option<String>)> = connection
        .prepare_cached(
            "SELECT d.steps -> ('$.' || c.call_id), d.steps -> '$.limits'
             FROM call c JOIN decision d ON d.id = c.decision WHERE c.call_id = ?",
        )?
        .query_row([id], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((Some(own), limits)) = kept else { return Ok(Vec::new()) };
    let limits = limits.map(|json| serde_json::from_str(&json)).transpose();
    let limits = limits.map_err(unreadable)?.unwrap_or_default();
    let decisions = steps::read(&own, &limits).map_err(unreadable)?;
    let rows = decisions.into_iter().map(|it| DecisionRow {
        at: Some(it.at),
        detail: it.detail.to_string(),
        rule: it.rule.to_string(),
        action: it.action.to_string(),
    });
    Ok(rows.collect())
}

fn unreadable(error: serde_json::Error) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(error))
}

pub(super) fn by_pid(
    connection: &Connection,
    pid: u32,
    last: usize,
) -> rusqlite::Result<Vec<CallRow>> {
    // When the process was there, give or take how coarsely that is kept and how long its first
    // call took: without it, an old process would have the whole table searched.
    let there: Option<(i64, i64)> = connection
        .prepare_cached("SELECT min(first_seen), max(last_seen) FROM subject WHERE pid = ?")?
        .query_row([pid], |row| Ok(row.get::<_, Option<i64>>(0)?.zip(row.get(1)?)))?;
    let Some((first, latest)) = there else { return Ok(Vec::new()) };
    let hour = 60 * 60 * 1_000_000;
    let range = Range { from: first - hour, to: latest + hour };
    let ids = range.ids(connection)?;
    let limit = i64::try_from(last.min(MOST)).unwrap_or(i64::MAX);
    let mut rows: Vec<CallRow> = connection
        .prepare_cached(
            "SELECT * FROM calls
             WHERE call_id >= ?1 AND call_id <= ?2 AND pid = ?3 ORDER BY call_id DESC LIMIT ?4",
        )?
        .query_map(params![ids.from, ids.to, pid, limit], read)?
        .collect::<Result<_, _>>()?;
    rows.reverse();
    Ok(rows)
}

/// The condition of a query, and the values of its parameters.
fn conditions(
    connection: &Connection,
    query: &CallQuery,
    ended: Option<&[CallId]>,
) -> rusqlite::Result<(String, Vec<Value>)> {
    let range = Range::new(query.since, query.until);
    let ids = range.ids(connection)?;
    let mut condition =
        String::from("call_id >= ? AND call_id <= ? AND started_at >= ? AND started_at < ?");
    let mut values: Vec<Value> =
        vec![ids.from.into(), ids.to.into(), range.from.into(), range.to.into()];
    let mut also = |text: &str, value: Option<Value>| {
        if let Some(value) = value {
            condition.push_str(" AND ");
            condition.push_str(text);
            values.extend(std::iter::repeat_n(value, text.matches('?').count()));
        }
    };
    also("workload = ?", query.workload.clone().map(Into::into));
    also("pid = ?", query.pid.map(Into::into));
    also("? IN (user, CAST(uid AS TEXT))", query.user.clone().map(Into::into));
    also("team = ?", query.team.clone().map(Into::into));
    also("provider = ?", query.provider.clone().map(Into::into));
    also("? IN (model, model_served)", query.model.clone().map(Into::into));
    also("status = ?", query.status.map(Into::into));
    also("status / 100 = ?", query.status_class.map(Into::into));
    also("outcome = ?", query.outcome.as_ref().map(|it| word(it).into()));
    also("kind = ?", query.kind.as_ref().map(|it| word(it).into()));
    also("uid = ?", query.uid.map(Into::into));
    match (ended, query.after) {
        (Some(ended), _) => {
            let ids: serde_json::Value = ended.iter().map(ToString::to_string).collect();
            also("call_id IN (SELECT value FROM json_each(?))", Some(ids.to_string().into()));
        }
        (None, Some(after)) => also("call_id > ?", Some(after.to_string().into())),
        (None, None) => {}
    }
    Ok((condition, values))
}

/// A row of the view `calls`.
fn read(row: &Row<'_>) -> rusqlite::Result<CallRow> {
    let number = |name| row.get::<_, i64>(name).map(i64::unsigned_abs);
    let words = |name| row.get_ref(name).and_then(|it| Ok(it.as_str()?));
    Ok(CallRow {
        call_id: id(words("call_id")?),
        started_at: timestamp(row.get("started_at")?),
        kind: parse(words("kind")?).unwrap_or(Kind::Opaque),
        via: parse(words("via")?).unwrap_or(Via::Intercept),
        workload: row.get("workload")?,
        app: row.get("app")?,
        unit: row.get("unit")?,
        container: row.get("container")?,
        pid: row.get("pid")?,
        start_ticks: number("start_ticks")?,
        exe: row.get("exe")?,
        command: row.get("command")?,
        uid: row.get("uid")?,
        user: row.get("user")?,
        verified: row.get("verified")?,
        environment: row.get("environment")?,
        team: row.get("team")?,
        account: row.get("account")?,
        agent_name: row.get("agent_name")?,
        provider: row.get("provider")?,
        host: row.get("host")?,
        operation: row.get("operation")?,
        method: row.get("method")?,
        path: row.get("path")?,
        model: row.get("model")?,
        model_served: row.get("model_served")?,
        stream: row.get("stream")?,
        status: row.get("status")?,
        outcome: row.get_ref("outcome")?.as_str_or_null()?.and_then(parse),
        error: row.get("error")?,
        input_tokens: number("input")?,
        cache_read_tokens: number("cache_read")?,
        cache_write_5m_tokens: number("cache_write_5m")?,
        cache_write_1h_tokens: number("cache_write_1h")?,
        output_tokens: number("output")?,
        reasoning_tokens: number("reasoning")?,
        audio_input_tokens: number("audio_input")?,
        audio_output_tokens: number("audio_output")?,
        usage_source: parse(words("usage_source")?).unwrap_or(UsageSource::Unknown),
        cost_usd: row.get::<_, Option<i64>>("cost_nanos")?.map(NanoUsd),
        billing: parse(words("billing")?).unwrap_or(Billing::Unknown),
        price_version: row.get("price_version")?,
        ttft: span(row.get("ttft_us")?),
        latency: span(row.get("latency_us")?),
        upstream: span(row.get("upstream_us")?),
        attempts: row.get("attempts")?,
        retry_of: row.get_ref("retry_of")?.as_str_or_null()?.map(id),
        bytes_in: number("bytes_in")?,
        bytes_out: number("bytes_out")?,
        flags: words("flags")?.split(',').filter_map(parse).collect(),
    })
}

fn id(text: &str) -> CallId {
    text.parse().unwrap_or(CallId(ulid::Ulid::nil()))
}

fn timestamp(micros: i64) -> Timestamp {
    Timestamp::from_microsecond(micros).unwrap_or(Timestamp::MAX)
}

fn span(micros: Option<i64>) -> Option<Duration> {
    micros.map(|it| Duration::from_micros(it.unsigned_abs()))
}
