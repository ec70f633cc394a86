//! The importer thread: sealed segments into the database, in order, each in one transaction and
//! exactly once. When the database refuses, the segments stay on disk and are tried again.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::clock::{Clock, System};
use crate::record::CallId;

use super::Shared;
use super::entry::{Entry, micros};
use super::error::LedgerError;
use super::queue::Flush;
use super::stats::count;
use super::store::{Store, is_about_content};
use super::{aside, recovery, segment};

/// Time between attempts after the database refused.
const RETRY: Duration = Duration::from_millis(500);

/// Time between two looks for rows past retention.
const PRUNE_EVERY: Duration = Duration::from_mins(10);

/// Settlements remembered in the order in which they came, for those who follow.
const RECENT: usize = 8_192;

/// What the journal thread passes on.
pub(super) enum Job {
    Import(Sealed),
    /// Answered when everything before it is in the database, and whether it is; the flag tells
    /// whether everything was written to the journal.
    Flush(Flush, bool),
}

/// A segment that is complete.
pub(super) struct Sealed {
    pub(super) number: u64,
    /// Its entries, unless there were too many to keep.
    pub(super) entries: Option<Vec<Entry>>,
}

/// The latest settlements in the order in which they were imported.
#[derive(Default)]
pub(super) struct Recent(Mutex<VecDeque<CallId>>);

impl Recent {
    fn extend(&self, entries: &[Entry]) {
        let mut recent = self.0.lock();
        recent.extend(entries.iter().filter_map(|entry| match entry {
            Entry::Settle(call) => Some(call.id),
            Entry::Open(_) | Entry::Connection(_) => None,
        }));
        let excess = recent.len().saturating_sub(RECENT);
        recent.drain(..excess);
    }

    /// The last of them.
    pub(super) fn latest(&self) -> Option<CallId> {
        self.0.lock().back().copied()
    }

    /// Those after `last`, or `None` where that is not among them.
    pub(super) fn after(&self, last: CallId) -> Option<Vec<CallId>> {
        let recent = self.0.lock();
        let at = recent.iter().rposition(|it| *it == last)?;
        Some(recent.range(at + 1..).copied().collect())
    }
}

pub(super) struct Importer {
    shared: Arc<Shared>,
    store: Store,
    database: PathBuf,
    dir: PathBuf,
    clock: Arc<dyn Clock>,
    retention: Duration,
    pending: VecDeque<Sealed>,
    /// Calls open before this run still have to be settled, after the last segment of before.
    settle_after: Option<u64>,
    retry_at: Option<Instant>,
    prune_at: Instant,
}

