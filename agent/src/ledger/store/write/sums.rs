//! What the entries of a batch come to, by quarters of an hour: see `sums.sql`.

use std::sync::Arc;

use foldhash::HashMap;
use rusqlite::{Connection, OptionalExtension as _, params};

use crate::ledger::entry::{Call, LinkFacts};
use crate::ledger::store::{parse, word};
use crate::record::{FailureClass, Outcome, Treatment};

/// A quarter of an hour in microseconds. Every time zone begins its days at one.
pub(in crate::ledger) const QUARTER: i64 = 900_000_000;

const PUT_CALLS: &str = "INSERT INTO call_sum
    (quarter, subject, shape, class, calls, priced, cost_nanos, alone, timed, latency_us,
     input, cache_read, cache_write_5m, cache_write_1h, output, reasoning, audio_input,
     audio_output, last_at)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT DO UPDATE SET
      calls = calls + excluded.calls, priced = priced + excluded.priced,
      cost_nanos = cost_nanos + excluded.cost_nanos, alone = alone + excluded.alone,
      timed = timed + excluded.timed, latency_us = latency_us + excluded.latency_us,
      input = input + excluded.input, cache_read = cache_read + excluded.cache_read,
      cache_write_5m = cache_write_5m + excluded.cache_write_5m,
      cache_write_1h = cache_write_1h + excluded.cache_write_1h,
      output = output + excluded.output, reasoning = reasoning + excluded.reasoning,
      audio_input = audio_input + excluded.audio_input,
      audio_output = audio_output + excluded.audio_output,
      last_at = max(last_at, excluded.last_at)";

const PUT_CONNECTIONS: &str = "INSERT INTO connection_sum
    (quarter, subject, provider, treatment, reason, failed, connections, bytes_up, bytes_down,
     first_opened, last_opened, last_at)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT DO UPDATE SET
      connections = connections + excluded.connections,
      bytes_up = bytes_up + excluded.bytes_up, bytes_down = bytes_down + excluded.bytes_down,
      first_opened = min(first_opened, excluded.first_opened),
      last_opened = max(last_opened, excluded.last_opened),
      last_at = max(last_at, excluded.last_at)";

/// A call that is in the database already.
const FOUND: &str = "
    SELECT c.started_at, c.subject, c.shape, h.outcome, h.status, c.error, c.cost_nanos,
           c.only_attempt_us, c.latency_us, c.input, c.cache_read, c.cache_write_5m,
           c.cache_write_1h, c.output, c.reasoning, c.audio_input, c.audio_output
    FROM call c JOIN shape h ON h.id = c.shape WHERE c.call_id = ?";

/// Sums that are still to be written.
#[derive(Default)]
pub(super) struct Sums {
    calls: HashMap<(i64, i64, i64, Option<FailureClass>), CallSum>,
    links: HashMap<LinkKey, LinkSum>,
}

/// In the order of the table.
#[derive(Clone, Copy, Default)]
struct CallSum {
    calls: i64,
    priced: i64,
    cost: i64,
    alone: i64,
    timed: i64,
    latency: i64,
    tokens: [i64; 8],
    last_at: i64,
}

#[derive(PartialEq, Eq, Hash)]
struct LinkKey {
    quarter: i64,
    subject: i64,
    provider: Arc<str>,
    treatment: Treatment,
    reason: Arc<str>,
    failed: bool,
}

struct LinkSum {
    connections: i64,
    bytes: (i64, i64),
    opened: (i64, i64),
    last_at: i64,
}

impl Sums {
    /// Counts a call that is over.
    pub(super) fn add(&mut self, call: &Call, (subject, shape): (i64, i64)) {
        let Some(outcome) = call.shape.value.outcome else { return };
        let class = FailureClass::of(outcome, call.shape.value.status, call.error.as_deref());
        let it = &call.figures;
        let [read, short, long, reasoning, audio_in, audio_out] = it.rarer;
        let (input, output) = it.tokens;
        let sum = CallSum {
            calls: 1,
            priced: it.cost.is_some().into(),
            cost: it.cost.unwrap_or(0),
            alone: it.only.is_some().into(),
            timed: it.latency.is_some().into(),
            latency: it.latency.unwrap_or(0),
            tokens: [input, read, short, long, output, reasoning, audio_in, audio_out],
            last_at: call.at,
        };
        self.calls.entry((call.at / QUARTER, subject, shape, class)).or_default().add(&sum);
    }

