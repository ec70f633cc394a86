//! The agent dies, is stopped or hangs: its clients go on without it, and no call is forgotten.

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use agent::clock::{Clock, System};
use agent::demo::mock::Script;
use anyhow::Context;
use harness::{Output, Route, Stage, curl, on_stage, until};
use rustix::process::Signal;
use serde_json::Value;

const STREAM: &str = "{\"model\":\"gpt-4o-mini\",\"stream\":true,\"messages\":[]}";

/// Calls on new connections until five in a row went direct; for each, when it ended, the id of
/// the call if the agent gave one, and `whole` or what went wrong.
const LOAD: &str = "
import http.client, ssl, time
context = ssl.create_default_context()
body = '{\"model\":\"gpt-4o-mini\",\"messages\":[]}'
direct = 0
for _ in range(400):
    call, end = '-', 'whole'
    connection = http.client.HTTPSConnection('api.openai.com', context=context, timeout=20)
    try:
        connection.request('POST', '/v1/chat/completions', body, {'authorization': 'Bearer sk-t'})
        answer = connection.getresponse()
        call = answer.getheader('x-weir-call-id', '-')
        answer.read()
    except (OSError, http.client.HTTPException) as error:
        end = type(error).__name__
    finally:
        connection.close()
    print(time.time(), call, end, flush=True)
    direct = direct + 1 if (call, end) == ('-', 'whole') else 0
    if direct == 5:
        break
";

#[test]
fn a_kill_costs_the_calls_in_flight_and_the_ledger_knows_every_other() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let config = stage.config();
        stage.start(&config).await?;
        stage.provider().once(Script { delay: Duration::from_mins(10), ..Script::default() });
        let mut stuck = stage.command(Route::Redirect, &curl(&[]))?.spawn()?;
        let stuck_pid = stuck.id().context("it runs")?;
        until("the stuck call", async || Ok((!stage.calls().await?.is_empty()).then_some(())))
            .await?;
        let mut load = Vec::new();
        for _ in 0..3 {
            load.push(stage.command(Route::Redirect, &["python3", "-c", LOAD])?.spawn()?);
        }
        until("some load", async || Ok((stage.provider().stats().billed > 30).then_some(())))
            .await?;

        stage.crash().await;
        let killed = System.now().wall.duration_since(UNIX_EPOCH)?;
        let before = stage.provider().stats().connections;
        let next = stage.succeed(Route::Redirect, &curl(&["-i"])).await?;
        assert!(is_direct(&next), "{}", next.stdout);
        assert!(stage.provider().stats().connections > before);

        stuck.wait().await?;
        let mut delivered = Vec::new();
        for client in load {
            let output = Output::of(client).await?;
            let told: Vec<Vec<&str>> =
                output.stdout.lines().map(|line| line.split(' ').collect()).collect();
            let failed = told.iter().filter(|it| it[2] != "whole").count();
            assert!(failed <= 1, "more than the call in flight failed: {}", output.stdout);
            assert!(told.iter().rev().take(5).all(|it| it[1] == "-" && it[2] == "whole"));
            let whole = told.iter().filter(|it| it[1] != "-" && it[2] == "whole");
            delivered.extend(whole.map(|it| it[1].to_owned()));
            let first = told.iter().find(|it| it[1] == "-" && it[2] == "whole");
            let first: f64 = first.context("a direct call")?[0].parse()?;
            // Worth knowing; how fast the machine is proves nothing.
            let gap = (first - killed.as_secs_f64()) * 1e3;
            eprintln!("first direct answer {gap:.1} ms after the kill had been reaped");
        }

        stage.start(&config).await?;
        let calls = stage.calls().await?;
        let mut times: BTreeMap<&str, u32> = BTreeMap::new();
        for call in &calls {
            *times.entry(call["call_id"].as_str().context("an id")?).or_default() += 1;
        }
        assert!(times.values().all(|&times| times == 1), "a call is there twice");
        assert!(delivered.len() > 10, "{}", delivered.len());
        for id in &delivered {
            let call = calls.iter().find(|call| call["call_id"] == id.as_str());
            let call =
                call.with_context(|| format!("{id} was delivered and is not in the ledger"))?;
            assert_eq!(call["outcome"], "ok", "{call}");
        }
        assert!(calls.iter().all(|call| !call["outcome"].is_null()), "none is open");
        let lost = calls.iter().find(|call| call["pid"] == stuck_pid).context("the stuck call")?;
        assert_eq!(lost["outcome"], "lost");
        assert!(lost["cost_usd"].is_null(), "{lost}");
        assert!(stage.metric::<u64>("weir_ledger_lost_calls_total", "").await? >= 1);
        Ok(())
    })
}

