//! What readers are told.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tempfile::TempDir;

use super::super::*;
use crate::llm::usage::NanoUsd;
use crate::record::{Billing, CallId, Decision, Durability, Kind, Outcome, Treatment, UsageSource};

use super::{noon, open, seconds, settle};

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

#[test]
fn who_was_first_seen_with_whom_is_known_from_calls_and_connections() {
    let dir = TempDir::new().unwrap();
    let ledger = open(dir.path());
    for (n, offset) in [(1, 60), (2, 30), (3, 90)] {
        settle(&ledger, sample::record(n, noon() + seconds(offset)));
    }
    let mut elsewhere = sample::record(4, noon() + seconds(5));
    elsewhere.provider = "anthropic".into();
    settle(&ledger, elsewhere);
    let connection = |provider: &str, offset| Connection {
        opened_at: noon() + seconds(offset),
        duration: Duration::from_secs(1),
        subject: sample::subject("agent.py", 7, 1000),
        provider: provider.into(),
        host: "a.example".into(),
        treatment: Treatment::Metered,
        reason: "".into(),
        bytes_up: 1,
        bytes_down: 1,
        failed: false,
    };
    ledger.connection(connection("openai", 20));
    ledger.connection(connection("gemini", 40));
    ledger.connection(connection("unknown", 1));
    let mut found = ledger.reader().contacts().unwrap();
    found.sort_by_key(|it| it.first_at);
    let found: Vec<_> =
        found.iter().map(|it| (&*it.workload, &*it.provider, it.first_at)).collect();
    let expected = [("anthropic", 5), ("openai", 20), ("gemini", 40)];
    let expected = expected.map(|(provider, at)| ("exe:agent.py", provider, noon() + seconds(at)));
    assert_eq!(found, expected);
    ledger.close();
}
