//! Providers that fail, and clients that don't notice: real SDKs, redirected by the kernel.

use std::time::{Duration, Instant};

use agent::demo::daemon::Config;
use agent::demo::mock::{Ending, Script};
use anyhow::Context;
use harness::{Output, Route, Stage, curl, on_stage, until};
use serde_json::{Value, json};

const OPENAI: &str = "api.openai.com";
const ANTHROPIC: &str = "api.anthropic.com";

/// A script, the host it asks, how often, and a line that proves it got what it wanted.
struct Case {
    home: &'static str,
    script: &'static str,
    host: &'static str,
    calls: usize,
    proof: &'static str,
}

const fn case(
    home: &'static str,
    script: &'static str,
    host: &'static str,
    calls: usize,
    proof: &'static str,
) -> Case {
    Case { home, script, host, calls, proof }
}

/// Unary and streamed, with and without tools.
const CASES: [Case; 9] = [
    case("python-current", "openai_chat.py", OPENAI, 1, "usage 1000 200"),
    case("python-current", "openai_stream.py", OPENAI, 1, "chunks 10 surprises 0"),
    case("python-current", "openai_tools.py", OPENAI, 2, "tool weather Bergen"),
    case("python-current", "anthropic_messages.py", ANTHROPIC, 1, "usage 1000 200"),
    case("python-current", "anthropic_stream.py", ANTHROPIC, 1, "usage 1000 200"),
    case("python-current", "anthropic_tools.py", ANTHROPIC, 2, "tool weather Bergen"),
    case("node", "openai_chat.mjs", OPENAI, 1, "usage 1000 200"),
    case("node", "openai_stream.mjs", OPENAI, 1, "chunks 10 surprises 0"),
    case("node", "openai_tools.mjs", OPENAI, 2, "tool weather Bergen"),
];

impl Case {
    /// Runs it, and returns its calls as the agent recorded them.
    async fn run(&self, stage: &Stage) -> anyhow::Result<Vec<Value>> {
        let before = asked(stage, 0).await?.len();
        let output = stage.script(Route::Redirect, self.home, self.script).await?;
        let Output { code, stdout, stderr, .. } = &output;
        let is_good = *code == Some(0) && stdout.lines().any(|line| line == self.proof);
        anyhow::ensure!(is_good, "{} ended with {code:?}\n{stdout}\n{stderr}", self.script);
        let calls = asked(stage, before + self.calls).await?;
        anyhow::ensure!(calls.len() == before + self.calls, "{}: the SDK retried", self.script);
        Ok(calls[before..].to_vec())
    }
}

/// The calls of models, once so many of them have ended; counting tokens is none.
async fn asked(stage: &Stage, count: usize) -> anyhow::Result<Vec<Value>> {
    until("calls that have ended", async || {
        let mut calls = stage.calls().await?;
        calls.retain(|call| call["kind"] == "call");
        let ended = calls.iter().filter(|call| !call["outcome"].is_null()).count();
        Ok((ended >= count).then_some(calls))
    })
    .await
}

/// Policies act; retries come fast, so that the tests do.
fn enforcing(stage: &Stage) -> Config {
    let retry = json!({"base": "20ms", "max": "3s"});
    let timeouts = json!({"first_byte": "1s"});
    // Not what these tests are about.
    let breaker = json!({"failures": 100, "minimum_calls": 1000});
    stage
        .config()
        .with(&["mode"], json!("enforce"))
        .with(&["reliability"], json!({"retry": retry, "timeouts": timeouts, "breaker": breaker}))
}

fn ending(ending: Ending) -> Script {
    Script { ending, ..Script::default() }
}

fn status(code: u16) -> Script {
    ending(Ending::Status { code, retry_after: None })
}

