//! The service manager, as a program that stands in for `weir`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use agent::demo::daemon::Config;
use anyhow::Context;
use harness::{Stage, artefacts, until};
use rustix::process::Signal;

const PROGRAM: &str = include_str!("supervisor.py");

/// One that runs the stage's daemon.
pub(super) struct Manager {
    home: PathBuf,
}

impl Manager {
    /// Starts the daemon under it. A sign of life is asked for every `watchdog`.
    pub(super) async fn start(
        stage: &mut Stage,
        config: &Config,
        watchdog: Duration,
    ) -> anyhow::Result<Self> {
        let home = stage.scratch().join("manager");
        std::fs::create_dir_all(&home)?;
        let program = home.join("weir");
        artefacts::program(PROGRAM, &program)?;
        let weir = home.join("real");
        place(&weir)?;
        std::fs::write(home.join("weir-path"), weir.to_str().context("a path")?)?;
        std::fs::write(home.join("watchdog"), watchdog.as_micros().to_string())?;
        stage.start_by(&program, config).await?;
        Ok(Self { home })
    }

    /// Puts another file in the place of the one that the daemon was started from, as a package does.
    pub(super) fn replace(&self) -> anyhow::Result<()> {
        place(&self.home.join("next"))?;
        Ok(std::fs::rename(self.home.join("next"), self.home.join("real"))?)
    }

    /// Puts a script there instead.
    pub(super) fn replace_by(&self, script: &str) -> anyhow::Result<()> {
        artefacts::program(script, &self.home.join("next"))?;
        Ok(std::fs::rename(self.home.join("next"), self.home.join("real"))?)
    }

    /// All that it was told so far, in order.
    pub(super) fn told(&self) -> anyhow::Result<Vec<String>> {
        let text = std::fs::read_to_string(self.home.join("messages"))?;
        // Without the time.
        let words = text.lines().filter_map(|line| line.split_once(' '));
        Ok(words.map(|(_, words)| words.to_owned()).collect())
    }

    /// How often it was told something with these words in it.
    pub(super) fn count(&self, words: &str) -> anyhow::Result<usize> {
        Ok(self.told()?.iter().filter(|line| line.contains(words)).count())
    }

    /// Until that was so often.
    pub(super) async fn hears(&self, words: &str, times: usize) -> anyhow::Result<()> {
        until(words, async || Ok((self.count(words)? >= times).then_some(()))).await
    }

    /// `systemctl restart`, until the next daemon is ready.
    pub(super) async fn restart(&self, stage: &Stage) -> anyhow::Result<()> {
        let before = self.count("READY=1")?;
        stage.signal(Signal::USR1)?;
        self.hears("main ended with 0", 1).await?;
        self.hears("READY=1", before + 1).await
    }
}

/// The real program, under this name.
fn place(at: &Path) -> anyhow::Result<()> {
    artefacts::copy(&artefacts::weir()?, at)
}
