//! Policies on the running daemon: switched, looked at and tried by the command line while calls
//! go through.

use agent::demo::daemon::Config;
use agent::demo::mock::{Script, Tokens};
use anyhow::Context;
use harness::{Output, Route, Stage, curl, on_stage};
use serde_json::{Value, json};

/// As in `reading.rs`: so many tokens of gpt-4o-mini cost $0.0003.
const TOKENS: Tokens =
    Tokens { input: 1_200, cached: 800, cache_write: 0, output: 300, reasoning: 100 };
const LIMIT: &str = "rate_limits.curl";
/// What curl exits with where the answer is an error.
const HTTP_ERROR: Option<i32> = Some(22);

fn enforcing(stage: &Stage) -> Config {
    stage.config().with(&["mode"], json!("enforce"))
}

/// One call of the workload `exe:curl`, bounded by what it really uses.
async fn call(stage: &Stage) -> anyhow::Result<Output> {
    const BODY: &str = "{\"model\":\"gpt-4o-mini\",\"max_tokens\":400,\"messages\":[]}";
    stage.run(Route::Redirect, &curl(&["-d", BODY])).await
}

/// Whether a call went through; one that did not must have been refused by a limit.
async fn passes(stage: &Stage) -> anyhow::Result<bool> {
    let output = call(stage).await?;
    if output.code == Some(0) {
        return Ok(true);
    }
    anyhow::ensure!(output.code == HTTP_ERROR, "{output:?}");
    anyhow::ensure!(output.stdout.contains("rate_limit_exceeded"), "{}", output.stdout);
    Ok(false)
}

/// Exit code and output of a command that may fail.
async fn weir(stage: &Stage, arguments: &[&str]) -> anyhow::Result<(Option<i32>, String)> {
    let output = stage.daemon()?.weir(arguments).output().await?;
    Ok((output.status.code(), String::from_utf8(output.stdout)?))
}

async fn goes(stage: &Stage, policy: &str) -> anyhow::Result<Value> {
    Ok(stage.daemon()?.read(&["policy", "show", policy]).await?["policy"]["enforcement"].take())
}

#[test]
fn a_switch_holds_for_the_next_call_and_over_a_restart() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let limit = json!({"requests_per_hour": 1});
        let config = enforcing(stage).with(&["rate_limits", "curl"], limit);
        stage.start(&config).await?;
        assert!(passes(stage).await?);
        assert!(!passes(stage).await?, "one an hour");

        let told = stage.told(&["policy", "shadow", LIMIT]).await?;
        assert_eq!(
            told,
            format!("{LIMIT}: shadow (set by hand; the configuration says enforce)\n")
        );
        assert!(passes(stage).await?);
        let row = stage.daemon()?.read(&["policy", "show", LIMIT]).await?;
        assert!(row["policy"]["shadowed"].as_u64().context("a count")? > 0, "{row}");
        let status = stage.daemon()?.read(&["status"]).await?;
        assert_eq!(status["policies"]["overridden"][0]["name"], LIMIT);

        stage.stop().await?;
        stage.start(&config).await?;
        assert_eq!(goes(stage, LIMIT).await?, "shadow", "kept");
        stage.told(&["policy", "reset", LIMIT]).await?;
        assert_eq!(goes(stage, LIMIT).await?, "enforce");
        assert!(!passes(stage).await?, "what was used before the restart is not forgotten");

        // The file's own value wins as soon as it is another one.
        stage.told(&["policy", "canary", LIMIT, "0"]).await?;
        assert!(passes(stage).await?);
        stage.stop().await?;
        let off = json!({"requests_per_hour": 1, "enforcement": "off"});
        stage.start(&config.with(&["rate_limits", "curl"], off)).await?;
        assert_eq!(goes(stage, LIMIT).await?, "off");
        Ok(())
    })
}