/// Fails the first attempts of every script as `failures` say, and expects that no SDK notices.
async fn unnoticed(stage: &mut Stage, failures: &[Script]) -> anyhow::Result<()> {
    let config = enforcing(stage);
    stage.start(&config).await?;
    for case in &CASES {
        for failure in failures {
            stage.provider().once(*failure);
        }
        let calls = case.run(stage).await?;
        assert_eq!(calls[0]["attempts"], failures.len() + 1, "{}: {}", case.script, calls[0]);
        assert_eq!(calls[0]["outcome"], "ok", "{}", case.script);
        for call in &calls[1..] {
            assert_eq!(call["attempts"], 1, "{}", case.script);
        }
    }
    let retries = stage.metric::<u64>("weir_retries_total", "").await?;
    assert_eq!(retries, (CASES.len() * failures.len()) as u64);
    Ok(())
}

#[test]
fn two_errors_and_an_answer_are_one_call() -> anyhow::Result<()> {
    on_stage(async |stage| unnoticed(stage, &[status(503), status(503)]).await)
}

#[test]
fn a_provider_that_hangs_or_hangs_up_is_asked_again() -> anyhow::Result<()> {
    on_stage(async |stage| unnoticed(stage, &[ending(Ending::Hangup), ending(Ending::Hang)]).await)
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the time that clients see is what is tested")]
fn a_rate_limit_is_waited_for_as_long_as_the_provider_says() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let began = Instant::now();
        let limited = ending(Ending::Status { code: 429, retry_after: Some(1) });
        unnoticed(stage, &[limited]).await?;
        assert!(began.elapsed() > Duration::from_secs(CASES.len() as u64), "it did not wait");
        Ok(())
    })
}

#[test]
fn p8_an_overload_inside_a_stream_is_not_seen_before_the_first_token() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let config = enforcing(stage);
        stage.start(&config).await?;
        for case in CASES.iter().filter(|case| case.script.contains("stream")) {
            stage.provider().once(ending(Ending::ErrorEvent { after: 0 }));
            let calls = case.run(stage).await?;
            assert_eq!(calls[0]["attempts"], 2, "{}", case.script);
            assert_eq!(calls[0]["outcome"], "ok");
        }
        Ok(())
    })
}

#[test]
fn p7_nothing_is_tried_again_once_content_is_with_the_client() -> anyhow::Result<()> {
    const STREAM: &str = "{\"model\":\"gpt-4o-mini\",\"stream\":true,\"messages\":[]}";
    on_stage(async |stage| {
        let config =
            enforcing(stage).with(&["failover", "chains", "gpt-4o-mini"], json!(["gpt-4o"]));
        stage.start(&config).await?;
        for failure in [Ending::ErrorEvent { after: 2 }, Ending::Cut { after: 2 }] {
            stage.provider().once(ending(failure));
            let before = stage.provider().stats().requests;
            stage.run(Route::Redirect, &curl(&["-d", STREAM])).await?;
            assert_eq!(stage.provider().stats().requests, before + 1, "{failure:?}");
        }
        let calls = stage.settled(2).await?;
        assert_eq!(calls[0]["outcome"], "stream_error");
        assert_eq!(calls[1]["outcome"], "upstream_cut");
        assert!(calls.iter().all(|call| call["attempts"] == 1));
        Ok(())
    })
}

#[test]
fn an_sdk_that_retries_by_itself_is_recognised() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let config = stage.config();
        stage.start(&config).await?;
        // A unary answer that breaks off: only the client can try again.
        stage.provider().once(ending(Ending::Cut { after: 0 }));
        let output = stage.script(Route::Redirect, "python-current", "openai_chat.py").await?;
        assert_eq!(output.code, Some(0), "{}", output.stderr);
        let calls = stage.settled(2).await?;
        assert_eq!(calls[0]["outcome"], "upstream_cut");
        assert_eq!(calls[1]["outcome"], "ok");
        assert_eq!(calls[1]["retry_of"], calls[0]["call_id"], "{}", calls[1]);
        Ok(())
    })
}

