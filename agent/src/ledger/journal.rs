//! The journal thread: from the queue to the current segment, batch by batch, each with one
//! write(2). A settlement is answered when its batch is with the kernel.
//!
//! When the disk takes nothing, records wait in a bounded backlog, settlements are answered
//! `Dropped` at once, and a retry every [`RETRY`] finds out when there is space again.

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use foldhash::HashMap;
use tokio::sync::oneshot;

use crate::clock::{Clock as _, System};
use crate::record::{CallId, Durability, Opened};

use super::Shared;
use super::entry::{Call, Entry, Link};
use super::importer::{Job, Sealed};
use super::line;
use super::pace::Pace;
use super::queue::{Item, LULL};
use super::segment::Segment;
use super::shape::Interner;
use super::stats::{count, set};
use super::sync::Watched;

/// Age at which a segment goes to the importer.
const SEAL_AFTER: Duration = Duration::from_millis(200);

/// Size at which it goes at once: what recovery reads at a time.
const SEAL_AT: u64 = 8 << 20;

/// Entries written with one call.
const BATCH: usize = 1_024;

/// Entries that wait while the disk takes nothing; beyond, they are dropped.
const BACKLOG: usize = 16_384;

/// Entries of sealed segments kept in memory for the importer; beyond, it reads them back.
const IN_MEMORY: u64 = 16_384;

/// Time between attempts to write after one failed.
const RETRY: Duration = Duration::from_millis(200);

/// When a batch counts as reaching the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fsync {
    /// Within a second: a power cut can take at most that; the death of the process nothing.
    #[default]
    EverySecond,
    /// Before a settlement is confirmed. Costs milliseconds on every call.
    Always,
}

pub(super) struct Journal {
    shared: Arc<Shared>,
    dir: PathBuf,
    fsync: Fsync,
    importer: mpsc::Sender<Job>,
    interner: Interner,
    /// Openings not yet written: a settlement that comes soon makes them superfluous.
    young: HashMap<CallId, Opened>,
    /// The same in order of arrival.
    ages: VecDeque<(Instant, CallId)>,
    backlog: VecDeque<Pending>,
    segment: Option<Current>,
    next: u64,
    /// Changes whenever definitions have to be written anew.
    epoch: u64,
    /// When to try again after a failure.
    retry_at: Option<Instant>,
    lines: Vec<u8>,
}

struct Pending {
    entry: Entry,
    waiting: Option<oneshot::Sender<Durability>>,
}

struct Current {
    file: Segment,
    watched: Option<Arc<Watched>>,
    since: Instant,
    entries: Vec<Entry>,
}

impl Journal {
    pub(super) fn new(
        shared: Arc<Shared>,
        dir: PathBuf,
        fsync: Fsync,
        next: u64,
        importer: mpsc::Sender<Job>,
    ) -> Self {
        let interner = Interner::new(Arc::clone(&shared.numbers));
        Self {
            shared,
            dir,
            fsync,
            importer,
            interner,
            young: HashMap::default(),
            ages: VecDeque::new(),
            backlog: VecDeque::new(),
            segment: None,
            next,
            epoch: 0,
            retry_at: None,
            lines: Vec::with_capacity(64 << 10),
        }
    }

    /// Runs until the queue is closed and everything in it was written, or can't be.
    pub(super) fn run(mut self) {
        let mut items = Vec::new();
        let mut pace = Pace::new(now());
        loop {
            let taken = self.shared.queue.take(&mut items, self.patience(now()));
            let now = now();
            let settled = self.accept(&mut items, now);
            let everything = taken.closed || !taken.flushes.is_empty();
            self.ripen(if everything { None } else { Some(now) });
            self.write(now, everything);
            self.seal_when_due(now, everything);
            for flush in taken.flushes {
                self.pass_on(Job::Flush(flush, self.backlog.is_empty()));
            }
            if taken.closed {
                count(&self.shared.stats.dropped, self.backlog.len());
                return;
            }
            if let Some(gather) = pace.gather(now, settled) {
                std::thread::sleep(gather);
            }
        }
    }

    /// How long to wait if nothing comes.
    fn patience(&self, now: Instant) -> Option<Duration> {
        let seal = self.segment.as_ref().map(|it| it.since + SEAL_AFTER);
        let ripe = self.ages.front().map(|(at, _)| *at + LULL);
        let due = [seal, ripe, self.retry_at].into_iter().flatten().min()?;
        Some(due.saturating_duration_since(now))
    }

    /// Takes items over; returns how many settlements there were.
    fn accept(&mut self, items: &mut Vec<Item>, now: Instant) -> u32 {
        let mut settled = 0;
        for item in items.drain(..) {
            match item {
                Item::Open(opened) => {
                    self.ages.push_back((now, opened.call_id));
                    self.young.insert(opened.call_id, opened);
                }
                Item::Settle(record, answer) => {
                    settled += 1;
                    self.young.remove(&record.call_id);
                    let entry = Entry::Settle(Call::settled(&record, &mut self.interner));
                    self.put(entry, Some(answer));
                }
                Item::Connection(connection) => {
                    let entry = Entry::Connection(Link::of(&connection, &mut self.interner));
                    self.put(entry, None);
                }
                Item::Foreign(entries, answer) => {
                    let mut waiting = Some(answer);
                    // They are written in order: the last one's answer is that of all.
                    let last = entries.len().saturating_sub(1);
                    for (place, entry) in entries.into_iter().enumerate() {
                        settled += 1;
                        self.put(entry, if place == last { waiting.take() } else { None });
                    }
                    answered(waiting, Durability::Kept);
                }
            }
        }
        settled
    }

