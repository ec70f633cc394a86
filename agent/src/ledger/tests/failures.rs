//! Crashes, full disks, damaged and foreign files: nothing confirmed is lost.

use std::fs;
use std::io::{Seek as _, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use super::super::entry::{Call, Entry, Link};
use super::super::shape::Interner;
use super::super::*;
use crate::clock::System;
use crate::llm::usage::NanoUsd;
use crate::record::{Durability, Outcome, Treatment, UsageSource};

use super::{At, noon, open, settle};

/// What is in the journal after a crash.
pub(super) fn leave_behind(dir: &Path, number: u64, entries: &[Entry]) -> Vec<u8> {
    let mut lines = Vec::new();
    for entry in entries {
        line::encode(entry, number, &mut lines).unwrap();
    }
    fs::create_dir_all(dir.join("journal")).unwrap();
    fs::write(segment::path(&dir.join("journal"), number), &lines).unwrap();
    lines
}

#[test]
fn calls_open_at_a_crash_are_settled_as_lost() {
    let dir = TempDir::new().unwrap();
    let mut interner = Interner::new(Arc::default());
    let entries = [
        Entry::Open(Call::opening(&sample::opened(1, noon()), &mut interner)),
        Entry::Open(Call::opening(&sample::opened(2, noon()), &mut interner)),
        Entry::Settle(Call::settled(&sample::record(2, noon()), &mut interner)),
    ];
    leave_behind(dir.path(), 4, &entries);
    let ledger = open(dir.path());
    let calls = ledger.reader().calls(&CallQuery::default()).unwrap();
    let outcomes: Vec<_> = calls.iter().map(|it| (it.call_id, it.outcome)).collect();
    assert_eq!(
        outcomes,
        [(sample::id(1, noon()), Some(Outcome::Lost)), (sample::id(2, noon()), Some(Outcome::Ok))]
    );
    assert_eq!(calls[0].usage_source, UsageSource::Unknown);
    assert_eq!(ledger.health().lost_calls, 1);
    let spend = ledger.reader().spend(&SpendQuery::default()).unwrap();
    assert_eq!((spend[0].calls, spend[0].unknown_cost_calls, spend[0].errors), (2, 1, 1));
    drop(ledger);
    assert_eq!(open(dir.path()).health().lost_calls, 0, "settled once");
}

#[test]
fn a_segment_is_imported_once_however_often_it_is_found() {
    let dir = TempDir::new().unwrap();
    let mut interner = Interner::new(Arc::default());
    let connection = sample::connection(Treatment::Metered, "", noon());
    let entries = [
        Entry::Settle(Call::settled(&sample::record(1, noon()), &mut interner)),
        Entry::Connection(Link::of(&connection, &mut interner)),
    ];
    let lines = leave_behind(dir.path(), 1, &entries);
    drop(open(dir.path()));
    let file = segment::path(&dir.path().join("journal"), 1);
    assert!(!file.exists());
    // Killed between the commit and the deletion.
    fs::write(&file, lines).unwrap();
    let ledger = open(dir.path());
    assert!(!file.exists());
    let spend = ledger.reader().spend(&SpendQuery::default()).unwrap();
    assert_eq!((spend[0].calls, spend[0].cost_usd), (1, NanoUsd(14_500_000)));
    assert_eq!(ledger.reader().coverage(None, None).unwrap().total, 1);
}

#[test]
fn a_torn_tail_is_left_out_and_a_corrupt_line_put_aside() {
    let dir = TempDir::new().unwrap();
    let mut interner = Interner::new(Arc::default());
    let mut settled = |n| Entry::Settle(Call::settled(&sample::record(n, noon()), &mut interner));
    let lines = leave_behind(dir.path(), 1, &[settled(1), settled(2), settled(3), settled(4)]);
    let lines = String::from_utf8(lines).unwrap();
    let mut lines: Vec<&str> = lines.split_inclusive('\n').collect();
    // Three definitions come first: these are the records 2 and 4.
    lines[4] = "{\"settle\":{\"id\":\"gar\0bage\n";
    let torn = lines[6].len() / 2;
    lines[6] = &lines[6][..torn];
    let journal = dir.path().join("journal");
    fs::write(segment::path(&journal, 1), lines.concat()).unwrap();

    let ledger = open(dir.path());
    let calls = ledger.reader().calls(&CallQuery::default()).unwrap();
    let ids: Vec<_> = calls.iter().map(|it| it.call_id).collect();
    assert_eq!(ids, [sample::id(1, noon()), sample::id(3, noon())]);
    assert_eq!(ledger.health().corrupt_lines, 1);
    assert_eq!(fs::read_to_string(segment::corrupt_path(&journal, 1)).unwrap(), lines[4]);
    assert_eq!(settle(&ledger, sample::record(5, noon())), Durability::Kept);
}

#[test]
fn a_damaged_database_is_put_aside_and_what_the_journal_holds_goes_into_a_new_one() {
    let dir = TempDir::new().unwrap();
    let database = dir.path().join("ledger.db");
    for damage in [b"this is no database at all".to_vec(), vec![0xff; 8192]] {
        {
            let ledger = open(dir.path());
            assert_eq!(settle(&ledger, sample::record(1, noon())), Durability::Kept);
        }
        let mut file = OpenOptions::new().write(true).open(&database).unwrap();
        file.write_all(&damage).unwrap();
        drop(file);
        let before = fs::read(&database).unwrap();
        let mut interner = Interner::new(Arc::default());
        let record = sample::record(2, noon());
        leave_behind(dir.path(), 9, &[Entry::Settle(Call::settled(&record, &mut interner))]);

        let ledger = Ledger::open(dir.path(), Settings::default(), Arc::new(At(noon()))).unwrap();
        let calls = ledger.reader().calls(&CallQuery::default()).unwrap();
        assert_eq!(calls.iter().map(|it| it.call_id).collect::<Vec<_>>(), [record.call_id]);
        assert_eq!(ledger.health().renewed, 1);
        let aside = dir.path().join("ledger.db.corrupt-20261001T120000Z");
        assert_eq!(ledger.put_aside(), std::slice::from_ref(&aside));
        assert_eq!(fs::read(&aside).unwrap(), before, "not a byte of it is changed");
        assert_eq!(settle(&ledger, sample::record(3, noon())), Durability::Kept);
        drop(ledger);
        assert_eq!(open(dir.path()).health().renewed, 0, "once");
    }
}

#[test]
fn a_database_damaged_while_in_use_is_replaced_and_readers_see_the_new_one() {
    let dir = TempDir::new().unwrap();
    let ledger = open(dir.path());
    let reader = ledger.reader();
    assert_eq!(settle(&ledger, sample::record(1, noon())), Durability::Kept);
    assert_eq!(reader.calls(&CallQuery::default()).unwrap().len(), 1);

    let database = dir.path().join("ledger.db");
    // Everything but the header; what is in the log must not hide it.
    let raw = rusqlite::Connection::open(&database).unwrap();
    raw.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    drop(raw);
    let size = fs::metadata(&database).unwrap().len();
    let mut file = OpenOptions::new().write(true).open(&database).unwrap();
    file.seek(io::SeekFrom::Start(4096)).unwrap();
    file.write_all(&vec![0xff; usize::try_from(size).unwrap() - 4096]).unwrap();

    assert_eq!(settle(&ledger, sample::record(2, noon())), Durability::Kept);
    while ledger.health().renewed == 0 {
        ledger.flush();
    }
    while !ledger.flush() {}
    let calls = reader.calls(&CallQuery::default()).unwrap();
    assert_eq!(calls.iter().map(|it| it.call_id).collect::<Vec<_>>(), [sample::id(2, noon())]);
    assert_eq!(ledger.put_aside().len(), 1);
}

#[test]
fn one_record_that_the_database_refuses_does_not_take_the_others_with_it() {
    let dir = TempDir::new().unwrap();
    let ledger = open(dir.path());
    let raw = rusqlite::Connection::open(dir.path().join("ledger.db")).unwrap();
    let refuse = format!(
        "CREATE TRIGGER refuse BEFORE INSERT ON call WHEN NEW.call_id = '{}'
         BEGIN SELECT RAISE(ABORT, 'refused'); END",
        sample::id(2, noon())
    );
    raw.execute_batch(&refuse).unwrap();
    for n in 1..=3 {
        let mut record = sample::record(n, noon());
        record.subject = sample::subject(&format!("{n}.py"), 7, 1000);
        drop(ledger.settle(Arc::new(record)));
    }
    assert!(ledger.flush());
    let calls = ledger.reader().calls(&CallQuery::default()).unwrap();
    let kept: Vec<_> = calls.iter().map(|it| (it.call_id, it.workload.clone())).collect();
    let expected = [1, 3].map(|n| (sample::id(n, noon()), format!("exe:{n}.py")));
    assert_eq!(kept, expected);
    assert_eq!(ledger.health().corrupt_lines, 1);

    // What was put aside can be read by itself.
    let journal = dir.path().join("journal");
    let files: Vec<_> = fs::read_dir(&journal).unwrap().map(|it| it.unwrap().path()).collect();
    let aside = files.iter().find(|it| it.extension().is_some_and(|end| end == "corrupt"));
    let lines = fs::read_to_string(aside.unwrap()).unwrap();
    let numbers = AtomicU64::default();
    let mut decoder = line::Decoder::new(&numbers);
    let entries =
        lines.split_inclusive('\n').filter_map(|it| decoder.decode(it.as_bytes()).unwrap());
    let ids: Vec<_> = entries
        .map(|entry| match entry {
            Entry::Settle(call) => call.id,
            Entry::Open(_) | Entry::Connection(_) => panic!("a settlement"),
        })
        .collect();
    assert_eq!(ids, [sample::id(2, noon())]);
}

#[test]
fn a_newer_schema_is_refused_and_left_alone() {
    let dir = TempDir::new().unwrap();
    drop(open(dir.path()));
    let database = dir.path().join("ledger.db");
    let raw = rusqlite::Connection::open(&database).unwrap();
    raw.pragma_update(None, "user_version", 99).unwrap();
    drop(raw);
    let before = fs::read(&database).unwrap();
    let refused = Ledger::open(dir.path(), Settings::default(), Arc::new(System));
    assert!(matches!(refused, Err(LedgerError::Newer { found: 99, .. })), "{refused:?}");
    assert_eq!(fs::read(&database).unwrap(), before);
}

#[test]
fn a_state_directory_has_one_ledger_at_a_time() {
    let dir = TempDir::new().unwrap();
    let ledger = open(dir.path());
    let second = Ledger::open(dir.path(), Settings::default(), Arc::new(System));
    assert!(matches!(second, Err(LedgerError::Busy { .. })), "{second:?}");
    drop(ledger);
    open(dir.path());
}

#[test]
fn while_the_database_is_locked_the_journal_keeps_everything() {
    let dir = TempDir::new().unwrap();
    let ledger = open(dir.path());
    let other = rusqlite::Connection::open(dir.path().join("ledger.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    // More than is kept in memory for the importer: the rest is read back from the journal.
    for round in 0..10 {
        let answers: Vec<_> = (0..2_000)
            .map(|n| ledger.settle(Arc::new(sample::record(round * 2_000 + n, noon()))))
            .collect();
        for answer in answers {
            assert_eq!(answer.blocking_recv(), Ok(Durability::Kept));
        }
    }
    assert!(!ledger.flush());
    let health = ledger.health();
    assert!(health.segments > 0 && health.import_errors > 0, "{health:?}");

    other.execute_batch("ROLLBACK").unwrap();
    while !ledger.flush() {
        // The importer waits half a second between attempts.
        thread::sleep(Duration::from_millis(20));
    }
    let spend = ledger.reader().spend(&SpendQuery::default()).unwrap();
    assert_eq!((spend[0].calls, spend[0].cost_usd), (20_000, NanoUsd(20_000 * 14_500_000)));
    let health = ledger.health();
    assert_eq!((health.segments, health.dropped, health.corrupt_lines), (0, 0, 0));
}
