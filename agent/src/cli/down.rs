//! `weir down`: stop intercepting at once.

use super::{Ctx, Exit, up};

/// Stop intercepting at once. Connections that exist go on; the agent keeps answering.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, ctx: &Ctx) -> anyhow::Result<Exit> {
    up::switch(false, args.json, ctx)
}
