//! The ledger as a whole, on real files.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use tempfile::TempDir;

use super::entry::{Call, Entry, Link};
use super::shape::Interner;
use super::*;
use crate::clock::{Now, System};
use crate::llm::usage::{NanoUsd, Usage};
use crate::record::{
    Attempt, Billing, CallId, Decision, Durability, Flag, Kind, Outcome, Record, Treatment,
    UsageSource, Via,
};

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

/// What is in the journal after a crash.
fn leave_behind(dir: &Path, number: u64, entries: &[Entry]) -> Vec<u8> {
    let mut lines = Vec::new();
    for entry in entries {
        line::encode(entry, number, &mut lines).unwrap();
    }
    fs::create_dir_all(dir.join("journal")).unwrap();
    fs::write(segment::path(&dir.join("journal"), number), &lines).unwrap();
    lines
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
    assert_eq!(decisions, [("route", "provider openai"), ("price", "$0.0145")]);
    assert_eq!(detail.decisions[1].at, Some(Duration::from_micros(1_200)));

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
    // Two definitions come first: these are the records 2 and 4.
    lines[3] = "{\"settle\":{\"id\":\"gar\0bage\n";
    let torn = lines[5].len() / 2;
    lines[5] = &lines[5][..torn];
    let journal = dir.path().join("journal");
    fs::write(segment::path(&journal, 1), lines.concat()).unwrap();

    let ledger = open(dir.path());
    let calls = ledger.reader().calls(&CallQuery::default()).unwrap();
    let ids: Vec<_> = calls.iter().map(|it| it.call_id).collect();
    assert_eq!(ids, [sample::id(1, noon()), sample::id(3, noon())]);
    assert_eq!(ledger.health().corrupt_lines, 1);
    assert_eq!(fs::read_to_string(segment::corrupt_path(&journal, 1)).unwrap(), lines[3]);
    assert_eq!(settle(&ledger, sample::record(5, noon())), Durability::Kept);
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

#[test]
fn sums_are_exact_and_users_see_their_own() {
    let dir = TempDir::new().unwrap();
    let ledger = open(dir.path());
    let (alice, bob) = (sample::subject("a.py", 1, 1000), sample::subject("b.py", 2, 1001));
    let mut expected: HashMap<&str, i64> = HashMap::new();
    for n in 0..1_000_u64 {
        let mut record = sample::record(n, noon() + Duration::from_millis(n));
        let (subject, name) = if n % 3 == 0 { (&bob, "exe:b.py") } else { (&alice, "exe:a.py") };
        record.subject = Arc::clone(subject);
        let cost = i64::try_from(n).unwrap() * 333_333_333 + 1;
        record.cost = (n % 10 != 0).then_some(NanoUsd(cost));
        record.billing = if n % 2 == 0 { Billing::Metered } else { Billing::Subscription };
        *expected.entry(name).or_default() += record.cost.map_or(0, |it| it.0);
        settle(&ledger, record);
    }
    let reader = ledger.reader();
    let query = SpendQuery { by: vec![Dimension::Workload], ..SpendQuery::default() };
    let rows = reader.spend(&query).unwrap();
    assert_eq!(rows.len(), 2);
    for row in &rows {
        let name = row.keys[0].1.as_deref().unwrap();
        assert_eq!(row.cost_usd.0, expected[name], "{name}");
        assert_eq!(row.metered_usd.0 + row.subscription_usd.0, row.cost_usd.0);
    }
    assert!(rows[0].cost_usd > rows[1].cost_usd);
    assert_eq!(rows.iter().map(|it| it.unknown_cost_calls).sum::<u64>(), 100);
    assert_eq!(rows.iter().map(|it| it.input_tokens).sum::<u64>(), 1_200_000);

    let own = reader.spend(&SpendQuery { uid: Some(1001), ..query }).unwrap();
    assert_eq!((own.len(), own[0].calls), (1, 334));
    let calls = CallQuery { uid: Some(1001), ..CallQuery::default() };
    assert!(reader.calls(&calls).unwrap().iter().all(|it| it.uid == 1001));
    let json = serde_json::to_value(&own[0]).unwrap();
    assert_eq!(json["workload"], "exe:b.py");
    assert_eq!(json["cost_usd"], own[0].cost_usd.to_string());
    assert_eq!(serde_json::from_value::<SpendRow>(json).unwrap(), own[0]);
}

#[test]
fn spend_is_cut_at_the_calendar_and_at_its_bounds() {
    let dir = TempDir::new().unwrap();
    let ledger = open(dir.path());
    let hour = 60 * 60;
    for (n, offset) in [(1, 0), (2, 13 * hour), (3, 14 * hour), (4, 40 * hour)] {
        settle(&ledger, sample::record(n, noon() + seconds(offset)));
    }
    let reader = ledger.reader();
    let days = SpendQuery { bucket: Some(Bucket::Day), ..SpendQuery::default() };
    let rows = reader.spend(&days).unwrap();
    let counts: Vec<_> =
        rows.iter().map(|it| (it.bucket_start.unwrap().to_string(), it.calls)).collect();
    let expected =
        [("2026-10-01T00:00:00Z", 1), ("2026-10-02T00:00:00Z", 2), ("2026-10-03T00:00:00Z", 1)];
    assert_eq!(counts, expected.map(|(day, calls)| (day.to_owned(), calls)));
    let bounded = SpendQuery {
        since: Some(noon() + seconds(13 * hour)),
        until: Some(noon() + seconds(40 * hour)),
        ..SpendQuery::default()
    };
    assert_eq!(reader.spend(&bounded).unwrap()[0].calls, 2);
}

#[test]
fn ids_that_do_not_tell_the_time_are_found_all_the_same() {
    let dir = TempDir::new().unwrap();
    let ledger = open(dir.path());
    let mut record = sample::record(1, noon());
    record.call_id = CallId(ulid::Ulid::from_parts(5, 5));
    settle(&ledger, record);
    let since = SpendQuery { since: Some(noon() - seconds(1)), ..SpendQuery::default() };
    let reader = ledger.reader();
    assert_eq!(reader.spend(&since).unwrap()[0].calls, 1);
    let buckets = SpendQuery { bucket: Some(Bucket::Month), ..SpendQuery::default() };
    assert_eq!(reader.spend(&buckets).unwrap()[0].calls, 1);
    let after = SpendQuery { since: Some(noon() + seconds(1)), ..SpendQuery::default() };
    assert!(reader.spend(&after).unwrap().is_empty());
}

#[test]
fn coverage_counts_what_could_have_been_metered() {
    let dir = TempDir::new().unwrap();
    let ledger = open(dir.path());
    let reader = ledger.reader();
    assert_eq!(reader.coverage(None, None).unwrap().ratio(), None);
    settle(&ledger, sample::record(1, noon()));
    assert_eq!(reader.coverage(None, None).unwrap().ratio(), Some(1.0), "still connected");
    for (treatment, reason) in [
        (Treatment::Metered, ""),
        (Treatment::Opaque, "untrusted"),
        (Treatment::Opaque, "untrusted"),
        (Treatment::Direct, "observe"),
        (Treatment::Blocked, "policy"),
        (Treatment::Opaque, "not_llm"),
    ] {
        Sink::connection(&ledger, sample::connection(treatment, reason, noon()));
    }
    let mut failed = sample::connection(Treatment::Direct, "observe", noon());
    failed.failed = true;
    Sink::connection(&ledger, failed);
    let coverage = reader.coverage(None, None).unwrap();
    assert_eq!((coverage.metered, coverage.total), (1, 4));
    assert_eq!(coverage.reasons[0].reason, "untrusted");
    let by = |dimension| SpendQuery { by: vec![dimension], ..SpendQuery::default() };
    let rows = reader.spend(&by(Dimension::Workload)).unwrap();
    assert_eq!(rows[0].coverage, Some(0.25));
    assert_eq!(reader.spend(&by(Dimension::Model)).unwrap()[0].coverage, None);
    assert_eq!(reader.coverage(None, Some(4)).unwrap().total, 0);
}

#[test]
fn processes_show_calls_and_connections() {
    let dir = TempDir::new().unwrap();
    let ledger = open(dir.path());
    for n in 0..3 {
        settle(&ledger, sample::record(n, noon()));
    }
    drop(ledger);
    let ledger = open(dir.path());
    settle(&ledger, sample::record(3, noon() + seconds(5)));
    Sink::connection(&ledger, sample::connection(Treatment::Opaque, "untrusted", noon()));
    let reader = ledger.reader();
    let [row] = reader.processes(None, None).unwrap().try_into().unwrap();
    assert_eq!((row.pid, row.calls, row.cost_usd), (7, 4, NanoUsd(4 * 14_500_000)));
    assert_eq!(row.last_seen, Timestamp::try_from(noon() + seconds(5)).unwrap());
    assert_eq!((&*row.connections[0].reason, row.connections[0].count), ("untrusted", 1));
    assert!(reader.processes(Some(noon() + seconds(90)), None).unwrap().is_empty());
    assert!(reader.processes(None, Some(1)).unwrap().is_empty());
    let of_pid = reader.by_pid(7, 2).unwrap();
    assert_eq!(of_pid.last().unwrap().call_id, sample::id(3, noon() + seconds(5)));
    assert_eq!(of_pid.len(), 2);
    assert!(reader.by_pid(8, 2).unwrap().is_empty());
}

#[test]
fn following_delivers_calls_in_the_order_in_which_they_ended() {
    let dir = TempDir::new().unwrap();
    let ledger = open(dir.path());
    let reader = ledger.reader();
    for n in [1, 5] {
        settle(&ledger, sample::record(n, noon()));
    }
    let last = reader.latest().unwrap();
    assert_eq!(last, sample::id(5, noon()));
    // Began earlier, ended later.
    for n in [7, 2] {
        settle(&ledger, sample::record(n, noon()));
    }
    let query = CallQuery { after: Some(last), ..CallQuery::default() };
    let ids: Vec<_> = reader.calls(&query).unwrap().iter().map(|it| it.call_id).collect();
    assert_eq!(ids, [7, 2].map(|n| sample::id(n, noon())));
    let none = CallQuery { after: ids.last().copied(), ..CallQuery::default() };
    assert!(reader.calls(&none).unwrap().is_empty());
}

#[test]
fn filters_select_calls() {
    let dir = TempDir::new().unwrap();
    let ledger = open(dir.path());
    for n in 0..10 {
        let mut record = sample::record(n, noon() + seconds(n));
        record.decisions = Vec::<Decision>::new();
        if n == 4 {
            record.status = Some(429);
            record.outcome = Outcome::RateLimited;
            record.kind = Kind::Opaque;
            record.model = None;
            record.model_served = None;
            record.cost = None;
            record.usage_source = UsageSource::Unknown;
        }
        settle(&ledger, record);
    }
    let reader = ledger.reader();
    let count = |query: CallQuery| reader.calls(&query).unwrap().len();
    assert_eq!(count(CallQuery { status: Some(429), ..CallQuery::default() }), 1);
    assert_eq!(count(CallQuery { outcome: Some(Outcome::Ok), ..CallQuery::default() }), 9);
    assert_eq!(count(CallQuery { kind: Some(Kind::Opaque), ..CallQuery::default() }), 1);
    assert_eq!(count(CallQuery { user: Some("user1000".into()), ..CallQuery::default() }), 10);
    assert_eq!(count(CallQuery { user: Some("1000".into()), ..CallQuery::default() }), 10);
    assert_eq!(count(CallQuery { model: Some("gpt-4o-mini".into()), ..CallQuery::default() }), 9);
    assert_eq!(count(CallQuery { provider: Some("other".into()), ..CallQuery::default() }), 0);
    assert_eq!(count(CallQuery { pid: Some(7), ..CallQuery::default() }), 10);
    let since = Some(noon() + seconds(8));
    assert_eq!(count(CallQuery { since, ..CallQuery::default() }), 2);
    let last = reader.calls(&CallQuery { last: Some(3), ..CallQuery::default() }).unwrap();
    let ids: Vec<_> = last.iter().map(|it| it.call_id).collect();
    assert_eq!(ids, [7, 8, 9].map(|n| sample::id(n, noon() + seconds(n))));
    let unpriced = reader.unpriced(None, None).unwrap();
    assert_eq!((unpriced.len(), unpriced[0].calls, unpriced[0].unknown_usage), (1, 1, 1));
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
    let mut store = Store::open(&dir.path().join("ledger.db")).unwrap();
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

#[test]
fn readers_and_the_writer_do_not_hold_each_other_up() {
    let dir = TempDir::new().unwrap();
    let ledger = open(dir.path());
    thread::scope(|scope| {
        for _ in 0..3 {
            let reader = ledger.reader();
            scope.spawn(move || {
                let mut seen = 0;
                while seen < 2_000 {
                    let rows = reader.spend(&SpendQuery::default()).unwrap();
                    let calls = rows.first().map_or(0, |it| it.calls);
                    assert!(calls >= seen, "{calls} < {seen}");
                    seen = calls;
                }
            });
        }
        for n in 0..2_000 {
            assert_eq!(settle(&ledger, sample::record(n, noon())), Durability::Kept);
        }
    });
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

#[test]
fn one_absurd_report_does_not_spoil_the_sums() {
    let dir = TempDir::new().unwrap();
    let ledger = open(dir.path());
    for n in 0..3 {
        let mut record = sample::record(n, noon());
        record.usage.input = u64::MAX;
        record.cost = Some(NanoUsd(i64::MAX));
        settle(&ledger, record);
    }
    let rows = ledger.reader().spend(&SpendQuery::default()).unwrap();
    assert_eq!(
        (rows[0].input_tokens, rows[0].cost_usd.0),
        (3_000_000_000_000, 3_000_000_000_000_000)
    );
}

/// Names the state directory to the copies of this program that the tests below start.
const STATE: &str = "WEIR_TEST_STATE";

#[expect(clippy::disallowed_methods, reason = "how a test tells its child what to do")]
fn state_from_parent() -> Option<PathBuf> {
    std::env::var_os(STATE).map(Into::into)
}

fn child(test: &str) -> Vec<String> {
    let program = std::env::current_exe().unwrap();
    let program = program.to_str().unwrap().to_owned();
    vec![program, format!("ledger::tests::{test}"), "--exact".into(), "--nocapture".into()]
}

#[test]
fn what_was_confirmed_survives_kill_9_under_load() {
    if let Some(state) = state_from_parent() {
        confirm_until_killed(&state);
    }
    let dir = TempDir::new().unwrap();
    for round in 0..3 {
        let command = child("what_was_confirmed_survives_kill_9_under_load");
        let mut child = Command::new(&command[0])
            .args(&command[1..])
            .env(STATE, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut confirmed = BTreeSet::new();
        let mut note = |line: String| {
            if let Some(id) = line.strip_prefix("kept ") {
                assert!(confirmed.insert(id.parse::<CallId>().unwrap()), "confirmed twice");
            }
            confirmed.len()
        };
        while note(lines.next().unwrap().unwrap()) < 3_000 + 1_111 * round {}
        child.kill().unwrap();
        // What it said before it died counts too; its last line may be cut short.
        let rest: Vec<String> = lines.map_while(Result::ok).collect();
        for line in rest.into_iter().filter(|it| it.len() == "kept ".len() + ulid::ULID_LEN) {
            note(line);
        }
        child.wait().unwrap();

        let ledger = open(dir.path());
        let calls = ledger.reader().calls(&CallQuery::default()).unwrap();
        let kept: BTreeSet<_> = calls
            .iter()
            .filter(|it| it.outcome == Some(Outcome::Ok))
            .map(|it| it.call_id)
            .collect();
        let missing: Vec<_> = confirmed.difference(&kept).collect();
        assert!(missing.is_empty(), "{} of {} missing", missing.len(), confirmed.len());
        let ids: BTreeSet<_> = calls.iter().map(|it| it.call_id).collect();
        assert_eq!(ids.len(), calls.len(), "no call twice");
        assert!(calls.iter().all(|it| it.outcome.is_some()), "no call left open");
        assert_eq!(ledger.health().corrupt_lines, 0);
    }
}

fn confirm_until_killed(state: &Path) -> ! {
    let ledger = open(state);
    let base = System.now().wall;
    thread::scope(|scope| {
        for worker in 0..4_u64 {
            let ledger = &ledger;
            scope.spawn(move || {
                for n in 0_u64.. {
                    let n = n * 4 + worker;
                    Sink::open(ledger, sample::opened(n, base));
                    if settle(ledger, sample::record(n, base)) == Durability::Kept {
                        let line = format!("kept {}\n", sample::id(n, base));
                        io::stdout().write_all(line.as_bytes()).unwrap();
                    }
                }
            });
        }
    });
    unreachable!("the workers never end")
}

#[test]
fn a_full_disk_loses_nothing_that_fits_the_backlog() {
    if let Some(state) = state_from_parent() {
        return fill_the_disk(&state);
    }
    let dir = TempDir::new().unwrap();
    let script = "mount -t tmpfs -o size=24m tmpfs \"$WEIR_TEST_STATE\" && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private"]);
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command
        .args(["sh", "-c", script, "sh"])
        .args(child("a_full_disk_loses_nothing_that_fits_the_backlog"))
        .env(STATE, dir.path())
        .stdout(Stdio::piped());
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() && !said.contains("running 1 test") {
        eprintln!("SKIPPED: no mount namespace here: {}", String::from_utf8_lossy(&output.stderr));
        return;
    }
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
}

fn fill_the_disk(state: &Path) {
    let ledger = open(state);
    let reader = ledger.reader();
    assert_eq!(settle(&ledger, sample::record(0, noon())), Durability::Kept);
    assert!(ledger.flush());

    let ballast = state.join("ballast");
    let mut file = File::create(&ballast).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
    while file.write_all(&[0; 1]).is_ok() {}
    drop(file);
    let mut lost = 0;
    for n in 1..=4_000 {
        let before = System.now().mono;
        lost += usize::from(settle(&ledger, sample::record(n, noon())) == Durability::Dropped);
        assert!(before.elapsed() < Duration::from_secs(1), "nobody is held up");
    }
    assert!(lost > 3_900, "{lost}");
    assert!(!ledger.flush());
    let health = ledger.health();
    assert!(health.backlog > 3_900 && health.write_errors > 0, "{health:?}");
    assert_eq!(health.dropped, 0);
    // What was there can still be read.
    assert_eq!(reader.calls(&CallQuery::default()).unwrap().len(), 1);

    fs::remove_file(&ballast).unwrap();
    while !ledger.flush() {
        // The importer waits half a second between attempts.
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(ledger.health().backlog, 0);
    assert_eq!(settle(&ledger, sample::record(5_000, noon())), Durability::Kept);
    assert_eq!(reader.calls(&CallQuery::default()).unwrap().len(), 4_002);
    ledger.close();
    let left = segment::numbers(&state.join("journal")).unwrap();
    assert!(left.is_empty(), "{left:?}");
}
