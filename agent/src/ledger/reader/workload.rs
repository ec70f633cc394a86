//! One workload: how long its calls took, what went wrong, how its connections were treated, and what
//! policies did.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use rusqlite::{Connection, params};

use crate::ledger::acted;
use crate::ledger::store::word;
use crate::record::{FailureClass, Treatment};

use super::coverage::connections;
use super::known::{Known, Owner, owners};
use super::range::Range;
use super::sums::sums;

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

const WHAT: &str = "SELECT acted FROM shape WHERE id = ? AND kind = 'call' AND outcome IS NOT NULL";

const TIMES: &str = "
    SELECT c.latency_us, c.ttft_us
    FROM call c
    JOIN shape h ON h.id = c.shape
    WHERE c.call_id >= ?1 AND c.call_id <= ?2 AND c.started_at >= ?3 AND c.started_at < ?4
      AND c.subject IN (SELECT id FROM subject WHERE workload = ?5 AND (?6 IS NULL OR uid = ?6))
      AND h.kind = 'call' AND h.outcome <> 'refused' AND c.latency_us IS NOT NULL
    ORDER BY c.call_id DESC LIMIT ?7";

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
    let mut treated: BTreeMap<(String, String), Connected> = BTreeMap::new();
    let mut own = Own::of(connection, (name, uid))?;
    for linked in connections(connection, range, None)? {
        if own.has(linked.subject)? {
            let (treatment, reason) = (linked.treatment, linked.reason);
            let key = (word(&treatment), reason.clone());
            let none = Connected { treatment, reason, count: 0 };
            treated.entry(key).or_insert(none).count += linked.count;
        }
    }
    figures.connections = treated.into_values().collect();
    figures.connections.sort_by_key(|it| std::cmp::Reverse(it.count));
    Ok(Some(figures))
}

/// How calls ended, and what policies did about them.
fn ends(
    connection: &Connection,
    range: Range,
    (name, uid): (&str, Option<u32>),
    figures: &mut WorkloadFigures,
) -> rusqlite::Result<()> {
    let mut errors: BTreeMap<FailureClass, u64> = BTreeMap::new();
    let mut hits: BTreeMap<(String, String), u64> = BTreeMap::new();
    let mut own = Own::of(connection, (name, uid))?;
    let mut what = Known::new(connection.prepare_cached(WHAT)?, |row| row.get(0));
    for sum in sums(connection, range)? {
        if !own.has(sum.subject)? {
            continue;
        }
        let Some(acted): Option<Rc<Option<String>>> = what.get(sum.shape)? else { continue };
        figures.calls += sum.calls;
        if let Some(class) = sum.class {
            *errors.entry(class).or_default() += sum.calls;
        }
        for (policy, action) in acted.iter().flat_map(|acted| acted::read(acted)) {
            *hits.entry((policy.to_owned(), action.to_owned())).or_default() += sum.calls;
        }
    }
    figures.errors = errors.into_iter().collect();
    figures.errors.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let hit = |((policy, action), count)| Hits { policy, action, count };
    figures.policies = hits.into_iter().map(hit).collect();
    figures.policies.sort_by_key(|hits| std::cmp::Reverse(hits.count));
    Ok(())
}

/// Tells subjects of one workload, and one user where that is asked for, from others.
struct Own<'a> {
    owners: Known<'a, Owner>,
    name: &'a str,
    uid: Option<u32>,
}

impl<'a> Own<'a> {
    fn of(
        connection: &'a Connection,
        (name, uid): (&'a str, Option<u32>),
    ) -> rusqlite::Result<Self> {
        Ok(Self { owners: owners(connection)?, name, uid })
    }

    fn has(&mut self, subject: i64) -> rusqlite::Result<bool> {
        let found = self.owners.get(subject)?;
        let found = found.as_deref().filter(|(_, workload)| **workload == *self.name);
        Ok(found.is_some_and(|(user, _)| self.uid.is_none_or(|uid| uid == *user)))
    }
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
