//! One batch of entries, one transaction. Written twice, it leaves the same rows.

mod decisions;
mod lost;
mod singly;
mod sums;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use rusqlite::{CachedStatement, Connection, params};

use crate::record::CallId;
use crate::subject::Subject;

use super::super::entry::{Call, Entry, Link};
use super::super::shape::{Known, KnownSubject, Shape};
use super::{ID_SKEW, Row, SEGMENT, Store, put_meta, word};

pub(in crate::ledger) use singly::is_about_content;
pub(in crate::ledger) use sums::QUARTER;

use sums::Sums;

/// Calls whose decisions share a row: a row of its own for each would double the cost of a call.
const DECISIONS: usize = 32;

/// Rows remembered per table before the memory is cleared; a row is then written again.
const REMEMBERED: usize = 8_192;

const MINUTE: i64 = 60_000_000;
const HOUR: i64 = 60 * MINUTE;

/// What most calls need; the rest keeps its defaults.
const PUT_USUAL: &str = "INSERT INTO call
    (call_id, started_at, subject, shape, latency_us, upstream_us, input, output, cost_nanos,
     bytes_in, bytes_out, only_attempt_after_us, only_attempt_us, decision)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING";

const PUT_FULL: &str = "INSERT INTO call
    (call_id, started_at, subject, shape, latency_us, upstream_us, input, output, cost_nanos,
     bytes_in, bytes_out, only_attempt_after_us, only_attempt_us, decision,
     ttft_us, cache_read, cache_write_5m, cache_write_1h, reasoning, audio_input, audio_output,
     retry_of, error)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT DO NOTHING";

const DELETE: &str = "DELETE FROM call WHERE call_id = ?";

const PUT_OPEN: &str = "INSERT OR IGNORE INTO call (call_id, started_at, subject, shape)
    VALUES (?, ?, ?, ?)";

const PUT_ATTEMPT: &str = "INSERT OR REPLACE INTO attempt
    (call_id, n, provider, model, started_at, status, outcome, upstream_us, cost_nanos)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)";

const PUT_CONNECTION: &str = "INSERT INTO connection
    (opened_at, closed_at, subject, provider, host, treatment, reason, bytes_up, bytes_down, failed)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

const PUT_SUBJECT: &str = "INSERT INTO subject
    (pid, start_ticks, exe, command, uid, user, verified, workload, unit, container, pod, app,
     first_seen, last_seen)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

const PUT_SHAPE: &str = "INSERT INTO shape
    (kind, via, environment, team, account, agent_name, provider, host, operation, method, path,
     model, model_served, stream, status, outcome, usage_source, billing, price_version, attempts,
     flags, acted, last_used)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

impl Store {
    /// Writes a segment's entries, unless they are in the database already.
    pub(in crate::ledger) fn import(
        &mut self,
        segment: u64,
        entries: &[Entry],
    ) -> rusqlite::Result<()> {
        if segment <= self.last_segment()? {
            return Ok(());
        }
        let transaction = self.connection.transaction()?;
        let mut batch = Batch {
            connection: &transaction,
            put_usual: transaction.prepare_cached(PUT_USUAL)?,
            put_full: transaction.prepare_cached(PUT_FULL)?,
            subjects: &mut self.subjects,
            shapes: &mut self.shapes,
            id_skew: self.id_skew,
            sums: Sums::default(),
        };
        let written = batch.write(entries);
        let id_skew = batch.id_skew;
        drop(batch);
        let written = written.and_then(|()| {
            if id_skew > self.id_skew {
                put_meta(&transaction, ID_SKEW, id_skew)?;
            }
            put_meta(&transaction, SEGMENT, i64::try_from(segment).unwrap_or(i64::MAX))?;
            transaction.commit()
        });
        if written.is_ok() {
            self.id_skew = id_skew;
        } else {
            // Rows written in this transaction are gone.
            self.subjects.clear();
            self.shapes.clear();
        }
        written
    }
}

