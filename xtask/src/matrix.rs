//! Real clients beside those that every test run uses: large ones, installed on demand, asked whether
//! they accept the CA and what rejecting it costs them.

use std::os::unix::process::CommandExt;

use anyhow::Context;

use crate::setup::{self, packages};
use crate::shell;

/// Installs the clients, builds what asks them, and becomes it.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    setup::run(false)?;
    packages::matrix()?;
    setup::clients::matrix()?;
    let build = ["build", "--package", "agent", "--package", "tests", "--bins"];
    shell::run(&mut shell::cargo(&build))?;
    let program = shell::root().join("target/debug/matrix");
    let failure = shell::command(&program, &[]).args(arguments).exec();
    Err(failure).with_context(|| format!("run {}", program.display()))
}
