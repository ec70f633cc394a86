//! What the calls of a stretch of time came to, exactly, without reading each of them: whole
//! quarters of an hour are summed up already (see `store/sums.sql`), and what is left at the edges
//! is summed up here.

use foldhash::HashMap;
use rusqlite::{Connection, Row, params};

use crate::ledger::store::{self, QUARTER, parse};
use crate::llm::usage::NanoUsd;
use crate::record::{FailureClass, Outcome};

use super::known::Known;
use super::range::{Range, ceil};

/// Calls of one subject and shape that failed alike, or did not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) subject: i64,
    pub(super) shape: i64,
    /// Why they failed; `None` where they did not, or are still open.
    pub(super) class: Option<FailureClass>,
    pub(super) calls: u64,
    /// Those with a known cost.
    pub(super) priced: u64,
    pub(super) cost: NanoUsd,
    /// Those whose only attempt was as they were.
    pub(super) alone: u64,
    /// Those with a known latency.
    pub(super) timed: u64,
    /// Microseconds that those took together.
    pub(super) latency: u64,
    /// By kind, in the order of the columns.
    pub(super) tokens: [u64; 8],
    /// When the last of them began.
    pub(super) last_at: i64,
}

/// Figures in the order of the queries below: calls, priced, cost, alone, timed, latency, tokens.
const FIGURES: usize = 14;

const WHOLE: &str = "
    SELECT subject, shape, class, max(last_at), sum(calls), sum(priced), sum(cost_nanos),
           sum(alone), sum(timed), sum(latency_us), sum(input), sum(cache_read),
           sum(cache_write_5m), sum(cache_write_1h), sum(output), sum(reasoning),
           sum(audio_input), sum(audio_output)
    FROM call_sum WHERE quarter >= ?1 AND quarter < ?2
    GROUP BY 1, 2, 3";

const EDGE: &str = "
    SELECT subject, shape, error, max(started_at), count(*), count(cost_nanos),
           coalesce(sum(cost_nanos), 0), count(only_attempt_us), count(latency_us),
           coalesce(sum(latency_us), 0), sum(input), sum(cache_read), sum(cache_write_5m),
           sum(cache_write_1h), sum(output), sum(reasoning), sum(audio_input), sum(audio_output)
    FROM call
    WHERE call_id >= ?1 AND call_id <= ?2 AND started_at >= ?3 AND started_at < ?4
    GROUP BY 1, 2, 3";

/// Calls that are open are in no sum. So are those that were lost, which are left out here.
const OPEN: &str = "
    SELECT subject, shape, NULL, max(started_at), count(*), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0
    FROM call INDEXED BY call_open
    WHERE latency_us IS NULL AND started_at >= ?1 AND started_at < ?2
    GROUP BY 1, 2";

/// How a range is put together.
#[derive(Debug, PartialEq, Eq)]
struct Parts {
    /// Quarters that are summed up already, from one up to, but not including, another.
    whole: (i64, i64),
    /// What is to be read call by call; false where it is to be taken off again.
    edges: Vec<(Range, bool)>,
}

/// The sums over a range, with those of calls that are still open.
pub(super) fn sums(connection: &Connection, range: Range) -> rusqlite::Result<Vec<Sum>> {
    let Parts { whole, edges } = parts(range, store::sums_since(connection)?, ends(connection)?);
    let mut shapes = Known::new(connection.prepare_cached(ENDED)?, ended);
    let mut end = |shape| shapes.get(shape).map(|end| end.and_then(|end| *end));
    let mut found = Found::default();
    if whole.0 < whole.1 {
        let mut query = connection.prepare_cached(WHOLE)?;
        let mut rows = query.query([whole.0, whole.1])?;
        while let Some(row) = rows.next()? {
            found.add(row, class(row.get_ref(2)?.as_str()?), true)?;
        }
        let mut query = connection.prepare_cached(OPEN)?;
        let micros = |quarter: i64| quarter.saturating_mul(QUARTER);
        let mut rows = query.query([micros(whole.0), micros(whole.1)])?;
        while let Some(row) = rows.next()? {
            if end(row.get(1)?)?.is_none() {
                found.add(row, None, true)?;
            }
        }
    }
    for (edge, counts) in edges {
        let ids = edge.ids(connection)?;
        let mut query = connection.prepare_cached(EDGE)?;
        let mut rows = query.query(params![ids.from, ids.to, edge.from, edge.to])?;
        while let Some(row) = rows.next()? {
            let end = end(row.get(1)?)?;
            // One that is open is in no sum that it could be taken off.
            if end.is_none() && !counts {
                continue;
            }
            let error = row.get_ref(2)?.as_str_or_null()?;
            let class = end.and_then(|(outcome, status)| FailureClass::of(outcome, status, error));
            found.add(row, class, counts)?;
        }
    }
    Ok(found.sums())
}

/// How a call ended: as its shape says.
type End = Option<(Outcome, Option<u16>)>;

/// Subject, shape, and why they failed.
type Key = (i64, i64, Option<FailureClass>);
/// The figures, and when the last of them began.
type Figures = ([i64; FIGURES], i64);

const ENDED: &str = "SELECT outcome, status FROM shape WHERE id = ?";

/// `None` while they are open.
fn ended(row: &Row<'_>) -> rusqlite::Result<End> {
    let outcome = row.get_ref(0)?.as_str_or_null()?;
    // A word of another version is an end too.
    let outcome = outcome.map(|word| parse(word).unwrap_or(Outcome::Internal));
    let status = row.get(1)?;
    Ok(outcome.map(|outcome| (outcome, status)))
}

