//! Coverage: how much of what could have been metered was.

use std::collections::BTreeMap;

use rusqlite::{Connection, params};

use crate::ledger::store::parse;
use crate::record::Treatment;

use super::range::Range;
use super::rows::{Coverage, CoverageReason};

/// Connections of a process to a provider that were treated alike.
pub(super) struct Linked {
    pub(super) subject: i64,
    pub(super) provider: String,
    pub(super) treatment: Treatment,
    pub(super) reason: String,
    pub(super) failed: bool,
    pub(super) count: u64,
    pub(super) bytes_up: u64,
    pub(super) bytes_down: u64,
    pub(super) last_at: i64,
}

/// The connections that were open at some time of a range.
pub(super) fn connections(
    connection: &Connection,
    range: Range,
    uid: Option<u32>,
) -> rusqlite::Result<Vec<Linked>> {
    connection
        .prepare_cached(
            "SELECT l.subject, l.provider, l.treatment, l.reason, l.failed, count(*),
                    sum(l.bytes_up), sum(l.bytes_down), max(l.closed_at)
             FROM connection l
             WHERE l.closed_at >= ?1 AND l.opened_at < ?2
               AND (?3 IS NULL OR EXISTS
                     (SELECT 1 FROM subject s WHERE s.id = l.subject AND s.uid = ?3))
             GROUP BY 1, 2, 3, 4, 5",
        )?
        .query_map(params![range.from, range.to, uid], |row| {
            Ok(Linked {
                subject: row.get(0)?,
                provider: row.get(1)?,
                treatment: parse(row.get_ref(2)?.as_str()?).unwrap_or(Treatment::Direct),
                reason: row.get(3)?,
                failed: row.get(4)?,
                count: row.get::<_, i64>(5)?.unsigned_abs(),
                bytes_up: row.get::<_, i64>(6)?.unsigned_abs(),
                bytes_down: row.get::<_, i64>(7)?.unsigned_abs(),
                last_at: row.get(8)?,
            })
        })?
        .collect()
}

/// Counts connections into a [`Coverage`].
#[derive(Default)]
pub(super) struct Tally {
    metered: u64,
    total: u64,
    others: BTreeMap<(String, String), (Treatment, u64)>,
}

impl Tally {
    pub(super) fn add(&mut self, it: &Linked) {
        // What failed to open carried no call, and what went to other hosts is none of ours.
        if it.failed || it.reason == "not_llm" || it.provider == "unknown" {
            return;
        }
        match it.treatment {
            Treatment::Metered => {
                self.metered += it.count;
                self.total += it.count;
                return;
            }
            Treatment::Opaque | Treatment::Direct => self.total += it.count,
            // Reached nobody: nothing was spent unseen.
            Treatment::Blocked => {}
        }
        let key = (format!("{:?}", it.treatment), it.reason.clone());
        self.others.entry(key).or_insert((it.treatment, 0)).1 += it.count;
    }

    /// The result, given that calls were recorded: where none of their connections is over yet,
    /// there is at least one.
    pub(super) fn finish(mut self, calls: bool) -> Coverage {
        if calls && self.metered == 0 {
            self.metered = 1;
            self.total += 1;
        }
        let mut reasons: Vec<_> = self
            .others
            .into_iter()
            .map(|((_, reason), (treatment, count))| CoverageReason { treatment, reason, count })
            .collect();
        reasons.sort_by_key(|it| std::cmp::Reverse(it.count));
        Coverage { metered: self.metered, total: self.total, reasons }
    }
}

pub(super) fn coverage(
    connection: &Connection,
    range: Range,
    uid: Option<u32>,
) -> rusqlite::Result<Coverage> {
    let mut tally = Tally::default();
    for linked in connections(connection, range, uid)? {
        tally.add(&linked);
    }
    let ids = range.ids(connection)?;
    let calls = connection
        .prepare_cached(
            "SELECT 1 FROM calls
             WHERE call_id >= ?1 AND call_id <= ?2 AND started_at >= ?3 AND started_at < ?4
               AND (?5 IS NULL OR uid = ?5) LIMIT 1",
        )?
        .exists(params![ids.from, ids.to, range.from, range.to, uid])?;
    Ok(tally.finish(calls))
}
