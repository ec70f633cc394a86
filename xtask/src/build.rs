//! Building, and what is run from a build.

use std::os::unix::process::CommandExt;

use anyhow::Context;

use crate::{setup, shell};

/// Builds every crate; the kernel half is built by `agent`'s build script and embedded.
pub(crate) fn run(release: bool) -> anyhow::Result<()> {
    setup::run(false)?;
    let mut cargo = shell::cargo(&["build", "--workspace", "--exclude", "agent-ebpf"]);
    if release {
        cargo.arg("--release");
    }
    shell::run(&mut cargo)?;
    let profile = if release { "release" } else { "debug" };
    println!("built target/{profile}/weir");
    Ok(())
}

/// Builds the binary and becomes its demo, so that Ctrl-C reaches it alone.
pub(crate) fn demo(arguments: &[String]) -> anyhow::Result<()> {
    setup::run(false)?;
    shell::run(&mut shell::cargo(&["build", "--package", "agent"]))?;
    let weir = shell::root().join("target/debug/weir");
    let failure = shell::command(&weir, &["demo"]).args(arguments).exec();
    Err(failure).with_context(|| format!("run {}", weir.display()))
}
