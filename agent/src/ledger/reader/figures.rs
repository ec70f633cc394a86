//! What calls came to, for trends: counts, times, tokens, users, and what policies did.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, Row, params};

use crate::ledger::acted;
use crate::ledger::store::parse;
use crate::llm::usage::{NanoUsd, Usage};
use crate::record::Outcome;

use super::known::{Known, owners};
use super::range::Range;
use super::sums::sums;

/// What the LLM calls of a stretch of time came to, those that are over.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CallFigures {
    /// Calls.
    pub calls: u64,
    /// Those that ended well.
    pub ok: u64,
    /// Those that were answered, or were to be: all but the refused, with a known duration.
    pub timed: u64,
    /// Time that those took together.
    pub took: Duration,
    /// Tokens of all kinds.
    pub tokens: u64,
    /// Users who made them.
    pub users: BTreeSet<u32>,
    /// Times that a policy held a call back or changed it; `None` where that was not kept.
    pub enforced: Option<u64>,
}

/// A call that a policy took to another model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// When it began.
    pub at: SystemTime,
    /// The provider asked.
    pub provider: String,
    /// The model asked for.
    pub model: String,
    /// What it used.
    pub usage: Usage,
    /// What it cost.
    pub cost: NanoUsd,
}

const WHAT: &str = "SELECT kind, outcome, acted FROM shape WHERE id = ?";

/// What is told of a shape: how its calls ended, and how often a policy did something to each.
struct What {
    outcome: Option<Outcome>,
    enforced: Option<u64>,
}

impl What {
    /// Of LLM calls that are over; `None` for others.
    fn read(row: &Row<'_>) -> rusqlite::Result<Option<Self>> {
        let outcome = row.get_ref(1)?.as_str_or_null()?;
        if row.get_ref(0)?.as_str()? != "call" || outcome.is_none() {
            return Ok(None);
        }
        let acted = row.get_ref(2)?.as_str_or_null()?;
        let count = |acted| u64::try_from(acted::enforced(acted)).unwrap_or(u64::MAX);
        Ok(Some(Self { outcome: outcome.and_then(parse), enforced: acted.map(count) }))
    }
}

/// Shapes of calls that were taken elsewhere are few, where there are any.
const SHAPES: &str = "SELECT id, acted FROM shape
    WHERE acted LIKE '%downgrade%' AND kind = 'call' AND model IS NOT NULL";

const MOVED: &str = "
    SELECT c.started_at, h.provider, h.model, c.cost_nanos, c.input, c.cache_read,
           c.cache_write_5m, c.cache_write_1h, c.output, c.reasoning, c.audio_input, c.audio_output
    FROM call c
    JOIN shape h ON h.id = c.shape
    JOIN subject s ON s.id = c.subject
    WHERE c.call_id >= ?1 AND c.call_id <= ?2 AND c.started_at >= ?3 AND c.started_at < ?4
      AND (?5 IS NULL OR s.uid = ?5) AND c.cost_nanos IS NOT NULL
      AND c.shape IN (SELECT value FROM json_each(?6))";

pub(super) fn figures(
    connection: &Connection,
    range: Range,
    uid: Option<u32>,
) -> rusqlite::Result<CallFigures> {
    let mut figures = CallFigures::default();
    let mut owners = owners(connection)?;
    let mut shapes = Known::new(connection.prepare_cached(WHAT)?, What::read);
    for sum in sums(connection, range)? {
        let Some(owner) = owners.get(sum.subject)? else { continue };
        let user = owner.0;
        let shape = shapes.get(sum.shape)?;
        let Some(Some(what)) = shape.as_deref().filter(|_| uid.is_none_or(|uid| uid == user))
        else {
            continue;
        };
        figures.users.insert(user);
        figures.calls += sum.calls;
        let tokens = sum.tokens.into_iter().fold(0, u64::saturating_add);
        figures.tokens = figures.tokens.saturating_add(tokens);
        if what.outcome == Some(Outcome::Ok) {
            figures.ok += sum.calls;
        }
        if what.outcome != Some(Outcome::Refused) {
            figures.timed += sum.timed;
            figures.took = figures.took.saturating_add(Duration::from_micros(sum.latency));
        }
        if let Some(enforced) = what.enforced {
            let all = figures.enforced.get_or_insert(0);
            *all = all.saturating_add(enforced.saturating_mul(sum.calls));
        }
    }
    Ok(figures)
}

pub(super) fn moved(
    connection: &Connection,
    range: Range,
    uid: Option<u32>,
    mut tell: impl FnMut(Moved),
) -> rusqlite::Result<()> {
    let mut query = connection.prepare_cached(SHAPES)?;
    let shapes = query.query_map([], |row| Ok((row.get::<_, i64>(0)?, is_moved(row)?)))?;
    let shapes: Vec<i64> = shapes
        .filter_map(|shape| shape.map(|(id, moved)| moved.then_some(id)).transpose())
        .collect::<Result<_, _>>()?;
    // Without one there is no need to look at any call.
    if shapes.is_empty() {
        return Ok(());
    }
    let ids = range.ids(connection)?;
    let shapes = serde_json::Value::from(shapes).to_string();
    let mut query = connection.prepare_cached(MOVED)?;
    let mut rows = query.query(params![ids.from, ids.to, range.from, range.to, uid, shapes])?;
    while let Some(row) = rows.next()? {
        tell(read(row)?);
    }
    Ok(())
}

fn is_moved(row: &Row<'_>) -> rusqlite::Result<bool> {
    let acted = row.get_ref(1)?.as_str()?;
    let mut by = acted::read(acted).filter(|(_, action)| *action == "downgrade");
    Ok(by.any(|(policy, _)| !acted::is_skipped(acted, policy)))
}

fn read(row: &Row<'_>) -> rusqlite::Result<Moved> {
    let number = |index| row.get::<_, i64>(index).map(i64::unsigned_abs);
    Ok(Moved {
        at: UNIX_EPOCH + Duration::from_micros(number(0)?),
        provider: row.get(1)?,
        model: row.get(2)?,
        cost: NanoUsd(row.get(3)?),
        usage: Usage {
            input: number(4)?,
            cache_read: number(5)?,
            cache_write_5m: number(6)?,
            cache_write_1h: number(7)?,
            output: number(8)?,
            reasoning: number(9)?,
            audio_input: number(10)?,
            audio_output: number(11)?,
        },
    })
}
