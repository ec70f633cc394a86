//! Many calls: as a file, and in pages.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use agent::clock::{Clock as _, System};
use agent::llm::usage::NanoUsd;
use agent::record::{Outcome, Record};
use agent::subject::{Process, Subject};
use anyhow::{Context, ensure};
use harness::{money, on_stage, records};
use serde_json::Value;

use super::{Session, over_http, rows};

/// More than ten pages of an export.
const CALLS: u32 = 6_200;
/// A name that a spreadsheet would take for a formula.
const FORMULA: &str = "=cmd|' /C calc'!A0";

/// Calls of two days, by three workloads; every tenth met a limit.
fn calls() -> impl Iterator<Item = Record> {
    let begun = System.now().wall - Duration::from_hours(24);
    let subjects = ["exe:a.py", "exe:b.py", FORMULA].map(subject);
    (0..CALLS).map(move |n| {
        let (at, limited) = (begun + Duration::from_secs(n.into()), n.is_multiple_of(10));
        let subject = &subjects[n as usize % subjects.len()];
        Record {
            status: Some(if limited { 429 } else { 200 }),
            outcome: if limited { Outcome::RateLimited } else { Outcome::Ok },
            ..records::call(n, at, subject, NanoUsd(1_000 + i64::from(n)))
        }
    })
}

fn subject(name: &str) -> Arc<Subject> {
    let plain = records::subject(name, 1000);
    let command = format!("python3 \"{name}\",x\ny").into();
    let process = Process { command, ..plain.process.clone() };
    Arc::new(Subject { process, workload: plain.workload.clone() })
}

#[test]
fn an_export_holds_every_call_once_and_in_order() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let state = stage.home().join("state");
        records::keep(&state, calls())?;
        let config = stage.config();
        stage.start(&config).await?;
        let session = Session::begin(stage).await?;
        let spend = stage.daemon()?.read(&["spend", "daily"]).await?;
        let total = &spend["total"];
        assert_eq!(total["calls"], CALLS);
        let whole = money::nanos(total["cost_usd"].as_str().context("money")?)?;

        let path = "/api/analytics/export?format=json&days=3";
        let json = over_http("GET", path, &[session.header()]).await?;
        assert_eq!(json.headers["content-type"], "application/json");
        assert_eq!(json.headers["transfer-encoding"], "chunked");
        let json = json.json()?;
        let calls = json.as_array().context("one array")?;
        assert_eq!(calls.len(), CALLS as usize);
        let ids: Vec<&str> = calls.iter().filter_map(|call| call["call_id"].as_str()).collect();
        ensure!(ids.is_sorted(), "in the order in which they began");
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), CALLS as usize);
        let cost = |call: &Value| money::nanos(call["cost_usd"].as_str().context("money")?);
        assert_eq!(calls.iter().map(cost).sum::<anyhow::Result<i64>>()?, whole);

        let path = "/api/analytics/export?format=csv&days=3";
        let csv = over_http("GET", path, &[session.header()]).await?;
        let kind = csv.headers["content-type"].to_str()?;
        ensure!(kind.starts_with("text/csv"), "{kind}");
        let mut reader = csv::Reader::from_reader(csv.body.as_bytes());
        let heading = reader.headers()?.clone();
        let place = |name: &str| heading.iter().position(|it| it == name).context("a column");
        let (id, money, workload) = (place("call_id")?, place("cost_usd")?, place("workload")?);
        let (mut sum, mut formulas, mut found) = (0, 0, Vec::new());
        for record in reader.records() {
            let record = record?;
            found.push(record[id].to_owned());
            sum += money::nanos(&record[money])?;
            formulas += usize::from(record[workload] == *format!("'{FORMULA}"));
            ensure!(!record.iter().any(|cell| cell.starts_with(['=', '@', '+'])), "{record:?}");
        }
        assert_eq!((found.len(), sum), (ids.len(), whole));
        ensure!(found == ids, "in the order in which they began");
        assert_eq!(formulas, CALLS as usize / 3);

        // One workload, and a span of time that is given by its ends.
        let since = calls[100]["started_at"].as_str().context("a time")?;
        let until = calls[400]["started_at"].as_str().context("a time")?;
        let path = format!("/api/analytics/export?workload=exe:b.py&since={since}&until={until}");
        let some = session.get(&path).await?;
        assert_eq!(some.as_array().context("an array")?.len(), 100);
        let none = session.get("/api/analytics/export?workload=exe:none").await?;
        assert_eq!(none, Value::Array(Vec::new()));
        let nonsense = "/api/analytics/export?format=xml";
        over_http("GET", nonsense, &[session.header()]).await?.problem(400)?;

        // The same calls in pages; of a class of statuses, pages are as full.
        for (filter, expected) in [("", CALLS as usize), ("&status=4xx", CALLS as usize / 10)] {
            let (mut seen, mut after, mut pages) = (Vec::new(), String::new(), 0);
            loop {
                let path = format!("/api/calls?limit=250{filter}{after}");
                let page = session.get(&path).await?;
                let of_page = rows(&page)?;
                let ids = of_page.iter().filter_map(|call| call["call_id"].as_str());
                seen.extend(ids.map(str::to_owned));
                pages += 1;
                let Some(next) = page["next"].as_str() else { break };
                assert_eq!(of_page.len(), 250);
                after = format!("&after={next}");
            }
            ensure!(seen.is_sorted() && seen.len() == expected, "{filter}: {}", seen.len());
            ensure!(pages >= expected / 250, "{pages}");
        }
        for query in ["limit=0", "limit=1001", "limit=5&last=3", "limit=x"] {
            let path = format!("/api/calls?{query}");
            over_http("GET", &path, &[session.header()]).await?.problem(400).context(query)?;
        }
        Ok(())
    })
}