#[test]
fn a_damaged_ledger_does_not_stop_the_agent_and_is_seen() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let config = stage.config();
        stage.start(&config).await?;
        stage.succeed(Route::Redirect, &curl(&[])).await?;
        stage.settled(1).await?;
        let state = stage.daemon()?.root().parent().context("a directory")?.to_owned();
        stage.stop().await?;
        std::fs::write(state.join("ledger.db"), "not what it was")?;

        stage.start(&config).await?;
        stage.succeed(Route::Redirect, &curl(&[])).await?;
        assert_eq!(stage.settled(1).await?.len(), 1, "what came before is aside");
        let status = stage.daemon()?.weir(&["status", "--json"]).output().await?;
        assert_eq!(status.status.code(), Some(10), "degraded");
        let told = String::from_utf8(status.stdout)?;
        assert!(told.contains("ledger.db.corrupt-"), "{told}");
        let counted = stage.metric::<u64>("weir_ledger_errors_total", "database").await?;
        assert_eq!(counted, 1);
        Ok(())
    })
}

#[test]
fn down_and_up_switch_at_the_next_connection() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let config = stage.config();
        stage.start(&config).await?;
        for (switch, direct) in [("down", true), ("up", false), ("down", true), ("up", false)] {
            stage.told(&[switch]).await?;
            let output = stage.succeed(Route::Redirect, &curl(&["-i"])).await?;
            assert_eq!(is_direct(&output), direct, "after weir {switch}: {}", output.stdout);
        }
        assert_eq!(stage.settled(2).await?.len(), 2);
        stage.told(&["down"]).await?;
        let status = stage.daemon()?.weir(&["status", "--json"]).output().await?;
        assert_eq!(status.status.code(), Some(10), "what is off is degraded");
        Ok(())
    })
}

#[test]
fn a_stop_lets_calls_end_and_sends_new_connections_direct() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let slow = Script { pace: Duration::from_millis(100), chunks: 15, ..Script::default() };
        stage.provider().once(slow);
        let config = stage.config();
        stage.start(&config).await?;
        let words = curl(&["-i", "-N", "-d", STREAM]);
        let client = stage.command(Route::Redirect, &words)?.spawn()?;
        until("the stream", async || Ok((stage.provider().stats().billed == 1).then_some(())))
            .await?;

        stage.signal(Signal::TERM)?;
        until("a direct connection", async || {
            let output = stage.succeed(Route::Redirect, &curl(&["-i"])).await?;
            Ok(is_direct(&output).then_some(()))
        })
        .await?;
        let output = Output::of(client).await?;
        assert_eq!(output.code, Some(0), "{}", output.stderr);
        assert!(output.stdout.ends_with("data: [DONE]\n\n"), "{}", output.stdout);
        assert!(!is_direct(&output));
        assert_eq!(stage.stop().await?, Some(0));

        stage.start(&config).await?;
        let calls = stage.calls().await?;
        let streamed: Vec<&Value> = calls.iter().filter(|call| call["stream"] == true).collect();
        assert_eq!(streamed.len(), 1);
        assert_eq!(streamed[0]["outcome"], "ok");
        assert_eq!(streamed[0]["usage_source"], "reported");
        Ok(())
    })
}

#[test]
fn clients_of_an_agent_that_hangs_go_direct_until_it_is_back() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let config = stage.config();
        stage.start(&config).await?;
        stage.signal(Signal::STOP)?;
        let output = until("a direct connection", async || answered(stage, true).await).await;
        stage.signal(Signal::CONT)?;
        output?;
        until("a metered connection", async || answered(stage, false).await).await?;
        Ok(())
    })
}

/// One try, not for long, and whether it went the way that is waited for.
async fn answered(stage: &Stage, direct: bool) -> anyhow::Result<Option<()>> {
    let output = stage.run(Route::Redirect, &curl(&["-i", "--max-time", "5"])).await?;
    Ok((output.code == Some(0) && is_direct(&output) == direct).then_some(()))
}

/// Whether an answer (with its head) came without the agent.
fn is_direct(output: &Output) -> bool {
    !output.stdout.to_ascii_lowercase().contains("\nx-weir-call-id: ")
}