    /// Moves openings into the backlog that are old enough, or all of them.
    fn ripen(&mut self, now: Option<Instant>) {
        while let Some((at, id)) = self.ages.front() {
            if now.is_some_and(|now| now < *at + LULL) {
                break;
            }
            if let Some(opened) = self.young.remove(id) {
                let entry = Entry::Open(Call::opening(&opened, &mut self.interner));
                self.put(entry, None);
            }
            self.ages.pop_front();
        }
    }

    /// Into the backlog, in which settlements have more room than the rest.
    fn put(&mut self, entry: Entry, waiting: Option<oneshot::Sender<Durability>>) {
        let failing = self.retry_at.is_some();
        let room = if waiting.is_some() { BACKLOG } else { BACKLOG / 2 };
        if failing && self.backlog.len() >= room {
            count(&self.shared.stats.dropped, 1);
            answered(waiting, Durability::Dropped);
            return;
        }
        let mut pending = Pending { entry, waiting };
        if failing {
            answered(pending.waiting.take(), Durability::Dropped);
        }
        self.backlog.push_back(pending);
    }

    fn write(&mut self, now: Instant, even_if_early: bool) {
        if self.retry_at.is_some_and(|at| now < at) && !even_if_early {
            return;
        }
        while !self.backlog.is_empty() {
            match self.write_batch(now) {
                Ok(()) => self.recovered(),
                Err(error) => {
                    self.failed(now, &error);
                    break;
                }
            }
        }
        set(&self.shared.stats.backlog, self.backlog.len());
    }

    fn write_batch(&mut self, now: Instant) -> io::Result<()> {
        let size = self.backlog.len().min(BATCH);
        if self.segment.is_none() {
            self.segment = Some(self.begin(now)?);
        }
        let Some(current) = &mut self.segment else { return Ok(()) };
        self.lines.clear();
        for pending in self.backlog.range(..size) {
            line::encode(&pending.entry, self.epoch, &mut self.lines)?;
        }
        current.file.append(&self.lines)?;
        if let Some(watched) = &current.watched {
            watched.written.store(current.file.len(), Ordering::Release);
        } else if let Err(error) = current.file.file.sync_data() {
            // The kernel may have dropped the pages: the batch goes into another segment.
            current.file.torn = true;
            count(&self.shared.stats.sync_errors, 1);
            return Err(error);
        }
        current.entries.reserve(size);
        for pending in self.backlog.drain(..size) {
            answered(pending.waiting, Durability::Kept);
            current.entries.push(pending.entry);
        }
        Ok(())
    }

    fn begin(&mut self, now: Instant) -> io::Result<Current> {
        let file = Segment::create(&self.dir, self.next)?;
        self.next += 1;
        self.epoch += 1;
        let watched = (self.fsync == Fsync::EverySecond)
            .then(|| self.shared.unsynced.watch(file.number, Arc::clone(&file.file)));
        Ok(Current { file, watched, since: now, entries: Vec::new() })
    }

    fn recovered(&mut self) {
        if self.retry_at.take().is_some() {
            tracing::info!("the journal can be written again");
        }
    }

    fn failed(&mut self, now: Instant, error: &io::Error) {
        count(&self.shared.stats.write_errors, 1);
        if self.retry_at.is_none() {
            tracing::warn!(%error, "cannot write the journal: records wait in memory");
        }
        self.retry_at = Some(now + RETRY);
        // The definitions in the failed batch are gone with it.
        self.epoch += 1;
        for pending in &mut self.backlog {
            answered(pending.waiting.take(), Durability::Dropped);
        }
        let excess = self.backlog.len().saturating_sub(BACKLOG);
        self.backlog.truncate(BACKLOG);
        count(&self.shared.stats.dropped, excess);
    }

    fn seal_when_due(&mut self, now: Instant, everything: bool) {
        let Some(current) = &self.segment else { return };
        let sync_failed = self.shared.unsynced.failed.swap(false, Ordering::AcqRel);
        let due = everything
            || sync_failed
            || current.file.torn
            || current.file.len() >= SEAL_AT
            || now >= current.since + SEAL_AFTER;
        if due && let Some(mut current) = self.segment.take() {
            let stats = &self.shared.stats;
            let entries = mem::take(&mut current.entries);
            let held = stats.in_memory.load(Ordering::Relaxed) + entries.len() as u64;
            let entries = (held <= IN_MEMORY).then_some(entries);
            count(&stats.in_memory, entries.as_ref().map_or(0, Vec::len));
            count(&stats.segments, 1);
            let number = current.file.number;
            self.pass_on(Job::Import(Sealed { number, entries }));
        }
    }

    fn pass_on(&self, job: Job) {
        // The importer ends after the journal, unless it panicked: the files remain then.
        self.importer.send(job).ok();
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.shared.queue.abandoned();
    }
}

fn now() -> Instant {
    System.now().mono
}

fn answered(waiting: Option<oneshot::Sender<Durability>>, durability: Durability) {
    if let Some(waiting) = waiting {
        // The caller may have stopped waiting.
        waiting.send(durability).ok();
    }
}
