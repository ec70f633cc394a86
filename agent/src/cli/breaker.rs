//! `weir breaker`: how providers fare, and who may still be asked.

use clap::Subcommand;
use jiff::Timestamp;

use super::client::{Client, encoded};
use super::table::{Column, Table};
use super::text::{ahead, clean, count, elapsed};
use super::{Ctx, Exit};
use crate::admin::breakers::{BreakerRow, BreakerState, Breakers, Hand, SetBreaker};
use crate::admin::status::ModeState;
use crate::config::Mode;

/// Show circuit breakers, and open or close them by hand.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A breaker goes by its provider, or by provider and model: openai, openai/gpt-4o.
Endpoints of a provider that has several are listed too: openai@api.example.com.

Examples:
  weir breaker list
  weir breaker trip openai           no call reaches it until it is reset
  weir breaker reset openai          ask it again at once")]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// All breakers
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Close one
    Reset(Named),
    /// Open one, until it is reset
    Trip(Named),
}

#[derive(Debug, clap::Args)]
struct Named {
    /// PROVIDER, PROVIDER/MODEL or PROVIDER@ENDPOINT
    name: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, ctx: &Ctx) -> anyhow::Result<Exit> {
    match &args.what {
        What::List { json } => list(*json, ctx),
        What::Reset(named) => set(named, Hand::Closed, ctx),
        What::Trip(named) => set(named, Hand::Open, ctx),
    }
}

fn list(json: bool, ctx: &Ctx) -> anyhow::Result<Exit> {
    let breakers: Breakers =
        ctx.block_on(async { Client::connect(ctx).await?.get("/api/breakers", &()).await })?;
    if json {
        ctx.json(&breakers)?;
    } else if breakers.rows.is_empty() {
        ctx.lines(&["no provider has been asked yet".to_owned()])?;
    } else {
        ctx.lines(&table(&breakers.rows, ctx))?;
    }
    Ok(Exit::Ok)
}

fn set(named: &Named, state: Hand, ctx: &Ctx) -> anyhow::Result<Exit> {
    let path = format!("/api/breakers/{}", encoded(&named.name));
    let (row, mode): (BreakerRow, ModeState) = ctx.block_on(async {
        let mut client = Client::connect(ctx).await?;
        let row = client.put(&path, &SetBreaker { state }).await?;
        Ok((row, client.get("/api/mode", &()).await?))
    })?;
    if named.json {
        let mut answer = serde_json::to_value(&row)?;
        answer["schema_version"] = crate::admin::SCHEMA_VERSION.into();
        ctx.json(&answer)?;
    } else {
        let undo = match state {
            Hand::Open => format!(" (until: weir breaker reset {})", row.name),
            Hand::Closed => String::new(),
        };
        let line = format!("{}: {}{undo}", row.name, row.state.word());
        let mut lines = vec![clean(&line).into_owned()];
        if state == Hand::Open && mode.wanted != Mode::Enforce {
            lines.push("  ! breakers reject nothing in this mode".to_owned());
            lines.push("    → weir mode enforce".to_owned());
        }
        ctx.lines(&lines)?;
    }
    Ok(Exit::Ok)
}

pub(super) fn table(rows: &[BreakerRow], ctx: &Ctx) -> Vec<String> {
    let mut table = Table::new([
        Column::Name("BREAKER"),
        Column::Word("STATE"),
        Column::Word("FOR"),
        Column::Word("PROBES"),
        Column::Figure("IN A ROW"),
        Column::Figure("FAILED"),
        Column::Figure("OPENED"),
        Column::Name("REASON"),
    ]);
    for row in rows {
        table.row([
            row.name.clone(),
            row.state.word().to_owned(),
            row.since.map_or_else(|| "-".to_owned(), |since| elapsed(since, ctx.now)),
            probes(row, ctx.now),
            count(row.failures.into()),
            format!("{}% of {}", row.failure_percent, count(row.calls)),
            count(row.opened),
            row.reason.clone().unwrap_or_default(),
        ]);
    }
    table.lines(ctx.width)
}

/// When it lets a call through to see.
pub(super) fn probes(row: &BreakerRow, now: Timestamp) -> String {
    match row.state {
        BreakerState::Closed => "-".to_owned(),
        BreakerState::HalfOpen => "now".to_owned(),
        BreakerState::Open if row.by_hand => "on reset".to_owned(),
        BreakerState::Open => ahead(row.until, now),
    }
}
