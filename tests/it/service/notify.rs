//! What the service manager is told, and when it is told nothing.

use std::time::Duration;

use anyhow::Context;
use harness::{Route, Stage, curl, on_stage, until};
use rustix::process::{Pid, Signal, kill_process};

use super::manager::Manager;

#[test]
fn a_start_a_reload_and_an_end_are_told() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let config = stage.config();
        let manager = Manager::start(stage, &config, Duration::from_secs(1)).await?;
        manager.hears("READY=1 | STATUS=meter: no LLM connections today", 1).await?;
        for name in ["proxy", "admin", "socket"] {
            manager.hears(&format!("FDSTORE=1 | FDNAME={name}"), 1).await?;
        }
        manager.hears("WATCHDOG=1", 3).await?;
        stage.succeed(Route::Redirect, &curl(&[])).await?;
        manager.hears("STATUS=meter: 1 of 1 LLM connections today are metered", 1).await?;

        stage.signal(Signal::HUP)?;
        manager.hears("READY=1", 2).await?;
        stage.told(&["config", "reload"]).await?;
        manager.hears("READY=1", 3).await?;
        let told = manager.told()?;
        let reloads = told.iter().filter(|line| line.starts_with("RELOADING=1 | MONOTONIC_USEC="));
        assert_eq!(reloads.count(), 2, "{told:?}");
        assert_eq!(stage.stop().await?, Some(0));
        let told = manager.told()?;
        assert_eq!(
            told.iter().filter(|line| line.starts_with("STOPPING=1")).count(),
            1,
            "{told:?}"
        );
        Ok(())
    })
}

/// The daemon's children, and theirs.
fn below(pid: u32) -> anyhow::Result<Vec<u32>> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    let mut all = Vec::new();
    for child in text.split_whitespace() {
        let child = child.parse()?;
        all.push(child);
        all.extend(below(child)?);
    }
    Ok(all)
}

fn send(pids: &[u32], signal: Signal) -> anyhow::Result<()> {
    for pid in pids {
        let pid = Pid::from_raw(i32::try_from(*pid)?).context("a process id is not 0")?;
        kill_process(pid, signal)?;
    }
    Ok(())
}

/// Stops these, until no sign of life is given for longer than is allowed, and lets them go on.
async fn silent_while_stopped(
    manager: &Manager,
    pids: &[u32],
    limit: Duration,
) -> anyhow::Result<()> {
    send(pids, Signal::STOP)?;
    let silence = until("silence", async || {
        let before = manager.count("WATCHDOG=1")?;
        tokio::time::sleep(limit).await;
        Ok((manager.count("WATCHDOG=1")? == before).then_some(()))
    })
    .await;
    send(pids, Signal::CONT)?;
    silence?;
    let before = manager.count("WATCHDOG=1")?;
    manager.hears("WATCHDOG=1", before + 2).await
}

#[test]
fn no_sign_of_life_is_given_while_a_part_hangs() -> anyhow::Result<()> {
    on_stage(async |stage: &mut Stage| {
        let config = stage.config();
        let limit = Duration::from_secs(1);
        let manager = Manager::start(stage, &config, limit).await?;
        manager.hears("WATCHDOG=1", 2).await?;
        let status = stage.daemon()?.read(&["status"]).await?;
        let daemon = u32::try_from(status["pid"].as_u64().context("a pid")?)?;
        silent_while_stopped(&manager, &[daemon], limit).await?;
        // Its helper hangs, and so does who would start another.
        let helpers = below(daemon)?;
        assert_eq!(helpers.len(), 2, "{helpers:?}");
        silent_while_stopped(&manager, &helpers, limit).await
    })
}
