//! Processes with what they called and how their connections were treated.

use std::collections::HashMap;

use jiff::Timestamp;
use rusqlite::Connection;

use crate::llm::usage::NanoUsd;

use super::coverage::connections;
use super::range::Range;
use super::rows::{ProcessConnections, ProcessRow};
use super::spend::spent;

/// A subject's times are kept to the minute.
const COARSE: i64 = 60_000_000;

pub(super) fn processes(
    connection: &Connection,
    range: Range,
    uid: Option<u32>,
) -> rusqlite::Result<Vec<ProcessRow>> {
    let mut rows: Vec<ProcessRow> = Vec::new();
    let mut seen: Vec<i64> = Vec::new();
    // A process has a row for every start of the agent it lived through: they are one here.
    let mut places: HashMap<i64, usize> = HashMap::new();
    let mut instances: HashMap<(u32, u64, String), usize> = HashMap::new();
    for (id, row) in subjects(connection, range, uid)? {
        let instance = (row.pid, row.start_ticks, row.workload.clone());
        let place = *instances.entry(instance).or_insert_with(|| {
            rows.push(row);
            seen.push(0);
            rows.len() - 1
        });
        places.insert(id, place);
    }
    for spent in spent(connection, range, (uid, None))? {
        let Some(&place) = places.get(&spent.sum.subject) else { continue };
        let row = &mut rows[place];
        row.calls += spent.calls();
        row.cost_usd = row.cost_usd.saturating_add(spent.sum.cost);
        row.unknown_cost_calls += spent.unpriced();
        seen[place] = seen[place].max(spent.sum.last_at);
    }
    for linked in connections(connection, range, uid)? {
        let Some(&place) = places.get(&linked.subject) else { continue };
        seen[place] = seen[place].max(linked.last_at);
        let all = &mut rows[place].connections;
        let alike = all.iter_mut().find(|it| {
            it.provider == linked.provider
                && it.treatment == linked.treatment
                && it.reason == linked.reason
        });
        let failed = if linked.failed { linked.count } else { 0 };
        if let Some(alike) = alike {
            alike.count += linked.count;
            alike.failed += failed;
            alike.bytes_up += linked.bytes_up;
            alike.bytes_down += linked.bytes_down;
        } else {
            all.push(ProcessConnections {
                provider: linked.provider,
                treatment: linked.treatment,
                reason: linked.reason,
                count: linked.count,
                failed,
                bytes_up: linked.bytes_up,
                bytes_down: linked.bytes_down,
            });
        }
    }
    for (row, at) in rows.iter_mut().zip(seen) {
        row.last_seen = Timestamp::from_microsecond(at).unwrap_or(Timestamp::MAX);
    }
    // Those that were seen only in the minute before the range did nothing in it.
    rows.retain(|it| it.last_seen > Timestamp::UNIX_EPOCH);
    rows.sort_by_key(|it| std::cmp::Reverse(it.last_seen));
    Ok(rows)
}

fn subjects(
    connection: &Connection,
    range: Range,
    uid: Option<u32>,
) -> rusqlite::Result<Vec<(i64, ProcessRow)>> {
    connection
        .prepare_cached(
            "SELECT id, pid, start_ticks, workload, uid, user, exe, command FROM subject
             WHERE last_seen >= ?1 AND (?2 IS NULL OR uid = ?2) ORDER BY id",
        )?
        .query_map((range.from.saturating_sub(COARSE), uid), |row| {
            let row_of = ProcessRow {
                pid: row.get(1)?,
                start_ticks: row.get::<_, i64>(2)?.unsigned_abs(),
                workload: row.get(3)?,
                uid: row.get(4)?,
                user: row.get(5)?,
                exe: row.get(6)?,
                command: row.get(7)?,
                calls: 0,
                cost_usd: NanoUsd::default(),
                unknown_cost_calls: 0,
                last_seen: Timestamp::UNIX_EPOCH,
                connections: Vec::new(),
            };
            Ok((row.get(0)?, row_of))
        })?
        .collect()
}
