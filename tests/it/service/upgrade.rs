//! `weir upgrade` under load.

use std::time::Duration;

use agent::demo::mock::{Script, Tokens};
use anyhow::{Context, ensure};
use harness::{Route, Stage, curl, money, on_stage, until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::load::{Load, ledger};
use super::manager::Manager;
use super::restart::{CHAT, WAYS};

/// As in the tests of reloads: ten cents.
const DIME: &str = "{\"model\":\"gpt-5\",\"max_completion_tokens\":10000,\"messages\":[]}";

async fn billed(stage: &Stage, more: u64) -> anyhow::Result<()> {
    let from = stage.provider().stats().billed;
    until("calls", async || Ok((stage.provider().stats().billed >= from + more).then_some(())))
        .await
}

async fn upgraded(stage: &Stage) -> anyhow::Result<Value> {
    let said = stage.told(&["upgrade", "--json"]).await?;
    Ok(serde_json::from_str(&said)?)
}

async fn pid(stage: &Stage) -> anyhow::Result<u64> {
    stage.daemon()?.read(&["status"]).await?["pid"].as_u64().context("a pid")
}

#[test]
fn upgrades_under_load_fail_no_call_and_leave_none_unmetered() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let flags = rustix::mount::MountFlags::empty();
        rustix::mount::mount("bpf", "/sys/fs/bpf", "bpf", flags, None)?;
        stage.provider().standing(Script { pace: Duration::from_millis(15), ..Script::default() });
        let config = stage
            .config()
            .with(&["on_agent_failure"], json!("closed"))
            .with(&["limits", "drain_timeout"], json!("20s"));
        let manager = Manager::start(stage, &config, Duration::from_secs(30)).await?;
        let load = Load::start(stage, WAYS, 0.1, CHAT)?;
        billed(stage, 200).await?;
        let mut last = pid(stage).await?;
        manager.replace()?;
        for round in 1..=2 {
            let told = upgraded(stage).await?;
            assert_eq!(told["from"]["pid"], last, "{told}");
            assert_ne!(told["to"]["pid"], last, "{told}");
            last = told["to"]["pid"].as_u64().context("a pid")?;
            assert_eq!(pid(stage).await?, last);
            manager.hears(&format!("MAINPID={last} | READY=1"), 1).await?;
            billed(stage, 100).await?;
            // The predecessor's last calls have ended.
            manager.hears("ended ", round).await?;
        }
        let seen = load.end().await?;
        let whole = seen.whole;
        until("all calls counted, also those of before", async || {
            let counted: u64 = stage.metric("llm_calls_total", "").await?;
            Ok((counted == u64::try_from(whole)?).then_some(()))
        })
        .await?;
        eprintln!("{whole} calls, {:.0}/s, longest {:.2} s", seen.rate, seen.longest);
        assert!(seen.failed.is_empty(), "{:#?}", seen.failed);
        assert_eq!(seen.direct, 0, "none went past both");
        assert_eq!(ledger(stage).await?, seen.metered);
        assert_eq!(stage.provider().stats().billed, u64::try_from(whole)?);
        assert_eq!(manager.count("STOPPING=1")?, 0, "the service goes on");

        // The guard was in place all the time, and still is when the last of them is killed.
        let main = Pid::from_raw(i32::try_from(last)?).context("a process")?;
        kill_process(main, Signal::STOP)?;
        let refused = until("a refusal", async || {
            let output = stage.run(Route::Redirect, &curl(&["--max-time", "1"])).await?;
            Ok((output.code == Some(7)).then_some(()))
        })
        .await;
        kill_process(main, Signal::CONT)?;
        refused
    })
}

#[test]
fn a_budget_holds_across_an_upgrade() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let tokens = Tokens { input: 0, output: 10_000, ..Tokens::default() };
        let slow = Script { tokens, delay: Duration::from_millis(300), ..Script::default() };
        stage.provider().standing(slow);
        let config = stage
            .config()
            .with(&["mode"], json!("enforce"))
            .with(&["budgets", "*"], json!({"daily_limit_usd": 5}))
            .with(&["limits", "drain_timeout"], json!("20s"));
        let _manager = Manager::start(stage, &config, Duration::from_secs(30)).await?;
        // Twenty at a time, some fifty a second.
        let load = Load::start(stage, "new,new,new,new,new,new,kept,kept,kept,kept", 0.4, DIME)?;
        billed(stage, 10).await?;
        let told = upgraded(stage).await?;
        ensure!(told["draining"].as_u64().is_some(), "{told}");
        until("nobody to pass any more", async || {
            let before = stage.provider().stats().billed;
            tokio::time::sleep(Duration::from_secs(1)).await;
            Ok((stage.provider().stats().billed == before).then_some(()))
        })
        .await?;
        let seen = load.end().await?;
        let limit = money::nanos("5")?;
        let spent = until("all that was spent", async || {
            let budgets = stage.daemon()?.read(&["budget", "list"]).await?;
            let row = &budgets["rows"][0];
            let nanos = |key: &str| money::nanos(row[key].as_str().context("money")?);
            Ok((nanos("reserved_usd")? == 0).then_some(nanos("spent_usd")?))
        })
        .await?;
        eprintln!("{} calls of 10 cents passed, {spent} nano-dollars spent", seen.whole);
        assert!(spent <= limit, "{spent}");
        assert!(spent > limit * 9 / 10, "what was held for calls was given back: {spent}");
        assert!(seen.whole <= 50, "{}", seen.whole);
        let others: Vec<_> = seen.failed.iter().filter(|line| !line.contains("budget")).collect();
        assert!(others.is_empty(), "{others:#?}");
        Ok(())
    })
}

