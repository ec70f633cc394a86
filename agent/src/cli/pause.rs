//! `weir pause`: stop intercepting for a while.

use std::io::Write;
use std::time::Duration;

use super::client::Client;
use super::text::clean;
use super::when::span;
use super::{Ctx, Exit};
use crate::admin::status::CaptureState;
use crate::admin::upkeep::SetPause;

/// Stop intercepting at once, and begin again after this time by itself, also where the agent is
/// started anew meanwhile. `weir up` ends it earlier; `weir down` makes it last.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// For how long (10m, 2h); 31 days at most
    #[arg(value_name = "DURATION", value_parser = span)]
    length: Duration,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, ctx: &Ctx) -> anyhow::Result<Exit> {
    let pause = SetPause { seconds: args.length.as_secs() };
    let state: CaptureState =
        ctx.block_on(async { Client::connect(ctx).await?.put("/api/pause", &pause).await })?;
    if args.json {
        ctx.json(&serde_json::json!({
            "schema_version": crate::admin::SCHEMA_VERSION,
            "on": state.on,
            "reason": state.reason,
        }))?;
    } else {
        let reason = state.reason.as_deref().unwrap_or("see weir status");
        writeln!(ctx.out(), "{}: not intercepting; weir up ends it earlier", clean(reason))?;
    }
    Ok(if state.on { Exit::Degraded } else { Exit::Ok })
}
