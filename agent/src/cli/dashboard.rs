//! `weir dashboard`: a session for the browser, and where it begins.

use std::io::Write;

use super::client::Client;
use super::text::{clean, date_time};
use super::{Ctx, Exit};
use crate::admin::NewSession;

/// Print the dashboard's address, with a session in it that shows you what you may see.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  weir dashboard                      open what it prints in a browser on this host
  ssh -L 4181:127.0.0.1:4181 HOST     and then here, for a host that is elsewhere
  weir dashboard --json               the token alone is what an Authorization header takes

The session ends after 12 hours, or with the daemon. Whoever has the address
sees and may do what you may: it is not to be passed on.")]
pub(super) struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, ctx: &Ctx) -> anyhow::Result<Exit> {
    let session: NewSession =
        ctx.block_on(async { Client::connect(ctx).await?.post("/api/sessions", &()).await })?;
    if args.json {
        ctx.json(&session)?;
        return Ok(Exit::Ok);
    }
    writeln!(ctx.out(), "{}", clean(&session.url))?;
    let until = date_time(session.expires_at, &ctx.zone);
    writeln!(std::io::stderr(), "valid until {until}; whoever has it sees what you see")?;
    Ok(Exit::Ok)
}
