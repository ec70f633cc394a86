//! `weir daemon`: the agent itself.

use super::{Ctx, Exit};
use crate::config::{self, Effective, Paths};

/// Run the agent in the foreground.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Also log what the programs in the kernel say (debug builds)
    #[arg(long)]
    log_bpf: bool,
}

/// What the command line says to the agent.
#[derive(Debug, Clone, Copy)]
pub struct Flags {
    /// Also log what the programs in the kernel say.
    pub log_bpf: bool,
}

/// Runs the agent until it is told to stop.
pub type Start = fn(Effective, Paths, Flags) -> anyhow::Result<Exit>;

pub(super) fn run(args: &Args, ctx: &Ctx, start: Start) -> anyhow::Result<Exit> {
    let effective = config::effective(&ctx.paths)?;
    start(effective, ctx.paths.clone(), Flags { log_bpf: args.log_bpf })
}
