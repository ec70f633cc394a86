//! Sums by quarters of an hour: whatever is asked, they say what the calls themselves say.

use std::path::Path;
use std::time::{Duration, SystemTime};

use rusqlite::{Connection, params};
use tempfile::TempDir;

use super::super::*;
use crate::llm::usage::NanoUsd;
use crate::record::{Billing, Kind, Outcome, Treatment, UsageSource};

use super::{noon, open, seconds, settle};

const QUARTER: u64 = 15 * 60;

/// Later than anything.
fn far() -> SystemTime {
    noon() + seconds(10 * 24 * 60 * 60)
}

/// Quarters of an hour from 1970 to this one.
fn quarter(at: SystemTime) -> i64 {
    entry::micros(at) / store::QUARTER
}

fn raw(dir: &Path) -> Connection {
    Connection::open(dir.join("ledger.db")).unwrap()
}

/// Says from when on sums are to be gone by.
fn set_since(dir: &Path, quarter: i64) {
    let put = "UPDATE meta SET value = ? WHERE name = 'sums_since'";
    assert_eq!(raw(dir).execute(put, [quarter]).unwrap(), 1);
}

/// Everything that sums answer, about a stretch of time.
fn answers(reader: &Reader, since: Option<SystemTime>, until: Option<SystemTime>) -> Vec<String> {
    let mut told = Vec::new();
    for uid in [None, Some(1001)] {
        for (by, bucket) in [
            (vec![], None),
            (vec![Dimension::Workload], None),
            (vec![Dimension::Process, Dimension::Provider], Some(Bucket::Day)),
            (vec![Dimension::Model, Dimension::User], None),
        ] {
            let query = SpendQuery { since, until, by, bucket, uid, ..SpendQuery::default() };
            told.push(format!("{:?}", reader.spend(&query).unwrap()));
        }
        let span = (since.unwrap_or(SystemTime::UNIX_EPOCH), until.unwrap_or_else(far));
        told.push(format!("{:?}", reader.figures(&[span], uid).unwrap()));
        for by in [None, Some(ErrorsBy::Workload), Some(ErrorsBy::Model)] {
            let query = ErrorQuery { since, until, by, uid };
            told.push(format!("{:?}", reader.errors(&query).unwrap()));
        }
        told.push(format!("{:?}", reader.unpriced(since, uid).unwrap()));
        let mut processes = reader.processes(since, uid).unwrap();
        processes.sort_by_key(|row| row.pid);
        for row in &mut processes {
            row.connections.sort_by(|one, other| one.reason.cmp(&other.reason));
        }
        told.push(format!("{processes:?}"));
        let mut coverage = reader.coverage(since, uid).unwrap();
        coverage.reasons.sort_by(|one, other| one.reason.cmp(&other.reason));
        told.push(format!("{coverage:?}"));
        let span = since.unwrap_or(SystemTime::UNIX_EPOCH);
        told.push(format!("{:?}", reader.workload("exe:agent.py", span, uid).unwrap()));
    }
    told
}

/// Three hours of calls and connections of all kinds.
fn fill(ledger: &Ledger) {
    for n in 0..600_u64 {
        let at = noon() + seconds(n * 18);
        let mut record = sample::record(n, at);
        if n % 3 == 0 {
            record.subject = sample::subject("b.py", 9, 1001);
        }
        record.usage.cache_read = n;
        record.cost = (n % 7 != 0).then(|| NanoUsd(i64::try_from(n).unwrap() * 333 + 1));
        record.billing = if n % 5 == 0 { Billing::Subscription } else { Billing::Metered };
        match n % 11 {
            1 => (record.outcome, record.status) = (Outcome::UpstreamError, Some(503)),
            2 => {
                record.outcome = Outcome::StreamError;
                record.error = Some(format!("overloaded_error: {}", n % 4));
            }
            3 => record.outcome = Outcome::Refused,
            4 => record.kind = Kind::Request,
            5 => record.usage_source = UsageSource::Unknown,
            6 => record.attempts.clear(),
            _ => {}
        }
        // Some are written as open first, and some stay so.
        if n % 13 == 0 {
            Sink::open(ledger, sample::opened(n, at));
            assert!(ledger.reader().call(sample::id(n, at)).unwrap().is_some());
        }
        if n % 26 != 0 {
            drop(ledger.settle(Arc::new(record)));
        }
        let (treatment, reason) = match n % 3 {
            0 => (Treatment::Metered, ""),
            1 => (Treatment::Direct, "quic"),
            _ => (Treatment::Opaque, "untrusted"),
        };
        let mut connection = sample::connection(treatment, reason, at);
        connection.duration = seconds(n % 5 * n % 4_000);
        connection.failed = n % 17 == 0;
        Sink::connection(ledger, connection);
    }
}

