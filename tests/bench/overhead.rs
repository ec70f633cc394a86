//! `overhead`: the same work through each peer in turn, round after round, and the medians.

use std::collections::BTreeMap;
use std::time::Duration;

use agent::demo::stage::Cgroup;
use anyhow::{Context, ensure};
use serde_json::{Value, json};
use tokio::time::interval;

use crate::cells::{CELLS, Cell};
use crate::hooks::{self, Hook};
use crate::load::Figures;
use crate::peers::{Peer, Peers};
use crate::rig::{Rig, rss_mib};

/// How much is measured.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// End with one line of JSON
    #[arg(long)]
    json: bool,
    /// How often each cell is measured; the median counts, for the ratio that of each round's
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds per measurement, after 1.2 s of warm-up
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// Weir enforces policies of every kind
    #[arg(long)]
    policies: bool,
    /// Only these cells
    #[arg(long, value_delimiter = ',')]
    cells: Vec<String>,
    /// Only these peers
    #[arg(long, value_delimiter = ',', default_values_t = [Peer::Direct, Peer::Nginx, Peer::Weir])]
    peers: Vec<Peer>,
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.word())
    }
}

/// One peer's figures in one cell, over all rounds.
type Rounds = BTreeMap<(&'static str, &'static str), Vec<Measured>>;

/// One measurement.
#[derive(Debug, Clone)]
pub(crate) struct Measured {
    pub(crate) figures: Figures,
    pub(crate) rss_mib: f64,
}

/// Measures and reports.
pub(crate) fn run(options: Options) -> anyhow::Result<()> {
    on_rig(async move || measure(&options).await)
}

/// Runs the rest in a thread of its own, which a stage needs.
pub(crate) fn on_rig<F>(work: F) -> anyhow::Result<()>
where
    F: AsyncFnOnce() -> anyhow::Result<()> + Send + 'static,
{
    ensure!(rustix::process::geteuid().is_root(), "needs root for namespaces and cgroups");
    let worker = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(work())
    });
    match worker.join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

async fn measure(options: &Options) -> anyhow::Result<()> {
    let wanted = |cell: &&Cell| {
        options.cells.is_empty() || options.cells.iter().any(|name| name == cell.name)
    };
    let cells: Vec<&Cell> = CELLS.iter().filter(wanted).collect();
    let rig = Rig::set().await?;
    let known = hooks::programs();
    let peers = Peers::start(&rig, &options.peers, options.policies).await?;
    let idle: BTreeMap<&str, f64> = options
        .peers
        .iter()
        .map(|&peer| Ok((peer.word(), rss_mib(peers.charged(&rig, peer)?))))
        .collect::<anyhow::Result<_>>()?;

    let mut rounds = Rounds::new();
    for round in 1..=options.rounds {
        for cell in &cells {
            for &peer in &options.peers {
                let measured = one(&rig, &peers, peer, (cell, options.seconds)).await?;
                println!("{}", told(round, cell, peer, &measured));
                rounds.entry((cell.name, peer.word())).or_default().push(measured);
            }
        }
    }
    let hook = if options.peers.contains(&Peer::Weir) {
        Some(hooks::measure(&rig, &known).await?)
    } else {
        None
    };
    peers.stop().await;
    report(&cells, options, &rounds, hook.as_ref());
    if options.json {
        println!("{}", summary(&cells, &rounds, &idle, hook.as_ref()));
    }
    Ok(())
}

/// Puts a load on one peer for so many seconds.
pub(crate) async fn one(
    rig: &Rig,
    peers: &Peers,
    peer: Peer,
    (cell, seconds): (&Cell, u64),
) -> anyhow::Result<Measured> {
    peer.arrange(rig)?;
    let charged = peers.charged(rig, peer)?;
    let (to, ca) = peers.reached(rig, peer)?;
    let mut command = vec!["load".to_owned()];
    command.extend(["--to".to_owned(), to.to_string()]);
    command.extend(["--ca".to_owned(), ca.display().to_string()]);
    command.extend(["--meter".to_owned(), charged.path().display().to_string()]);
    command.extend(["--measure-ms".to_owned(), (seconds * 1000).to_string()]);
    command.extend(cell.arguments());
    let before = counted(peers, peer).await?;
    let (output, rss_mib) = sampled(charged, rig.front(peer == Peer::Weir, &command)).await;
    let figures: Figures = serde_json::from_str(&output?).context("the generator's figures")?;
    ensure!(
        figures.errors == 0 && figures.ok > 0,
        "{} through {}: {} good answers, {} bad ones, {:?}",
        cell.name,
        peer.word(),
        figures.ok,
        figures.errors,
        figures.complaint
    );
    // Figures of a proxy that did not do its work would be worth nothing.
    if let Some(before) = before {
        let after = counted(peers, peer).await?.unwrap_or(before);
        ensure!(
            after - before >= figures.total,
            "Weir accounted {} of {} calls",
            after - before,
            figures.total
        );
    }
    Ok(Measured { figures, rss_mib })
}

/// Calls Weir has accounted so far.
async fn counted(peers: &Peers, peer: Peer) -> anyhow::Result<Option<u64>> {
    if peer != Peer::Weir {
        return Ok(None);
    }
    let spend = peers.daemon()?.read(&["spend", "--by", "workload"]).await?;
    Ok(spend["total"]["calls"].as_u64())
}

