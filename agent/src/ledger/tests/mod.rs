//! The ledger as a whole, on real files.

mod decisions;
mod errors;
mod failures;
mod figures;
mod followed;
mod killed;
mod policies;
mod reading;
mod sums;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use tempfile::TempDir;

use super::*;
use crate::clock::{Now, System};
use crate::llm::usage::{NanoUsd, Usage};
use crate::record::{Attempt, Billing, Durability, Flag, Kind, Outcome, Record, Treatment, Via};

fn noon() -> SystemTime {
    "2026-10-01T12:00:00Z".parse::<Timestamp>().unwrap().into()
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn open(dir: &Path) -> Ledger {
    Ledger::open(dir, Settings::default(), Arc::new(System)).unwrap()
}

fn settle(ledger: &Ledger, record: Record) -> Durability {
    ledger.settle(Arc::new(record)).blocking_recv().unwrap()
}

#[test]
fn a_call_reads_back_as_it_was_recorded() {
    let dir = TempDir::new().unwrap();
    let ledger = open(dir.path());
    let mut record = sample::record(1, noon());
    record.via = Via::Gateway;
    record.agent_name = Some("helper".into());
    record.stream = true;
    record.usage = Usage {
        input: 1,
        cache_read: 2,
        cache_write_5m: 3,
        cache_write_1h: 4,
        output: 5,
        reasoning: 6,
        audio_input: 7,
        audio_output: 8,
    };
    record.ttft = Some(Duration::from_micros(777));
    record.retry_of = Some(sample::id(9, noon()));
    record.error = Some("upstream said \"no\"".into());
    record.flags = vec![Flag::UsageInjected, Flag::Unverified];
    record.attempts.insert(
        0,
        Attempt {
            provider: "openai".into(),
            model: None,
            started_at: noon() + Duration::from_micros(5),
            status: Some(503),
            outcome: Outcome::UpstreamError,
            upstream: Duration::from_micros(40),
            cost: Some(NanoUsd(0)),
        },
    );
    assert_eq!(settle(&ledger, record.clone()), Durability::Kept);

    let detail = ledger.reader().call(record.call_id).unwrap().unwrap();
    let row = &detail.row;
    assert_eq!(row.started_at, Timestamp::try_from(noon()).unwrap());
    assert_eq!((row.kind, row.via, row.billing), (Kind::Call, Via::Gateway, Billing::Metered));
    assert_eq!((&*row.workload, row.pid, row.uid), ("exe:agent.py", 7, 1000));
    assert_eq!(row.agent_name.as_deref(), Some("helper"));
    assert_eq!(row.model_served.as_deref(), Some("gpt-4o-mini-2024-07-18"));
    assert_eq!((row.input_tokens, row.cache_read_tokens), (1, 2));
    assert_eq!((row.cache_write_5m_tokens, row.cache_write_1h_tokens), (3, 4));
    assert_eq!((row.output_tokens, row.reasoning_tokens), (5, 6));
    assert_eq!((row.audio_input_tokens, row.audio_output_tokens), (7, 8));
    assert_eq!(row.cost_usd, Some(NanoUsd(14_500_000)));
    assert_eq!((row.status, row.outcome), (Some(200), Some(Outcome::Ok)));
    assert_eq!(row.ttft, record.ttft);
    assert_eq!((row.latency, row.upstream), (Some(record.latency), Some(record.upstream)));
    assert_eq!((row.bytes_in, row.bytes_out), (2_300, 1_800));
    assert_eq!((row.retry_of, &row.error), (record.retry_of, &record.error));
    assert_eq!(row.flags, record.flags);
    assert_eq!(row.attempts, 2);
    let tries: Vec<_> = detail.attempts.iter().map(|it| (it.status, it.outcome)).collect();
    assert_eq!(tries, [(Some(503), Outcome::UpstreamError), (Some(200), Outcome::Ok)]);
    assert_eq!(detail.attempts[0].cost_usd, Some(NanoUsd(0)));
    let decisions: Vec<_> = detail.decisions.iter().map(|it| (&*it.rule, &*it.action)).collect();
    assert_eq!(
        decisions,
        [("route", "provider openai"), ("rate_limits.agent", "pass"), ("price", "$0.0145")]
    );
    assert_eq!(
        detail.decisions[1].detail,
        "requests_per_minute 2 -> 3 of 5; daily_limit_usd $1.50 -> $1.5145 of $10.00"
    );
    assert_eq!(detail.decisions[2].at, Some(Duration::from_micros(1_200)));

    let json = serde_json::to_value(&detail).unwrap();
    assert_eq!(json["started_at"], "2026-10-01T12:00:00Z");
    assert_eq!(json["cost_usd"], "0.0145");
    assert_eq!(json["latency_ms"], 1.234);
    assert_eq!(serde_json::from_value::<CallDetail>(json).unwrap(), detail);
}

#[test]
fn an_ordinary_call_has_its_one_attempt() {
    let dir = TempDir::new().unwrap();
    let ledger = open(dir.path());
    let record = sample::record(1, noon());
    settle(&ledger, record.clone());
    let detail = ledger.reader().call(record.call_id).unwrap().unwrap();
    let [only] = detail.attempts.as_slice() else { panic!("{:?}", detail.attempts) };
    let started_at = Timestamp::try_from(noon() + Duration::from_micros(130)).unwrap();
    assert_eq!((only.started_at, only.upstream), (started_at, Some(Duration::from_micros(900))));
    assert_eq!((only.status, only.cost_usd), (Some(200), record.cost));
}

#[test]
fn an_open_call_is_seen_and_becomes_the_settled_one() {
    let dir = TempDir::new().unwrap();
    let ledger = open(dir.path());
    let reader = ledger.reader();
    Sink::open(&ledger, sample::opened(1, noon()));
    let open = reader.calls(&CallQuery::default()).unwrap();
    assert_eq!((open.len(), open[0].outcome, open[0].latency), (1, None, None));
    assert!(reader.spend(&SpendQuery::default()).unwrap().is_empty());
    settle(&ledger, sample::record(1, noon()));
    let settled = reader.calls(&CallQuery::default()).unwrap();
    assert_eq!((settled.len(), settled[0].outcome), (1, Some(Outcome::Ok)));
}

#[test]
fn files_are_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = TempDir::new().unwrap();
    let ledger = open(dir.path());
    settle(&ledger, sample::record(1, noon()));
    for file in ["ledger.db", "ledger.db-wal", "ledger.db-shm", "journal/000001.jsonl"] {
        let mode = dir.path().join(file).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
}

#[test]
fn with_sync_always_a_record_is_kept_too() {
    let dir = TempDir::new().unwrap();
    let settings = Settings { sync: Fsync::Always, ..Settings::default() };
    let ledger = Ledger::open(dir.path(), settings, Arc::new(System)).unwrap();
    assert_eq!(settle(&ledger, sample::record(1, noon())), Durability::Kept);
    assert_eq!(ledger.reader().calls(&CallQuery::default()).unwrap().len(), 1);
}

#[test]
fn after_close_everything_is_there_and_nothing_more_is_taken() {
    let dir = TempDir::new().unwrap();
    let ledger = open(dir.path());
    for n in 0..500 {
        drop(ledger.settle(Arc::new(sample::record(n, noon()))));
    }
    ledger.close();
    assert_eq!(settle(&ledger, sample::record(500, noon())), Durability::Dropped);
    assert_eq!(ledger.health().dropped, 1);
    let reader = ledger.reader();
    assert_eq!(reader.calls(&CallQuery::default()).unwrap().len(), 500);
}

#[derive(Debug)]
struct At(SystemTime);

impl Clock for At {
    fn now(&self) -> Now {
        Now { wall: self.0, ..System.now() }
    }
}

#[test]
fn rows_past_retention_go_and_others_stay() {
    let dir = TempDir::new().unwrap();
    let ledger = open(dir.path());
    let day = seconds(24 * 60 * 60);
    for n in 0..2_500 {
        let mut record = sample::record(n, noon());
        record.attempts.clear();
        drop(ledger.settle(Arc::new(record)));
    }
    Sink::connection(&ledger, sample::connection(Treatment::Metered, "", noon()));
    let mut late = sample::record(3_000, noon() + 5 * day);
    late.subject = sample::subject("late.py", 8, 1000);
    settle(&ledger, late);
    drop(ledger);

    let settings = Settings { retention: 3 * day, ..Settings::default() };
    let clock = Arc::new(At(noon() + 6 * day));
    drop(Ledger::open(dir.path(), settings, clock).unwrap());
    // Pruning is the importer's idle work; here it is done to the end.
    let mut store = store::Store::open(&dir.path().join("ledger.db")).unwrap();
    while store.prune(entry::micros(noon() + 3 * day)).unwrap() {}
    drop(store);
    let raw = rusqlite::Connection::open(dir.path().join("ledger.db")).unwrap();
    for table in ["call", "decision", "subject", "shape"] {
        let sql = format!("SELECT count(*) FROM {table}");
        let rows: i64 = raw.query_row(&sql, [], |row| row.get(0)).unwrap();
        assert_eq!(rows, 1, "{table}");
    }
    let rows: i64 = raw.query_row("SELECT count(*) FROM connection", [], |row| row.get(0)).unwrap();
    assert_eq!(rows, 0);
}
