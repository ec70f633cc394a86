//! Figures are what happened: the same as the command line says, and as the provider billed.

use agent::demo::mock::{Ending, Script};
use anyhow::{Context, ensure};
use harness::{Route, Stage, curl, money, on_stage, until};
use serde_json::{Value, json};

use super::{Session, TOKENS, over_socket, rows};

const CLAUDE: &str = "{\"model\":\"claude-sonnet-4-5\",\"max_tokens\":9,\"messages\":[]}";
const DEAR: &str = "{\"model\":\"gpt-4o\",\"max_tokens\":400,\"messages\":[]}";
const STREAM: &str = "{\"model\":\"gpt-4o-mini\",\"stream\":true,\"messages\":[]}";

/// Three calls that go well, one that the provider refuses, one that a limit does.
async fn play(stage: &mut Stage) -> anyhow::Result<()> {
    stage.provider().standing(Script { tokens: TOKENS, ..Script::default() });
    let config = stage
        .config()
        .with(&["mode"], json!("enforce"))
        .with(&["rate_limits", "curl"], json!({"requests_per_day": 4}));
    stage.start(&config).await?;
    for words in [
        curl(&[]),
        curl(&["-d", STREAM]),
        curl(&["-d", CLAUDE, "https://api.anthropic.com/v1/messages"]),
    ] {
        stage.succeed(Route::Redirect, &words).await?;
    }
    let refused = Ending::Status { code: 400, retry_after: None };
    stage.provider().once(Script { ending: refused, ..Script::default() });
    for _ in 0..2 {
        let failed = stage.run(Route::Redirect, &curl(&[])).await?;
        ensure!(failed.code == Some(22), "{failed:?}");
    }
    stage.settled(5).await?;
    Ok(())
}

fn number(value: &Value) -> anyhow::Result<u64> {
    value.as_u64().with_context(|| format!("{value} is no number"))
}

fn near(value: &Value, expected: f64) -> bool {
    value.as_f64().is_some_and(|value| (value - expected).abs() < 1e-9)
}

fn tokens(row: &Value) -> anyhow::Result<u64> {
    let row = row.as_object().context("a row")?;
    let kinds = row.iter().filter(|(name, _)| name.ends_with("_tokens"));
    kinds.map(|(_, count)| number(count)).sum()
}

#[test]
fn the_summary_is_what_the_command_line_says() -> anyhow::Result<()> {
    on_stage(async |stage| {
        play(stage).await?;
        let session = Session::begin(stage).await?;
        // A connection is known once it has ended.
        let spend = until("the connections", async || {
            let spend = stage.daemon()?.read(&["spend", "daily"]).await?;
            Ok((spend["coverage"]["total"] == 5).then_some(spend))
        })
        .await?;
        let (total, coverage) = (&spend["total"], &spend["coverage"]);
        let summary = session.get("/api/analytics/summary?days=30").await?;
        let kpis = &summary["kpis"];
        let value = |name: &str| &kpis[name]["value"];

        assert_eq!(value("total_requests"), &total["calls"]);
        assert_eq!(number(&total["calls"])?, 5);
        assert_eq!(number(value("total_tokens"))?, tokens(total)?);
        let billed = stage.provider().stats();
        assert_eq!(tokens(total)?, billed.input_tokens + billed.output_tokens);
        ensure!(near(value("success_rate"), 0.6), "{kpis}");
        assert_eq!(value("unique_users"), 1);
        assert_eq!(value("guardrails_enforced"), 1);
        assert_eq!(value("cost_savings_usd"), "0.00");
        let calls = stage.calls().await?;
        let took = calls.iter().filter(|call| call["outcome"] != "refused");
        let took: Vec<f64> = took.filter_map(|call| call["latency_ms"].as_f64()).collect();
        assert_eq!(took.len(), 4);
        let average = value("average_response_ms").as_f64().context("an average")?;
        ensure!((average - took.iter().sum::<f64>() / 4.0).abs() < 0.01, "{average} {took:?}");
        assert_eq!(&summary["coverage"], coverage);
        for (name, kpi) in kpis.as_object().context("KPIs")? {
            let trend = kpi["trend"].as_array().context("a trend")?;
            assert_eq!(trend.len(), 30, "{name}");
            let nothing = ["0", "null", "\"0.00\""].contains(&&*kpi["previous"].to_string());
            ensure!(nothing, "{name}: {kpi}");
        }
        // Every call is on one of the days, and a day is the calendar's.
        let trend = kpis["total_requests"]["trend"].as_array().context("a trend")?;
        let days: u64 = trend.iter().filter_map(|point| point["value"].as_u64()).sum();
        assert_eq!(days, 5);
        let end = summary["until"].as_str().context("a time")?;
        assert_eq!(trend[29]["period"], end[..10]);

        // Today's dollars and the month's, as spend has them for the same spans.
        for (key, since) in [
            ("today_usd", format!("{}T00:00:00Z", &end[..10])),
            ("month_usd", format!("{}-01T00:00:00Z", &end[..7])),
        ] {
            let spend = session.get(&format!("/api/spend?since={since}")).await?;
            assert_eq!(summary["spend"][key], spend["total"]["cost_usd"], "{key}");
        }
        let nanos = |key: &str| money::nanos(summary["spend"][key].as_str().context("money")?);
        ensure!(nanos("projected_month_usd")? >= nanos("month_usd")?, "{summary}");

        // What failed for good is on the list of escalations, once that is written.
        let listed = until("the escalation", async || {
            let found = stage.daemon()?.read(&["escalations", "list"]).await?;
            let counts: u64 = rows(&found)?.iter().filter_map(|row| row["count"].as_u64()).sum();
            Ok((counts > 0).then_some(counts))
        })
        .await?;
        assert_eq!(listed, 1);
        let summary = session.get("/api/analytics/summary").await?;
        ensure!(near(&summary["kpis"]["escalation_rate"]["value"], 0.2), "{summary}");
        Ok(())
    })
}

