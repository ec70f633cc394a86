//! What packages are made from, besides files: cargo's metadata and the commit's time.

use std::path::PathBuf;

use anyhow::{Context, bail};
use serde_json::Value;

use crate::shell;

/// What is known before anything is built.
pub(super) struct Inputs {
    /// `cargo metadata`, with the dependencies of this platform.
    pub(super) metadata: Value,
    pub(super) version: String,
    pub(super) target: PathBuf,
    /// Seconds since 1970: the time of everything that is made.
    pub(super) epoch: u64,
}

impl Inputs {
    pub(super) fn read() -> anyhow::Result<Self> {
        let arguments = ["metadata", "--format-version=1", "--locked", "--filter-platform"];
        let mut cargo = shell::cargo(&arguments);
        let metadata = shell::output(cargo.arg(Self::host()?)).context("cargo metadata fails")?;
        let metadata: Value = serde_json::from_str(&metadata)?;
        let packages = metadata["packages"].as_array().context("cargo metadata: no packages")?;
        let agent = packages.iter().find(|package| package["name"] == "agent");
        let version = agent.and_then(|agent| agent["version"].as_str()).context("no agent")?;
        let target = metadata["target_directory"].as_str().context("no target directory")?;
        Ok(Self {
            version: version.to_owned(),
            target: PathBuf::from(target),
            epoch: epoch()?,
            metadata,
        })
    }

    /// Debian's word for what is built for.
    pub(super) fn architecture() -> &'static str {
        match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        }
    }

    /// What this machine's compiler builds for: `x86_64-unknown-linux-gnu`.
    pub(super) fn host() -> anyhow::Result<String> {
        let about = shell::output(&mut shell::command("rustc", &["-vV"])).context("rustc")?;
        let host = about.lines().find_map(|line| line.strip_prefix("host: "));
        host.map(str::to_owned).context("rustc -vV names no host")
    }

    /// Flags that keep the building machine's paths out of the binary.
    pub(super) fn remapped() -> Vec<String> {
        let mut paths = vec![(shell::root(), "weir")];
        paths.extend(cargo_home().map(|home| (home, "cargo")));
        // Where the standard library's sources are installed, panics in it name their place here.
        let sysroot = shell::output(&mut shell::command("rustc", &["--print", "sysroot"]));
        paths.extend(sysroot.map(|sysroot| (PathBuf::from(sysroot), "rust")));
        let flag = |(path, name): (PathBuf, &str)| {
            format!("--remap-path-prefix={}=/{name}", path.display())
        };
        paths.into_iter().map(flag).collect()
    }

    /// The time of everything that is made, as `date` prints it with these arguments.
    pub(super) fn date(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let mut date = shell::command("date", &["--utc"]);
        date.arg(format!("--date=@{}", self.epoch)).args(arguments).env("LC_ALL", "C");
        shell::output(&mut date).context("date does not run")
    }
}

/// What the caller says, or the time of the commit.
#[expect(clippy::disallowed_methods, reason = "a task is steered by its caller's environment")]
fn epoch() -> anyhow::Result<u64> {
    if let Ok(told) = std::env::var("SOURCE_DATE_EPOCH") {
        return told.parse().with_context(|| format!("SOURCE_DATE_EPOCH: {told}"));
    }
    let commit = shell::command("git", &["log", "-1", "--format=%ct"]);
    let Some(time) = shell::output(&mut { commit }).and_then(|time| time.parse().ok()) else {
        bail!("no git history to take a time from: set SOURCE_DATE_EPOCH to seconds since 1970");
    };
    Ok(time)
}

#[expect(clippy::disallowed_methods, reason = "where cargo keeps its sources")]
fn cargo_home() -> Option<PathBuf> {
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo"));
    std::env::var_os("CARGO_HOME").map(PathBuf::from).or_else(home)
}
