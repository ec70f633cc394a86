//! What trends and workloads are made of.

use std::collections::BTreeSet;
use std::time::Duration;

use tempfile::TempDir;

use std::time::SystemTime;

use super::super::*;
use crate::llm::usage::{NanoUsd, Usage};
use crate::record::{CallId, Decision, FailureClass, Kind, Outcome, Record, Treatment};

use super::{noon, open, seconds, settle};

fn decided(rule: &str, action: &str) -> Decision {
    let (rule, action, detail) = (rule.into(), action.into(), "".into());
    Decision { at: Duration::ZERO, rule, action, detail }
}

fn record(n: u64, uid: u32, outcome: Outcome, decisions: &[(&str, &str)]) -> Record {
    let mut record = sample::record(n, noon() + seconds(n));
    let name = if uid == 1000 { "a.py" } else { "b.py" };
    record.subject = sample::subject(name, uid, uid);
    record.outcome = outcome;
    record.decisions = decisions.iter().map(|(rule, action)| decided(rule, action)).collect();
    record
}

fn whole() -> [(SystemTime, SystemTime); 1] {
    [(noon(), noon() + seconds(1_000))]
}

#[test]
fn calls_come_to_counts_times_users_and_what_policies_did() {
    let dir = TempDir::new().unwrap();
    let ledger = open(dir.path());
    settle(&ledger, record(1, 1000, Outcome::Ok, &[("rate_limits.a", "pass")]));
    settle(&ledger, record(2, 1001, Outcome::UpstreamError, &[("retry", "retry")]));
    let refusals = [("rate_limits.a", "refuse"), ("budgets.b", "refuse"), ("budgets.c", "warn")];
    settle(&ledger, record(3, 1000, Outcome::Refused, &refusals));
    settle(&ledger, record(4, 1000, Outcome::Ok, &[("budgets.a", "would-refuse")]));
    // No call, and one that is not over.
    let mut list = record(5, 1002, Outcome::Ok, &[]);
    list.kind = Kind::Request;
    settle(&ledger, list);
    Sink::open(&ledger, sample::opened(6, noon() + seconds(6)));

    let reader = ledger.reader();
    let figures = reader.figures(&whole(), None).unwrap().remove(0);
    let expected = CallFigures {
        calls: 4,
        ok: 2,
        timed: 3,
        took: Duration::from_micros(3 * 1_234),
        tokens: 4 * 1_500,
        users: BTreeSet::from([1000, 1001]),
        enforced: Some(2),
    };
    assert_eq!(figures, expected);
    let own = reader.figures(&whole(), Some(1001)).unwrap().remove(0);
    assert_eq!((own.calls, own.ok, own.enforced), (1, 0, Some(0)));
    let halves = [(noon(), noon() + seconds(3)), (noon() + seconds(3), noon() + seconds(9))];
    let halves = reader.figures(&halves, None).unwrap();
    assert_eq!(halves.iter().map(|it| it.calls).collect::<Vec<_>>(), [2, 2]);
    assert!(reader.figures(&[], None).unwrap().is_empty());

    // Of calls that an earlier version kept it is not known what was done.
    ledger.flush();
    let raw = rusqlite::Connection::open(dir.path().join("ledger.db")).unwrap();
    raw.execute("UPDATE shape SET acted = NULL", []).unwrap();
    assert_eq!(reader.figures(&whole(), None).unwrap()[0].enforced, None);
}

#[test]
fn calls_that_were_taken_elsewhere_are_told_with_what_they_used() {
    let dir = TempDir::new().unwrap();
    let ledger = open(dir.path());
    let reader = ledger.reader();
    let moved = |uid| {
        let mut moved = Vec::new();
        reader.moved(whole()[0], uid, |it| moved.push(it)).unwrap();
        moved
    };
    settle(&ledger, record(1, 1000, Outcome::Ok, &[]));
    assert!(moved(None).is_empty());
    let elsewhere = [("budgets.a", "downgrade")];
    settle(&ledger, record(2, 1000, Outcome::Ok, &elsewhere));
    settle(&ledger, record(3, 1001, Outcome::Ok, &elsewhere));
    // Made as it was asked after all; only a shadow; of unknown cost.
    let skipped = [("budgets.a", "downgrade"), ("budgets.a", "skip")];
    settle(&ledger, record(4, 1000, Outcome::Ok, &skipped));
    settle(&ledger, record(5, 1000, Outcome::Ok, &[("budgets.a", "would-downgrade")]));
    let mut unknown = record(6, 1000, Outcome::Ok, &elsewhere);
    unknown.cost = None;
    settle(&ledger, unknown);
    let expected = Moved {
        at: noon() + seconds(2),
        provider: "openai".to_owned(),
        model: "gpt-4o-mini".to_owned(),
        usage: Usage { input: 1_200, output: 300, ..Usage::default() },
        cost: NanoUsd(14_500_000),
    };
    assert_eq!(moved(Some(1000)), [expected]);
    assert_eq!(moved(None).len(), 2);
    // Known cost or not; what was skipped was not enforced.
    assert_eq!(reader.figures(&whole(), None).unwrap()[0].enforced, Some(3));
}

