//! Why calls failed, as the ledger tells it afterwards.

use std::collections::HashMap;
use std::time::Duration;

use proptest::prelude::*;
use tempfile::TempDir;

use super::super::*;
use crate::llm::usage::NanoUsd;
use crate::record::{Attempt, Billing, FailureClass, Kind, Outcome};

use super::{noon, open, seconds, settle};

const HOUR: u64 = 3600;

/// A call that ended so; `status` also in its only try, which is as it was.
fn ended(n: u64, outcome: Outcome, status: Option<u16>, error: Option<&str>) -> Record {
    let mut record = sample::record(n, noon() + Duration::from_millis(n));
    (record.outcome, record.status) = (outcome, status);
    record.error = error.map(str::to_owned);
    (record.attempts[0].outcome, record.attempts[0].status) = (outcome, status);
    record
}

fn counts(errors: &Errors) -> Vec<(Option<&str>, &'static str, u64)> {
    errors.rows.iter().map(|row| (row.key.as_deref(), row.class.word(), row.count)).collect()
}

#[test]
fn failures_are_told_by_class_and_group() {
    let dir = TempDir::new().unwrap();
    let ledger = open(dir.path());
    let certificate = Some("the certificate of api.openai.com is not accepted: expired (x)");
    for (n, (outcome, status, error)) in (0..).zip([
        (Outcome::Ok, Some(200), None),
        (Outcome::Ok, Some(200), None),
        (Outcome::UpstreamError, Some(503), None),
        (Outcome::UpstreamError, Some(500), None),
        (Outcome::UpstreamError, Some(400), None),
        (Outcome::RateLimited, Some(429), None),
        (Outcome::ConnectError, Some(502), certificate),
        (Outcome::ConnectError, Some(504), Some("cannot connect to a:443: timed out")),
    ]) {
        settle(&ledger, ended(n, outcome, status, error));
    }
    let mut refused = ended(20, Outcome::Refused, Some(429), Some("Rate limit exceeded"));
    refused.attempts.clear();
    refused.subject = sample::subject("b.py", 9, 1001);
    settle(&ledger, refused);
    let mut list = ended(21, Outcome::UpstreamError, Some(500), None);
    list.kind = Kind::Request;
    settle(&ledger, list);

    let reader = ledger.reader();
    let all = reader.errors(&ErrorQuery::default()).unwrap();
    assert_eq!((all.calls, all.errors), (9, 7), "a list of models is no call");
    let expected = [
        (None, "server_error", 2),
        (None, "timeout", 1),
        (None, "rate_limit", 1),
        (None, "invalid_request", 1),
        (None, "tls", 1),
        (None, "refused", 1),
    ];
    assert_eq!(counts(&all), expected);
    let openai = Availability { provider: "openai".to_owned(), calls: 8, failed: 4 };
    assert_eq!(all.availability, [openai], "a limit and a bad request are answers");

    let by = Some(ErrorsBy::Workload);
    let rows = reader.errors(&ErrorQuery { by, ..ErrorQuery::default() }).unwrap().rows;
    assert_eq!(
        (rows[0].key.as_deref(), rows[0].errors, rows[0].calls),
        (Some("exe:agent.py"), 6, 8)
    );
    let least = rows.last().unwrap();
    assert_eq!((least.key.as_deref(), least.class), (Some("exe:b.py"), FailureClass::Refused));

    let own = reader.errors(&ErrorQuery { uid: Some(1001), ..ErrorQuery::default() }).unwrap();
    assert_eq!((own.calls, own.errors, own.availability), (1, 1, Vec::new()));
    let since = Some(noon() + seconds(60));
    let none = reader.errors(&ErrorQuery { since, ..ErrorQuery::default() }).unwrap();
    assert_eq!(none, Errors::default());
}

