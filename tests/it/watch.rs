//! Who fails too often, takes too long or spends too much is told of: once, and not for nothing.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use agent::clock::{Clock, System};
use agent::demo::daemon::Config;
use agent::demo::mock::{Ending, Script, Tokens};
use agent::llm::usage::NanoUsd;
use anyhow::Context;
use harness::{Manner, Origin, Route, Stage, curl, on_stage, records, until};
use serde_json::{Value, json};

/// As in `reading.rs`: so many tokens of gpt-4o-mini cost $0.0003.
const TOKENS: Tokens =
    Tokens { input: 1_200, cached: 800, cache_write: 0, output: 300, reasoning: 100 };

fn status(code: u16) -> Script {
    ending(Ending::Status { code, retry_after: None })
}

fn ending(ending: Ending) -> Script {
    Script { ending, ..Script::default() }
}

/// So many calls by one process, one after the other, whatever they end in.
async fn calls(stage: &Stage, count: usize) -> anyhow::Result<()> {
    let url = format!("https://api.openai.com/v1/chat/completions?n=[1-{count}]");
    stage.run(Route::Redirect, &curl(&["-o", "/dev/null", &url])).await?;
    Ok(())
}

/// Somebody who is told, and the settings that tell them.
async fn told(config: Config) -> anyhow::Result<(Origin, Config)> {
    let receiver = Origin::start(SocketAddr::from(([127, 0, 0, 1], 0)), Manner::Http).await?;
    let url = format!("http://{}/told", receiver.address());
    let channel = json!({"allow_private": true, "webhook": {"url": url}});
    let config = config.with(&["alerts", "channels", "ops"], channel);
    Ok((receiver, config))
}

fn bodies(receiver: &Origin) -> anyhow::Result<Vec<Value>> {
    let bodies = receiver.bodies();
    bodies.iter().map(|body| Ok(serde_json::from_slice(body)?)).collect()
}

/// What was told, once there are so many things.
async fn topics(receiver: &Origin, count: usize) -> anyhow::Result<Vec<Value>> {
    until("alerts", async || {
        let bodies = bodies(receiver)?;
        Ok((bodies.len() >= count).then_some(bodies))
    })
    .await
}

async fn watch(stage: &Stage) -> anyhow::Result<Value> {
    let (status, body) = stage.daemon()?.admin("/api/watch").await?;
    anyhow::ensure!(status == 200, "{status}: {body}");
    Ok(serde_json::from_str(&body)?)
}

/// Whether the status warns of something with these words in it.
async fn is_warned(stage: &Stage, words: &str) -> anyhow::Result<bool> {
    let status = stage.daemon()?.read(&["status"]).await?;
    let warnings = status["warnings"].as_array().context("warnings")?;
    let found = warnings.iter().find(|it| it["what"].as_str().is_some_and(|it| it.contains(words)));
    if let Some(warning) = found {
        anyhow::ensure!(warning["degrades"] == false, "{warning}");
    }
    Ok(found.is_some())
}

/// Notices about a topic since the daemon's start.
async fn notices(stage: &Stage, topic: &str) -> anyhow::Result<u64> {
    stage.metric("weir_notices_total", &format!("topic=\"{topic}\"")).await
}

