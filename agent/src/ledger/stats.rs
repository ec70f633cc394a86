//! What the ledger counts about itself: every bound it has, and every record it could not keep.

use std::sync::atomic::{AtomicU64, Ordering};

/// The ledger's own figures at one moment; counters run from the start of the process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Health {
    /// Records waiting to be written to the journal.
    pub backlog: u64,
    /// Journal segments waiting to be imported into the database.
    pub segments: u64,
    /// Records given up: the queue or the backlog was full, or they came after the end.
    pub dropped: u64,
    /// Writes to the journal that failed.
    pub write_errors: u64,
    /// Calls to fdatasync that failed.
    pub sync_errors: u64,
    /// Imports into the database that failed; each is tried again.
    pub import_errors: u64,
    /// Journal lines that could not be read back; they are kept in `*.corrupt`.
    pub corrupt_lines: u64,
    /// Calls found open at start and settled as lost.
    pub lost_calls: u64,
    /// Damaged databases put aside, and new ones begun.
    pub renewed: u64,
}

#[derive(Debug, Default)]
pub(super) struct Stats {
    pub(super) queued: AtomicU64,
    pub(super) backlog: AtomicU64,
    pub(super) segments: AtomicU64,
    /// Entries of sealed segments still held in memory.
    pub(super) in_memory: AtomicU64,
    pub(super) dropped: AtomicU64,
    pub(super) write_errors: AtomicU64,
    pub(super) sync_errors: AtomicU64,
    pub(super) import_errors: AtomicU64,
    pub(super) corrupt_lines: AtomicU64,
    pub(super) lost_calls: AtomicU64,
    pub(super) renewed: AtomicU64,
}

impl Stats {
    pub(super) fn health(&self) -> Health {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Health {
            backlog: read(&self.queued) + read(&self.backlog),
            segments: read(&self.segments),
            dropped: read(&self.dropped),
            write_errors: read(&self.write_errors),
            sync_errors: read(&self.sync_errors),
            import_errors: read(&self.import_errors),
            corrupt_lines: read(&self.corrupt_lines),
            lost_calls: read(&self.lost_calls),
            renewed: read(&self.renewed),
        }
    }
}

/// Adds to a counter.
pub(super) fn count(counter: &AtomicU64, by: usize) {
    counter.fetch_add(by as u64, Ordering::Relaxed);
}

/// Sets a gauge.
pub(super) fn set(gauge: &AtomicU64, to: usize) {
    gauge.store(to as u64, Ordering::Relaxed);
}