#[test]
fn every_try_says_something_of_its_provider() {
    let dir = TempDir::new().unwrap();
    let ledger = open(dir.path());
    let mut saved = sample::record(1, noon());
    let failed = Attempt {
        status: Some(503),
        outcome: Outcome::UpstreamError,
        cost: None,
        ..saved.attempts[0].clone()
    };
    saved.attempts[0].provider = "anthropic".into();
    saved.attempts.insert(0, failed.clone());
    saved.attempts.insert(0, failed);
    settle(&ledger, saved);
    let errors = ledger.reader().errors(&ErrorQuery::default()).unwrap();
    assert_eq!((errors.calls, errors.errors), (1, 0), "the call itself went well");
    let of = |provider: &str, calls, failed| Availability {
        provider: provider.to_owned(),
        calls,
        failed,
    };
    assert_eq!(errors.availability, [of("anthropic", 1, 0), of("openai", 2, 2)]);
}

#[test]
fn hours_are_summed_by_workload_and_flat_plans_left_out() {
    let dir = TempDir::new().unwrap();
    let ledger = open(dir.path());
    let first = noon().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() / HOUR;
    for (n, after, billing) in [
        (1, 0, Billing::Metered),
        (2, 10, Billing::Metered),
        (3, HOUR, Billing::Unknown),
        (4, HOUR, Billing::Subscription),
        (5, 3 * HOUR, Billing::Metered),
    ] {
        let mut record = sample::record(n, noon() + seconds(after));
        record.billing = billing;
        settle(&ledger, record);
    }
    let reader = ledger.reader();
    let row = |hour, cost| HourRow {
        workload: "exe:agent.py".to_owned(),
        hour: first + hour,
        cost: NanoUsd(cost),
    };
    let cost = 14_500_000;
    assert_eq!(reader.hourly(first..first + 2).unwrap(), [row(0, 2 * cost), row(1, cost)]);
    assert_eq!(reader.hourly(first + 2..first + 3).unwrap(), []);
    assert_eq!(reader.hourly(first + 3..first + 4).unwrap(), [row(3, cost)]);
    assert_eq!(reader.hourly(first + 4..first).unwrap(), []);
    assert_eq!(reader.first_hours().unwrap(), [("exe:agent.py".to_owned(), first)]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn what_is_read_is_what_was_counted_as_calls_ended(
        ends in proptest::collection::vec((0..10_usize, 0..6_usize, 0..3_u32), 1..60),
    ) {
        const OUTCOMES: [Outcome; 10] = [
            Outcome::Ok, Outcome::UpstreamError, Outcome::RateLimited, Outcome::StreamError,
            Outcome::ConnectError, Outcome::UpstreamCut, Outcome::ClientAbort, Outcome::Refused,
            Outcome::Internal, Outcome::Lost,
        ];
        const STATUS: [Option<u16>; 6] =
            [None, Some(200), Some(401), Some(429), Some(502), Some(504)];
        const ERRORS: [Option<&str>; 3] = [None, Some("TLS with a failed: x"), Some("overloaded")];
        let dir = TempDir::new().unwrap();
        let ledger = open(dir.path());
        let mut expected: HashMap<FailureClass, u64> = HashMap::new();
        for (n, (outcome, status, error)) in (0..).zip(&ends) {
            let error = ERRORS[*error as usize];
            let record = ended(n, OUTCOMES[*outcome], STATUS[*status], error);
            let class = FailureClass::of(record.outcome, record.status, record.error.as_deref());
            if let Some(class) = class {
                *expected.entry(class).or_default() += 1;
            }
            settle(&ledger, record);
        }
        let errors = ledger.reader().errors(&ErrorQuery::default()).unwrap();
        prop_assert_eq!(errors.calls, ends.len() as u64);
        prop_assert_eq!(errors.errors, expected.values().sum::<u64>());
        let found: HashMap<_, _> = errors.rows.iter().map(|row| (row.class, row.count)).collect();
        prop_assert_eq!(found, expected);
    }
}
