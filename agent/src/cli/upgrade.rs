//! `weir upgrade`: another daemon takes over, and no call notices.

use std::io::Write;

use super::client::Client;
use super::text::clean;
use super::{Ctx, Exit};
use crate::admin::upgrade::Upgraded;

/// Replace the running daemon by the program that lies on the disk now; no call fails over it.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, ctx: &Ctx) -> anyhow::Result<Exit> {
    let done: Upgraded =
        ctx.block_on(async { Client::connect(ctx).await?.put("/api/upgrade", &()).await })?;
    if args.json {
        ctx.json(&done)?;
        return Ok(Exit::Ok);
    }
    let Upgraded { from, to, draining, .. } = &done;
    let mut out = ctx.out();
    writeln!(out, "was  {}  pid {}", clean(&from.version), from.pid)?;
    writeln!(out, "now  {}  pid {}", clean(&to.version), to.pid)?;
    match draining {
        0 => writeln!(out, "no call was in flight")?,
        1 => writeln!(out, "1 call in flight ends in the former")?,
        some => writeln!(out, "{some} calls in flight end in the former")?,
    }
    Ok(Exit::Ok)
}