#[test]
fn a_refusal_is_explained_foretold_and_counted() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let limit = json!({"requests_per_hour": 1});
        let config = enforcing(stage).with(&["rate_limits", "curl"], limit);
        stage.start(&config).await?;
        let test = ["policy", "test", "--workload", "exe:curl", "--model", "gpt-4o-mini"];
        assert_eq!(weir(stage, &test).await?.0, Some(0));
        assert!(passes(stage).await?);
        let (code, told) = weir(stage, &test).await?;
        assert_eq!(code, Some(11), "{told}");
        assert!(told.starts_with(&format!("verdict    refuse, by {LIMIT}\n")), "{told}");
        let later = weir(stage, &[&test[..], &["--at", "+61m"]].concat()).await?;
        assert_eq!(later.0, Some(0), "{}", later.1);
        let other = ["policy", "test", "--workload", "exe:wget", "--model", "gpt-4o-mini"];
        assert_eq!(weir(stage, &other).await?.0, Some(0));

        assert!(!passes(stage).await?, "as foretold");
        let calls = stage.settled(2).await?;
        let id = calls[1]["call_id"].as_str().context("an id")?;
        let explained = stage.told(&["explain", id]).await?;
        let line = explained.lines().find(|line| line.contains(LIMIT)).context("the rule")?;
        assert!(line.contains("refuse"), "{line}");

        let usage = stage.daemon()?.read(&["usage", "curl"]).await?;
        let row = &usage["rows"][0];
        let figures = (&row["policy"], &row["used"], &row["limit"], &row["remaining"]);
        assert_eq!(figures, (&json!(LIMIT), &json!(1), &json!(1), &json!(0)));
        assert!(row["resets_at"].is_string(), "{row}");
        Ok(())
    })
}

#[test]
fn a_spent_budget_is_told_by_exit_code_and_status() -> anyhow::Result<()> {
    on_stage(async |stage| {
        stage.provider().standing(Script { tokens: TOKENS, ..Script::default() });
        let budget = json!({"daily_limit_usd": 0.0006, "alert_at_percent": 50});
        let config = enforcing(stage).with(&["budgets", "curl"], budget);
        stage.start(&config).await?;
        let check = ["budget", "check", "curl"];
        assert_eq!(weir(stage, &check).await?, (Some(0), "ok    curl: nothing was spent\n".into()));
        for _ in 0..2 {
            assert_eq!(call(stage).await?.code, Some(0));
        }
        stage.settled(2).await?;
        let (code, told) = weir(stage, &check).await?;
        assert_eq!(code, Some(11), "{told}");
        assert!(told.starts_with("over  curl: $0.0006 of $0.0006 per day (100%)"), "{told}");
        assert_eq!(call(stage).await?.code, HTTP_ERROR);

        let rows = stage.daemon()?.read(&["budget", "list"]).await?;
        let row = &rows["rows"][0];
        assert_eq!((&row["spent_usd"], &row["standing"]), (&json!("0.0006"), &json!("over")));
        let status = stage.daemon()?.read(&["status"]).await?;
        let warnings = status["warnings"].as_array().context("warnings")?;
        let warned = |warning: &Value| warning["fix"] == "weir budget check curl";
        assert!(warnings.iter().any(warned), "{warnings:?}");

        assert_eq!(weir(stage, &["budget", "check", "crul"]).await?.0, Some(1));
        Ok(())
    })
}

#[test]
fn a_tripped_breaker_stops_calls_until_it_is_reset() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let config = enforcing(stage);
        stage.start(&config).await?;
        stage.told(&["breaker", "trip", "openai"]).await?;
        let output = call(stage).await?;
        assert_eq!(output.code, HTTP_ERROR, "{output:?}");
        assert_eq!(stage.provider().stats().billed, 0, "nothing was asked of the provider");
        let status = stage.daemon()?.read(&["status"]).await?;
        assert_eq!(status["breakers"][0]["by_hand"], true, "{status}");
        let list = stage.daemon()?.read(&["breaker", "list"]).await?;
        assert_eq!(list["rows"][0]["state"], "open");
        stage.told(&["breaker", "reset", "openai"]).await?;
        assert_eq!(call(stage).await?.code, Some(0));
        Ok(())
    })
}
