//! `weir demo`: see it work, on a stage of its own where nothing of the host changes.

use std::time::Duration;

use super::Exit;
use crate::demo;

/// See it work: a provider, an agent and five programs, for some seconds.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// How long the programs run
    #[arg(long, default_value_t = 20, value_name = "N")]
    seconds: u64,
}

pub(super) fn run(args: &Args) -> anyhow::Result<Exit> {
    demo::run(Duration::from_secs(args.seconds))?;
    Ok(Exit::Ok)
}