#[test]
fn six_failures_of_forty_are_told_once_over_a_restart_and_when_it_is_well() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let (receiver, config) = told(stage.config()).await?;
        let config = config.with(&["error_budgets", "curl"], json!(10));
        stage.start(&config).await?;
        calls(stage, 20).await?;
        for _ in 0..6 {
            stage.provider().once(status(503));
        }
        calls(stage, 20).await?;
        stage.settled(40).await?;
        // 2 of 22 are more than 80 % of the budget, 3 of 23 more than all of it.
        let bodies = topics(&receiver, 2).await?;
        let (near, over) = (&bodies[0], &bodies[1]);
        assert_eq!(near["topic"], "error_budget_threshold", "{near}");
        assert_eq!(over["topic"], "error_budget_exceeded", "{over}");
        assert_eq!(
            (&over["policy"], &over["agent_name"]),
            (&json!("error_budgets.curl"), &json!("exe:curl"))
        );
        assert_eq!(
            (&over["task"], &over["target"], &over["class"]),
            (&json!("curl"), &json!("10%"), &json!("server_error"))
        );

        let before = watch(stage).await?;
        let row = &before["workloads"][0];
        assert_eq!((&row["workload"], &row["task"]), (&json!("exe:curl"), &json!("curl")));
        assert_eq!((&row["window"]["calls"], &row["window"]["errors"]), (&json!(40), &json!(6)));
        assert_eq!(row["state"], "breached", "{row}");
        assert!(is_warned(stage, "exe:curl, task curl: 6 of its last 40 calls failed").await?);
        let used: f64 = stage.metric("weir_error_budget_used_ratio", "task=\"curl\"").await?;
        assert!((used - 1.5).abs() < 1e-6, "{used}");
        let failed: u64 = stage.metric("weir_errors_total", "class=\"server_error\"").await?;
        assert_eq!(failed, 6);

        // What is under way at the end would be told again.
        until("deliveries", async || {
            let history = stage.daemon()?.read(&["webhook", "history"]).await?;
            let rows = history["rows"].as_array().context("rows")?;
            let done = rows.iter().filter(|row| row["status"] == "delivered").count();
            Ok((done == 2).then_some(()))
        })
        .await?;
        stage.stop().await?;
        stage.start(&config).await?;
        let after = watch(stage).await?;
        assert_eq!(after["workloads"], before["workloads"], "the windows are those of before");
        assert!(is_warned(stage, "task curl").await?);

        calls(stage, 100).await?;
        stage.settled(140).await?;
        let bodies = topics(&receiver, 3).await?;
        let topics: Vec<_> = bodies.iter().map(|body| &body["topic"]).collect();
        let once = ["error_budget_threshold", "error_budget_exceeded", "error_budget_recovered"];
        assert_eq!(topics, once);
        assert!(!is_warned(stage, "task curl").await?);
        assert_eq!(watch(stage).await?["workloads"][0]["state"], "ok");
        Ok(())
    })
}

#[test]
fn one_failure_alerts_nobody() -> anyhow::Result<()> {
    on_stage(async |stage| {
        // A single failure is ten times what may fail.
        let config = stage.config().with(&["error_budgets", "default"], json!(0.1));
        stage.start(&config).await?;
        calls(stage, 30).await?;
        stage.provider().once(status(500));
        calls(stage, 30).await?;
        stage.settled(60).await?;
        let row = watch(stage).await?["workloads"][0].take();
        assert_eq!((&row["task"], &row["window"]["errors"]), (&json!("chat"), &json!(1)), "{row}");
        assert_eq!(row["state"], "ok");
        let used: f64 = stage.metric("weir_error_budget_used_ratio", "task=\"chat\"").await?;
        assert!(used > 10.0, "{used}");
        let notices: u64 = stage.metric("weir_notices_total", "error_budget").await?;
        assert_eq!(notices, 0);
        assert!(!is_warned(stage, "task chat").await?);
        Ok(())
    })
}

