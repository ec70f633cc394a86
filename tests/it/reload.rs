//! The configuration replaced while calls go on.

use std::time::Duration;

use agent::demo::daemon::Config;
use agent::demo::mock::{Script, Tokens};
use anyhow::{Context, ensure};
use harness::{Route, Stage, curl, money, on_stage, until};
use rustix::process::Signal;
use serde_json::{Value, json};

/// 10,000 output tokens of gpt-5 cost ten cents, and that is what is reserved for it.
const DIME: &str = "{\"model\":\"gpt-5\",\"max_completion_tokens\":10000,\"messages\":[]}";
/// Calls of one process, eight at a time; each prints its status.
const MANY: [&str; 15] = [
    "curl",
    "-sS",
    "--parallel",
    "--parallel-max",
    "8",
    "-H",
    "authorization: Bearer sk-test",
    "-d",
    DIME,
    "-o",
    "/dev/null",
    "-w",
    "%{http_code}\\n",
    "https://api.openai.com/v1/chat/completions?n=[1-400]",
    "--http1.1",
];

fn enforcing(stage: &Stage) -> Config {
    stage.config().with(&["mode"], json!("enforce"))
}

fn dimes(delay: u64) -> Script {
    let tokens = Tokens { input: 0, output: 10_000, ..Tokens::default() };
    Script { tokens, delay: Duration::from_millis(delay), ..Script::default() }
}

/// Writes what lies over the main file.
fn write(stage: &Stage, text: &str) -> anyhow::Result<()> {
    let dir = stage.daemon()?.home().join("conf.d");
    std::fs::create_dir_all(&dir)?;
    Ok(std::fs::write(dir.join("50-test.yaml"), text)?)
}

fn a_minute(limit: u32) -> String {
    format!("rate_limits: {{curl: {{requests_per_minute: {limit}}}}}\n")
}

/// Has it taken over, and returns what is told of it.
async fn reload(stage: &Stage, text: &str) -> anyhow::Result<String> {
    write(stage, text)?;
    stage.told(&["config", "reload"]).await
}

async fn passes(stage: &Stage) -> anyhow::Result<bool> {
    let output = stage.run(Route::Redirect, &curl(&["-d", DIME])).await?;
    ensure!(matches!(output.code, Some(0 | 22)), "{output:?}");
    ensure!(output.code == Some(0) || output.stdout.contains("rate_limit"), "{output:?}");
    Ok(output.code == Some(0))
}

#[test]
fn limits_change_under_load_and_no_call_is_lost() -> anyhow::Result<()> {
    on_stage(async |stage| {
        stage.provider().standing(dimes(20));
        stage.start(&enforcing(stage)).await?;
        let said = reload(stage, &a_minute(1000)).await?;
        assert_eq!(said, "rate_limits.curl: added, {requests_per_minute: 1000}\n");
        let running = stage.command(Route::Redirect, &MANY)?.spawn()?;
        until("calls that go through", async || {
            Ok((stage.provider().stats().billed >= 20).then_some(()))
        })
        .await?;

        let said = reload(stage, &a_minute(2)).await?;
        assert_eq!(said, "rate_limits.curl.requests_per_minute: 1000 → 2\n");
        assert!(
            !passes(stage).await?,
            "what was used under the old limit counts under the new one"
        );

        // Two problems, both told; nothing changes.
        write(stage, "rate_limits: {curl: {requests_per_minute: -1}}\nmodes: meter\n")?;
        let bad = stage.daemon()?.weir(&["config", "reload"]).output().await?;
        let complaint = String::from_utf8(bad.stderr)?;
        assert_eq!(bad.status.code(), Some(78), "{complaint}");
        assert!(complaint.contains("50-test.yaml:1:"), "{complaint}");
        assert!(complaint.contains("50-test.yaml:2:"), "{complaint}");
        assert!(complaint.contains("did you mean `mode`"), "{complaint}");
        assert!(!passes(stage).await?, "the old limit holds");

        reload(stage, &a_minute(1000)).await?;
        assert!(passes(stage).await?, "the next call goes by the new limit");

        let output = running.wait_with_output().await?;
        let codes = String::from_utf8(output.stdout)?;
        let codes: Vec<_> = codes.lines().collect();
        assert_eq!(codes.len(), 400);
        let of = |wanted: &str| codes.iter().filter(|code| **code == wanted).count();
        assert_eq!(of("200") + of("429"), 400, "each is answered: {codes:?}");
        assert!(of("200") >= 20 && of("429") > 0, "{} passed", of("200"));
        // In two steps: on a loaded machine the ledger needs longer for all than one wait lasts.
        stage.settled(200).await?;
        let calls = stage.settled(403).await?;
        assert_eq!(calls.len(), 403, "each has its record");
        let taken: u64 = stage.metric("weir_config_reloads_total", "taken").await?;
        let refused: u64 = stage.metric("weir_config_reloads_total", "refused").await?;
        assert_eq!((taken, refused), (3, 1));
        Ok(())
    })
}

async fn spent(stage: &Stage, policy: &str) -> anyhow::Result<(i64, i64)> {
    let budgets = stage.daemon()?.read(&["budget", "list"]).await?;
    let rows = budgets["rows"].as_array().context("rows")?;
    let row = rows.iter().find(|row| row["policy"] == policy).context("the budget")?;
    let nanos = |key: &str| money::nanos(row[key].as_str().context("money")?);
    Ok((nanos("spent_usd")?, nanos("limit_usd")?))
}

