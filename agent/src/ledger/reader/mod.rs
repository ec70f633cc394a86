//! Questions to the ledger. All block; none holds up the writer.

mod query;
mod rows;
mod form;
mod range;
mod known;
mod sums;
mod coverage;
mod spend;
mod calls;
mod processes;
mod contacts;
mod figures;
mod workload;
mod spent;
mod errors;
mod hourly;

use std::ops::Range as Hours;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::SystemTime;

use parking_lot::Mutex;
use rusqlite::Connection;

use crate::record::CallId;

pub use contacts::Contact;
pub use query::{Bucket, CallQuery, Dimension, ErrorQuery, ErrorsBy, SpendQuery};
pub use rows::{
    AttemptRow, Availability, CallDetail, CallRow, Coverage, CoverageReason, DecisionRow, ErrorRow,
    Errors, HourRow, ProcessConnections, ProcessRow, SpendRow, Unpriced,
};

pub use figures::{CallFigures, Moved};
pub use spent::SpentRow;
pub use workload::{Connected, Hits, Quantiles, WorkloadFigures};

use super::Shared;
use super::error::LedgerError;
use super::store;
use range::Range;

/// Connections kept open between questions.
const IDLE: usize = 2;

/// Reads a ledger. Every question sees all that was recorded before it was asked, unless the
/// database cannot be written at the moment.
#[derive(Clone)]
pub struct Reader {
    shared: Arc<Shared>,
    database: PathBuf,
    /// Each with the number of new databases begun before it was opened: one to a database that
    /// was put aside since is of no use.
    idle: Arc<Mutex<Vec<(u64, Connection)>>>,
}

impl Reader {
    pub(super) fn new(shared: Arc<Shared>, database: PathBuf) -> Self {
        Self { shared, database, idle: Arc::default() }
    }

    /// Spend in groups, most expensive first within each bucket of time.
    pub fn spend(&self, query: &SpendQuery) -> Result<Vec<SpendRow>, LedgerError> {
        self.ask(|connection| spend::spend(connection, query))
    }

    /// Calls in the order in which they started; with `after`, in the order in which they ended.
    pub fn calls(&self, query: &CallQuery) -> Result<Vec<CallRow>, LedgerError> {
        self.ask(|connection| {
            let ended = query.after.map(|last| self.shared.recent.after(last));
            calls::calls(connection, query, ended.flatten())
        })
    }

    /// The first `limit` calls in the order in which they began; after `after`, where it is named.
    pub fn page(&self, query: &CallQuery, limit: usize) -> Result<Vec<CallRow>, LedgerError> {
        self.ask(|connection| calls::page(connection, query, limit))
    }

    /// What the LLM calls of each stretch of time came to.
    pub fn figures(
        &self,
        spans: &[(SystemTime, SystemTime)],
        uid: Option<u32>,
    ) -> Result<Vec<CallFigures>, LedgerError> {
        self.ask(|connection| {
            let span = |(since, until): &(_, _)| {
                let range = Range::new(Some(*since), Some(*until));
                figures::figures(connection, range, uid)
            };
            spans.iter().map(span).collect()
        })
    }

    /// Calls of a stretch of time that a policy took to another model than they asked for, and that
    /// have a known cost: told one by one, however many there are.
    pub fn moved(
        &self,
        (since, until): (SystemTime, SystemTime),
        uid: Option<u32>,
        tell: impl FnMut(Moved),
    ) -> Result<(), LedgerError> {
        let range = Range::new(Some(since), Some(until));
        self.ask(|connection| figures::moved(connection, range, uid, tell))
    }

    /// What is known of one workload since a time, beside its spend; `None` where it was never seen.
    pub fn workload(
        &self,
        name: &str,
        since: SystemTime,
        uid: Option<u32>,
    ) -> Result<Option<WorkloadFigures>, LedgerError> {
        self.ask(|connection| {
            workload::figures(connection, Range::new(Some(since), None), (name, uid))
        })
    }

    /// The call that ended last in this run of the agent: where following begins.
    pub fn latest(&self) -> Option<CallId> {
        self.shared.flush();
        self.shared.recent.latest()
    }

    /// Everything kept about one call.
    pub fn call(&self, id: CallId) -> Result<Option<CallDetail>, LedgerError> {
        self.ask(|connection| calls::detail(connection, id))
    }

    /// The latest calls of a process, in the order in which they started.
    pub fn by_pid(&self, pid: u32, last: usize) -> Result<Vec<CallRow>, LedgerError> {
        self.ask(|connection| calls::by_pid(connection, pid, last))
    }

    /// Processes with calls or connections since a time, the latest first.
    pub fn processes(
        &self,
        since: Option<SystemTime>,
        uid: Option<u32>,
    ) -> Result<Vec<ProcessRow>, LedgerError> {
        self.ask(|connection| processes::processes(connection, Range::new(since, None), uid))
    }

    /// Which workloads were seen with which providers, and when first.
    pub fn contacts(&self) -> Result<Vec<Contact>, LedgerError> {
        self.ask(contacts::contacts)
    }

    /// The metered share of LLM connections since a time.
    pub fn coverage(
        &self,
        since: Option<SystemTime>,
        uid: Option<u32>,
    ) -> Result<Coverage, LedgerError> {
        self.ask(|connection| coverage::coverage(connection, Range::new(since, None), uid))
    }

    /// Models whose calls since a time have no known cost.
    pub fn unpriced(
        &self,
        since: Option<SystemTime>,
        uid: Option<u32>,
    ) -> Result<Vec<Unpriced>, LedgerError> {
        self.ask(|connection| spend::unpriced(connection, Range::new(since, None), uid))
    }

    /// What calls since a time used, in no order: sums over short stretches of time.
    pub fn spent(&self, since: SystemTime, now: SystemTime) -> Result<Vec<SpentRow>, LedgerError> {
        self.ask(|connection| spent::spent(connection, since, now))
    }

    /// Why calls failed, and how available providers were.
    pub fn errors(&self, query: &ErrorQuery) -> Result<Errors, LedgerError> {
        self.ask(|connection| errors::errors(connection, query))
    }

    /// What workloads spent in each of these hours since 1970.
    pub fn hourly(&self, hours: Hours<u64>) -> Result<Vec<HourRow>, LedgerError> {
        self.ask(|connection| hourly::hourly(connection, hours.clone()))
    }

    /// The first hour since 1970 in which each workload is known to have been there.
    pub fn first_hours(&self) -> Result<Vec<(String, u64)>, LedgerError> {
        self.ask(hourly::first_hours)
    }

    fn ask<T>(
        &self,
        question: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, LedgerError> {
        // Where this fails, the answer is as old as the last import.
        self.shared.flush();
        let renewed = self.shared.stats.renewed.load(Relaxed);
        let idle = self.idle.lock().pop();
        let failed = |source| LedgerError::Database { path: self.database.clone(), source };
        let connection = match idle {
            Some((of, connection)) if of == renewed => connection,
            _ => store::read_only(&self.database).map_err(failed)?,
        };
        // All of an answer is about the same moment.
        let answer = connection.unchecked_transaction().and_then(|moment| question(&moment));
        let answer = answer.map_err(failed)?;
        let mut idle = self.idle.lock();
        if idle.len() < IDLE {
            idle.push((renewed, connection));
        }
        Ok(answer)
    }
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("database", &self.database).finish_non_exhaustive()
    }
}