#[test]
fn a_provider_that_takes_too_long_breaches_the_95th_percentile() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let config = stage.config().with(&["sla", "*"], json!({"p95_ms": 100}));
        stage.start(&config).await?;
        let delay = Duration::from_millis(300);
        stage.provider().standing(Script { delay, ..Script::default() });
        let url = "https://api.openai.com/v1/chat/completions?n=[1-24]";
        let parallel = ["--parallel", "--parallel-max", "8", "-o", "/dev/null", url];
        stage.run(Route::Redirect, &curl(&parallel)).await?;
        stage.settled(24).await?;
        let watched = watch(stage).await?;
        let model = &watched["models"][0];
        assert_eq!((&model["model"], &model["state"]), (&json!("gpt-4o-mini"), &json!("breached")));
        assert_eq!(model["sla_ms"], 100.0);
        let latency = &watched["workloads"][0]["latency"];
        assert_eq!(latency["samples"], 24);
        let figure = |name: &str| latency[name].as_f64().context("a figure");
        let (p50, p95, p99) = (figure("p50_ms")?, figure("p95_ms")?, figure("p99_ms")?);
        assert!(300.0 <= p50 && p50 <= p95 && p95 <= p99, "{latency}");
        assert_eq!(watched["workloads"][0]["state"], "breached");
        assert_eq!(notices(stage, "sla_breached").await?, 1, "once");
        assert_eq!(stage.metric::<u64>("weir_sla_breached", "workload=\"exe:curl\"").await?, 1);
        assert!(is_warned(stage, "exe:curl, model gpt-4o-mini: P95 is").await?);
        Ok(())
    })
}

/// Eight hours of the last day in which curl spent $0.0003 each.
fn remember(stage: &Stage) -> anyhow::Result<()> {
    let curl = records::subject("exe:curl", 0);
    let now = System.now().wall;
    let calls = (2..10)
        .map(|hours| records::call(1, now - Duration::from_hours(hours), &curl, NanoUsd(300_000)));
    records::keep(&stage.home().join("state"), calls)
}

#[test]
fn spending_far_more_than_usual_is_told_once() -> anyhow::Result<()> {
    on_stage(async |stage| {
        remember(stage)?;
        stage.provider().standing(Script { tokens: TOKENS, ..Script::default() });
        let (receiver, config) = told(stage.config()).await?;
        let config = config.with(&["spikes"], json!({"floor_usd": 0.001}));
        stage.start(&config).await?;
        // $0.0015 within minutes, where $0.0003 an hour are usual: from the fourth call on.
        calls(stage, 5).await?;
        let bodies = topics(&receiver, 1).await?;
        assert_eq!(
            (&bodies[0]["topic"], &bodies[0]["policy"]),
            (&json!("cost_spike"), &json!("spikes"))
        );
        assert_eq!(bodies[0]["agent_name"], "exe:curl");
        assert_eq!(bodies[0]["target"], "$0.0003/h");

        calls(stage, 5).await?;
        stage.settled(18).await?;
        assert_eq!(notices(stage, "cost_spike").await?, 1, "once");
        let spike = watch(stage).await?["spike"][0].take();
        assert_eq!(
            (&spike["workload"], &spike["baseline_usd_per_hour"]),
            (&json!("exe:curl"), &json!("0.0003"))
        );
        assert!(spike["factor"].as_f64().context("a factor")? >= 3.0, "{spike}");
        assert_eq!(stage.metric::<u64>("weir_spend_spike", "workload=\"exe:curl\"").await?, 1);
        assert!(is_warned(stage, "exe:curl spends $").await?);

        // A restart in the middle of it tells nobody again.
        stage.stop().await?;
        stage.start(&config).await?;
        until("the spike is known", async || {
            calls(stage, 1).await?;
            Ok((watch(stage).await?["spike"][0]["workload"] == "exe:curl").then_some(()))
        })
        .await?;
        assert_eq!(notices(stage, "cost_spike").await?, 0);
        Ok(())
    })
}

#[test]
fn a_budget_that_will_not_last_is_foretold() -> anyhow::Result<()> {
    const BODY: &str = "{\"model\":\"gpt-4o-mini\",\"max_tokens\":400,\"messages\":[]}";
    on_stage(async |stage| {
        stage.provider().standing(Script { tokens: TOKENS, ..Script::default() });
        let budget = json!({"rolling": {"hours": 24, "limit_usd": 0.01}});
        let config =
            stage.config().with(&["mode"], json!("enforce")).with(&["budgets", "curl"], budget);
        stage.start(&config).await?;
        for _ in 0..6 {
            stage.succeed(Route::Redirect, &curl(&["-d", BODY])).await?;
        }
        stage.settled(6).await?;
        let row = watch(stage).await?["forecast"][0].take();
        assert_eq!(row["budget"], "budgets.curl", "{row}");
        assert!(row["exhausted_at"].is_string(), "{row}");
        assert_eq!(notices(stage, "budget_forecast").await?, 1);
        assert!(is_warned(stage, "budgets.curl per 24h will be spent by").await?);
        Ok(())
    })
}

