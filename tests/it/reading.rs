//! Every way of reading says the same, to each reader what is theirs, and it is what was billed.

use std::collections::BTreeMap;
use std::process::Stdio;

use agent::demo::mock::{Script, Tokens};
use anyhow::Context;
use harness::{Output, Route, Stage, curl, money, on_stage};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

const TOKENS: Tokens =
    Tokens { input: 1_200, cached: 800, cache_write: 0, output: 300, reasoning: 100 };
/// What [`TOKENS`] cost: see the rates in `clients.rs`.
const NANOS_GPT_4O_MINI: i64 = 300_000;
const NANOS_CLAUDE_SONNET_4_5: i64 = 5_940_000;

/// Two calls of gpt-4o-mini, one of them streamed, and one of claude-sonnet-4-5.
const CALLS: usize = 3;
const NANOS: i64 = 2 * NANOS_GPT_4O_MINI + NANOS_CLAUDE_SONNET_4_5;

async fn play(stage: &mut Stage) -> anyhow::Result<Vec<Output>> {
    const STREAM: &str = "{\"model\":\"gpt-4o-mini\",\"stream\":true,\"messages\":[]}";
    const CLAUDE: &str = "{\"model\":\"claude-sonnet-4-5\",\"max_tokens\":9,\"messages\":[]}";
    stage.provider().standing(Script { tokens: TOKENS, ..Script::default() });
    let config = stage.config();
    stage.start(&config).await?;
    let mut clients = Vec::new();
    for words in [
        curl(&[]),
        curl(&["-d", STREAM]),
        curl(&["-d", CLAUDE, "https://api.anthropic.com/v1/messages"]),
    ] {
        clients.push(stage.succeed(Route::Redirect, &words).await?);
    }
    stage.settled(CALLS).await?;
    Ok(clients)
}

#[test]
fn all_commands_agree_with_the_provider() -> anyhow::Result<()> {
    on_stage(async |stage| {
        play(stage).await?;
        let billed = stage.provider().stats();
        let daemon = stage.daemon()?;

        let spend = daemon.read(&["spend"]).await?;
        let calls = daemon.read(&["calls"]).await?;
        let calls = calls["rows"].as_array().context("rows")?;
        let status = daemon.read(&["status"]).await?;
        let csv = stage.told(&["spend", "--csv", "--by", "workload,model"]).await?;
        let csv = csv_rows(&csv)?;
        let json: Value = serde_json::from_str(&stage.told(&["calls", "-o", "json"]).await?)?;
        assert_eq!(json["rows"].as_array(), Some(calls));

        for (what, rows) in [
            ("spend's total", vec![spend["total"].clone()]),
            ("spend by workload", spend["rows"].as_array().context("rows")?.clone()),
            ("calls", calls.clone()),
            ("today", vec![status["today"].clone()]),
            ("CSV", csv),
        ] {
            let input = sum(&rows, &["input_tokens", "cache_read_tokens"]);
            let output = sum(&rows, &["output_tokens", "reasoning_tokens"]);
            assert_eq!((input, output), (billed.input_tokens, billed.output_tokens), "{what}");
            assert_eq!(cost(&rows)?, NANOS, "{what}");
        }
        assert_eq!(status["coverage"]["metered"], status["coverage"]["total"]);
        Ok(())
    })
}

#[test]
fn explain_tells_of_calls_processes_and_prices() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let clients = play(stage).await?;
        let calls = stage.calls().await?;
        let id = calls[0]["call_id"].as_str().context("an id")?;
        let pid = clients[0].pid.to_string();
        let daemon = stage.daemon()?;

        let call = daemon.read(&["explain", id]).await?;
        assert_eq!(call["call"], calls[0]);
        let rules: Vec<_> = call["decisions"].as_array().context("decisions")?.iter().collect();
        assert!(rules.iter().any(|decision| decision["rule"] == "price"), "{rules:?}");
        let told = stage.told(&["explain", id]).await?;
        for word in ["gpt-4o-mini", "exe:curl", &pid, "decisions"] {
            assert!(told.contains(word), "{word} is not in\n{told}");
        }
        let short = stage.told(&["explain", &id[id.len() - 6..]]).await?;
        assert_eq!(short, told);

        let process = daemon.read(&["explain", &pid]).await?;
        let process = process.pointer("/processes/0").context("a process")?;
        assert_eq!((&process["coverage"], &process["calls"]), (&json!("metered"), &json!(1)));
        assert!(stage.told(&["explain", &pid]).await?.contains("metered"));

        let price = daemon.read(&["price", "show", "gpt-4o-mini"]).await?;
        let rates = price["rows"].as_array().context("rows")?;
        let rates = rates.iter().find(|row| row["provider"] == "openai").context("openai's")?;
        assert_eq!((&rates["input_usd"], &rates["output_usd"]), (&json!("0.15"), &json!("0.60")));
        Ok(())
    })
}