/// Lets one provider fail, and expects every script to be served by the other.
async fn served_by(
    stage: &mut Stage,
    (down, model): (&str, &str),
    fallback: &str,
) -> anyhow::Result<()> {
    let key = stage.scratch().join("key");
    std::fs::write(&key, "sk-of-the-other-account\n")?;
    let mut config = enforcing(stage)
        .with(&["failover", "max_retries"], json!(1))
        .with(&["failover", "chains", model], json!([fallback]));
    for provider in ["openai", "anthropic", "gemini"] {
        config = config.with(&["providers", provider, "api_key"], json!({"file": key}));
    }
    stage.start(&config).await?;
    stage.provider().standing_at(down, status(503));
    for case in CASES.iter().filter(|case| case.host == down) {
        for call in case.run(stage).await? {
            assert_eq!(call["outcome"], "ok", "{}: {call}", case.script);
            assert_eq!(call["model_served"], fallback, "{}: {call}", case.script);
            assert!(call["cost_usd"].is_string(), "{call}");
        }
    }
    let failovers = stage.metric::<u64>("weir_failovers_total", "").await?;
    assert!(failovers > 0);
    // The client's own key goes nowhere else, and the other's to nobody but its provider.
    for seen in stage.provider().seen() {
        let fields: Vec<_> =
            seen.headers.values().filter_map(|value| value.to_str().ok()).collect();
        let own = fields.iter().any(|value| value.contains("sk-test-"));
        let other = fields.iter().any(|value| value.contains("sk-of-the-other-account"));
        assert!(own != other, "{}: {fields:?}", seen.path);
    }
    Ok(())
}

#[test]
fn anthropic_answers_for_openai() -> anyhow::Result<()> {
    on_stage(async |stage| served_by(stage, (OPENAI, "gpt-4o-mini"), "claude-sonnet-4-5").await)
}

#[test]
fn openai_answers_for_anthropic() -> anyhow::Result<()> {
    on_stage(async |stage| served_by(stage, (ANTHROPIC, "claude-sonnet-4-5"), "gpt-4o-mini").await)
}

#[test]
fn gemini_answers_for_both() -> anyhow::Result<()> {
    on_stage(async |stage| served_by(stage, (OPENAI, "gpt-4o-mini"), "gemini-2.5-flash").await)?;
    on_stage(async |stage| {
        served_by(stage, (ANTHROPIC, "claude-sonnet-4-5"), "gemini-2.5-flash").await
    })
}

#[test]
fn a_breaker_opens_rejects_probes_and_closes() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let breaker = json!({"failures": 3, "open": "1s", "probes": 1});
        let config = enforcing(stage)
            .with(&["reliability", "retry"], json!({"attempts": 1}))
            .with(&["reliability", "breaker"], breaker);
        stage.start(&config).await?;
        let state = async || -> anyhow::Result<u64> {
            stage.metric("circuit_breaker_state", "agent_name=\"openai/gpt-4o-mini\"").await
        };
        stage.provider().standing(status(503));
        for _ in 0..3 {
            stage.run(Route::Redirect, &curl(&[])).await?;
        }
        assert_eq!(state().await?, 1, "open");

        let asked = stage.provider().stats().requests;
        let rejected = stage.run(Route::Redirect, &curl(&["-i"])).await?;
        assert_eq!(stage.provider().stats().requests, asked, "rejected without asking");
        assert!(rejected.stdout.contains("503"), "{}", rejected.stdout);
        assert!(rejected.stdout.to_lowercase().contains("retry-after: 1"), "{}", rejected.stdout);
        assert!(
            rejected.stdout.contains("\"breaker\":\"openai/gpt-4o-mini\""),
            "{}",
            rejected.stdout
        );
        let call = stage.settled(4).await?.pop().context("a call")?;
        assert_eq!((&call["outcome"], &call["attempts"]), (&json!("refused"), &json!(0)), "{call}");

        stage.provider().standing(Script::default());
        until("a closed breaker", async || {
            let answer = stage.run(Route::Redirect, &curl(&[])).await?;
            Ok((answer.code == Some(0) && state().await? == 0).then_some(()))
        })
        .await
    })
}