#[test]
fn a_workload_is_shown_with_its_days_models_errors_and_policies() -> anyhow::Result<()> {
    on_stage(async |stage| {
        play(stage).await?;
        let session = Session::begin(stage).await?;
        // A connection is known once it has ended.
        until("the connections", async || {
            let report = session.get("/api/analytics/agents/exe%3Acurl").await?;
            let known = report["connections"].as_array().context("connections")?;
            let counts: u64 = known.iter().filter_map(|it| it["count"].as_u64()).sum();
            Ok((counts >= 5).then_some(()))
        })
        .await?;
        let report = session.get("/api/analytics/agents/exe%3Acurl?days=7").await?;
        let spend = stage.daemon()?.read(&["spend", "daily"]).await?;
        for key in ["calls", "cost_usd", "input_tokens", "output_tokens", "errors"] {
            assert_eq!(report["total"][key], spend["total"][key], "{key}");
        }
        let by_model = stage.spend("model").await?;
        let models = report["models"].as_array().context("models")?;
        let figures = |rows: &[Value]| -> Vec<(String, Value, Value)> {
            let mut figures: Vec<_> = rows
                .iter()
                .map(|row| {
                    (row["model"].to_string(), row["calls"].clone(), row["cost_usd"].clone())
                })
                .collect();
            figures.sort_by(|a, b| a.0.cmp(&b.0));
            figures
        };
        assert_eq!(figures(models), figures(&by_model));
        let days = report["days"].as_array().context("days")?;
        let of_days: u64 = days.iter().filter_map(|day| day["calls"].as_u64()).sum();
        assert_eq!(of_days, 5);

        assert_eq!(report["latency"]["samples"], 4);
        assert_eq!(report["ttft"]["samples"], 1, "of the stream");
        let at = |key: &str| report["latency"][key].as_f64().context("a time");
        ensure!(at("p50_ms")? <= at("p95_ms")? && at("p95_ms")? <= at("p99_ms")?, "{report}");
        let mut errors: Vec<_> = report["errors"].as_array().context("errors")?.clone();
        errors.sort_by_key(|row| row["class"].to_string());
        assert_eq!(
            errors,
            [
                json!({"class": "invalid_request", "count": 1, "percent": 20.0}),
                json!({"class": "refused", "count": 1, "percent": 20.0}),
            ]
        );
        let refusals = json!({"policy": "rate_limits.curl", "action": "refuse", "count": 1});
        let policies = report["policies"].as_array().context("policies")?;
        ensure!(policies.contains(&refusals), "{policies:?}");
        assert_eq!(report["connections"][0]["mode"], "metered");
        let mut calls = report["calls"].as_array().context("calls")?.clone();
        calls.reverse();
        assert_eq!(calls, stage.calls().await?, "newest first");

        over_socket(stage, "GET", "/api/analytics/agents/exe:none", "").await?.problem(404)?;
        for query in ["days=0", "days=367", "days=x", "zone=Nowhere/Else", "weeks=2"] {
            let path = format!("/api/analytics/summary?{query}");
            over_socket(stage, "GET", &path, "").await?.problem(400).context(query)?;
        }
        Ok(())
    })
}

/// The savings are the price of what was asked for, less what was paid.
#[test]
fn a_downgrade_saves_what_the_two_models_differ_by() -> anyhow::Result<()> {
    on_stage(async |stage| {
        stage.provider().standing(Script { tokens: TOKENS, ..Script::default() });
        let budget = json!({
            "daily_limit_usd": 0.0001,
            "on_breach": "downgrade",
            "downgrade_to": "gpt-4o-mini",
        });
        let config =
            stage.config().with(&["mode"], json!("enforce")).with(&["budgets", "curl"], budget);
        stage.start(&config).await?;
        stage.succeed(Route::Redirect, &curl(&["-d", DEAR])).await?;
        let calls = stage.settled(1).await?;
        let served = calls[0]["model_served"].as_str().context("a model")?;
        ensure!(served.starts_with("gpt-4o-mini"), "{served}");

        let daemon = stage.daemon()?;
        let mut prices = Vec::new();
        for model in ["gpt-4o", "gpt-4o-mini"] {
            let shown = daemon.read(&["price", "show", model]).await?;
            let row = rows(&shown)?.iter().find(|row| row["provider"] == "openai").context("it")?;
            let rate = |key: &str| money::nanos(row[key].as_str().context("a rate")?);
            // Nano-dollars per million tokens; reasoning costs what output does.
            let sum = rate("input_usd")? * 400
                + rate("cache_read_usd")? * 800
                + rate("output_usd")? * 300;
            prices.push(sum / 1_000_000);
        }
        let paid = money::nanos(calls[0]["cost_usd"].as_str().context("a cost")?)?;
        assert_eq!(paid, prices[1]);
        let session = Session::begin(stage).await?;
        let summary = session.get("/api/analytics/summary?days=2").await?;
        let saved = &summary["kpis"]["cost_savings_usd"]["value"];
        assert_eq!(money::nanos(saved.as_str().context("money")?)?, prices[0] - paid, "{summary}");
        assert_eq!(summary["kpis"]["guardrails_enforced"]["value"], 1);
        Ok(())
    })
}
