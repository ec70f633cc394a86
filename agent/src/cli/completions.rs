//! `weir completions`: scripts for shells.

use clap::CommandFactory;

use super::{Cli, Ctx, Exit};

/// Print a completion script: `weir completions bash > /etc/bash_completion.d/weir`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The shell
    #[arg(value_enum)]
    shell: clap_complete::Shell,
}

pub(super) fn run(args: &Args, ctx: &Ctx) -> anyhow::Result<Exit> {
    // Into memory first: the generator panics where a pipe breaks.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "weir", &mut script);
    std::io::Write::write_all(&mut ctx.out(), &script)?;
    Ok(Exit::Ok)
}
