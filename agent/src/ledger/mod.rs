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
mod acted;
mod entry;
mod line;
mod queue;
mod segment;
mod pace;
mod journal;
mod forward;
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
    AttemptRow, Bucket, CallDetail, CallFigures, CallQuery, CallRow, Connected, Coverage,
    CoverageReason, DecisionRow, Dimension, Hits, Moved, ProcessConnections, ProcessRow, Quantiles,
    Reader, SpendQuery, SpendRow, SpentRow, Unpriced, WorkloadFigures,
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
    dir: PathBuf,
    settings: Settings,
    clock: Arc<dyn Clock>,
    running: Mutex<Running>,
}

/// What there is while records are written here.
#[derive(Default)]
struct Running {
    threads: Vec<JoinHandle<()>>,
    /// Holds the directory against other processes.
    lock: Option<File>,
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
        let this = Self::waiting(state_dir, settings, clock);
        this.begin(false)?;
        Ok(this)
    }

    /// A ledger that takes records in and writes none yet: another process still does. Follow with
    /// [`Self::begin`].
    pub fn waiting(state_dir: &Path, settings: Settings, clock: Arc<dyn Clock>) -> Self {
        let stats = Arc::<Stats>::default();
        let shared = Arc::new(Shared {
            queue: Queue::new(Arc::clone(&stats)),
            stats,
            unsynced: Unsynced::default(),
            recent: Recent::default(),
            numbers: Arc::default(),
        });
        let (database, dir) = (state_dir.join("ledger.db"), state_dir.join("journal"));
        Self { shared, database, dir, settings, clock, running: Mutex::default() }
    }

    /// Begins to write. Where there is a `predecessor` that still runs, the calls that are open are
    /// its own, and stay so. Blocks.
    pub fn begin(&self, predecessor: bool) -> Result<(), LedgerError> {
        let mut running = self.running.lock();
        let lock = lock(&self.dir)?;
        let (store, renewed) = aside::open(&self.database, self.clock.now().wall)?;
        count(&self.shared.stats.renewed, usize::from(renewed));
        let (importer, next) = Importer::start(
            Arc::clone(&self.shared),
            store,
            (self.database.clone(), self.dir.clone()),
            Arc::clone(&self.clock),
            (self.settings.retention, predecessor),
        )?;
        self.shared.queue.resume();
        self.shared.unsynced.open();
        let (jobs, inbox) = mpsc::channel();
        let (sync, dir) = (self.settings.sync, self.dir.clone());
        let journal = Journal::new(Arc::clone(&self.shared), dir.clone(), sync, next, jobs);
        running.threads = vec![
            spawn("weir-journal", move || journal.run())?,
            spawn("weir-import", move || importer.run(&inbox))?,
        ];
        if sync == Fsync::EverySecond {
            let shared = Arc::clone(&self.shared);
            running.threads.push(spawn("weir-sync", move || {
                sync::run(&shared.unsynced, &dir, &shared.stats);
            })?);
        }
        running.lock = Some(lock);
        Ok(())
    }

    /// Writes everything there is, and lets go of the files, for another process to go on with. What
    /// is recorded from then on waits, for [`Self::begin`] or [`Self::forward`]. Blocks.
    pub fn pause(&self) {
        self.shared.queue.pause();
        self.end();
    }

    /// Hands what is recorded to another process from now on: `send` passes lines on, and returns
    /// whether they are kept there.
    pub fn forward(
        &self,
        send: impl FnMut(&[u8]) -> io::Result<bool> + Send + 'static,
    ) -> Result<(), LedgerError> {
        let mut running = self.running.lock();
        self.shared.queue.resume();
        let shared = Arc::clone(&self.shared);
        running.threads.push(spawn("weir-forward", move || forward::run(&shared, send))?);
        Ok(())
    }

    /// Keeps lines that another process has handed over, as [`Self::forward`] sends them; the answer
    /// says whether they are kept.
    pub fn keep(&self, lines: &[u8]) -> oneshot::Receiver<Durability> {
        let (answer, durability) = oneshot::channel();
        self.shared.queue.push(Item::Foreign(forward::read(&self.shared, lines), answer));
        durability
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

    /// Whether the thread that writes the journal and the one that writes the database come to
    /// answer within `patience`, be it that neither can write. Blocks.
    pub fn answers(&self, patience: Duration) -> bool {
        let (done, answer) = mpsc::sync_channel(1);
        // A closed queue has nobody left to answer.
        !self.shared.queue.flush(done) || answer.recv_timeout(patience).is_ok()
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
        self.end();
    }

    fn end(&self) {
        let mut running = self.running.lock();
        // The sync thread last: it guards what the importer cannot import.
        for (index, thread) in running.threads.drain(..).enumerate() {
            if index == 2 {
                self.shared.unsynced.close();
            }
            if thread.join().is_err() {
                tracing::error!("a thread of the ledger panicked");
            }
        }
        running.lock = None;
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
