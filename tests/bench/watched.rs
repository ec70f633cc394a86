//! `watched`: what it costs to be looked at, by turns with nobody looking.

use std::collections::BTreeMap;

use anyhow::Context;
use serde_json::json;
use tokio::task::LocalSet;

use crate::cells::CELLS;
use crate::eyes::{Eye, Open};
use crate::overhead::{median, on_rig, one};
use crate::peers::{Peer, Peers};
use crate::rig::{FRONT, Rig, pin};

/// The shape of load: as many calls a second as a busy host makes.
const CELL: &str = "R1000";

/// How much is measured.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// End with one line of JSON
    #[arg(long)]
    json: bool,
    /// How often each state is measured; the median counts, for ratios that of each round's
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds per measurement, after 1.2 s of warm-up
    #[arg(long, default_value_t = 12)]
    seconds: u64,
    /// Who looks: each alone, then all together
    #[arg(long, value_delimiter = ',', default_values_t = [Eye::Dashboard, Eye::Events, Eye::Telemetry])]
    eyes: Vec<Eye>,
}

impl std::fmt::Display for Eye {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.word())
    }
}

/// Measures and reports.
pub(crate) fn run(options: Options) -> anyhow::Result<()> {
    on_rig(async move || LocalSet::new().run_until(measure(&options)).await)
}

async fn measure(options: &Options) -> anyhow::Result<()> {
    let cell = CELLS.iter().find(|cell| cell.name == CELL).context("there is such a cell")?;
    let rig = Rig::set().await?;
    let peers = Peers::start(&rig, &[Peer::Weir], false).await?;
    // Those who look are other programs: their work is charged to nobody, and not done where the
    // agent's is. Not before it has started, or it would take the machine for a smaller one.
    pin(std::process::id(), FRONT)?;
    let mut states = vec![("nobody".to_owned(), vec![])];
    states.extend(options.eyes.iter().map(|eye| (eye.to_string(), vec![*eye])));
    if options.eyes.len() > 1 {
        states.push(("all".to_owned(), options.eyes.clone()));
    }
    let mut rounds: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for round in 1..=options.rounds {
        for (name, eyes) in &states {
            let daemon = peers.daemon()?;
            let open = Open::eyes(eyes, daemon).await?;
            let measured = one(&rig, &peers, Peer::Weir, (cell, options.seconds)).await?;
            open.seen.is_enough(eyes)?;
            let seen = open.seen.told();
            open.close(daemon).await?;
            let (figures, rss_mib) = (&measured.figures, measured.rss_mib);
            println!(
                "round {round} {name:<10} {:>6.0}/s  p50 {:>7.1} us  p99 {:>8.1} us  cpu {:>7.2} us  \
                 rss {rss_mib:>6.1} MiB  {seen}",
                figures.rps, figures.p50_us, figures.p99_us, figures.cpu_us,
            );
            rounds.entry(name).or_default().push(figures.cpu_us);
        }
    }
    peers.stop().await;
    println!("\n{}\n            CPU us  x nobody", cell.told);
    let nobody = rounds.get("nobody").context("a round was measured")?;
    let mut summary = serde_json::Map::new();
    for (name, _) in &states {
        let all = rounds.get(&**name).context("a round was measured")?;
        let cpu = median(all.iter().copied()).context("a round was measured")?;
        // Of figures that were taken one after the other: a machine is not always equally fast.
        let ratios = all.iter().zip(nobody).map(|(cpu, nobody)| cpu / nobody);
        let ratio = median(ratios).filter(|ratio| ratio.is_finite());
        let ratio = ratio.context("no CPU time was charged")?;
        println!("  {name:<10} {cpu:>7.2} {ratio:>8.2}");
        summary.insert(name.clone(), json!({"cpu_us": cpu, "ratio": ratio}));
    }
    if options.json {
        println!("{}", json!({"schema_version": 1, "cell": CELL, "states": summary}));
    }
    Ok(())
}
