//! Responses over WebSocket on the real path: a client as coding agents are, redirected by the
//! kernel, and the mock that answers it.

use agent::demo::mock::{Ending, Script, Tokens};
use harness::{Output, Route, Stage, artefacts, on_stage};
use serde_json::{Value, json};

/// 400 × $0.15 + 800 × $0.075 + 300 × $0.60 per million.
const TOKENS: Tokens =
    Tokens { input: 1_200, cached: 800, cache_write: 0, output: 300, reasoning: 100 };
const PRICE: &str = "0.0003";

/// So many turns over one socket.
async fn turns(stage: &Stage, route: Route, turns: usize) -> anyhow::Result<Output> {
    let script = artefacts::script("node/responses_socket.mjs").display().to_string();
    let turns = turns.to_string();
    // Node has the client from 22 on without being asked.
    stage.run(route, &["node", "--experimental-websocket", &script, &turns]).await
}

/// The calls made over sockets, the oldest first, once these and the socket are over.
async fn calls(stage: &Stage, count: usize) -> anyhow::Result<Vec<Value>> {
    let mut all = stage.settled(count + 1).await?;
    all.retain(|call| call["kind"] == "call");
    all.sort_by_key(|call| call["call_id"].to_string());
    Ok(all)
}

fn told(output: &Output) -> Vec<&str> {
    output.stdout.lines().collect()
}

#[test]
fn turns_over_one_socket_are_metered_one_by_one() -> anyhow::Result<()> {
    on_stage(async |stage| {
        stage.provider().standing(Script { tokens: TOKENS, ..Script::default() });
        let expected = ["usage 1200 300", "usage 1200 300", "usage 1200 300", "closed 1000"];
        let direct = turns(stage, Route::Direct, 3).await?;
        assert_eq!(told(&direct), expected, "without an agent: {}", direct.stderr);
        let config = stage.config();
        stage.start(&config).await?;
        let output = turns(stage, Route::Redirect, 3).await?;
        assert_eq!(told(&output), expected, "{}", output.stderr);
        let calls = calls(stage, 3).await?;
        assert_eq!(calls.len(), 3, "{calls:#?}");
        for call in &calls {
            assert_eq!((&call["cost_usd"], &call["outcome"]), (&json!(PRICE), &json!("ok")));
            assert_eq!(
                (&call["operation"], &call["pid"]),
                (&json!("responses"), &json!(output.pid))
            );
            assert!(call["ttft_ms"].is_number(), "{call}");
        }
        assert_eq!(stage.provider().stats().billed, 6);
        Ok(())
    })
}

#[test]
fn a_refused_turn_is_told_on_the_socket_and_reaches_nobody() -> anyhow::Result<()> {
    on_stage(async |stage| {
        stage.provider().standing(Script { tokens: TOKENS, ..Script::default() });
        let config = stage
            .config()
            .with(&["mode"], json!("enforce"))
            .with(&["rate_limits", "*"], json!({"requests_per_minute": 2}));
        stage.start(&config).await?;
        let output = turns(stage, Route::Redirect, 3).await?;
        let expected =
            ["usage 1200 300", "usage 1200 300", "error 429 rate_limit_exceeded", "closed 1000"];
        assert_eq!(told(&output), expected, "{}", output.stderr);
        assert_eq!(stage.provider().stats().billed, 2);
        let calls = calls(stage, 3).await?;
        let outcomes: Vec<_> = calls.iter().map(|call| &call["outcome"]).collect();
        assert_eq!(outcomes, ["ok", "ok", "refused"]);
        Ok(())
    })
}

#[test]
fn a_socket_that_is_cut_leaves_an_estimate() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let ending = Ending::Cut { after: 3 };
        stage.provider().standing(Script { tokens: TOKENS, ending, ..Script::default() });
        let config = stage.config();
        stage.start(&config).await?;
        let output = turns(stage, Route::Redirect, 1).await?;
        assert!(output.stdout.contains("closed 1006"), "{}{}", output.stdout, output.stderr);
        let calls = calls(stage, 1).await?;
        assert_eq!(calls.len(), 1, "{calls:#?}");
        assert_eq!(calls[0]["outcome"], "upstream_cut", "{}", calls[0]);
        assert_eq!(calls[0]["usage_source"], "estimated", "{}", calls[0]);
        Ok(())
    })
}
