//! `weir daemon`: the agent itself.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use super::{Ctx, Exit, Fault, helper};
use crate::app::Predecessor;
use crate::config::{self, Effective, Paths};

/// Run the agent in the foreground.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Also log what the programs in the kernel say (debug builds)
    #[arg(long)]
    log_bpf: bool,
    /// Take over from the daemon at the other end of the input (`weir upgrade` starts this)
    #[arg(long, hide = true)]
    succeed: bool,
}

/// What the command line says to the agent.
#[derive(Debug, Clone)]
pub struct Flags {
    /// Also log what the programs in the kernel say.
    pub log_bpf: bool,
    /// The daemon to take over from.
    pub predecessor: Option<Arc<Predecessor>>,
}

/// Runs the agent until it is told to stop.
pub type Start = fn(Effective, Paths, Flags) -> anyhow::Result<Exit>;

pub(super) fn run(args: &Args, ctx: &Ctx, start: Start) -> anyhow::Result<Exit> {
    let predecessor = if args.succeed { Some(Arc::new(predecessor()?)) } else { None };
    let flags = Flags { log_bpf: args.log_bpf, predecessor: predecessor.clone() };
    let read = config::effective(&ctx.paths).map_err(anyhow::Error::from);
    let ran = read.and_then(|effective| start(effective, ctx.paths.clone(), flags));
    if let (Err(error), Some(predecessor)) = (&ran, predecessor) {
        // Where it has taken over already, nobody waits to be told.
        predecessor.fail(&format!("{error:#}"));
    }
    ran
}

fn predecessor() -> anyhow::Result<Predecessor> {
    let stdin = io::stdin().as_fd().try_clone_to_owned()?;
    if !helper::is_handed(&stdin) {
        let what = "--succeed is for the daemon that another one starts".to_owned();
        return Err(Fault { exit: Exit::Usage, what, fix: Some("weir upgrade".to_owned()) }.into());
    }
    Ok(Predecessor::at(stdin))
}
