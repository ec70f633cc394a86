//! What a connect costs in the kernel, from the kernel's own run statistics.

use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;

use anyhow::Context;
use aya::programs::loaded_programs;
use aya::sys::{Stats, enable_stats};
use serde::Serialize;

use crate::rig::{PROVIDER, Rig};

/// Connections per measurement: enough for an average, few enough for the port range.
const MISSES: u32 = 20_000;
const HITS: u32 = 2_000;
/// Looked at like the provider's address, and nobody's.
const NOBODY: &str = "192.0.2.99:443";

/// Nanoseconds per run of the connect program.
#[derive(Debug, Serialize)]
pub(crate) struct Hook {
    /// The destination is not wanted.
    pub(crate) miss_ns: f64,
    /// The connection is redirected.
    pub(crate) hit_ns: f64,
}

/// The `connects` command.
#[derive(Debug, clap::Args)]
pub(crate) struct Connects {
    #[arg(long)]
    to: SocketAddr,
    #[arg(long)]
    count: u32,
}

/// Connects and closes. Whether anybody answers does not matter: the hook runs before.
pub(crate) fn connect(options: &Connects) {
    for _ in 0..options.count {
        drop(TcpStream::connect(options.to));
    }
}

/// Measures both cases. `known` are the programs that were there before the daemon's.
pub(crate) async fn measure(rig: &Rig, known: &[u32]) -> anyhow::Result<Hook> {
    // Statistics cost a little, so they are on only while this is held.
    let _on: OwnedFd = enable_stats(Stats::RunTime).context("turn run statistics on")?;
    let miss_ns = per_run(rig, known, NOBODY, MISSES).await?;
    let hit_ns = per_run(rig, known, &PROVIDER.to_string(), HITS).await?;
    Ok(Hook { miss_ns, hit_ns })
}

/// The ids of all programs in the kernel.
pub(crate) fn programs() -> Vec<u32> {
    loaded_programs().filter_map(Result::ok).map(|program| program.id()).collect()
}

#[expect(clippy::cast_precision_loss, reason = "nanoseconds of a few milliseconds")]
async fn per_run(rig: &Rig, known: &[u32], to: &str, count: u32) -> anyhow::Result<f64> {
    let before = totals(known);
    let command = ["connects", "--to", to, "--count", &count.to_string()].map(str::to_owned);
    rig.front(true, &command).await?;
    let after = totals(known);
    let (time, runs) = (after.0 - before.0, after.1 - before.1);
    anyhow::ensure!(runs >= u64::from(count), "the connect hook ran {runs} times, not {count}");
    Ok(time as f64 / runs as f64)
}

/// Nanoseconds and runs of the daemon's connect program.
fn totals(known: &[u32]) -> (u64, u64) {
    let mut sum = (0, 0);
    for program in loaded_programs().filter_map(Result::ok) {
        let is_connect = program.name_as_str().is_some_and(|name| name.contains("connect4"));
        if is_connect && !known.contains(&program.id()) {
            sum.0 += u64::try_from(program.run_time().as_nanos()).unwrap_or(u64::MAX);
            sum.1 += program.run_count();
        }
    }
    sum
}
