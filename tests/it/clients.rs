//! Real SDKs, unmodified, on every way into the agent: each call attributed to the script that
//! made it, at its exact price.

use std::collections::BTreeMap;
use std::time::Duration;

use agent::demo::mock::{Script, Tokens};
use anyhow::Context;
use harness::{Output, Route, Stage, money, on_stage};

/// What every answer is billed: parts of it cached and reasoning, so that a counter added twice
/// shows in the price.
const TOKENS: Tokens =
    Tokens { input: 1_200, cached: 800, cache_write: 0, output: 300, reasoning: 100 };

/// gpt-4o-mini, per million: $0.15 in, $0.075 cached, $0.60 out. 400 × 0.15 + 800 × 0.075 +
/// 300 × 0.60 = 60 + 60 + 180 micro-dollars.
const GPT_4O_MINI: &str = "0.0003";
/// claude-sonnet-4-5, per million: $3 in, $0.30 cached, $15 out. 400 × 3 + 800 × 0.30 +
/// 300 × 15 = 1,200 + 240 + 4,500 micro-dollars.
const CLAUDE_SONNET_4_5: &str = "0.00594";

/// A script and what it must cost.
struct Case {
    /// The environment under `target/clients`, or none for what the system has.
    home: &'static str,
    script: &'static str,
    calls: u64,
    price: &'static str,
    /// A line of its output that proves it got what it asked for.
    proof: &'static str,
}

const CASES: [Case; 15] = [
    openai("python-current", "openai_chat.py", 1, "usage 1200 300"),
    openai("python-current", "openai_stream.py", 1, "chunks 10 surprises 0"),
    openai("python-current", "openai_stream_usage.py", 1, "usage 1200 300"),
    openai("python-current", "openai_tools.py", 2, "tool weather Bergen"),
    openai("python-current", "openai_responses.py", 2, "last response.completed"),
    openai("python-current", "openai_async.py", 5, "answers 5"),
    anthropic("python-current", "anthropic_messages.py", 1, "usage 400 300"),
    anthropic("python-current", "anthropic_stream.py", 1, "usage 400 300"),
    anthropic("python-current", "anthropic_tools.py", 2, "tool weather Bergen"),
    openai("python-legacy", "openai_chat.py", 1, "usage 1200 300"),
    openai("python-legacy", "openai_stream.py", 1, "chunks 10 surprises 0"),
    anthropic("python-legacy", "anthropic_stream.py", 1, "usage 400 300"),
    openai("node", "openai_chat.mjs", 1, "usage 1200 300"),
    openai("node", "openai_stream.mjs", 1, "chunks 10 surprises 0"),
    openai("node", "openai_tools.mjs", 2, "tool weather Bergen"),
];

const fn openai(home: &'static str, script: &'static str, calls: u64, proof: &'static str) -> Case {
    Case { home, script, calls, price: GPT_4O_MINI, proof }
}

const fn anthropic(
    home: &'static str,
    script: &'static str,
    calls: u64,
    proof: &'static str,
) -> Case {
    Case { home, script, calls, price: CLAUDE_SONNET_4_5, proof }
}

impl Case {
    /// How the agent is to name it.
    fn workload(&self) -> String {
        let runtime = if self.home == "node" { "node" } else { "python3" };
        format!("exe:{runtime}:{}", self.script)
    }

    /// Node 20's clients know no proxy variables.
    fn can_take(&self, route: Route) -> bool {
        route != Route::Proxy || self.home != "node"
    }

    async fn run(&self, stage: &Stage, route: Route) -> anyhow::Result<()> {
        let output = stage.script(route, self.home, self.script).await?;
        self.check(&output)
    }

    fn check(&self, output: &Output) -> anyhow::Result<()> {
        let Output { code, stdout, stderr, .. } = output;
        let is_good = *code == Some(0) && stdout.lines().any(|line| line == self.proof);
        anyhow::ensure!(is_good, "{} ended with {code:?}\n{stdout}\n{stderr}", self.script);
        Ok(())
    }
}

