//! What was decided on calls, as it is kept.

use std::sync::Arc;

use tempfile::TempDir;

use super::super::entry::{Call, Entry};
use super::super::shape::Interner;
use super::super::*;

use super::failures::leave_behind;
use super::{noon, open, settle};

const FIGURES: &str = "requests_per_minute 2 -> 3 of 5; daily_limit_usd $1.50 -> $1.5145 of $10.00";

#[test]
fn the_view_of_decisions_shows_words_and_figures() {
    let dir = TempDir::new().unwrap();
    let ledger = open(dir.path());
    settle(&ledger, sample::record(1, noon()));
    assert!(ledger.flush());
    let raw = rusqlite::Connection::open(dir.path().join("ledger.db")).unwrap();
    let mut statement =
        raw.prepare("SELECT at_us, rule, action, detail FROM decisions ORDER BY n").unwrap();
    let rows =
        statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)));
    let rows: Vec<(i64, String, String, String)> = rows.unwrap().collect::<Result<_, _>>().unwrap();
    let row = |at, rule: &str, action: &str, detail: &str| {
        (at, rule.to_owned(), action.to_owned(), detail.to_owned())
    };
    let figures = r#"{"requests_per_minute":[2,5],"daily_limit_usd":[1500000000,10000000000]}"#;
    assert_eq!(rows[0], row(12, "route", "provider openai", "host api.openai.com"));
    assert_eq!(rows[1], row(20, "rate_limits.agent", "pass", figures));
}

#[test]
fn a_journal_left_behind_keeps_what_its_decisions_speak_of() {
    let dir = TempDir::new().unwrap();
    let mut interner = Interner::new(Arc::default());
    let mut settled = |n| Entry::Settle(Call::settled(&sample::record(n, noon()), &mut interner));
    leave_behind(dir.path(), 1, &[settled(1), settled(2)]);
    let ledger = open(dir.path());
    for n in 1..=2 {
        let detail = ledger.reader().call(sample::id(n, noon())).unwrap().unwrap();
        let decided: Vec<_> = detail.decisions.iter().map(|it| (&*it.rule, &*it.detail)).collect();
        assert_eq!(decided[1], ("rate_limits.agent", FIGURES));
    }
}

#[test]
fn a_database_of_before_figures_reads_as_it_did() {
    let dir = TempDir::new().unwrap();
    let ledger = open(dir.path());
    settle(&ledger, sample::record(1, noon()));
    assert!(ledger.flush());
    let id = sample::id(1, noon());
    let old =
        format!(r#"{{"{id}":[[3,"rate_limits.x","pass","requests_per_minute 1 -> 2 of 5"]]}}"#);
    let raw = rusqlite::Connection::open(dir.path().join("ledger.db")).unwrap();
    assert_eq!(raw.execute("UPDATE decision SET steps = ?", [old]).unwrap(), 1);
    let detail = ledger.reader().call(id).unwrap().unwrap();
    let said = |it: &DecisionRow| format!("{} {}: {}", it.rule, it.action, it.detail);
    assert_eq!(
        detail.decisions.iter().map(said).collect::<Vec<_>>(),
        [
            "route openai: host api.openai.com",
            "rate_limits.x pass: requests_per_minute 1 -> 2 of 5",
            "price $0.0145: 1500 tokens at prices of 2026-10-01",
        ]
    );
}