/// Words of another version are another version's failures.
fn class(word: &str) -> Option<FailureClass> {
    let known = FailureClass::ALL.into_iter().find(|class| class.word() == word);
    known.or_else(|| (!word.is_empty()).then_some(FailureClass::Other))
}

#[derive(Default)]
struct Found(HashMap<Key, Figures>);

impl Found {
    fn add(
        &mut self,
        row: &Row<'_>,
        class: Option<FailureClass>,
        counts: bool,
    ) -> rusqlite::Result<()> {
        let sum = self.0.entry((row.get(0)?, row.get(1)?, class)).or_default();
        for (index, figure) in sum.0.iter_mut().enumerate() {
            let more: i64 = row.get(4 + index)?;
            *figure =
                if counts { figure.saturating_add(more) } else { figure.saturating_sub(more) };
        }
        sum.1 = sum.1.max(row.get(3)?);
        Ok(())
    }

    fn sums(self) -> Vec<Sum> {
        let sums = self.0.into_iter().filter(|(_, (figures, _))| figures[0] > 0);
        let sum = |((subject, shape, class), (figures, last_at)): (_, Figures)| {
            let count = |index: usize| figures[index].max(0).unsigned_abs();
            Sum {
                subject,
                shape,
                class,
                calls: count(0),
                priced: count(1),
                cost: NanoUsd(figures[2]),
                alone: count(3),
                timed: count(4),
                latency: count(5),
                tokens: std::array::from_fn(|kind| count(6 + kind)),
                last_at,
            }
        };
        sums.map(sum).collect()
    }
}

/// When the first call can have begun, and from when on there is none.
fn ends(connection: &Connection) -> rusqlite::Result<Option<(i64, i64)>> {
    Range { from: 0, to: i64::MAX }.held(connection).map(|held| held.map(|it| (it.from, it.to)))
}

fn parts(range: Range, since: i64, held: Option<(i64, i64)>) -> Parts {
    let nothing = Parts { whole: (0, 0), edges: Vec::new() };
    let Some((first, end)) = held else { return nothing };
    let range = Range { from: range.from.max(first), to: range.to.min(end) };
    if range.from >= range.to {
        return nothing;
    }
    let each = || Parts { whole: (0, 0), edges: vec![(range, true)] };
    // What begins before the first call begins with it.
    let lead = if range.from == first { first / QUARTER } else { ceil(range.from) };
    let lead = lead.max(since);
    let begin = lead.saturating_mul(QUARTER);
    let mut tail = range.to / QUARTER;
    let mut edges = Vec::new();
    if range.to == end {
        tail = ceil(end);
    } else {
        let over = ceil(range.to);
        let before = Range { from: tail.saturating_mul(QUARTER), to: range.to };
        let after = Range { from: range.to, to: over.saturating_mul(QUARTER).min(end) };
        // The last quarter is read up to its end, or from it, whichever is nearer.
        if tail >= lead && after.to - after.from < before.to - before.from {
            tail = over;
            edges.push((after, false));
        } else if before.from < before.to {
            edges.push((before, true));
        }
    }
    if lead >= tail {
        return each();
    }
    if range.from < begin {
        edges.push((Range { from: range.from, to: begin }, true));
    }
    Parts { whole: (lead, tail), edges }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// How often a time is counted.
    fn counted(parts: &Parts, at: i64) -> i64 {
        let whole = (parts.whole.0..parts.whole.1).contains(&(at / QUARTER));
        let edges = parts.edges.iter().filter(|(edge, _)| (edge.from..edge.to).contains(&at));
        i64::from(whole) + edges.map(|(_, counts)| if *counts { 1 } else { -1 }).sum::<i64>()
    }

    proptest! {
        #[test]
        fn each_call_of_a_range_is_counted_once_and_no_other(
            from in 0..20 * QUARTER, length in 0..20 * QUARTER, since in 0..20_i64,
            first in 0..20 * QUARTER, held in 1..20 * QUARTER,
            open in any::<(bool, bool)>(), at in 0..40 * QUARTER,
        ) {
            let from = if open.0 { 0 } else { from };
            let to = if open.1 { i64::MAX } else { from + length };
            let end = first + held;
            let parts = parts(Range { from, to }, since, Some((first, end)));
            // Calls are where they are held to be.
            let at = first + at % held;
            let expected = i64::from((from..to).contains(&at));
            prop_assert_eq!(counted(&parts, at), expected, "{:?} at {}", parts, at);
            // Sums of before are not whole, and a long range is not read call by call.
            prop_assert!(parts.whole.0 >= since || parts.whole.0 >= parts.whole.1);
            let read: i64 = parts.edges.iter().map(|(edge, _)| edge.to - edge.from).sum();
            let old = (since * QUARTER - from.max(first)).max(0);
            prop_assert!(read <= 2 * QUARTER + old, "{:?}", parts);
        }
    }

    #[test]
    fn a_range_that_ends_now_is_read_from_now_on() {
        let (now, end) = (10 * QUARTER - 1_000, 10 * QUARTER - 10);
        let range = Range { from: 2 * QUARTER, to: now };
        let parts = parts(range, 0, Some((0, end)));
        assert_eq!(parts.whole, (2, 10));
        assert_eq!(parts.edges, [(Range { from: now, to: end }, false)]);
    }
}
