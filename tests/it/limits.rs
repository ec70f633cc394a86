//! Limits and budgets on the real path: what is refused, how it is said, and what it adds up to.

use agent::demo::daemon::Config;
use agent::demo::mock::{Script, Tokens};
use anyhow::Context;
use harness::{Route, Stage, curl, money, on_stage, until};
use serde_json::{Value, json};

/// The configuration users bring along.
const DESIGN: &str = include_str!("../golden/config/design.yaml");
const ASK: &str = "{\"model\":\"gpt-5\",\"max_completion_tokens\":10000,\"messages\":[]}";
/// 1,000 calls by one process, side by side; what they say is of no interest.
const RACE: [&str; 12] = [
    "curl",
    "-sS",
    "--parallel",
    "--parallel-max",
    "100",
    "-H",
    "authorization: Bearer sk-test",
    "-d",
    ASK,
    "-o",
    "/dev/null",
    "https://api.openai.com/v1/chat/completions?n=[1-1000]",
];

fn enforcing(stage: &Stage) -> Config {
    stage.config().with(&["mode"], json!("enforce"))
}

/// What [`ASK`] may come to at most, and a little for its input: 10,000 output tokens of gpt-5 at
/// $10 per million.
fn ten_cents() -> Script {
    let tokens = Tokens { input: 0, output: 10_000, ..Tokens::default() };
    Script { tokens, ..Script::default() }
}

#[test]
fn the_configuration_of_the_design_loads_and_acts() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let file = stage.scratch().join("design.yaml");
        std::fs::write(&file, DESIGN)?;
        let config = stage.config();
        stage.start(&config).await?;
        stage.told(&["config", "check", &file.display().to_string()]).await?;
        stage.stop().await?;

        // The same, with the stage's own ports, roots and cgroup beside it.
        let own = stage.scratch().join("weir/conf.d");
        std::fs::create_dir_all(&own)?;
        std::fs::write(own.join("design.yaml"), DESIGN)?;
        let config = stage.config();
        stage.start(&config).await?;
        let policies = stage.daemon()?.read(&["policy", "list"]).await?;
        let rows = policies["rows"].as_array().context("rows")?;
        let names: Vec<_> = rows.iter().filter_map(|row| row["name"].as_str()).collect();
        for name in ["rate_limits.batch-agent", "budgets.code-reviewer", "failover.gpt-4o"] {
            assert!(names.contains(&name), "{name} is not in {names:?}");
        }

        let agent = stage.scratch().join("batch-agent");
        harness::artefacts::copy("/usr/bin/curl".as_ref(), &agent)?;
        let agent = agent.display().to_string();
        let mut words = curl(&["-i"]);
        words[0] = &agent;
        for _ in 0..5 {
            stage.succeed(Route::Redirect, &words).await?;
        }
        let refused = stage.run(Route::Redirect, &words).await?;
        assert_eq!(refused.code, Some(22));
        assert_eq!(stage.provider().stats().requests, 5, "the sixth reached the provider");
        let (head, body) = refused.stdout.split_once("\r\n\r\n").context("a head and a body")?;
        assert!(head.contains("429"), "{head}");
        let body: Value = serde_json::from_str(body)?;
        let error = &body["error"];
        let message = "Rate limit exceeded for agent: batch-agent (5 req/min)";
        assert_eq!(error["message"], message, "{body}");
        assert_eq!(error["type"], "rate_limit_exceeded", "{body}");
        assert_eq!(error["current_usage"]["requests_per_minute"], 5, "{body}");
        assert_eq!(error["limits"]["requests_per_hour"], 100, "{body}");
        let after = error["retry_after_seconds"].as_u64().context("seconds")?;
        assert!((1..=60).contains(&after), "{after}");
        assert!(head.to_lowercase().contains(&format!("retry-after: {after}")), "{head}");
        Ok(())
    })
}

#[test]
fn p4_a_budget_cannot_be_overshot_by_a_thousand_calls_at_once() -> anyhow::Result<()> {
    on_stage(async |stage| {
        stage.provider().standing(ten_cents());
        let config = enforcing(stage).with(&["budgets", "curl"], json!({"daily_limit_usd": 5}));
        stage.start(&config).await?;
        stage.succeed(Route::Redirect, &RACE).await?;
        stage.settled(1000).await?;
        let billed = stage.provider().stats().billed;
        let sums = stage.daemon()?.read(&["spend"]).await?;
        let spent = money::nanos(sums["total"]["cost_usd"].as_str().context("a sum")?)?;
        assert!(spent <= money::nanos("5")?, "{spent} nano-dollars");
        assert!((45..=50).contains(&billed), "{billed} calls were let through");
        let budgets = stage.daemon()?.weir(&["budget", "check", "curl"]).output().await?;
        assert_eq!(budgets.status.code(), Some(0), "not over it");
        Ok(())
    })
}

