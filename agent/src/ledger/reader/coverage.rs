//! Coverage: how much of what could have been metered was.

use std::collections::BTreeMap;

use rusqlite::{Connection, Row, params};

use crate::ledger::store::{self, QUARTER, parse};
use crate::record::Treatment;

use super::known::owners;
use super::range::{Range, ceil};
use super::rows::{Coverage, CoverageReason};
use super::sums::sums;

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

/// Quarters of an hour in which connections ended of which some began before a time and some not.
const MIXED: &str = "
    SELECT DISTINCT quarter FROM connection_sum
    WHERE quarter >= ?1 AND first_opened < ?2 AND last_opened >= ?2";

const WHOLE: &str = "
    SELECT subject, provider, treatment, reason, failed, sum(connections), sum(bytes_up),
           sum(bytes_down), max(last_at)
    FROM connection_sum
    WHERE quarter >= ?1 AND last_opened < ?2 AND quarter NOT IN (SELECT value FROM json_each(?3))
    GROUP BY 1, 2, 3, 4, 5";

const EDGE: &str = "
    SELECT subject, provider, treatment, reason, failed, count(*), sum(bytes_up),
           sum(bytes_down), max(closed_at)
    FROM connection
    WHERE closed_at >= ?1 AND closed_at < ?2 AND opened_at < ?3
    GROUP BY 1, 2, 3, 4, 5";

/// The connections that were open at some time of a range, and are over; those of one user or all.
/// Whole quarters of an hour are summed up already: see `store/sums.sql`.
pub(super) fn connections(
    connection: &Connection,
    range: Range,
    uid: Option<u32>,
) -> rusqlite::Result<Vec<Linked>> {
    let first = ceil(range.from).max(store::sums_since(connection)?);
    let mixed = connection
        .prepare_cached(MIXED)?
        .query_map(params![first, range.to], |row| row.get(0))?
        .collect::<Result<Vec<i64>, _>>()?;
    let left_out = serde_json::Value::from(mixed.clone()).to_string();
    let mut linked = connection
        .prepare_cached(WHOLE)?
        .query_map(params![first, range.to, left_out], Linked::read)?
        .collect::<Result<Vec<_>, _>>()?;
    let begin = |quarter: i64| quarter.saturating_mul(QUARTER);
    let head = (range.from, begin(first));
    let parts = mixed.into_iter().map(|quarter| (begin(quarter), begin(quarter + 1)));
    let mut edge = connection.prepare_cached(EDGE)?;
    for (from, to) in std::iter::once(head).chain(parts) {
        for row in edge.query_map(params![from, to, range.to], Linked::read)? {
            linked.push(row?);
        }
    }
    let Some(uid) = uid else { return Ok(linked) };
    let mut owners = owners(connection)?;
    let mut own = Vec::new();
    for linked in linked {
        if owners.get(linked.subject)?.is_some_and(|owner| owner.0 == uid) {
            own.push(linked);
        }
    }
    Ok(own)
}

impl Linked {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
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
    }
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
    let mut owners = owners(connection)?;
    let mut calls = false;
    for sum in sums(connection, range)? {
        let owner = owners.get(sum.subject)?;
        calls |= owner.is_some_and(|owner| uid.is_none_or(|uid| uid == owner.0));
    }
    Ok(tally.finish(calls))
}
