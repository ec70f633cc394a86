//! Many calls: as a file, and in pages.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use agent::clock::{Clock as _, System};
use agent::ledger::{Ledger, Settings};
use agent::llm::usage::{NanoUsd, Usage};
use agent::record::{Attempt, Billing, CallId, Kind, Outcome, Record, Sink as _, UsageSource, Via};
use agent::subject::{Process, Subject, Workload};
use anyhow::{Context, ensure};
use harness::{money, on_stage};
use serde_json::Value;

use super::{Session, over_http, rows};

/// More than ten pages of an export.
const CALLS: u32 = 6_200;
/// A name that a spreadsheet would take for a formula.
const FORMULA: &str = "=cmd|' /C calc'!A0";

/// Calls of two days, by three workloads, in a ledger that an agent finds at its start.
fn fill(state: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(state)?;
    let ledger = Ledger::open(state, Settings::default(), Arc::new(System))?;
    let now = System.now().wall;
    let subjects = ["exe:a.py", "exe:b.py", FORMULA].map(subject);
    let mut kept = None;
    for n in 0..CALLS {
        let subject = &subjects[n as usize % subjects.len()];
        kept = Some(ledger.settle(Arc::new(record(n, now, subject))));
    }
    // They are kept in order: the last one is the last.
    kept.context("calls")?.blocking_recv()?;
    ledger.close();
    Ok(())
}

fn subject(name: &str) -> Arc<Subject> {
    Arc::new(Subject {
        process: Process {
            pid: 7,
            start_ticks: 1,
            exe: "/usr/bin/python3".into(),
            command: format!("python3 \"{name}\",x\ny").into(),
            uid: 1000,
            user: Some("al".into()),
            verified: true,
        },
        workload: Workload { name: name.into(), unit: None, container: None, pod: None, app: None },
    })
}

fn record(n: u32, now: SystemTime, subject: &Arc<Subject>) -> Record {
    let at = now - Duration::from_hours(24) + Duration::from_secs(n.into());
    let ms = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
    let id = ulid::Ulid::from_parts(u64::try_from(ms).unwrap_or(0), n.into());
    let cost = Some(NanoUsd(1_000 + i64::from(n)));
    Record {
        call_id: CallId(id),
        started_at: at,
        kind: Kind::Call,
        via: Via::Intercept,
        subject: Arc::clone(subject),
        environment: "prod".into(),
        team: None,
        account: None,
        agent_name: None,
        provider: "openai".into(),
        host: "api.openai.com".into(),
        operation: "chat".into(),
        method: "POST".into(),
        path: "/v1/chat/completions".into(),
        model: Some("gpt-4o-mini".into()),
        model_served: None,
        stream: false,
        status: Some(if n.is_multiple_of(10) { 429 } else { 200 }),
        outcome: if n.is_multiple_of(10) { Outcome::RateLimited } else { Outcome::Ok },
        error: None,
        usage: Usage { input: 10, output: 2, ..Usage::default() },
        usage_source: UsageSource::Reported,
        cost,
        billing: Billing::Metered,
        price_version: None,
        attempts: vec![Attempt {
            provider: "openai".into(),
            model: None,
            started_at: at,
            status: Some(200),
            outcome: Outcome::Ok,
            upstream: Duration::from_millis(3),
            cost,
        }],
        retry_of: None,
        ttft: None,
        latency: Duration::from_millis(5),
        upstream: Duration::from_millis(4),
        bytes_in: 100,
        bytes_out: 200,
        flags: Vec::new(),
        decisions: Vec::new(),
        trace: None,
    }
}

#[test]
fn an_export_holds_every_call_once_and_in_order() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let state = stage.home().join("state");
        tokio::task::spawn_blocking(move || fill(&state)).await??;
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