/// What is counted goes on being counted; a new budget learns from the ledger what was spent.
#[test]
fn a_call_in_flight_settles_and_new_budgets_know_the_past() -> anyhow::Result<()> {
    on_stage(async |stage| {
        stage.provider().standing(dimes(0));
        let config = enforcing(stage).with(&["budgets", "curl"], json!({"daily_limit_usd": 1}));
        stage.start(&config).await?;
        assert!(passes(stage).await?);
        stage.settled(1).await?;

        stage.provider().standing(dimes(3000));
        let words = curl(&["-d", DIME]);
        let slow = stage.command(Route::Redirect, &words)?.spawn()?;
        until("the slow call", async || Ok((stage.provider().stats().requests == 2).then_some(())))
            .await?;
        let said = reload(
            stage,
            "budgets: {curl: {daily_limit_usd: 5}, \"user:*\": {daily_limit_usd: 0.15}}\n",
        )
        .await?;
        assert!(said.contains("budgets.curl.daily_limit_usd: 1"), "{said}");
        assert!(said.contains("budgets.user:*: added"), "{said}");
        let dime = money::nanos("0.1")?;
        let (known, _) = spent(stage, "budgets.user:*").await?;
        assert!((dime..dime * 11 / 10).contains(&known), "{known}: the settled call");
        let output = slow.wait_with_output().await?;
        assert_eq!(output.status.code(), Some(0), "the running call ends well");
        let (both, limit) = until("the slow call's settlement", async || {
            let (spent, limit) = spent(stage, "budgets.curl").await?;
            Ok((spent >= 2 * dime).then_some((spent, limit)))
        })
        .await?;
        assert!(both < dime * 22 / 10, "{both}");
        assert_eq!(limit, money::nanos("5")?);
        stage.provider().standing(dimes(0));
        assert!(!passes(stage).await?, "the new budget does not cover another one");
        Ok(())
    })
}

async fn mode(stage: &Stage) -> anyhow::Result<Value> {
    Ok(stage.daemon()?.read(&["mode"]).await?["wanted"].clone())
}

#[test]
fn a_signal_reloads_and_what_cannot_change_says_so() -> anyhow::Result<()> {
    on_stage(async |stage| {
        stage.start(&enforcing(stage)).await?;
        let reloads = async |count: u64| {
            until("a reload", async || {
                let taken: u64 = stage.metric("weir_config_reloads_total", "taken").await?;
                Ok((taken == count).then_some(()))
            })
            .await
        };
        stage.told(&["mode", "meter"]).await?;
        // Nothing new in the file: what was said by hand holds.
        stage.signal(Signal::HUP)?;
        reloads(1).await?;
        assert_eq!(mode(stage).await?, "meter");
        write(stage, "mode: observe\n")?;
        stage.signal(Signal::HUP)?;
        reloads(2).await?;
        assert_eq!(mode(stage).await?, "observe", "the file says something new");
        assert!(!stage.daemon()?.home().join("state/mode.json").exists());

        let text = "mode: enforce\nlisten: {proxy: 127.0.0.1:4199}\nlimits: {connections: 17}\n";
        for _ in 0..2 {
            let said = reload(stage, text).await?;
            assert!(said.contains("needs a restart: limits.connections: 10000 → 17\n"), "{said}");
            assert!(said.contains("needs a restart: listen.proxy: 127.0.0.1:4180 → "), "{said}");
        }
        assert_eq!(mode(stage).await?, "enforce");
        let through = curl(&[]);
        assert_eq!(stage.run(Route::Proxy, &through).await?.code, Some(0), "the old port serves");
        let origins = stage.told(&["config", "show", "--origin"]).await?;
        let line = |key: &str| origins.lines().find(|line| line.starts_with(key)).unwrap_or("");
        assert!(line("mode: ").ends_with("conf.d/50-test.yaml:1"), "{origins}");
        assert!(line("trust.assume: ").contains("weir.yaml:"), "{origins}");
        assert_eq!(line("limits.request_body: ").rsplit("  # ").next(), Some("default"));
        Ok(())
    })
}

/// A provider and its roots arrive while the agent runs.
#[test]
fn a_new_provider_serves_the_next_call() -> anyhow::Result<()> {
    on_stage(async |stage| {
        stage.start(&enforcing(stage)).await?;
        let ask = [
            "-d",
            "{\"model\":\"own-1\",\"messages\":[]}",
            "http://127.0.0.1:4180/own/v1/chat/completions",
        ];
        let words = curl(&ask);
        assert_ne!(stage.run(Route::Direct, &words).await?.code, Some(0), "nobody is called own");
        let ca = stage.scratch().join("provider-ca.pem");
        let own = json!({"base_url": "https://api.openai.com/v1", "format": "openai", "hosts": ["own.example"], "ca_file": ca});
        let price = json!({"input": 1, "output": 2});
        let text = json!({"providers": {"own": own}, "prices": {"own/own-1": price}});
        reload(stage, &text.to_string()).await?;
        stage.succeed(Route::Direct, &words).await?;
        let calls = stage.settled(1).await?;
        let call = calls.last().context("a call")?;
        assert_eq!((&call["provider"], &call["model"]), (&json!("own"), &json!("own-1")));
        assert!(call["cost_usd"].is_string(), "it has a price: {call}");
        Ok(())
    })
}
