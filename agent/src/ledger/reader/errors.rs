//! Why calls failed, and how available providers were.

use std::collections::BTreeMap;
use std::rc::Rc;

use rusqlite::{Connection, Row, params};

use crate::ledger::store::parse;
use crate::record::{FailureClass, Outcome};

use super::known::{Known, owners};
use super::query::{ErrorQuery, ErrorsBy};
use super::range::Range;
use super::rows::{Availability, ErrorRow, Errors};
use super::sums::{Sum, sums};

const WHAT: &str = "SELECT provider, coalesce(model, model_served) FROM shape
    WHERE id = ? AND kind = 'call' AND outcome IS NOT NULL";

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

/// Whose calls ended alike.
struct End {
    workload: Rc<str>,
    what: Rc<(String, Option<String>)>,
    sum: Sum,
}

impl End {
    fn key(&self, by: Option<ErrorsBy>) -> Option<String> {
        let (provider, model) = &*self.what;
        Some(match by? {
            ErrorsBy::Workload => self.workload.to_string(),
            ErrorsBy::Provider => provider.clone(),
            ErrorsBy::Model => model.clone().unwrap_or_else(|| "-".to_owned()),
        })
    }
}

/// How LLM calls ended.
fn ends(connection: &Connection, range: Range, uid: Option<u32>) -> rusqlite::Result<Vec<End>> {
    let mut owners = owners(connection)?;
    let mut what =
        Known::new(connection.prepare_cached(WHAT)?, |row| Ok((row.get(0)?, row.get(1)?)));
    let mut ends = Vec::new();
    for sum in sums(connection, range)? {
        let Some(owner) = owners.get(sum.subject)? else { continue };
        if uid.is_none_or(|uid| uid == owner.0)
            && let Some(what) = what.get(sum.shape)?
        {
            ends.push(End { workload: Rc::clone(&owner.1), what, sum });
        }
    }
    Ok(ends)
}

pub(super) fn errors(connection: &Connection, query: &ErrorQuery) -> rusqlite::Result<Errors> {
    let range = Range::new(query.since, query.until);
    let ends = ends(connection, range, query.uid)?;
    let mut groups: BTreeMap<Option<String>, (u64, BTreeMap<FailureClass, u64>)> = BTreeMap::new();
    let mut providers: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for end in &ends {
        let (calls, classes) = groups.entry(end.key(query.by)).or_default();
        *calls += end.sum.calls;
        if let Some(class) = end.sum.class {
            *classes.entry(class).or_default() += end.sum.calls;
        }
        answered(&mut providers, &end.what.0, end.sum.class, end.sum.alone);
    }
    let mut tries = connection.prepare_cached(TRIES)?;
    let ids = range.ids(connection)?;
    let mut tries = tries.query(params![ids.from, ids.to, range.from, range.to, query.uid])?;
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
