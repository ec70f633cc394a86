//! The acts in their order. Each needs the ones before: the first that fails is the last.
#![expect(clippy::print_stdout, reason = "what the run says")]

use std::path::PathBuf;

use anyhow::Context;
use tokio::time::{Duration, Instant};

use crate::{clients, host, install, load, removal, stage, upsets, weir};

/// Lines of the journal that are shown where an act fails.
const JOURNAL: &str = "80";

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The package that is installed first
    package: PathBuf,
    /// The one that follows it
    later: PathBuf,
    #[command(flatten)]
    amount: load::Amount,
}

/// Plays, and ends with a line in the form of cargo's own.
pub(crate) async fn run(options: &Options) -> anyhow::Result<()> {
    let mut play = Play { passed: 0, installing: None };
    let played = play.acts(options).await;
    if let Err(error) = &played {
        println!("FAILED {error:#}");
        for unit in [weir::UNIT, "load.service", "provider.service"] {
            let journal = ["journalctl", "--no-pager", "--lines", JOURNAL, "--unit", unit];
            println!("-- {}\n{}", unit, host::run(&journal).await?.out);
        }
    }
    let (word, failed) = if played.is_ok() { ("ok", 0) } else { ("FAILED", 1) };
    println!("test result: {word}. {} passed; {failed} failed; systemd", play.passed);
    played
}

struct Play {
    passed: u32,
    installing: Option<Instant>,
}

impl Play {
    async fn acts(&mut self, options: &Options) -> anyhow::Result<()> {
        let package = options.package.to_str().context("a path that is Unicode")?;
        let later = options.later.to_str().context("a path that is Unicode")?;
        let amount = options.amount;
        self.act("a provider that everybody trusts", stage::set()).await?;
        self.installing = Some(Instant::now());
        self.act("dpkg -i: starts, observes, trusts nothing", install::first(package)).await?;
        self.act("a unit's call while observing: direct", clients::observed()).await?;
        self.act("weir setup: trusted, metering", install::set_up()).await?;
        self.act("a unit's call: attributed, priced", clients::unit()).await?;
        let took = self.installing.take().map(|start| start.elapsed()).unwrap_or_default();
        println!("     from dpkg -i to the first row of weir spend: {:.1} s", took.as_secs_f64());
        self.act("another program's call", clients::python()).await?;
        self.act("a call from a user's session", clients::session()).await?;
        self.act("SIGSTOP: the watchdog ends it", upsets::stopped()).await?;
        self.act("SIGKILL: systemd starts it again", upsets::killed()).await?;
        self.act("systemctl restart under load", upsets::restarted(amount)).await?;
        self.act("the later package under load", upsets::upgraded(later, amount)).await?;
        self.act("dpkg -r: no trust is left", removal::remove()).await?;
        self.act("dpkg -P: nothing is left", removal::purge()).await
    }

    async fn act(
        &mut self,
        name: &str,
        work: impl Future<Output = anyhow::Result<String>>,
    ) -> anyhow::Result<()> {
        let start = Instant::now();
        let told = work.await.with_context(|| name.to_owned())?;
        self.passed += 1;
        println!("ok   {name} ({})", seconds(start.elapsed()));
        if !told.is_empty() {
            println!("     {told}");
        }
        Ok(())
    }
}

/// `1.2 s`
pub(crate) fn seconds(took: Duration) -> String {
    format!("{:.1} s", took.as_secs_f64())
}
