//! `streams`: many streams held open at once by one process, and the memory they take.

use anyhow::{Context, ensure};
use serde_json::json;

use crate::load::Figures;
use crate::overhead::{on_rig, sampled};
use crate::peers::{Peer, Peers};
use crate::rig::{Rig, rss_mib};

/// A stream is to last long enough for all to be open together: 20 s.
const PACE_MS: u64 = 200;
const EVENTS: u64 = 100;

/// How many.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// End with one line of JSON
    #[arg(long)]
    json: bool,
    /// Streams held open
    #[arg(long, default_value_t = 2_000)]
    streams: u64,
    /// Through whom
    #[arg(long, default_value = "weir")]
    peer: Peer,
}

/// Measures and reports.
pub(crate) fn run(options: Options) -> anyhow::Result<()> {
    on_rig(async move || measure(&options).await)
}

async fn measure(options: &Options) -> anyhow::Result<()> {
    let rig = Rig::set().await?;
    let peers = Peers::start(&rig, &[options.peer], false).await?;
    options.peer.arrange(&rig)?;
    let charged = peers.charged(&rig, options.peer)?;
    let (to, ca) = peers.reached(&rig, options.peer)?;
    let idle = rss_mib(charged);
    let number = |value: u64| value.to_string();
    let command = [
        "load".to_owned(),
        "--to".to_owned(),
        to.to_string(),
        "--ca".to_owned(),
        ca.display().to_string(),
        "--connections".to_owned(),
        number(options.streams),
        "--each".to_owned(),
        number(1),
        "--pace".to_owned(),
        number(PACE_MS),
        "--events".to_owned(),
        number(EVENTS),
    ];
    let (output, peak) = sampled(charged, rig.front(options.peer == Peer::Weir, &command)).await;
    let figures: Figures = serde_json::from_str(&output?).context("the generator's figures")?;
    let after = rss_mib(charged);
    peers.stop().await;
    ensure!(
        figures.errors == 0 && figures.total == options.streams,
        "{} of {} streams ended well, {} did not: {:?}",
        figures.total,
        options.streams,
        figures.errors,
        figures.complaint
    );
    #[expect(clippy::cast_precision_loss, reason = "a number of streams")]
    let per_stream_kib = (peak - idle) * 1024.0 / options.streams as f64;
    println!(
        "{} streams through {}, no error: {idle:.1} MiB idle, {peak:.1} MiB with all open \
         ({per_stream_kib:.1} KiB each), {after:.1} MiB after; first byte p50 {:.1} ms, p99 {:.1} ms",
        options.streams,
        options.peer.word(),
        figures.first_p50_us / 1000.0,
        figures.first_p99_us / 1000.0,
    );
    if options.json {
        let summary = json!({
            "schema_version": 1, "streams": options.streams, "errors": figures.errors,
            "idle_rss_mib": idle, "rss_mib": peak, "after_rss_mib": after,
            "kib_per_stream": per_stream_kib, "first_p50_us": figures.first_p50_us,
            "first_p99_us": figures.first_p99_us,
        });
        println!("{summary}");
    }
    Ok(())
}
