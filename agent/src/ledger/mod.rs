//! The ledger: every call a row on disk.
//!
//! ```text
//! call path ── Sink ──► queue ──► journal thread ──► STATE/journal/NNNNNN.jsonl ──► importer thread ──► STATE/ledger.db
//!                                  │ one write(2) per batch, then settlements are answered   one transaction per segment,
//!                                  └ sync thread: fdatasync for what stays longer            then the segment is deleted
//! ```
//!
//! The call path never touches a file. A settlement is confirmed when its line is with the kernel,
//! so that it survives the death of the process; within a second it is on the disk. At the next
//! start, segments left behind are imported, each exactly once, and calls still open are settled
//! as lost. When the disk is full or fails, calls go on: records wait in a bounded backlog, and
//! [`Ledger::health`] counts what did not fit. A damaged database is put aside and a new one begun.

mod error;
mod stats;
mod shape;
mod steps;
mod entry;
mod line;
mod queue;
mod segment;
mod pace;
mod journal;
mod sync;
mod recovery;
mod store;
mod aside;
mod importer;
mod reader;

#[cfg(test)]
mod sample;

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::Mutex;
use rustix::fs::{FlockOperation, flock};
use tokio::sync::oneshot;

use crate::clock::Clock;
use crate::record::{Connection, Durability, Opened, Record, Sink};

pub use error::LedgerError;
pub use journal::Fsync;
pub use reader::{
    AttemptRow, Bucket, CallDetail, CallQuery, CallRow, Coverage, CoverageReason, DecisionRow,
    Dimension, ProcessConnections, ProcessRow, Reader, SpendQuery, SpendRow, SpentRow, Unpriced,
};
pub use stats::Health;

use importer::{Importer, Recent};
use journal::Journal;
use queue::{Item, Queue};
use stats::{Stats, count};
use sync::Unsynced;

/// How long a flush waits for the database.
const FLUSH: Duration = Duration::from_secs(5);

/// How the ledger keeps records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// When a record reaches the disk (`ledger.sync`).
    pub sync: Fsync,
    /// How long rows are kept (`ledger.retention`).
    pub retention: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { sync: Fsync::EverySecond, retention: Duration::from_hours(90 * 24) }
    }
}

/// The one writer of a state directory's ledger.
pub struct Ledger {
    shared: Arc<Shared>,
    database: PathBuf,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Holds the directory against other processes.
    _lock: File,
}

/// What the call path, the threads and the readers have in common.
struct Shared {
    queue: Queue,
    stats: Arc<Stats>,
    unsynced: Unsynced,
    recent: Recent,
    numbers: Arc<AtomicU64>,
}

impl Ledger {
    /// Opens the ledger in `state_dir`, creating it where needed, and brings it up to date with
    /// what an earlier run left. Blocks; a ledger of a newer version is refused and left alone, a
    /// damaged one put aside.
    pub fn open(
        state_dir: &Path,
        settings: Settings,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, LedgerError> {
        let dir = state_dir.join("journal");
        let database = state_dir.join("ledger.db");
        let lock = lock(&dir)?;
        let (store, renewed) = aside::open(&database, clock.now().wall)?;
        let stats = Arc::<Stats>::default();
        count(&stats.renewed, usize::from(renewed));
        let shared = Arc::new(Shared {
            queue: Queue::new(Arc::clone(&stats)),
            stats,
            unsynced: Unsynced::default(),
            recent: Recent::default(),
            numbers: Arc::default(),
        });
        let (importer, next) = Importer::start(
            Arc::clone(&shared),
            store,
            (database.clone(), dir.clone()),
            clock,
            settings.retention,
        )?;
        let (jobs, inbox) = mpsc::channel();
        let journal = Journal::new(Arc::clone(&shared), dir.clone(), settings.sync, next, jobs);
        let mut threads = vec![
            spawn("weir-journal", move || journal.run())?,
            spawn("weir-import", move || importer.run(&inbox))?,
        ];
        if settings.sync == Fsync::EverySecond {
            let shared = Arc::clone(&shared);
            threads.push(spawn("weir-sync", move || {
                sync::run(&shared.unsynced, &dir, &shared.stats);
            })?);
        }
        Ok(Self { shared, database, threads: Mutex::new(threads), _lock: lock })
    }

    /// A reader of this ledger; cheap, and independent of other readers.
    pub fn reader(&self) -> Reader {
        Reader::new(Arc::clone(&self.shared), self.database.clone())
    }

    /// Brings everything recorded so far into the database; false where that was not possible.
    /// Blocks, normally for milliseconds.
    pub fn flush(&self) -> bool {
        self.shared.flush()
    }

    /// The ledger's own figures.
    pub fn health(&self) -> Health {
        self.shared.stats.health()
    }

    /// Damaged databases of this ledger that lie beside it, until somebody moves them away.
    pub fn put_aside(&self) -> Vec<PathBuf> {
        aside::databases(&self.database)
    }

    /// Takes no more records, writes what there is, and returns when it is in the database (or,
    /// where that is not possible, in the journal). Blocks. Doing it twice does nothing.
    pub fn close(&self) {
        self.shared.queue.close();
        let mut threads = self.threads.lock();
        // The sync thread last: it guards what the importer cannot import.
        for thread in threads.drain(..).enumerate() {
            let (index, thread) = thread;
            if index == 2 {
                self.shared.unsynced.close();
            }
            if thread.join().is_err() {
                tracing::error!("a thread of the ledger panicked");
            }
        }
    }
}

impl Sink for Ledger {
    fn open(&self, opened: Opened) {
        self.shared.queue.push(Item::Open(opened));
    }

    fn settle(&self, record: Arc<Record>) -> oneshot::Receiver<Durability> {
        let (answer, durability) = oneshot::channel();
        self.shared.queue.push(Item::Settle(record, answer));
        durability
    }

    fn connection(&self, connection: Connection) {
        self.shared.queue.push(Item::Connection(connection));
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        self.close();
    }
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ledger").field("database", &self.database).finish_non_exhaustive()
    }
}

impl Shared {
    fn flush(&self) -> bool {
        let (done, answer) = mpsc::sync_channel(1);
        self.queue.flush(done) && answer.recv_timeout(FLUSH).unwrap_or(false)
    }
}

/// Creates the journal's directory and locks it for this process.
fn lock(dir: &Path) -> Result<File, LedgerError> {
    let failed = |source| LedgerError::Directory { path: dir.to_owned(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(dir.join("lock"))
        .map_err(failed)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(LedgerError::Busy { path: dir.to_owned() }),
        Err(error) => Err(failed(io::Error::from(error))),
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, LedgerError> {
    thread::Builder::new().name(name.to_owned()).spawn(run).map_err(LedgerError::Thread)
}

#[cfg(test)]
mod tests;