#[test]
fn sums_say_what_the_calls_say() {
    let dir = TempDir::new().unwrap();
    let ledger = open(dir.path());
    fill(&ledger);
    let reader = ledger.reader();
    let at = |quarters: f64| Some(noon() + Duration::from_secs(QUARTER).mul_f64(quarters));
    let spans = [
        (None, None),
        (at(0.0), None),
        (at(0.01), at(12.0)),
        (at(1.0), at(3.0)),
        (at(1.3), at(9.2)),
        (at(1.3), at(9.9)),
        (at(4.1), at(4.2)),
        (at(4.9), at(5.1)),
        (at(11.5), at(40.0)),
        (None, at(7.75)),
    ];
    // Sums of some hours, of all, and of none.
    let first = quarter(noon());
    for (since, until) in spans {
        set_since(dir.path(), i64::MAX / 1_000_000_000);
        let each = answers(&reader, since, until);
        for whole in [0, first + 4] {
            set_since(dir.path(), whole);
            for (summed, each) in answers(&reader, since, until).iter().zip(&each) {
                assert_eq!(summed, each, "{since:?} to {until:?}, sums since {whole}");
            }
        }
    }
}

#[test]
fn whole_quarters_are_not_read_call_by_call() {
    let dir = TempDir::new().unwrap();
    let ledger = open(dir.path());
    fill(&ledger);
    let reader = ledger.reader();
    let counted = || {
        let errors = reader.errors(&ErrorQuery::default()).unwrap();
        (errors.calls, reader.coverage(None, None).unwrap().total)
    };
    let before = counted();
    let gone = quarter(noon()) + 5;
    for table in ["call WHERE started_at", "connection WHERE closed_at"] {
        let sql = format!("DELETE FROM {table} / 900000000 = ?");
        assert!(raw(dir.path()).execute(&sql, [gone]).unwrap() > 20);
    }
    assert_eq!(counted(), before);
    set_since(dir.path(), gone + 1);
    let each = counted();
    assert!(each.0 < before.0 && each.1 < before.1, "{each:?} of {before:?}");
}

#[test]
fn calls_that_were_lost_or_come_twice_are_in_their_sums_once() {
    let dir = TempDir::new().unwrap();
    let ledger = open(dir.path());
    for n in 0..4 {
        Sink::open(&ledger, sample::opened(n, noon()));
    }
    assert_eq!(ledger.reader().calls(&CallQuery::default()).unwrap().len(), 4);
    // The next agent finds them open.
    drop(ledger);
    let ledger = open(dir.path());
    assert_eq!(ledger.health().lost_calls, 4);
    let reader = ledger.reader();
    let counted = || reader.errors(&ErrorQuery::default()).map(|it| (it.calls, it.errors)).unwrap();
    assert_eq!(counted(), (4, 4));
    // One of them turns up after all, and once more.
    for _ in 0..2 {
        settle(&ledger, sample::record(1, noon()));
        assert_eq!(counted(), (4, 3));
        let spent = reader.spend(&SpendQuery::default()).unwrap();
        assert_eq!((spent[0].calls, spent[0].cost_usd), (4, NanoUsd(14_500_000)));
    }
}

#[test]
fn of_calls_that_are_no_longer_kept_no_sum_is_left() {
    let dir = TempDir::new().unwrap();
    let ledger = open(dir.path());
    fill(&ledger);
    let reader = ledger.reader();
    assert!(reader.figures(&[(noon(), far())], None).is_ok());
    drop(ledger);
    let cutoff = noon() + seconds(5 * QUARTER + 100);
    let mut store = store::Store::open(&dir.path().join("ledger.db")).unwrap();
    while store.prune(entry::micros(cutoff)).unwrap() {}
    drop(store);
    let kept =
        i64::try_from(cutoff.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() / 900)
            .unwrap();
    for table in ["call_sum", "connection_sum"] {
        let sql = format!("SELECT min(quarter) FROM {table}");
        let first: i64 = raw(dir.path()).query_row(&sql, params![], |row| row.get(0)).unwrap();
        assert_eq!(first, kept + 1, "{table}");
    }
    let reader = open(dir.path()).reader();
    let summed = answers(&reader, None, None);
    set_since(dir.path(), i64::MAX / 1_000_000_000);
    assert_eq!(summed, answers(&reader, None, None));
}
