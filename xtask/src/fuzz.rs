//! Fuzzing: builds the driver, which lives with the tests, and hands over to it.

use std::os::unix::process::CommandExt;

use anyhow::Context;

use crate::shell;

/// Builds what is fuzzed, with its checks on, and becomes the driver.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    let build = ["build", "--package", "tests", "--bin", "fuzz"];
    shell::run(&mut shell::cargo(&build))?;
    let program = shell::root().join("target/debug/fuzz");
    let failure = shell::command(&program, &[]).args(arguments).exec();
    Err(failure).with_context(|| format!("run {}", program.display()))
}
