//! The sync thread: bounds what a power cut can take.
//!
//! The importer commits with a full sync some 200 ms after a record was written, and then deletes
//! its segment, so that in a healthy ledger there is nothing to do here and the journal's pages
//! hardly ever reach the disk. This thread sees to those segments that are still there when
//! three quarters of a second have gone by.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::stats::{Stats, count};

const TICK: Duration = Duration::from_millis(250);

/// Bytes seen unsynced on this many ticks are synced: written less than `TICKS` × `TICK` ago.
const TICKS: u32 = 3;

/// The segments that are not yet safe in the database.
#[derive(Default)]
pub(super) struct Unsynced {
    state: Mutex<State>,
    changed: Condvar,
    /// A sync failed: its segment takes nothing more, since the kernel may have dropped its pages
    /// and will not say so twice. The database gets the records from memory.
    pub(super) failed: AtomicBool,
}

#[derive(Default)]
struct State {
    segments: BTreeMap<u64, Arc<Watched>>,
    closed: bool,
}

pub(super) struct Watched {
    file: Arc<File>,
    pub(super) written: AtomicU64,
}

impl Unsynced {
    pub(super) fn watch(&self, number: u64, file: Arc<File>) -> Arc<Watched> {
        let watched = Arc::new(Watched { file, written: AtomicU64::new(0) });
        self.state.lock().segments.insert(number, Arc::clone(&watched));
        self.changed.notify_one();
        watched
    }

    pub(super) fn forget(&self, number: u64) {
        self.state.lock().segments.remove(&number);
    }

    pub(super) fn open(&self) {
        self.state.lock().closed = false;
    }

    pub(super) fn close(&self) {
        self.state.lock().closed = true;
        self.changed.notify_one();
    }

    /// Waits for a tick while there are segments; `None` at the end.
    fn tick(&self) -> Option<Vec<(u64, Arc<Watched>)>> {
        let mut state = self.state.lock();
        while state.segments.is_empty() && !state.closed {
            self.changed.wait(&mut state);
        }
        // A wake-up before time only makes a sync earlier.
        if !state.closed {
            let _timed_out = self.changed.wait_for(&mut state, TICK);
        }
        if state.closed {
            return None;
        }
        Some(state.segments.iter().map(|(n, it)| (*n, Arc::clone(it))).collect())
    }
}

/// What the thread remembers of a segment between ticks.
#[derive(Default)]
struct Progress {
    synced: u64,
    ticks: u32,
}

/// Runs until [`Unsynced::close`].
pub(super) fn run(unsynced: &Unsynced, dir: &PathBuf, stats: &Stats) {
    let mut progress: HashMap<u64, Progress> = HashMap::new();
    while let Some(segments) = unsynced.tick() {
        progress.retain(|number, _| segments.iter().any(|(n, _)| n == number));
        for (number, watched) in segments {
            let seen = progress.entry(number).or_default();
            let written = watched.written.load(Ordering::Acquire);
            if written == seen.synced {
                seen.ticks = 0;
                continue;
            }
            seen.ticks += 1;
            if seen.ticks < TICKS {
                continue;
            }
            match sync(&watched.file, (seen.synced == 0).then_some(dir)) {
                Ok(()) => *seen = Progress { synced: written, ticks: 0 },
                Err(error) => {
                    tracing::warn!(%error, number, "cannot sync the journal");
                    count(&stats.sync_errors, 1);
                    unsynced.failed.store(true, Ordering::Release);
                    *seen = Progress { synced: written, ticks: 0 };
                }
            }
        }
    }
}

/// Brings a file's bytes to the disk, and at its first time its name too.
fn sync(file: &File, dir: Option<&PathBuf>) -> io::Result<()> {
    file.sync_data()?;
    match dir {
        Some(dir) => File::open(dir)?.sync_all(),
        None => Ok(()),
    }
}
