//! One workload: how long its calls took, what went wrong, how its connections were treated, and what
//! policies did.

use std::collections::BTreeMap;
use std::time::Duration;

use rusqlite::{Connection, params};

use crate::ledger::acted;
use crate::ledger::store::parse;
use crate::record::{FailureClass, Outcome, Treatment};

use super::range::Range;

/// Calls whose times are looked at: what is held in memory for it.
const SAMPLES: usize = 100_000;

/// What is known of a workload, beside its spend.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WorkloadFigures {
    /// LLM calls that are over.
    pub calls: u64,
    /// How long they took, all but the refused.
    pub latency: Quantiles,
    /// How long until the first content byte of streams.
    pub ttft: Quantiles,
    /// Calls that did not end well, by what went wrong, most frequent first.
    pub errors: Vec<(FailureClass, u64)>,
    /// Connections to LLM hosts.
    pub connections: Vec<Connected>,
    /// What policies did, most frequent first.
    pub policies: Vec<Hits>,
}

/// Times below which so many calls stayed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quantiles {
    /// Half of them, 95 % and 99 %; `None` without calls.
    pub at: Option<[Duration; 3]>,
    /// How many there are.
    pub samples: u64,
}

/// Connections that were treated alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connected {
    /// How.
    pub treatment: Treatment,
    /// Why.
    pub reason: String,
    /// How many.
    pub count: u64,
}

/// What one policy did, or would have done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hits {
    /// The policy.
    pub policy: String,
    /// What it did.
    pub action: String,
    /// How often.
    pub count: u64,
}

const KNOWN: &str = "SELECT 1 FROM subject WHERE workload = ?1 AND (?2 IS NULL OR uid = ?2)";

const ENDS: &str = "
    SELECT h.outcome, h.status, h.acted, sum(a.calls), a.error
    FROM (SELECT subject, shape, error, count(*) AS calls
          FROM call
          WHERE call_id >= ?1 AND call_id <= ?2 AND started_at >= ?3 AND started_at < ?4
            AND subject IN (SELECT id FROM subject
                            WHERE workload = ?5 AND (?6 IS NULL OR uid = ?6))
          GROUP BY subject, shape, error) a
    JOIN shape h ON h.id = a.shape
    WHERE h.kind = 'call' AND h.outcome IS NOT NULL
    GROUP BY 1, 2, 3, 5";

const TIMES: &str = "
    SELECT c.latency_us, c.ttft_us
    FROM call c
    JOIN shape h ON h.id = c.shape
    WHERE c.call_id >= ?1 AND c.call_id <= ?2 AND c.started_at >= ?3 AND c.started_at < ?4
      AND c.subject IN (SELECT id FROM subject WHERE workload = ?5 AND (?6 IS NULL OR uid = ?6))
      AND h.kind = 'call' AND h.outcome <> 'refused' AND c.latency_us IS NOT NULL
    ORDER BY c.call_id DESC LIMIT ?7";

const CONNECTIONS: &str = "
    SELECT l.treatment, l.reason, count(*)
    FROM connection l
    WHERE l.closed_at >= ?1 AND l.opened_at < ?2
      AND l.subject IN (SELECT id FROM subject WHERE workload = ?3 AND (?4 IS NULL OR uid = ?4))
    GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2";

pub(super) fn figures(
    connection: &Connection,
    range: Range,
    (name, uid): (&str, Option<u32>),
) -> rusqlite::Result<Option<WorkloadFigures>> {
    if !connection.prepare_cached(KNOWN)?.exists(params![name, uid])? {
        return Ok(None);
    }
    let mut figures = WorkloadFigures::default();
    ends(connection, range, (name, uid), &mut figures)?;
    let ids = range.ids(connection)?;
    let (mut latency, mut ttft) = (Vec::new(), Vec::new());
    let most = i64::try_from(SAMPLES).unwrap_or(i64::MAX);
    let mut query = connection.prepare_cached(TIMES)?;
    let mut rows = query.query(params![ids.from, ids.to, range.from, range.to, name, uid, most])?;
    while let Some(row) = rows.next()? {
        latency.push(row.get::<_, i64>(0)?);
        ttft.extend(row.get::<_, Option<i64>>(1)?);
    }
    (figures.latency, figures.ttft) = (quantiles(latency), quantiles(ttft));
    figures.connections = connection
        .prepare_cached(CONNECTIONS)?
        .query_map(params![range.from, range.to, name, uid], |row| {
            Ok(Connected {
                treatment: parse(row.get_ref(0)?.as_str()?).unwrap_or(Treatment::Direct),
                reason: row.get(1)?,
                count: row.get::<_, i64>(2)?.unsigned_abs(),
            })
        })?
        .collect::<Result<_, _>>()?;
    Ok(Some(figures))
}

/// How calls ended, and what policies did about them.
fn ends(
    connection: &Connection,
    range: Range,
    (name, uid): (&str, Option<u32>),
    figures: &mut WorkloadFigures,
) -> rusqlite::Result<()> {
    let ids = range.ids(connection)?;
    let mut errors: BTreeMap<FailureClass, u64> = BTreeMap::new();
    let mut hits: BTreeMap<(String, String), u64> = BTreeMap::new();
    let mut query = connection.prepare_cached(ENDS)?;
    let mut rows = query.query(params![ids.from, ids.to, range.from, range.to, name, uid])?;
    while let Some(row) = rows.next()? {
        let outcome = parse(row.get_ref(0)?.as_str()?).unwrap_or(Outcome::Internal);
        let count = row.get::<_, i64>(3)?.unsigned_abs();
        figures.calls += count;
        let error = row.get_ref(4)?.as_str_or_null()?;
        if let Some(class) = FailureClass::of(outcome, row.get(1)?, error) {
            *errors.entry(class).or_default() += count;
        }
        for (policy, action) in row.get_ref(2)?.as_str_or_null()?.into_iter().flat_map(acted::read)
        {
            *hits.entry((policy.to_owned(), action.to_owned())).or_default() += count;
        }
    }
    figures.errors = errors.into_iter().collect();
    figures.errors.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let hit = |((policy, action), count)| Hits { policy, action, count };
    figures.policies = hits.into_iter().map(hit).collect();
    figures.policies.sort_by_key(|hits| std::cmp::Reverse(hits.count));
    Ok(())
}

/// By the nearest rank: each is the time of a call that was made.
fn quantiles(mut micros: Vec<i64>) -> Quantiles {
    micros.sort_unstable();
    let last = micros.len().checked_sub(1);
    let at = last.map(|last| {
        [50, 95, 99].map(|percent| {
            let rank = (micros.len() * percent).div_ceil(100).saturating_sub(1);
            Duration::from_micros(micros[rank.min(last)].unsigned_abs())
        })
    });
    Quantiles { at, samples: u64::try_from(micros.len()).unwrap_or(u64::MAX) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_times_of_calls() {
        let of =
            |micros: &[i64]| quantiles(micros.to_vec()).at.map(|at| at.map(|it| it.as_micros()));
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[7]), Some([7, 7, 7]));
        let hundred: Vec<i64> = (1..=100).rev().collect();
        assert_eq!(of(&hundred), Some([50, 95, 99]));
        assert_eq!(of(&[1, 2, 3]), Some([2, 3, 3]));
        assert_eq!(quantiles(hundred).samples, 100);
    }
}