/// Runs every client that can take the route, then compares what the agent says it cost.
async fn all_are_metered(stage: &mut Stage, route: Route) -> anyhow::Result<()> {
    stage.provider().standing(Script { tokens: TOKENS, ..Script::default() });
    let config = stage.config();
    stage.start(&config).await?;
    let mut expected: BTreeMap<String, (u64, i64)> = BTreeMap::new();
    for case in CASES.iter().filter(|case| case.can_take(route)) {
        case.run(stage, route).await.with_context(|| format!("{} by {route:?}", case.script))?;
        let sum = expected.entry(case.workload()).or_default();
        sum.0 += case.calls;
        sum.1 += i64::try_from(case.calls)? * money::nanos(case.price)?;
    }
    let calls: u64 = expected.values().map(|(calls, _)| calls).sum();
    assert_eq!(stage.provider().stats().billed, calls, "what the provider billed");
    assert_eq!(settled(stage, calls).await?, expected, "what the agent says");
    Ok(())
}

/// Calls and nano-dollars by workload, once `calls` of them are in the ledger.
async fn settled(stage: &Stage, calls: u64) -> anyhow::Result<BTreeMap<String, (u64, i64)>> {
    let read = async || -> anyhow::Result<BTreeMap<String, (u64, i64)>> {
        let mut spent = BTreeMap::new();
        for row in stage.spend("workload").await? {
            let workload = row["workload"].as_str().context("a workload")?.to_owned();
            let count = row["calls"].as_u64().context("calls")?;
            let cost = money::nanos(row["cost_usd"].as_str().context("a decimal string")?)?;
            spent.insert(workload, (count, cost));
        }
        Ok(spent)
    };
    let complete = async {
        loop {
            let spent = read().await?;
            if spent.values().map(|(calls, _)| calls).sum::<u64>() >= calls {
                return Ok(spent);
            }
            tokio::task::yield_now().await;
        }
    };
    match tokio::time::timeout(Duration::from_mins(1), complete).await {
        Ok(spent) => spent,
        // Let the comparison say what is missing.
        Err(_late) => read().await,
    }
}

#[test]
fn the_clients_work_without_an_agent() -> anyhow::Result<()> {
    on_stage(async |stage| {
        stage.provider().standing(Script { tokens: TOKENS, ..Script::default() });
        for case in &CASES {
            case.run(stage, Route::Direct).await?;
        }
        let calls: u64 = CASES.iter().map(|case| case.calls).sum();
        assert_eq!(stage.provider().stats().billed, calls);
        Ok(())
    })
}

#[test]
fn redirected_clients_are_metered() -> anyhow::Result<()> {
    on_stage(async |stage| all_are_metered(stage, Route::Redirect).await)
}

#[test]
fn clients_with_proxy_variables_are_metered() -> anyhow::Result<()> {
    on_stage(async |stage| all_are_metered(stage, Route::Proxy).await)
}

#[test]
fn clients_with_a_base_url_are_metered() -> anyhow::Result<()> {
    on_stage(async |stage| all_are_metered(stage, Route::BaseUrl).await)
}

#[test]
fn curl_is_metered_over_both_address_families() -> anyhow::Result<()> {
    on_stage(async |stage| {
        stage.provider().standing(Script { tokens: TOKENS, ..Script::default() });
        let config = stage.config();
        stage.start(&config).await?;
        let mut pids = Vec::new();
        for family in ["-4", "-6"] {
            let output = stage.run(Route::Redirect, &[&CURL[..], &[family]].concat()).await?;
            assert_eq!(output.code, Some(0), "{}", output.stderr);
            pids.push(u64::from(output.pid));
        }
        let spent = settled(stage, 2).await?;
        assert_eq!(spent, BTreeMap::from([("exe:curl".to_owned(), (2, 2 * 300_000))]));
        let calls = stage.calls().await?;
        let seen: Vec<u64> = calls.iter().filter_map(|call| call["pid"].as_u64()).collect();
        assert_eq!(seen, pids, "the process that called, not the shell that started it");
        Ok(())
    })
}

const CURL: [&str; 8] = [
    "curl",
    "-sS",
    "--fail",
    "-H",
    "authorization: Bearer sk-test",
    "-d",
    "{\"model\":\"gpt-4o-mini\",\"messages\":[]}",
    "https://api.openai.com/v1/chat/completions",
];