#[test]
fn totals_hold_when_the_daemon_is_killed_in_the_middle() -> anyhow::Result<()> {
    on_stage(async |stage| {
        stage.provider().standing(ten_cents());
        let budget = json!({"daily_limit_usd": 1});
        let config = enforcing(stage).with(&["budgets", "curl"], budget);
        stage.start(&config).await?;
        let words = curl(&["-d", ASK]);
        for _ in 0..6 {
            stage.succeed(Route::Redirect, &words).await?;
        }
        stage.crash().await;
        stage.start(&config).await?;
        let mut passed = 6;
        while stage.run(Route::Redirect, &words).await?.code == Some(0) && passed < 20 {
            passed += 1;
        }
        assert_eq!((passed, stage.provider().stats().billed), (9, 9), "$0.90 fits, $1.0 does not");
        Ok(())
    })
}

#[test]
fn sdks_raise_their_own_error_and_recover() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let limit = json!({"requests_per_minute": 2});
        let config = enforcing(stage).with(&["rate_limits", "workload:*"], limit);
        stage.start(&config).await?;
        // Side by side, as each waits for most of a minute.
        let run = async |script| stage.script(Route::Redirect, "python-current", script).await;
        let (openai, anthropic) =
            tokio::join!(run("openai_limited.py"), run("anthropic_limited.py"));
        for (output, proof) in [
            (openai?, "limited 429 rate_limit_exceeded rate_limits.workload:*"),
            (anthropic?, "limited 429 rate_limit_error rate_limits.workload:*"),
        ] {
            assert_eq!(output.code, Some(0), "{}{}", output.stdout, output.stderr);
            assert!(output.stdout.contains(proof), "{}", output.stdout);
            assert!(output.stdout.contains("recovered 1200"), "{}", output.stdout);
        }
        assert_eq!(stage.provider().stats().requests, 6, "three good calls each, no more");
        Ok(())
    })
}

#[test]
fn toggling_under_load_drops_no_call_and_shows_at_once() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let limit = json!({"requests_per_minute": 10, "enforcement": "shadow"});
        let config = enforcing(stage).with(&["rate_limits", "curl"], limit);
        stage.start(&config).await?;
        let policy = "rate_limits.curl";
        // 100 calls a second for as long as the test looks, none of which may be lost.
        let mut words = vec!["curl", "-sS", "--rate", "100/s", "-o", "/dev/null"];
        words.extend(["-H", "authorization: Bearer sk-test", "-w", "%{http_code}\n"]);
        words.extend(["-d", "{\"model\":\"gpt-4o-mini\",\"messages\":[]}"]);
        words.push("https://api.openai.com/v1/chat/completions?n=[1-300]");
        let load = stage.command(Route::Redirect, &words)?.spawn()?;
        let counted = async |action: &str| {
            let labels = format!("action=\"{action}\",policy=\"{policy}\"");
            stage.metric::<u64>("weir_policy_decisions_total", &labels).await
        };
        let grows = async |action: &str| {
            let before = counted(action).await?;
            until(action, async || Ok((counted(action).await? > before).then_some(()))).await
        };
        grows("would-refuse").await?;
        stage.told(&["policy", "enable", policy]).await?;
        grows("refuse").await?;
        stage.told(&["policy", "disable", policy]).await?;
        let refused = counted("refuse").await?;
        let output = harness::Output::of(load).await?;
        assert_eq!(counted("refuse").await?, refused, "off is off");
        let codes: Vec<_> = output.stdout.lines().collect();
        assert_eq!(codes.len(), 300, "{}", output.stderr);
        assert!(codes.iter().all(|code| matches!(*code, "200" | "429")), "{codes:?}");
        let limited = codes.iter().filter(|code| **code == "429").count() as u64;
        assert_eq!(limited, refused);
        assert_eq!(*codes.last().context("the last")?, "200");
        stage.settled(300).await?;
        Ok(())
    })
}