#[derive(Debug, thiserror::Error)]
enum ImportError {
    #[error("{0}")]
    Database(#[from] rusqlite::Error),
    #[error("{0}")]
    File(#[from] io::Error),
}

impl Importer {
    /// Brings the database up to date with what an earlier run left. What cannot be imported now
    /// is tried again by [`Importer::run`].
    pub(super) fn start(
        shared: Arc<Shared>,
        store: Store,
        paths: (PathBuf, PathBuf),
        clock: Arc<dyn Clock>,
        (retention, predecessor): (Duration, bool),
    ) -> Result<(Self, u64), LedgerError> {
        let (database, dir) = paths;
        let leftovers = segment::numbers(&dir)
            .map_err(|source| LedgerError::Directory { path: dir.clone(), source })?;
        let imported = store
            .last_segment()
            .map_err(|source| LedgerError::Database { path: database.clone(), source })?;
        let last = leftovers.last().copied().unwrap_or(0).max(imported);
        count(&shared.stats.segments, leftovers.len());
        let pending = leftovers.into_iter().map(|number| Sealed { number, entries: None });
        let mut this = Self {
            pending: pending.collect(),
            shared,
            store,
            database,
            dir,
            clock,
            retention,
            // Calls of one that still runs are its own to settle.
            settle_after: (!predecessor).then_some(last),
            retry_at: None,
            prune_at: now(),
        };
        this.drain();
        Ok((this, last + 1))
    }

    /// Runs until the journal thread is gone and everything it passed on was tried.
    pub(super) fn run(mut self, jobs: &mpsc::Receiver<Job>) {
        loop {
            match jobs.recv_timeout(self.patience()) {
                Ok(Job::Import(sealed)) => {
                    self.pending.push_back(sealed);
                    self.drain_when_due();
                }
                Ok(Job::Flush(flush, written)) => {
                    self.drain_when_due();
                    // Whoever asked may have stopped waiting.
                    flush.try_send(written && self.pending.is_empty()).ok();
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.drain_when_due();
                    self.prune();
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.drain();
        if let Err(error) = self.store.checkpoint() {
            tracing::debug!(%error, "the ledger's log was not folded into its database");
        }
    }

    fn patience(&self) -> Duration {
        let due = self.retry_at.map_or(self.prune_at, |at| at.min(self.prune_at));
        due.saturating_duration_since(now())
    }

    fn drain_when_due(&mut self) {
        if self.retry_at.is_none_or(|at| now() >= at) {
            self.drain();
        } else {
            self.forget_entries();
        }
    }

    /// Imports what is pending, until the database refuses.
    fn drain(&mut self) {
        loop {
            if let Err(error) = self.step() {
                self.failed(&error);
                return;
            }
            if self.pending.is_empty() && self.settle_after.is_none() {
                break;
            }
        }
        if self.retry_at.take().is_some() {
            tracing::info!("the ledger's database can be written again");
        }
    }

    fn step(&mut self) -> Result<(), ImportError> {
        if let Some(last) = self.settle_after
            && self.pending.front().is_none_or(|it| it.number > last)
        {
            let lost = self.store.settle_open(micros(self.clock.now().wall))?;
            count(&self.shared.stats.lost_calls, lost);
            self.settle_after = None;
        }
        let Some(mut sealed) = self.pending.pop_front() else { return Ok(()) };
        let imported = self.import(&mut sealed);
        match imported {
            Ok(()) => {
                self.shared.unsynced.forget(sealed.number);
                self.shared.stats.segments.fetch_sub(1, Ordering::Relaxed);
                self.release(&mut sealed);
                // The database knows that it has this segment, should it stay.
                fs::remove_file(segment::path(&self.dir, sealed.number)).ok();
                Ok(())
            }
            Err(error) => {
                self.pending.push_front(sealed);
                Err(error)
            }
        }
    }

    fn import(&mut self, sealed: &mut Sealed) -> Result<(), ImportError> {
        let recovered;
        let entries = if let Some(entries) = &sealed.entries {
            entries
        } else {
            recovered = recovery::read(&self.dir, sealed.number, &self.shared.numbers)?;
            count(&self.shared.stats.corrupt_lines, recovered.corrupt);
            &recovered.entries
        };
        match self.store.import(sealed.number, entries) {
            Ok(()) => {
                self.shared.recent.extend(entries);
                Ok(())
            }
            Err(error) if is_about_content(&error) => {
                let (number, dir) = (sealed.number, &self.dir);
                self.store.import_singly(number, entries, |refused| {
                    tracing::error!(%error, number, refused = refused.len(), "records put aside");
                    count(&self.shared.stats.corrupt_lines, refused.len());
                    aside::records(dir, number, refused).map_err(ImportError::from)
                })?;
                self.shared.recent.extend(entries);
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn failed(&mut self, error: &ImportError) {
        count(&self.shared.stats.import_errors, 1);
        if self.retry_at.is_none() {
            tracing::warn!(%error, "cannot write the ledger's database: the journal is kept");
        }
        self.retry_at = Some(now() + RETRY);
        if let ImportError::Database(error) = error
            && aside::is_damage(error)
            && self.renew()
        {
            self.retry_at = Some(now());
            return;
        }
        // A connection that met an I/O error may keep failing after the cause is gone.
        if let Ok(store) = Store::open(&self.database) {
            self.store = store;
        }
    }

    /// Begins a new database in place of a damaged one; once, or a bad disk would be filled with
    /// them.
    fn renew(&mut self) -> bool {
        if self.shared.stats.renewed.load(Ordering::Relaxed) > 0 {
            return false;
        }
        match aside::open(&self.database, self.clock.now().wall) {
            Ok((store, renewed)) => {
                self.store = store;
                count(&self.shared.stats.renewed, usize::from(renewed));
                renewed
            }
            Err(error) => {
                tracing::warn!(%error, "no new database for the ledger yet");
                false
            }
        }
    }

    /// Lets go of what segments hold in memory: they are on disk.
    fn forget_entries(&mut self) {
        let mut pending = std::mem::take(&mut self.pending);
        for sealed in &mut pending {
            self.release(sealed);
        }
        self.pending = pending;
    }

    fn release(&self, sealed: &mut Sealed) {
        if let Some(entries) = sealed.entries.take() {
            self.shared.stats.in_memory.fetch_sub(entries.len() as u64, Ordering::Relaxed);
        }
    }

    fn prune(&mut self) {
        if now() < self.prune_at {
            return;
        }
        let cutoff = self.clock.now().wall.checked_sub(self.retention).map_or(0, micros);
        match self.store.prune(cutoff) {
            // More of it, but whatever came in meanwhile goes first.
            Ok(true) => {}
            Ok(false) => self.prune_at = now() + PRUNE_EVERY,
            Err(error) => {
                tracing::debug!(%error, "old rows stay in the ledger for now");
                self.prune_at = now() + PRUNE_EVERY;
            }
        }
    }
}

fn now() -> Instant {
    System.now().mono
}
