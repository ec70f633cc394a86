//! `weir bypass`: whom to leave alone.

use std::io::Write;
use std::time::Duration;

use clap::Subcommand;

use super::client::Client;
use super::table::{Column, Table};
use super::text::{ahead, clean};
use super::when::span;
use super::{Ctx, Exit};
use crate::admin::bypass::{BypassList, Kind, SetBypass};

/// Leave somebody alone: their connections are relayed unread, and counted as `bypassed`. That holds
/// for new connections, and not for what is sent to the proxy or the base URLs on purpose.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  weir bypass add --unit vault                 for good
  weir bypass add --exe '/opt/legacy/*' --for 2h
  weir bypass rm --unit vault
  weir bypass list")]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Leave somebody alone, also after a restart
    Add {
        #[command(flatten)]
        whom: Whom,
        /// For how long (2h, 7d); for good without it
        #[arg(long = "for", value_name = "DURATION", value_parser = span)]
        length: Option<Duration>,
    },
    /// Meter them again
    Rm {
        #[command(flatten)]
        whom: Whom,
    },
    /// Show who is left alone
    List,
}

/// A trailing `*` stands for anything.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Whom {
    /// A workload, as `weir ps` names it
    #[arg(long, value_name = "NAME")]
    process: Option<String>,
    /// An executable, by its path or its file's name
    #[arg(long, value_name = "PATH")]
    exe: Option<String>,
    /// A systemd unit, with or without .service
    #[arg(long, value_name = "UNIT")]
    unit: Option<String>,
    /// A user, by name or id
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// A provider's host
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
}

impl Whom {
    fn setting(&self, on: bool, length: Option<Duration>) -> SetBypass {
        let all = [
            (Kind::Process, &self.process),
            (Kind::Exe, &self.exe),
            (Kind::Unit, &self.unit),
            (Kind::User, &self.user),
            (Kind::Host, &self.host),
        ];
        let given = all.into_iter().find_map(|(kind, name)| Some((kind, name.clone()?)));
        // One is required.
        let (kind, name) = given.unwrap_or((Kind::Process, String::new()));
        SetBypass { kind, name, on, for_seconds: length.map(|length| length.as_secs()) }
    }
}

pub(super) fn run(args: &Args, ctx: &Ctx) -> anyhow::Result<Exit> {
    let list: BypassList = ctx.block_on(async {
        let mut client = Client::connect(ctx).await?;
        let set = match &args.what {
            What::List => return client.get("/api/bypass", &()).await,
            What::Add { whom, length } => whom.setting(true, *length),
            What::Rm { whom } => whom.setting(false, None),
        };
        client.put("/api/bypass", &set).await
    })?;
    if args.json {
        ctx.json(&list)?;
        return Ok(Exit::Ok);
    }
    if list.rows.is_empty() {
        writeln!(ctx.out(), "nobody is left alone")?;
        return Ok(Exit::Ok);
    }
    let mut table = Table::new([Column::Word("WHAT"), Column::Name("NAME"), Column::Word("ENDS")]);
    for row in &list.rows {
        let kind = match row.kind {
            Kind::Process => "process",
            Kind::Exe => "exe",
            Kind::Unit => "unit",
            Kind::User => "user",
            Kind::Host => "host",
        };
        let ends = row.until.map_or_else(|| "never".to_owned(), |at| ahead(Some(at), ctx.now));
        table.row([kind.to_owned(), clean(&row.name).into_owned(), ends]);
    }
    ctx.lines(&table.lines(ctx.width))?;
    Ok(Exit::Ok)
}
