//! What policies need of the ledger: teams, accounts, and what was used before a start.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use tempfile::TempDir;

use super::super::*;
use super::{noon, open, seconds, settle};
use crate::llm::usage::{NanoUsd, Usage};
use crate::record::{Billing, Kind, Outcome, UsageSource};

fn of_team(n: u64, team: Option<&str>) -> Record {
    let mut record = sample::record(n, noon() + seconds(n));
    record.team = team.map(Into::into);
    record.account = Some("0a1b2c3d4e5f".into());
    record
}

#[test]
fn spend_is_told_by_team() {
    let dir = TempDir::new().unwrap();
    let ledger = open(dir.path());
    for (n, team) in [(1, Some("payments")), (2, Some("payments")), (3, Some("search")), (4, None)]
    {
        settle(&ledger, of_team(n, team));
    }
    let query = SpendQuery { by: vec![Dimension::Team], ..SpendQuery::default() };
    let rows = ledger.reader().spend(&query).unwrap();
    let calls: BTreeMap<_, _> =
        rows.iter().map(|row| (row.keys[0].1.as_deref(), row.calls)).collect();
    assert_eq!(calls, BTreeMap::from([(Some("payments"), 2), (Some("search"), 1), (None, 1)]));
    let query = CallQuery { team: Some("payments".to_owned()), ..CallQuery::default() };
    let rows = ledger.reader().calls(&query).unwrap();
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[0].account.as_deref(), Some("0a1b2c3d4e5f"));
}

/// P9: a restart forgets nothing, whatever state its calls were left in.
#[test]
fn a_restart_in_the_middle_knows_what_was_used() {
    let dir = TempDir::new().unwrap();
    let ledger = open(dir.path());
    let now = noon() + seconds(40 * 24 * 60 * 60);
    let mut expected = (0, 0, 0);
    for n in 0..500_u64 {
        // From a month ago up to now, and more often the nearer.
        let ago = (500 - n) * (500 - n) * 10;
        let mut record = sample::record(n, now - seconds(ago));
        record.usage = Usage { input: n, cache_read: 7, output: 3, ..Usage::default() };
        record.cost = Some(NanoUsd(i64::try_from(n).unwrap()));
        match n % 10 {
            // Refused by a policy: it reached nobody.
            0 => {
                record.outcome = Outcome::Refused;
                record.attempts.clear();
            }
            // Ended by a policy in the middle: it was used.
            1 => record.outcome = Outcome::Refused,
            2 => record.outcome = Outcome::ConnectError,
            3 => record.kind = Kind::Request,
            4 => record.usage_source = UsageSource::Estimated,
            5 => record.billing = Billing::Subscription,
            _ => {}
        }
        if !matches!(n % 10, 0 | 2 | 3) {
            // What a flat plan pays is used, and owed by nobody.
            let owed = if n % 10 == 5 { 0 } else { i64::try_from(n).unwrap() };
            expected = (expected.0 + 1, expected.1 + n + 3, expected.2 + owed);
        }
        record.attempts.iter_mut().for_each(|attempt| attempt.outcome = record.outcome);
        settle(&ledger, record);
    }
    // Killed while one more was on its way: nothing is known of it but that it was sent.
    Sink::open(&ledger, sample::opened(1_000, now - seconds(1)));
    ledger.flush();
    drop(ledger);

    let ledger = open(dir.path());
    let since = SystemTime::UNIX_EPOCH;
    let rows = ledger.reader().spent(since, now).unwrap();
    let sum = |of: fn(&SpentRow) -> u64| rows.iter().map(of).sum::<u64>();
    assert_eq!(sum(|row| row.requests), expected.0 + 1, "the open call counts as a request");
    assert_eq!(sum(|row| row.tokens), expected.1, "what a cache was read for does not count");
    assert_eq!(rows.iter().map(|row| row.cost.0).sum::<i64>(), expected.2);
    assert!(rows.iter().all(|row| &*row.subject.workload.name == "exe:agent.py"));
    assert!(
        rows.iter().all(
            |row| Arc::ptr_eq(&row.subject, &rows[0].subject) || row.subject == rows[0].subject
        )
    );
    // A later horizon leaves out what is before it, to the microsecond.
    let since = now - seconds(250);
    let rows = ledger.reader().spent(since, now).unwrap();
    assert!(rows.iter().all(|row| row.at >= since));
    assert_eq!(rows.iter().map(|row| row.requests).sum::<u64>(), 6);
}

#[test]
fn a_ledger_of_the_first_version_is_brought_up_to_date() {
    let dir = TempDir::new().unwrap();
    let old = rusqlite::Connection::open(dir.path().join("ledger.db")).unwrap();
    old.execute_batch(include_str!("../store/schema.sql")).unwrap();
    old.execute_batch(
        "INSERT INTO subject VALUES
           (1, 7, 1, '/bin/x', 'x', 1000, NULL, 1, 'exe:x', NULL, NULL, NULL, NULL, 0, 1790000000000000);
         INSERT INTO shape VALUES
           (1, 'call', 'intercept', 'prod', NULL, 'openai', 'api.openai.com', 'chat', 'POST', '/',
            'gpt-4o', NULL, 0, 200, 'ok', 'reported', 'metered', NULL, 1, '', 1790000000000000);
         PRAGMA user_version = 1;",
    )
    .unwrap();
    let put = "INSERT INTO call (call_id, started_at, subject, shape, latency_us)
        VALUES (?, ?, 1, 1, 5)";
    old.execute(put, (sample::id(0, noon()).to_string(), entry::micros(noon()))).unwrap();
    drop(old);
    let ledger = open(dir.path());
    settle(&ledger, of_team(1, Some("payments")));
    let rows = ledger.reader().calls(&CallQuery::default()).unwrap();
    let teams: Vec<_> = rows.iter().map(|row| row.team.as_deref()).collect();
    assert_eq!(teams, [None, Some("payments")]);
}