#[test]
fn pages_follow_each_other_in_the_order_in_which_calls_began() {
    let dir = TempDir::new().unwrap();
    let ledger = open(dir.path());
    for n in [5_u64, 1, 4, 2, 3] {
        let mut record = record(n, 1000, Outcome::Ok, &[]);
        record.status = Some(if n % 2 == 0 { 404 } else { 200 });
        settle(&ledger, record);
    }
    let reader = ledger.reader();
    let page = |after: Option<CallId>, status_class, limit| {
        let query = CallQuery { status_class, after, ..CallQuery::default() };
        let rows = reader.page(&query, limit).unwrap();
        rows.iter().map(|row| row.call_id).collect::<Vec<_>>()
    };
    let id = |n| sample::id(n, noon() + seconds(n));
    assert_eq!(page(None, None, 2), [id(1), id(2)]);
    assert_eq!(page(Some(id(2)), None, 2), [id(3), id(4)]);
    assert_eq!(page(Some(id(4)), None, 2), [id(5)]);
    assert!(page(Some(id(5)), None, 2).is_empty());
    assert_eq!(page(None, Some(4), 2), [id(2), id(4)]);
}

#[test]
fn a_workload_has_times_errors_connections_and_policies() {
    let dir = TempDir::new().unwrap();
    let ledger = open(dir.path());
    let reader = ledger.reader();
    let look = |uid| reader.workload("exe:a.py", noon(), uid).unwrap();
    assert_eq!(look(None), None);
    for n in 1..=4 {
        let mut ok = record(n, 1000, Outcome::Ok, &[("budgets.a", "would-refuse")]);
        ok.latency = Duration::from_millis(n);
        ok.ttft = (n == 4).then_some(Duration::from_micros(500));
        settle(&ledger, ok);
    }
    let mut silent = record(5, 1000, Outcome::UpstreamCut, &[]);
    silent.status = Some(504);
    silent.latency = Duration::from_secs(9);
    settle(&ledger, silent);
    let mut tls = record(6, 1000, Outcome::ConnectError, &[]);
    tls.error = Some("the certificate of api.openai.com is not accepted: expired".to_owned());
    tls.latency = Duration::from_millis(1);
    settle(&ledger, tls);
    settle(&ledger, record(7, 1000, Outcome::Refused, &[("budgets.a", "refuse")]));
    settle(&ledger, record(8, 1001, Outcome::Ok, &[]));
    let mut connection = sample::connection(Treatment::Opaque, "untrusted", noon());
    connection.subject = sample::subject("a.py", 1000, 1000);
    Sink::connection(&ledger, connection);

    let found = look(None).unwrap();
    assert_eq!((found.calls, found.latency.samples, found.ttft.samples), (7, 6, 1));
    let millis = found.latency.at.unwrap().map(|time| time.as_millis());
    assert_eq!(millis, [2, 9_000, 9_000]);
    let classes = [FailureClass::Timeout, FailureClass::Tls, FailureClass::Refused];
    assert_eq!(found.errors, classes.map(|class| (class, 1)));
    let hits: Vec<_> =
        found.policies.iter().map(|it| (&*it.policy, &*it.action, it.count)).collect();
    assert_eq!(hits, [("budgets.a", "would-refuse", 4), ("budgets.a", "refuse", 1)]);
    let [connected] = &found.connections[..] else { panic!("{:?}", found.connections) };
    assert_eq!(
        (connected.treatment, &*connected.reason, connected.count),
        (Treatment::Opaque, "untrusted", 1)
    );
    assert_eq!(look(Some(1000)), Some(found));
    assert_eq!(look(Some(1001)), None, "another's");
}