#[test]
fn what_failed_is_what_the_ledger_holds() -> anyhow::Result<()> {
    const STREAM: &str = "{\"model\":\"gpt-4o-mini\",\"stream\":true,\"messages\":[]}";
    const CLAUDE: &str = "{\"model\":\"claude-sonnet-4-5\",\"max_tokens\":9,\"messages\":[]}";
    on_stage(async |stage| {
        let config = stage.config();
        stage.start(&config).await?;
        calls(stage, 3).await?;
        let ends = [500, 503, 429, 401, 400].map(status);
        let broken = [Ending::Hangup, Ending::Cut { after: 2 }, Ending::ErrorEvent { after: 2 }];
        let mut expected = BTreeMap::new();
        for (script, class) in ends.into_iter().chain(broken.map(ending)).zip([
            "server_error",
            "server_error",
            "rate_limit",
            "auth",
            "invalid_request",
            "connect",
            "quality",
            "server_error",
        ]) {
            stage.provider().once(script);
            stage.run(Route::Redirect, &curl(&["-d", STREAM])).await?;
            *expected.entry(class.to_owned()).or_insert(0_u64) += 1;
        }
        stage.provider().once(status(529));
        let claude = curl(&["-d", CLAUDE, "https://api.anthropic.com/v1/messages"]);
        stage.run(Route::Redirect, &claude).await?;
        *expected.entry("server_error".to_owned()).or_insert(0) += 1;
        let kept = stage.settled(12).await?;

        let daemon = stage.daemon()?;
        let errors = daemon.read(&["errors"]).await?;
        assert_eq!((&errors["calls"], &errors["errors"]), (&json!(12), &json!(9)));
        let failed = kept.iter().filter(|call| call["outcome"] != "ok").count();
        assert_eq!(failed, 9);
        assert_eq!(counts(&errors)?, expected);
        for by in ["workload", "provider", "model"] {
            let grouped = daemon.read(&["errors", "--by", by]).await?;
            assert_eq!(counts(&grouped)?, expected, "{by}");
        }
        let spent = daemon.read(&["spend"]).await?;
        assert_eq!(spent["total"]["errors"], 9, "no policy and no client ended any");
        let csv = stage.told(&["errors", "--by", "provider", "--csv"]).await?;
        let sum: u64 = csv
            .lines()
            .skip(1)
            .filter_map(|line| line.split(',').nth(2)?.parse::<u64>().ok())
            .sum();
        assert_eq!(sum, 9, "{csv}");
        let counted: u64 = stage.metric("weir_errors_total", "").await?;
        assert_eq!(counted, 9);

        // A limit, a bad key and a bad request are answers.
        let available = |provider: &str| {
            let mut rows = errors["availability"].as_array().into_iter().flatten();
            let row = rows.find(|row| row["provider"] == provider);
            row.map(|row| (row["calls"].clone(), row["failed"].clone()))
        };
        assert_eq!(available("openai"), Some((json!(11), json!(5))));
        assert_eq!(available("anthropic"), Some((json!(1), json!(1))));
        Ok(())
    })
}

/// Failures by class.
fn counts(errors: &Value) -> anyhow::Result<BTreeMap<String, u64>> {
    let mut counts = BTreeMap::new();
    for row in errors["rows"].as_array().context("rows")? {
        let class = row["class"].as_str().context("a class")?;
        *counts.entry(class.to_owned()).or_insert(0) += row["count"].as_u64().context("a count")?;
    }
    Ok(counts)
}
