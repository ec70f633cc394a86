//! What workloads spent in single hours, and since when each is known.

use std::ops::Range as Hours;

use rusqlite::{Connection, OptionalExtension as _, params};

use crate::llm::usage::NanoUsd;

use super::range::Range;
use super::rows::HourRow;

/// An hour in microseconds.
const HOUR: i64 = 3_600_000_000;

/// The notional dollars of flat plans are left out: nobody is charged more for more of them.
const SUMS: &str = "
    SELECT s.workload, a.hour, sum(a.cost)
    FROM (SELECT subject, shape, started_at / 3600000000 AS hour, sum(cost_nanos) AS cost
          FROM call
          WHERE call_id >= ?1 AND call_id <= ?2 AND started_at >= ?3 AND started_at < ?4
            AND cost_nanos > 0
          GROUP BY 1, 2, 3) a
    JOIN subject s ON s.id = a.subject
    JOIN shape h ON h.id = a.shape
    WHERE h.kind = 'call' AND h.billing <> 'subscription'
    GROUP BY 1, 2";

/// Spending by workload and hour, of hours since 1970.
pub(super) fn hourly(connection: &Connection, hours: Hours<u64>) -> rusqlite::Result<Vec<HourRow>> {
    let micros = |hour: u64| i64::try_from(hour).unwrap_or(i64::MAX).saturating_mul(HOUR);
    let range = Range { from: micros(hours.start), to: micros(hours.end) };
    if range.from >= range.to {
        return Ok(Vec::new());
    }
    let ids = range.ids(connection)?;
    let row = |row: &rusqlite::Row<'_>| {
        Ok(HourRow {
            workload: row.get(0)?,
            hour: row.get::<_, i64>(1)?.unsigned_abs(),
            cost: NanoUsd(row.get(2)?),
        })
    };
    connection
        .prepare_cached(SUMS)?
        .query_map(params![ids.from, ids.to, range.from, range.to], row)?
        .collect()
}

/// The first hour in which each workload was there, as far back as calls are kept.
pub(super) fn first_hours(connection: &Connection) -> rusqlite::Result<Vec<(String, u64)>> {
    let oldest: Option<i64> = connection
        .prepare_cached("SELECT started_at FROM call ORDER BY call_id LIMIT 1")?
        .query_row([], |row| row.get(0))
        .optional()?;
    let Some(oldest) = oldest else { return Ok(Vec::new()) };
    connection
        .prepare_cached("SELECT workload, min(first_seen) FROM subject GROUP BY workload")?
        .query_map([], |row| {
            let first = row.get::<_, i64>(1)?.max(oldest);
            Ok((row.get(0)?, (first / HOUR).unsigned_abs()))
        })?
        .collect()
}
