//! What an attack must not cost: memory, processor time, and other clients' calls.

use agent::clock::{Clock as _, System};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use harness::{Route, Stage, curl};

use super::raw::{Door, say, status};

/// What the daemon may grow by under any attack here. A debug build and its allocator included.
const GROWTH: u64 = 96 << 20;
/// Beside the attack another client's calls take no longer.
const PROMPT: Duration = Duration::from_secs(8);

/// How the daemon was before an attack.
#[derive(Debug)]
pub(super) struct Vitals {
    rss: u64,
    cpu: Duration,
    at: Instant,
}

impl Vitals {
    /// As it is now, after a call: what it only does once has been done.
    pub(super) async fn of(stage: &Stage) -> anyhow::Result<Self> {
        stage.succeed(Route::Redirect, &curl(&[])).await?;
        introduce(stage).await?;
        let (rss, cpu) = read(stage)?;
        Ok(Self { rss, cpu, at: System.now().mono })
    }

    /// Calls on both ways in succeed, now and at once, and the daemon has stayed small. `work` is
    /// what the attack itself may take of the processor.
    pub(super) async fn check(&self, stage: &Stage, work: Duration) -> anyhow::Result<()> {
        let begun = System.now().mono;
        stage.succeed(Route::Redirect, &curl(&[])).await?;
        let gateway = "http://127.0.0.1:4180/openai/v1/chat/completions";
        stage.succeed(Route::Direct, &curl(&[gateway])).await?;
        ensure!(begun.elapsed() < PROMPT, "others waited {:?}", begun.elapsed());
        let (rss, cpu) = read(stage)?;
        let grown = rss.saturating_sub(self.rss);
        ensure!(grown < GROWTH, "grown by {grown} bytes to {rss}");
        let spent = cpu.saturating_sub(self.cpu);
        ensure!(spent < work, "{spent:?} of processor time in {:?}", self.at.elapsed());
        Ok(())
    }

    /// What is over is over: for a second next to nothing is done.
    pub(super) async fn is_quiet(stage: &Stage) -> anyhow::Result<()> {
        let (_, before) = read(stage)?;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let (_, after) = read(stage)?;
        let spent = after.saturating_sub(before);
        ensure!(spent < Duration::from_millis(300), "{spent:?} of processor time for nothing");
        Ok(())
    }
}

/// One honest call of this test's own process: whoever never made one and breaks its connections
/// off is taken not to trust us, and is relayed untouched from then on.
async fn introduce(stage: &Stage) -> anyhow::Result<()> {
    let asked = b"GET /v1/models HTTP/1.1\r\nhost: api.openai.com\r\n\
        authorization: Bearer sk-t\r\nconnection: close\r\n\r\n";
    let answer = say(&mut *Door::Inside.open(stage).await?, asked).await?;
    ensure!(status(&answer) == Some(200), "{}", String::from_utf8_lossy(&answer));
    Ok(())
}

/// Resident memory in bytes and processor time (`/proc/PID/statm`, and fields 14 and 15 of `stat`).
fn read(stage: &Stage) -> anyhow::Result<(u64, Duration)> {
    let pid = stage.daemon()?.pid().context("the daemon runs")?;
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm"))?;
    let pages: u64 = statm.split(' ').nth(1).context("resident pages")?.parse()?;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let rest = stat.rsplit_once(')').context("a command's name")?.1;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
    let rss = pages * rustix::param::page_size() as u64;
    Ok((rss, Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second())))
}

/// How often a fault was counted at a listener.
pub(super) async fn faults(stage: &Stage, listener: &str, fault: &str) -> anyhow::Result<u64> {
    let labels = format!("fault=\"{fault}\",listener=\"{listener}\"");
    stage.metric("weir_client_faults_total", &labels).await
}