/// Runs something and watches a cgroup's memory meanwhile; returns its peak.
pub(crate) async fn sampled<T>(cgroup: &Cgroup, work: impl Future<Output = T>) -> (T, f64) {
    let mut ticks = interval(Duration::from_millis(500));
    let mut peak = 0.0_f64;
    tokio::pin!(work);
    loop {
        tokio::select! {
            output = &mut work => return (output, peak.max(rss_mib(cgroup))),
            _ = ticks.tick() => peak = peak.max(rss_mib(cgroup)),
        }
    }
}

fn told(round: usize, cell: &Cell, peer: Peer, measured: &Measured) -> String {
    let Measured { figures, rss_mib } = measured;
    format!(
        "round {round} {:<6} {:<7} {:>9.0}/s  p50 {:>9.1} us  p99 {:>9.1} us  first {:>8.1} us  \
         cpu {:>8.2} us  rss {rss_mib:>6.1} MiB",
        cell.name,
        peer.word(),
        figures.rps,
        figures.p50_us,
        figures.p99_us,
        figures.first_p50_us,
        figures.cpu_us,
    )
}

/// The medians of one peer in one cell.
#[derive(Debug, Clone, Copy)]
struct Median {
    cpu_us: f64,
    p50_us: f64,
    p99_us: f64,
    rps: f64,
    rss_mib: f64,
}

/// The middle one; `None` of none.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

fn medians(rounds: &Rounds, cell: &Cell, peer: Peer) -> Option<Median> {
    let all = rounds.get(&(cell.name, peer.word()))?;
    let of = |value: fn(&Measured) -> f64| median(all.iter().map(value));
    // A stream lasts as long as the provider takes; what a proxy adds shows in the first byte.
    let is_stream = cell.pace.is_some();
    let p50: fn(&Measured) -> f64 =
        if is_stream { |m| m.figures.first_p50_us } else { |m| m.figures.p50_us };
    let p99: fn(&Measured) -> f64 =
        if is_stream { |m| m.figures.first_p99_us } else { |m| m.figures.p99_us };
    Some(Median {
        cpu_us: of(|m| m.figures.cpu_us)?,
        p50_us: of(p50)?,
        p99_us: of(p99)?,
        rps: of(|m| m.figures.rps)?,
        rss_mib: of(|m| m.rss_mib)?,
    })
}

/// A peer's processor time beside nginx': the median of each round's ratio, whose figures were taken
/// one after the other. A machine is not always equally fast.
fn beside_nginx(rounds: &Rounds, cell: &Cell, peer: Peer) -> Option<f64> {
    let of = |peer: Peer| rounds.get(&(cell.name, peer.word()));
    let ratio = |(it, nginx): (&Measured, &Measured)| it.figures.cpu_us / nginx.figures.cpu_us;
    median(of(peer)?.iter().zip(of(Peer::Nginx)?).map(ratio))
}

fn report(cells: &[&Cell], options: &Options, rounds: &Rounds, hook: Option<&Hook>) {
    for cell in cells {
        println!("\n{}: {}", cell.name, cell.told);
        println!(
            "          calls/s    CPU us  x nginx   p50 us   p99 us  added p50  added p99   RSS MiB"
        );
        let base = medians(rounds, cell, Peer::Direct);
        for &peer in &options.peers {
            let Some(m) = medians(rounds, cell, peer) else { continue };
            let ratio = beside_nginx(rounds, cell, peer);
            let ratio = ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"));
            let added = |value: fn(&Median) -> f64| {
                base.map_or_else(|| "-".to_owned(), |b| format!("{:+.1}", value(&m) - value(&b)))
            };
            println!(
                "  {:<7} {:>9.0} {:>9.2} {ratio:>8} {:>8.1} {:>8.1} {:>10} {:>10} {:>9.1}",
                peer.word(),
                m.rps,
                m.cpu_us,
                m.p50_us,
                m.p99_us,
                added(|m| m.p50_us),
                added(|m| m.p99_us),
                m.rss_mib,
            );
        }
    }
    if let Some(Hook { miss_ns, hit_ns }) = hook {
        println!("\nconnect hook: {miss_ns:.0} ns on a miss, {hit_ns:.0} ns on a hit");
    }
}

/// One object: Weir's figures by cell, and every peer's beside them.
fn summary(
    cells: &[&Cell],
    rounds: &Rounds,
    idle: &BTreeMap<&str, f64>,
    hook: Option<&Hook>,
) -> Value {
    let mut by_cell = serde_json::Map::new();
    for cell in cells {
        let of = |peer| medians(rounds, cell, peer);
        let (direct, nginx, weir) = (of(Peer::Direct), of(Peer::Nginx), of(Peer::Weir));
        let added = |value: fn(&Median) -> f64| {
            weir.zip(direct).map(|(weir, direct)| value(&weir) - value(&direct))
        };
        let raw = |peer: Option<Median>| {
            peer.map(|m| {
                json!({
                    "cpu_us": m.cpu_us, "p50_us": m.p50_us, "p99_us": m.p99_us, "rps": m.rps,
                    "rss_mib": m.rss_mib,
                })
            })
        };
        let figures = json!({
            "cpu_ratio_nginx": beside_nginx(rounds, cell, Peer::Weir),
            "cpu_us_per_call": weir.map(|weir| weir.cpu_us),
            "added_p50_us": added(|m| m.p50_us),
            "added_p99_us": added(|m| m.p99_us),
            "rss_mib": weir.map(|weir| weir.rss_mib),
            "direct": raw(direct), "nginx": raw(nginx), "weir": raw(weir),
        });
        by_cell.insert(cell.name.to_owned(), figures);
    }
    json!({
        "schema_version": 1, "cells": by_cell, "idle_rss_mib": idle, "connect_hook": hook,
    })
}
