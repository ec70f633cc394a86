//! `weir log`: what the agent logs, and something else for a while.

use std::io::Write;
use std::time::Duration;

use clap::Subcommand;

use super::client::Client;
use super::text::{ahead, clean};
use super::when::span;
use super::{Ctx, Exit};
use crate::admin::upkeep::{LogState, SetLog};

/// Show what the agent logs, or change it while it runs.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  weir log                                     what is logged now
  weir log level debug --for 10m               more, for ten minutes
  weir log level info,upstream=debug           more of one part
  journalctl -u weir WEIR_PROVIDER=openai      entries with this field")]
pub(super) struct Args {
    #[command(subcommand)]
    what: Option<What>,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Log more or less, until the agent ends at the latest
    Level {
        /// A level (off, error, warn, info, debug, trace), levels of parts (PART=LEVEL), or both:
        /// info,upstream=debug
        filter: String,
        /// For how long (10m, 2h)
        #[arg(long = "for", value_name = "DURATION", value_parser = span)]
        length: Option<Duration>,
    },
    /// Log as the configuration says
    Reset,
}

pub(super) fn run(args: &Args, ctx: &Ctx) -> anyhow::Result<Exit> {
    let state: LogState = ctx.block_on(async {
        let mut client = Client::connect(ctx).await?;
        match &args.what {
            None => client.get("/api/log", &()).await,
            Some(what) => client.put("/api/log", &what.setting()).await,
        }
    })?;
    if args.json {
        ctx.json(&state)?;
        return Ok(Exit::Ok);
    }
    let mut out = ctx.out();
    writeln!(out, "{}", clean(&state.filter))?;
    if state.filter != state.configured || state.until.is_some() {
        let ends = match state.until {
            Some(until) => format!("ends {}", ahead(Some(until), ctx.now)),
            None => "until the agent ends, or: weir log reset".to_owned(),
        };
        let line = format!("set by hand, {ends} (configuration: {})", state.configured);
        writeln!(out, "{}", clean(&line))?;
    }
    if state.output == "journal" {
        writeln!(out, "to the journal: journalctl -t weir -t weir-helper -t weir-keeper")?;
    }
    Ok(Exit::Ok)
}

impl What {
    fn setting(&self) -> SetLog {
        match self {
            Self::Level { filter, length } => SetLog {
                filter: Some(filter.clone()),
                for_seconds: length.map(|length| length.as_secs()),
            },
            Self::Reset => SetLog::default(),
        }
    }
}