    /// Counts no longer what a call came to that is about to be written again.
    pub(super) fn take_back(&mut self, connection: &Connection, id: &str) -> rusqlite::Result<()> {
        let found = connection
            .prepare_cached(FOUND)?
            .query_row([id], |row| {
                let outcome: Option<Outcome> = row.get_ref(3)?.as_str_or_null()?.and_then(parse);
                // One that is open has not been counted.
                let Some(outcome) = outcome else { return Ok(None) };
                let error = row.get_ref(5)?.as_str_or_null()?;
                let class = FailureClass::of(outcome, row.get(4)?, error);
                let at: i64 = row.get(0)?;
                let [cost, only, latency] =
                    [row.get(6)?, row.get(7)?, row.get(8)?] as [Option<i64>; 3];
                let mut sum = CallSum {
                    calls: -1,
                    priced: -i64::from(cost.is_some()),
                    cost: -cost.unwrap_or(0),
                    alone: -i64::from(only.is_some()),
                    timed: -i64::from(latency.is_some()),
                    latency: -latency.unwrap_or(0),
                    tokens: [0; 8],
                    last_at: at,
                };
                for (index, kind) in sum.tokens.iter_mut().enumerate() {
                    *kind = -row.get::<_, i64>(9 + index)?;
                }
                Ok(Some(((at / QUARTER, row.get(1)?, row.get(2)?, class), sum)))
            })
            .optional()?;
        if let Some((key, sum)) = found.flatten() {
            self.calls.entry(key).or_default().add(&sum);
        }
        Ok(())
    }

    /// Counts a connection.
    pub(super) fn connection(&mut self, subject: i64, it: &LinkFacts) {
        let key = LinkKey {
            quarter: it.closed_at / QUARTER,
            subject,
            provider: Arc::clone(&it.provider),
            treatment: it.treatment,
            reason: Arc::clone(&it.reason),
            failed: it.failed,
        };
        let sum = self.links.entry(key).or_insert(LinkSum {
            connections: 0,
            bytes: (0, 0),
            opened: (it.opened_at, it.opened_at),
            last_at: it.closed_at,
        });
        sum.connections += 1;
        sum.bytes.0 = sum.bytes.0.saturating_add(it.bytes_up);
        sum.bytes.1 = sum.bytes.1.saturating_add(it.bytes_down);
        sum.opened = (sum.opened.0.min(it.opened_at), sum.opened.1.max(it.opened_at));
        sum.last_at = sum.last_at.max(it.closed_at);
    }

    /// Writes them.
    pub(super) fn write(self, connection: &Connection) -> rusqlite::Result<()> {
        for ((quarter, subject, shape, class), it) in self.calls {
            let [input, read, short, long, output, reasoning, audio_in, audio_out] = it.tokens;
            connection.prepare_cached(PUT_CALLS)?.execute(params![
                quarter,
                subject,
                shape,
                class.map_or("", FailureClass::word),
                it.calls,
                it.priced,
                it.cost,
                it.alone,
                it.timed,
                it.latency,
                input,
                read,
                short,
                long,
                output,
                reasoning,
                audio_in,
                audio_out,
                it.last_at,
            ])?;
        }
        for (key, it) in self.links {
            connection.prepare_cached(PUT_CONNECTIONS)?.execute(params![
                key.quarter,
                key.subject,
                key.provider,
                word(&key.treatment),
                key.reason,
                key.failed,
                it.connections,
                it.bytes.0,
                it.bytes.1,
                it.opened.0,
                it.opened.1,
                it.last_at,
            ])?;
        }
        Ok(())
    }
}

impl CallSum {
    fn add(&mut self, other: &Self) {
        for (mine, theirs) in [
            (&mut self.calls, other.calls),
            (&mut self.priced, other.priced),
            (&mut self.cost, other.cost),
            (&mut self.alone, other.alone),
            (&mut self.timed, other.timed),
            (&mut self.latency, other.latency),
        ] {
            *mine = mine.saturating_add(theirs);
        }
        for (mine, theirs) in self.tokens.iter_mut().zip(other.tokens) {
            *mine = mine.saturating_add(theirs);
        }
        self.last_at = self.last_at.max(other.last_at);
    }
}
