//! `weir down`: stop intercepting at once.

use std::io::Write;

use anyhow::Context as _;

use super::{Ctx, Exit, Fault, up};
use crate::capture::leave_guards;

/// Stop intercepting at once. Connections that exist go on; the agent keeps answering. Where none
/// runs, what a dead one left to refuse connections (`on_agent_failure: closed`) is removed.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, ctx: &Ctx) -> anyhow::Result<Exit> {
    let wrong = match up::switch(false, args.json, ctx) {
        Err(wrong) if wrong.downcast_ref().is_some_and(is_no_daemon) => wrong,
        done => return done,
    };
    // An agent that died may have left a guard, and nobody else is there to remove it.
    if leave_guards().context("the guard that an agent left cannot be removed")? == 0 {
        return Err(wrong);
    }
    if args.json {
        let schema_version = crate::admin::SCHEMA_VERSION;
        let reason = "no agent runs";
        ctx.json(&serde_json::json!({
            "schema_version": schema_version, "on": false, "reason": reason,
        }))?;
    } else {
        writeln!(ctx.out(), "down: no agent runs; the guard that one left is removed")?;
    }
    Ok(Exit::Ok)
}

fn is_no_daemon(fault: &Fault) -> bool {
    fault.exit == Exit::NoDaemon
}
