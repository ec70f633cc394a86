//! Which workloads were ever seen with which providers.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rusqlite::{Connection, params};

/// Calls, and connections, that are looked through, the latest: a second's work.
const MOST: i64 = 1_000_000;

/// A workload and a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contact {
    /// The workload.
    pub workload: Arc<str>,
    /// The provider.
    pub provider: Arc<str>,
    /// When they were first seen together, among what was looked through.
    pub first_at: SystemTime,
}

pub(super) fn contacts(connection: &Connection) -> rusqlite::Result<Vec<Contact>> {
    connection
        .prepare_cached(
            "SELECT s.workload, seen.provider, min(seen.at)
             FROM (
               SELECT c.subject, h.provider, min(c.started_at) AS at
               FROM (SELECT subject, shape, started_at FROM call
                     ORDER BY call_id DESC LIMIT ?1) c
               JOIN shape h ON h.id = c.shape
               GROUP BY 1, 2
               UNION ALL
               SELECT l.subject, l.provider, min(l.opened_at) AS at
               FROM (SELECT subject, provider, opened_at FROM connection
                     ORDER BY closed_at DESC LIMIT ?1) l
               WHERE l.provider <> 'unknown'
               GROUP BY 1, 2
             ) seen
             JOIN subject s ON s.id = seen.subject
             GROUP BY 1, 2",
        )?
        .query_map(params![MOST], |row| {
            Ok(Contact {
                workload: row.get::<_, Arc<str>>(0)?,
                provider: row.get::<_, Arc<str>>(1)?,
                first_at: SystemTime::UNIX_EPOCH
                    + Duration::from_micros(row.get::<_, i64>(2)?.unsigned_abs()),
            })
        })?
        .collect()
}
