//! `weir up`: intercept again.

use std::io::Write;

use super::client::Client;
use super::text::clean;
use super::{Ctx, Exit};
use crate::admin::SetCapture;
use crate::admin::status::CaptureState;

/// Begin intercepting again.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, ctx: &Ctx) -> anyhow::Result<Exit> {
    switch(true, args.json, ctx)
}

/// Turns interception on or off, and says what it is then.
pub(super) fn switch(on: bool, json: bool, ctx: &Ctx) -> anyhow::Result<Exit> {
    let state: CaptureState = ctx.block_on(async {
        Client::connect(ctx).await?.put("/api/capture", &SetCapture { on }).await
    })?;
    if json {
        let schema_version = crate::admin::SCHEMA_VERSION;
        ctx.json(&serde_json::json!({
            "schema_version": schema_version, "on": state.on, "reason": state.reason,
        }))?;
    } else {
        let word = if state.on { "up: intercepting" } else { "down: not intercepting" };
        match &state.reason {
            Some(reason) => writeln!(ctx.out(), "{word} ({})", clean(reason))?,
            None => writeln!(ctx.out(), "{word}")?,
        }
    }
    Ok(if state.on == on { Exit::Ok } else { Exit::Degraded })
}