struct Batch<'a> {
    connection: &'a Connection,
    /// Prepared once per batch: even finding them in the cache would be felt per call.
    put_usual: CachedStatement<'a>,
    put_full: CachedStatement<'a>,
    subjects: &'a mut HashMap<u64, Row>,
    shapes: &'a mut HashMap<u64, Row>,
    id_skew: i64,
    sums: Sums,
}

impl Batch<'_> {
    fn write(&mut self, entries: &[Entry]) -> rusqlite::Result<()> {
        let (mut settled, mut opened) = (Vec::new(), Vec::new());
        for entry in entries {
            match entry {
                Entry::Settle(call) => settled.push(&**call),
                Entry::Open(call) => opened.push(&**call),
                Entry::Connection(link) => self.put_connection(link)?,
            }
        }
        if !opened.is_empty() {
            let over: HashSet<CallId> = settled.iter().map(|it| it.id).collect();
            opened.retain(|it| !over.contains(&it.id));
            for call in opened {
                self.put_open(call)?;
            }
        }
        // In the order of the table, so that most rows are simply appended.
        settled.sort_unstable_by_key(|it| it.id);
        for group in settled.chunks(DECISIONS) {
            let decision = self.put_decisions(group)?;
            for call in group {
                self.put_call(call, decision)?;
            }
        }
        std::mem::take(&mut self.sums).write(self.connection)
    }

    fn put_call(&mut self, call: &Call, decision: Option<i64>) -> rusqlite::Result<()> {
        self.note_skew(call);
        let subject = self.subject(&call.subject, call.at)?;
        let shape = self.shape(&call.shape, call.at)?;
        let mut text = [0; ulid::ULID_LEN];
        let id = &*call.id.0.array_to_str(&mut text);
        let decision = call.steps.json.as_ref().and(decision);
        if !self.put_row((id, call), (subject, shape), decision)? {
            // It was opened in an earlier batch.
            self.sums.take_back(self.connection, id)?;
            self.connection.prepare_cached(DELETE)?.execute([id])?;
            self.put_row((id, call), (subject, shape), decision)?;
        }
        self.sums.add(call, (subject, shape));
        for (n, attempt) in (0_i64..).zip(&call.tries) {
            self.connection.prepare_cached(PUT_ATTEMPT)?.execute(params![
                id,
                n,
                attempt.provider,
                attempt.model,
                attempt.at,
                attempt.status,
                word(&attempt.outcome),
                attempt.upstream,
                attempt.cost,
            ])?;
        }
        Ok(())
    }

    /// Writes a call's own row; false where there is one already.
    fn put_row(
        &mut self,
        (id, call): (&str, &Call),
        (subject, shape): (i64, i64),
        decision: Option<i64>,
    ) -> rusqlite::Result<bool> {
        let it = &call.figures;
        let (after, took) = it.only.unzip();
        let usual = it.ttft.is_none()
            && it.rarer == [0; 6]
            && it.retry_of.is_none()
            && call.error.is_none();
        let written = if usual {
            self.put_usual.execute(params![
                id,
                call.at,
                subject,
                shape,
                it.latency,
                it.upstream,
                it.tokens.0,
                it.tokens.1,
                it.cost,
                it.bytes_in,
                it.bytes_out,
                after,
                took,
                decision,
            ])?
        } else {
            let [read, short, long, reasoning, audio_in, audio_out] = it.rarer;
            let retry_of = it.retry_of.map(|id| id.to_string());
            self.put_full.execute(params![
                id,
                call.at,
                subject,
                shape,
                it.latency,
                it.upstream,
                it.tokens.0,
                it.tokens.1,
                it.cost,
                it.bytes_in,
                it.bytes_out,
                after,
                took,
                decision,
                it.ttft,
                read,
                short,
                long,
                reasoning,
                audio_in,
                audio_out,
                retry_of,
                call.error,
            ])?
        };
        Ok(written > 0)
    }

    fn put_open(&mut self, call: &Call) -> rusqlite::Result<()> {
        self.note_skew(call);
        let subject = self.subject(&call.subject, call.at)?;
        let shape = self.shape(&call.shape, call.at)?;
        let mut text = [0; ulid::ULID_LEN];
        let id = &*call.id.0.array_to_str(&mut text);
        self.connection.prepare_cached(PUT_OPEN)?.execute(params![id, call.at, subject, shape])?;
        Ok(())
    }

    /// The decisions of these calls as one row, if there are any.
    fn put_decisions(&self, calls: &[&Call]) -> rusqlite::Result<Option<i64>> {
        let Some((last_at, steps)) = decisions::together(calls) else { return Ok(None) };
        self.connection
            .prepare_cached("INSERT INTO decision (last_at, steps) VALUES (?, ?)")?
            .insert(params![last_at, steps])
            .map(Some)
    }

    fn put_connection(&mut self, link: &Link) -> rusqlite::Result<()> {
        let it = &link.facts;
        let subject = self.subject(&link.subject, it.closed_at)?;
        self.connection.prepare_cached(PUT_CONNECTION)?.execute(params![
            it.opened_at,
            it.closed_at,
            subject,
            it.provider,
            it.host,
            word(&it.treatment),
            it.reason,
            it.bytes_up,
            it.bytes_down,
            it.failed,
        ])?;
        self.sums.connection(subject, it);
        Ok(())
    }

    fn subject(&mut self, known: &Arc<KnownSubject>, at: i64) -> rusqlite::Result<i64> {
        if let Some(row) = self.subjects.get_mut(&known.number) {
            if at >= row.touched + MINUTE {
                touch(self.connection, "UPDATE subject SET last_seen = ? WHERE id = ?", at, row)?;
            }
            return Ok(row.id);
        }
        let Subject { process: p, workload: w } = &*known.value;
        let ticks = i64::try_from(p.start_ticks).unwrap_or(i64::MAX);
        let id = self.connection.prepare_cached(PUT_SUBJECT)?.insert(params![
            p.pid,
            ticks,
            p.exe,
            p.command,
            p.uid,
            p.user,
            p.verified,
            w.name,
            w.unit,
            w.container,
            w.pod,
            w.app,
            at,
            at,
        ])?;
        remember(self.subjects, known.number, Row { id, touched: at });
        Ok(id)
    }

    fn shape(&mut self, known: &Arc<Known<Shape>>, at: i64) -> rusqlite::Result<i64> {
        if let Some(row) = self.shapes.get_mut(&known.number) {
            if at >= row.touched + HOUR {
                touch(self.connection, "UPDATE shape SET last_used = ? WHERE id = ?", at, row)?;
            }
            return Ok(row.id);
        }
        let it = &known.value;
        let flags = it.flags.iter().map(word).collect::<Vec<_>>().join(",");
        let id = self.connection.prepare_cached(PUT_SHAPE)?.insert(params![
            word(&it.kind),
            word(&it.via),
            it.environment,
            it.team,
            it.account,
            it.agent_name,
            it.provider,
            it.host,
            it.operation,
            it.method,
            it.path,
            it.model,
            it.model_served,
            it.stream,
            it.status,
            it.outcome.as_ref().map(word),
            word(&it.usage_source),
            word(&it.billing),
            it.price_version,
            it.attempts,
            flags,
            it.acted,
            at,
        ])?;
        remember(self.shapes, known.number, Row { id, touched: at });
        Ok(id)
    }

    fn note_skew(&mut self, call: &Call) {
        let in_id = i64::try_from(call.id.0.timestamp_ms()).unwrap_or(i64::MAX);
        let skew = in_id.saturating_mul(1_000).saturating_sub(call.at).saturating_abs();
        self.id_skew = self.id_skew.max(skew);
    }
}

fn touch(connection: &Connection, sql: &str, at: i64, row: &mut Row) -> rusqlite::Result<()> {
    connection.prepare_cached(sql)?.execute([at, row.id])?;
    row.touched = at;
    Ok(())
}

fn remember(rows: &mut HashMap<u64, Row>, number: u64, row: Row) {
    if rows.len() >= REMEMBERED {
        rows.clear();
    }
    rows.insert(number, row);
}
