//! Records of one process in the ledger of another, which has followed it: the calls that were in
//! flight then end in the one, and are written by the other.
//!
//! They cross as the journal's lines, some at a time, each time with all that they refer to. As with
//! the journal, a settlement is answered when its line is with the kernel, there.

use std::io;
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::record::Durability;

use super::Shared;
use super::entry::{Call, Entry, Link};
use super::line::{self, Decoder};
use super::queue::Item;
use super::shape::Interner;
use super::stats::count;

/// Entries sent at once.
const BATCH: usize = 256;

/// Hands everything on that is recorded, until the queue is closed.
pub(super) fn run(shared: &Shared, mut send: impl FnMut(&[u8]) -> io::Result<bool>) {
    let mut interner = Interner::new(Arc::clone(&shared.numbers));
    let (mut items, mut lines) = (Vec::new(), Vec::new());
    let (mut epoch, mut lost) = (0, false);
    loop {
        let taken = shared.queue.take(&mut items, None);
        let mut rest = std::mem::take(&mut items).into_iter();
        loop {
            let some: Vec<_> = rest.by_ref().take(BATCH).collect();
            if some.is_empty() {
                break;
            }
            lines.clear();
            epoch += 1;
            let waiting = written(some, epoch, &mut interner, &mut lines);
            let kept = !lost
                && match send(&lines) {
                    Ok(kept) => kept,
                    Err(error) => {
                        tracing::error!(%error, "the successor is gone: records are lost");
                        lost = true;
                        false
                    }
                };
            if !kept {
                count(&shared.stats.dropped, waiting.len());
            }
            for waiting in waiting {
                // Whoever asked may have stopped waiting.
                waiting.send(if kept { Durability::Kept } else { Durability::Dropped }).ok();
            }
        }
        for flush in taken.flushes {
            // Nothing is in a database of ours.
            flush.try_send(false).ok();
        }
        if taken.closed {
            return;
        }
    }
}

/// The items' lines, and who waits for them. Openings are left out: the other process has those from
/// before, and what begins now is over soon.
fn written(
    items: Vec<Item>,
    epoch: u64,
    interner: &mut Interner,
    lines: &mut Vec<u8>,
) -> Vec<oneshot::Sender<Durability>> {
    let mut waiting = Vec::new();
    let mut put = |entry: Entry| {
        if let Err(error) = line::encode(&entry, epoch, lines) {
            tracing::error!(%error, "a record cannot be written");
        }
    };
    for item in items {
        match item {
            Item::Open(_) => {}
            Item::Settle(record, answer) => {
                put(Entry::Settle(Call::settled(&record, interner)));
                waiting.push(answer);
            }
            Item::Connection(connection) => put(Entry::Connection(Link::of(&connection, interner))),
            Item::Foreign(entries, answer) => {
                entries.into_iter().for_each(&mut put);
                waiting.push(answer);
            }
        }
    }
    waiting
}

/// What lines of another process say. What cannot be read is counted.
pub(super) fn read(shared: &Shared, lines: &[u8]) -> Vec<Entry> {
    let mut decoder = Decoder::new(&shared.numbers);
    let mut entries = Vec::new();
    for line in lines.split_inclusive(|byte| *byte == b'\n') {
        match decoder.decode(line) {
            Ok(entry) => entries.extend(entry),
            Err(_unreadable) => {
                tracing::warn!("a record of the predecessor cannot be read");
                count(&shared.stats.corrupt_lines, 1);
            }
        }
    }
    entries
}