#[test]
fn a_user_sees_only_what_is_theirs() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let config = stage.config();
        stage.start(&config).await?;
        let as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
        stage.succeed(Route::Redirect, &curl(&[])).await?;
        let nobodys = [&as_nobody[..], &curl(&[])].concat();
        let nobodys = stage.succeed(Route::Redirect, &nobodys).await?;
        stage.settled(2).await?;

        let socket = stage.daemon()?.home().join("run/weir.sock").display().to_string();
        let ask = async |path: &str| {
            let url = format!("http://localhost{path}");
            let curl = ["curl", "-sS", "--unix-socket", &socket, &url];
            let answer = stage.succeed(Route::Direct, &[&as_nobody[..], &curl].concat()).await?;
            anyhow::Ok(serde_json::from_str::<Value>(&answer.stdout)?)
        };
        for path in ["/api/calls", "/api/processes"] {
            let rows = ask(path).await?["rows"].take();
            let rows = rows.as_array().context("rows")?;
            let seen: Vec<_> = rows.iter().map(|row| (&row["uid"], &row["pid"])).collect();
            assert_eq!(seen, [(&json!(65534), &json!(nobodys.pid))], "{path}");
        }
        let spend = ask("/api/spend?by=workload").await?;
        assert_eq!(
            (&spend["total"]["calls"], spend["rows"][0]["calls"].as_u64()),
            (&json!(1), Some(1))
        );
        assert_eq!(ask("/api/status").await?["today"]["calls"], 1);
        let roots = stage.calls().await?;
        let roots = roots.iter().find(|call| call["uid"] == 0).context("root's call")?;
        let path = format!("/api/calls/{}", roots["call_id"].as_str().context("an id")?);
        assert!(ask(&path).await?["call"].is_null(), "root's call is told to nobody");
        Ok(())
    })
}

#[test]
fn metrics_pass_promtool_and_sum_up_to_the_spend() -> anyhow::Result<()> {
    on_stage(async |stage| {
        play(stage).await?;
        let scraped = ["curl", "-sS", "--fail", "http://127.0.0.1:4181/metrics"];
        let scraped = stage.succeed(Route::Direct, &scraped).await?.stdout;
        let mut promtool = Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("promtool: `cargo xtask setup` installs it")?;
        let mut stdin = promtool.stdin.take().context("a pipe")?;
        stdin.write_all(scraped.as_bytes()).await?;
        drop(stdin);
        let checked = Output::of(promtool).await?;
        assert_eq!(checked.code, Some(0), "{}{}", checked.stdout, checked.stderr);

        let dollars = stage.metric::<f64>("llm_cost_usd_total", "").await?;
        #[expect(clippy::cast_precision_loss, reason = "far fewer digits than a double has")]
        let expected = NANOS as f64 / 1e9;
        assert!((dollars - expected).abs() < 1e-9, "{dollars} {expected}");
        let tokens: u64 = stage.metric("llm_tokens_total", "").await?;
        let billed = stage.provider().stats();
        assert_eq!(tokens, billed.input_tokens + billed.output_tokens);
        Ok(())
    })
}

fn sum(rows: &[Value], names: &[&str]) -> u64 {
    let figure = |value: &Value| {
        value.as_u64().or_else(|| value.as_str().and_then(|text| text.parse().ok()))
    };
    rows.iter().flat_map(|row| names.iter().filter_map(move |name| figure(&row[name]))).sum()
}

fn cost(rows: &[Value]) -> anyhow::Result<i64> {
    let costs = rows.iter().map(|row| money::nanos(row["cost_usd"].as_str().context("a cost")?));
    costs.sum()
}

/// Rows of text by the names in the heading. None of the values here has a comma in it.
fn csv_rows(text: &str) -> anyhow::Result<Vec<Value>> {
    let mut lines = text.lines();
    let heading: Vec<&str> = lines.next().context("a heading")?.split(',').collect();
    let row = |line: &str| -> BTreeMap<String, String> {
        let values = heading.iter().zip(line.split(','));
        values.map(|(name, value)| ((*name).to_owned(), value.to_owned())).collect()
    };
    Ok(lines.map(|line| json!(row(line))).collect())
}
