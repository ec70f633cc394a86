//! The programs that make packages, at the versions that this was tried with.

use std::path::Path;

use anyhow::ensure;

use super::inputs::Inputs;
use crate::shell;

/// A cargo subcommand: its crate, its version, and how it is asked for that.
pub(super) struct Tool {
    name: &'static str,
    version: &'static str,
}

pub(super) const DEB: Tool = Tool { name: "cargo-deb", version: "3.8.0" };
pub(super) const RPM: Tool = Tool { name: "cargo-generate-rpm", version: "0.21.1" };

/// Installs what is missing of these.
pub(super) fn install(tools: &[Tool]) -> anyhow::Result<()> {
    for tool in tools {
        let printed = shell::output(&mut shell::command(tool.name, &["--version"]));
        let version = printed.as_deref().and_then(|line| line.split_whitespace().last());
        if version != Some(tool.version) {
            println!("dist: {} {} is needed, found {version:?}", tool.name, tool.version);
            let install = ["install", tool.name, "--version", tool.version, "--locked", "--force"];
            shell::run(&mut shell::cargo(&install))?;
        }
    }
    for program in ["tar", "gzip", "strip", "sha256sum"] {
        ensure!(shell::runs(program, &["--version"]), "{program} is needed, and is not there");
    }
    Ok(())
}

/// What goes in is said in `agent/Cargo.toml`, `[package.metadata.deb]`.
/// `quick` packs it less.
pub(super) fn deb(file: &Path, inputs: &Inputs, quick: bool) -> anyhow::Result<()> {
    let arguments = ["deb", "--package", "agent", "--no-build", "--no-strip", "--output"];
    let mut cargo = shell::cargo(&arguments);
    cargo.arg(file);
    if quick {
        cargo.arg("--fast");
    }
    shell::run(cargo.env("SOURCE_DATE_EPOCH", inputs.epoch.to_string()))
}

/// What goes in is said in `agent/Cargo.toml`, `[package.metadata.generate-rpm]`.
pub(super) fn rpm(file: &Path, inputs: &Inputs, quick: bool) -> anyhow::Result<()> {
    let arguments = ["generate-rpm", "--package", "agent", "--auto-req", "builtin", "--output"];
    let mut cargo = shell::cargo(&arguments);
    cargo.arg(file);
    if quick {
        cargo.args(["--payload-compress", "gzip"]);
    }
    shell::run(cargo.env("SOURCE_DATE_EPOCH", inputs.epoch.to_string()))
}
