//! Why calls failed, and how available providers were.

use std::collections::BTreeMap;

use rusqlite::{Connection, Row, params};

use crate::ledger::store::parse;
use crate::record::{FailureClass, Outcome};

use super::query::{ErrorQuery, ErrorsBy};
use super::range::Range;
use super::rows::{Availability, ErrorRow, Errors};

/// How calls ended. Their error is part of it: it tells causes apart that share an outcome.
const ENDS: &str = "
    SELECT s.workload, h.provider, coalesce(h.model, h.model_served), h.outcome, h.status,
           a.error, sum(a.calls), sum(a.alone)
    FROM (SELECT subject, shape, error, count(*) AS calls, count(only_attempt_us) AS alone
          FROM call
          WHERE call_id >= ?1 AND call_id <= ?2 AND started_at >= ?3 AND started_at < ?4
          GROUP BY subject, shape, error) a
    JOIN subject s ON s.id = a.subject
    JOIN shape h ON h.id = a.shape
    WHERE h.kind = 'call' AND h.outcome IS NOT NULL AND (?5 IS NULL OR s.uid = ?5)
    GROUP BY 1, 2, 3, 4, 5, 6";

/// How the tries ended of calls that had several, or one that ended otherwise than the call.
const TRIES: &str = "
    SELECT a.provider, a.outcome, a.status, count(*)
    FROM attempt a
    JOIN call c ON c.call_id = a.call_id
    JOIN subject s ON s.id = c.subject
    JOIN shape h ON h.id = c.shape
    WHERE a.call_id >= ?1 AND a.call_id <= ?2 AND c.started_at >= ?3 AND c.started_at < ?4
      AND h.kind = 'call' AND h.outcome IS NOT NULL AND (?5 IS NULL OR s.uid = ?5)
    GROUP BY 1, 2, 3";

/// Calls that ended alike.
struct End {
    workload: String,
    provider: String,
    model: Option<String>,
    class: Option<FailureClass>,
    calls: u64,
    /// Those whose only try was as they were.
    alone: u64,
}

impl End {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let error = row.get_ref(5)?.as_str_or_null()?;
        Ok(Self {
            workload: row.get(0)?,
            provider: row.get(1)?,
            model: row.get(2)?,
            class: class(row.get_ref(3)?.as_str()?, row.get(4)?, error),
            calls: number(row, 6)?,
            alone: number(row, 7)?,
        })
    }

    fn key(&self, by: Option<ErrorsBy>) -> Option<String> {
        Some(match by? {
            ErrorsBy::Workload => self.workload.clone(),
            ErrorsBy::Provider => self.provider.clone(),
            ErrorsBy::Model => self.model.clone().unwrap_or_else(|| "-".to_owned()),
        })
    }
}

pub(super) fn errors(connection: &Connection, query: &ErrorQuery) -> rusqlite::Result<Errors> {
    let range = Range::new(query.since, query.until);
    let ids = range.ids(connection)?;
    let asked = params![ids.from, ids.to, range.from, range.to, query.uid];
    let ends: Vec<End> =
        connection.prepare_cached(ENDS)?.query_map(asked, End::read)?.collect::<Result<_, _>>()?;
    let mut groups: BTreeMap<Option<String>, (u64, BTreeMap<FailureClass, u64>)> = BTreeMap::new();
    let mut providers: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for end in &ends {
        let (calls, classes) = groups.entry(end.key(query.by)).or_default();
        *calls += end.calls;
        if let Some(class) = end.class {
            *classes.entry(class).or_default() += end.calls;
        }
        answered(&mut providers, &end.provider, end.class, end.alone);
    }
    let mut tries = connection.prepare_cached(TRIES)?;
    let mut tries = tries.query(asked)?;
    while let Some(row) = tries.next()? {
        let class = class(row.get_ref(1)?.as_str()?, row.get(2)?, None);
        answered(&mut providers, row.get_ref(0)?.as_str()?, class, number(row, 3)?);
    }
    let calls = groups.values().map(|(calls, _)| calls).sum();
    let mut rows: Vec<ErrorRow> = groups
        .into_iter()
        .flat_map(|(key, (calls, classes))| {
            let errors = classes.values().sum();
            let row =
                move |(class, count)| ErrorRow { key: key.clone(), class, count, errors, calls };
            classes.into_iter().map(row)
        })
        .collect();
    // Whoever fails most first, and what fails most of theirs.
    rows.sort_by(|one, other| {
        (other.errors, &one.key, other.count).cmp(&(one.errors, &other.key, one.count))
    });
    let availability = providers.into_iter().filter(|(_, (calls, _))| *calls > 0);
    Ok(Errors {
        calls,
        errors: rows.iter().map(|row| row.count).sum(),
        rows,
        availability: availability
            .map(|(provider, (calls, failed))| Availability { provider, calls, failed })
            .collect(),
    })
}

/// Counts tries that say whether a provider was available. What the client or a policy ended says
/// nothing of it.
fn answered(
    providers: &mut BTreeMap<String, (u64, u64)>,
    provider: &str,
    class: Option<FailureClass>,
    tries: u64,
) {
    if tries == 0 || class.is_some_and(|class| !class.is_counted()) {
        return;
    }
    let (calls, failed) = providers.entry(provider.to_owned()).or_default();
    *calls += tries;
    *failed += if class.is_some_and(FailureClass::is_outage) { tries } else { 0 };
}

/// Words of another version are another version's failures.
fn class(outcome: &str, status: Option<u16>, error: Option<&str>) -> Option<FailureClass> {
    match parse::<Outcome>(outcome) {
        Some(outcome) => FailureClass::of(outcome, status, error),
        None => Some(FailureClass::Other),
    }
}

fn number(row: &Row<'_>, index: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(index).map(i64::unsigned_abs)
}
