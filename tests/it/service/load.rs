//! Clients that never pause.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Context, ensure};
use harness::{Output, Route, Stage};
use tokio::process::Child;

const PROGRAM: &str = include_str!("load.py");

/// Running clients.
pub(super) struct Load {
    clients: Vec<Child>,
    enough: PathBuf,
}

/// What they saw.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Calls that were answered whole.
    pub(super) whole: usize,
    /// Those of them that went past the agent.
    pub(super) direct: usize,
    /// The ids of the others.
    pub(super) metered: BTreeSet<String>,
    /// All lines of calls that were not.
    pub(super) failed: Vec<String>,
    /// Calls a second.
    pub(super) rate: f64,
    /// The longest that one took, in seconds.
    pub(super) longest: f64,
}

impl Load {
    /// Two processes with a thread for each of `ways` (kept, new, stream, gateway), each of which
    /// calls every `pace` seconds.
    pub(super) fn start(stage: &Stage, ways: &str, pace: f64, body: &str) -> anyhow::Result<Self> {
        let enough = stage.scratch().join("enough");
        let word = enough.to_str().context("a path of ours")?;
        let pace = pace.to_string();
        let command = ["python3", "-c", PROGRAM, word, &pace, body, ways];
        let clients = (0..2).map(|_| Ok(stage.command(Route::Redirect, &command)?.spawn()?));
        Ok(Self { clients: clients.collect::<anyhow::Result<_>>()?, enough })
    }

    /// Lets them end.
    pub(super) async fn end(self) -> anyhow::Result<Seen> {
        std::fs::write(&self.enough, "")?;
        let mut seen = Seen::default();
        let (mut first, mut last) = (f64::MAX, 0.0_f64);
        for client in self.clients {
            let output = Output::of(client).await?;
            ensure!(output.code == Some(0), "{}", output.stderr);
            for line in output.stdout.lines() {
                let words: Vec<&str> = line.split('\t').collect();
                let [_, id, end, began, took] = words[..] else { anyhow::bail!("{line}") };
                let (began, took): (f64, f64) = (began.parse()?, took.parse()?);
                (first, last) = (first.min(began), last.max(began));
                seen.longest = seen.longest.max(took);
                match (id, end) {
                    ("-", "whole") => seen.direct += 1,
                    (id, "whole") => drop(seen.metered.insert(id.to_owned())),
                    _ => seen.failed.push(line.to_owned()),
                }
                seen.whole += usize::from(end == "whole");
            }
        }
        std::fs::remove_file(&self.enough)?;
        #[expect(clippy::cast_precision_loss, reason = "a figure to be read")]
        let calls = seen.whole as f64;
        seen.rate = calls / (last - first).max(0.001);
        Ok(seen)
    }
}

/// The ids of calls that the ledger has as well ended.
pub(super) async fn ledger(stage: &Stage) -> anyhow::Result<BTreeSet<String>> {
    let (status, body) = stage.daemon()?.admin("/api/calls?last=100000").await?;
    ensure!(status == 200, "{status}: {body}");
    let answer: serde_json::Value = serde_json::from_str(&body)?;
    let rows = answer["rows"].as_array().context("rows")?;
    let ended = rows.iter().filter(|row| row["outcome"] == "ok");
    ended.map(|row| row["call_id"].as_str().map(str::to_owned).context("an id")).collect()
}
