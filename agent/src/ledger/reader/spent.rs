//! What was used before this start, for limits and budgets that outlive one.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, Row, params};

use crate::llm::usage::NanoUsd;
use crate::subject::{Process, Subject, Workload};

use super::range::Range;

/// What calls that agree in everything a rule can ask for used in one stretch of time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpentRow {
    /// When the last of them began: sums leave a sliding window no earlier than its parts.
    pub at: SystemTime,
    /// Who.
    pub subject: Arc<Subject>,
    /// `X-Agent-Name`.
    pub agent_name: Option<Arc<str>>,
    /// Environment then.
    pub environment: Arc<str>,
    /// Provider.
    pub provider: Arc<str>,
    /// Model asked for.
    pub model: Option<Arc<str>>,
    /// Calls that reached a provider, or may have.
    pub requests: u64,
    /// Tokens of all kinds but those read from a cache.
    pub tokens: u64,
    /// What has a known cost and is owed: the notional dollars of flat plans are left out.
    pub cost: NanoUsd,
}

/// How finely times are told apart, the finer the nearer: exact enough for a window of a minute in
/// the last hour, of an hour or a day in the last two days, and of a calendar day anywhere (every
/// time zone begins its days at a quarter of an hour).
const GRAIN: [(Duration, Duration); 3] = [
    (Duration::from_hours(1), Duration::from_millis(500)),
    (Duration::from_hours(48), Duration::from_mins(1)),
    (Duration::MAX, Duration::from_mins(15)),
];

/// Calls that were refused, or whose connection could not be made, reached nobody. One found open
/// at a start was on its way.
const SUMS: &str = "
    SELECT max(c.started_at), count(*),
           sum(c.input + c.cache_write_5m + c.cache_write_1h + c.output + c.reasoning
               + c.audio_input + c.audio_output),
           coalesce(sum(CASE WHEN h.billing <> 'subscription' THEN c.cost_nanos END), 0),
           c.subject, h.agent_name, h.environment, h.provider, h.model
    FROM call c JOIN shape h ON h.id = c.shape
    WHERE c.call_id >= ?1 AND c.call_id <= ?2 AND c.started_at >= ?3 AND c.started_at < ?4
      AND h.kind <> 'request'
      AND (h.outcome = 'lost' OR (h.attempts > 0 AND h.outcome <> 'connect_error'))
    GROUP BY c.started_at / ?5, c.subject, h.agent_name, h.environment, h.provider, h.model";

const SUBJECT: &str = "
    SELECT pid, start_ticks, exe, command, uid, user, verified, workload, unit, container, pod, app
    FROM subject WHERE id = ?";

/// Everything used since a time, oldest first: whoever watches a budget sees the hours in order.
pub(super) fn spent(
    connection: &Connection,
    since: SystemTime,
    now: SystemTime,
) -> rusqlite::Result<Vec<SpentRow>> {
    let mut rows = Vec::new();
    let mut subjects: HashMap<i64, Arc<Subject>> = HashMap::new();
    // A clock that was set back leaves calls in the future: they count as of their time.
    let mut until = None;
    for (reach, grain) in GRAIN {
        let from = now.checked_sub(reach).unwrap_or(UNIX_EPOCH).max(since);
        let range = Range::new(Some(from), until);
        if until.is_none_or(|until| from < until) {
            let ids = range.ids(connection)?;
            let mut query = connection.prepare_cached(SUMS)?;
            let grain = i64::try_from(grain.as_micros()).unwrap_or(i64::MAX);
            let mut found = query.query(params![ids.from, ids.to, range.from, range.to, grain])?;
            while let Some(row) = found.next()? {
                rows.push(read(connection, row, &mut subjects)?);
            }
        }
        until = Some(from);
    }
    rows.sort_by_key(|row| row.at);
    Ok(rows)
}

fn read(
    connection: &Connection,
    row: &Row<'_>,
    subjects: &mut HashMap<i64, Arc<Subject>>,
) -> rusqlite::Result<SpentRow> {
    let number = |index| row.get::<_, i64>(index).map(i64::unsigned_abs);
    let id = row.get(4)?;
    let subject = if let Some(subject) = subjects.get(&id) {
        Arc::clone(subject)
    } else {
        let found = Arc::new(connection.prepare_cached(SUBJECT)?.query_row([id], subject)?);
        subjects.insert(id, Arc::clone(&found));
        found
    };
    Ok(SpentRow {
        at: UNIX_EPOCH + Duration::from_micros(number(0)?),
        subject,
        agent_name: row.get(5)?,
        environment: row.get(6)?,
        provider: row.get(7)?,
        model: row.get(8)?,
        requests: number(1)?,
        tokens: number(2)?,
        cost: NanoUsd(row.get(3)?),
    })
}

fn subject(row: &Row<'_>) -> rusqlite::Result<Subject> {
    Ok(Subject {
        process: Process {
            pid: row.get(0)?,
            start_ticks: row.get::<_, i64>(1)?.unsigned_abs(),
            exe: row.get(2)?,
            command: row.get(3)?,
            uid: row.get(4)?,
            user: row.get(5)?,
            verified: row.get(6)?,
        },
        workload: Workload {
            name: row.get(7)?,
            unit: row.get(8)?,
            container: row.get(9)?,
            pod: row.get(10)?,
            app: row.get(11)?,
        },
    })
}