#[test]
fn an_upgrade_that_fails_changes_nothing_and_says_why() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let config = stage.config();
        let _manager = Manager::start(stage, &config, Duration::from_secs(30)).await?;
        let before = pid(stage).await?;
        let dir = stage.daemon()?.home().join("conf.d");
        std::fs::create_dir_all(&dir)?;
        std::fs::write(dir.join("50-test.yaml"), "modes: meter\n")?;
        let output = stage.daemon()?.weir(&["upgrade"]).output().await?;
        assert_eq!(output.status.code(), Some(1));
        let complaint = String::from_utf8(output.stderr)?;
        assert!(complaint.contains("did you mean `mode`"), "{complaint}");
        assert_eq!(pid(stage).await?, before);
        let answer = stage.succeed(Route::Redirect, &curl(&["-i"])).await?;
        assert!(answer.stdout.to_ascii_lowercase().contains("x-weir-call-id"), "{}", answer.stdout);
        stage.succeed(Route::Proxy, &curl(&[])).await?;
        assert_eq!(stage.settled(2).await?.len(), 2);
        // And once it is right again, it succeeds.
        std::fs::remove_file(dir.join("50-test.yaml"))?;
        assert_eq!(upgraded(stage).await?["from"]["pid"], before);
        stage.succeed(Route::Redirect, &curl(&[])).await?;
        assert_eq!(stage.settled(3).await?.len(), 3);
        Ok(())
    })
}

#[test]
fn a_successor_that_dies_or_is_late_changes_nothing() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let config = stage.config();
        let manager = Manager::start(stage, &config, Duration::from_secs(30)).await?;
        let before = pid(stage).await?;
        let weir = harness::artefacts::weir()?.display().to_string();
        let late = format!("#!/bin/sh\nsleep 32\nexec '{weir}' \"$@\"\n");
        for (calls, (script, expected)) in [
            ("#!/bin/sh\nkill -9 $$\n", "the successor ended at its start"),
            (&*late, "the successor was not ready within 30 s"),
        ]
        .into_iter()
        .enumerate()
        {
            manager.replace_by(script)?;
            // Not by the command line of that name, which is the script now.
            let mut words = stage.weir(&["upgrade"])?;
            words[0].clone_from(&weir);
            let words: Vec<_> = words.iter().map(String::as_str).collect();
            let output = stage.run(Route::Direct, &words).await?;
            assert_eq!(output.code, Some(1), "{}", output.stderr);
            assert!(output.stderr.contains(expected), "{}", output.stderr);
            manager.replace()?;
            assert_eq!(pid(stage).await?, before);
            stage.succeed(Route::Redirect, &curl(&[])).await?;
            stage.settled(calls + 1).await?;
        }
        // The late one finds nobody to follow, and leaves.
        until("its last words", async || {
            let log = stage.daemon()?.log_tail();
            Ok(log.contains("the other process is gone").then_some(()))
        })
        .await?;
        assert_eq!(pid(stage).await?, before);
        stage.succeed(Route::Redirect, &curl(&[])).await?;
        stage.settled(3).await?;
        // And one that is neither takes over.
        assert_eq!(upgraded(stage).await?["from"]["pid"], before);
        stage.succeed(Route::Redirect, &curl(&[])).await?;
        stage.settled(4).await?;
        Ok(())
    })
}

#[test]
fn the_successors_flag_is_nothing_for_strangers() -> anyhow::Result<()> {
    on_stage(async |stage| {
        stage.start(&stage.config()).await?;
        let output = stage.daemon()?.weir(&["daemon", "--succeed"]).output().await?;
        assert_eq!(output.status.code(), Some(2));
        let words = stage.weir(&["upgrade"])?;
        let mut command = vec!["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
        command.extend(words.iter().map(String::as_str));
        let stranger = stage.run(Route::Direct, &command).await?;
        assert_eq!(stranger.code, Some(77), "{}", stranger.stderr);
        Ok(())
    })
}
