//! `weir escalations`: calls that failed for good, for people to look at.

use std::io::Write;

use clap::Subcommand;

use super::client::Client;
use super::table::{Column, Table};
use super::text::{clean, count, date_time};
use super::{Ctx, Exit};
use crate::admin::alerts::{
    EscalationQuery, EscalationRate, EscalationRow, EscalationState, Escalations, SetEscalation,
};

/// Calls that failed for good: list them, acknowledge them, resolve them.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Those that are not resolved
    List {
        /// The resolved ones too
        #[arg(long)]
        all: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Say that somebody is at it
    Ack(Change),
    /// Say that it is done with
    Resolve(Change),
}

#[derive(Debug, clap::Args)]
struct Change {
    /// Ids, as `weir escalations list` prints them
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
    /// Print JSON, one object per line
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, ctx: &Ctx) -> anyhow::Result<Exit> {
    match &args.what {
        What::List { all, json } => list(*all, *json, ctx),
        What::Ack(change) => set(change, EscalationState::Acked, ctx),
        What::Resolve(change) => set(change, EscalationState::Resolved, ctx),
    }
}

fn list(all: bool, json: bool, ctx: &Ctx) -> anyhow::Result<Exit> {
    let query = EscalationQuery { all, uid: None };
    let found: Escalations =
        ctx.block_on(async { Client::connect(ctx).await?.get("/api/escalations", &query).await })?;
    if json {
        ctx.json(&found)?;
        return Ok(Exit::Ok);
    }
    let mut out = ctx.out();
    if found.rows.is_empty() {
        let what = if all { "no escalations" } else { "no escalations that are not resolved" };
        writeln!(out, "{what}")?;
    } else {
        for line in lines(&found.rows, ctx) {
            writeln!(out, "{line}")?;
        }
    }
    if let Some(rate) = &found.rate {
        writeln!(out, "{}", rate_line(rate))?;
    }
    Ok(Exit::Ok)
}

/// `0.4% of 1,204 calls in the last 24 hours were escalated (5)`.
pub(super) fn rate_line(rate: &EscalationRate) -> String {
    match rate.rate {
        None => "no calls in the last 24 hours".to_owned(),
        Some(share) => format!(
            "{:.1}% of {} calls in the last 24 hours were escalated ({}); the aim is below 5%",
            share * 100.0,
            count(rate.calls),
            count(rate.escalated),
        ),
    }
}

fn lines(rows: &[EscalationRow], ctx: &Ctx) -> Vec<String> {
    let mut table = Table::new([
        Column::Word("ID"),
        Column::Word("STATE"),
        Column::Figure("COUNT"),
        Column::UpTo("CLASS", 14),
        Column::Name("WORKLOAD"),
    ]);
    for row in rows {
        table.row([
            row.id.clone(),
            row.state.to_string(),
            count(row.count),
            row.class.clone().unwrap_or_else(|| "-".to_owned()),
            row.workload.clone(),
        ]);
    }
    let mut lines = table.lines(ctx.width).into_iter();
    let mut told: Vec<String> = lines.next().into_iter().collect();
    for (line, row) in lines.zip(rows) {
        told.push(line);
        let last = date_time(row.last_at, &ctx.zone);
        let detail = format!("  {last}  {}: {}", row.policy, row.message);
        told.push(clean(&detail).into_owned());
        told.extend(row.call_id.map(|id| format!("    → weir explain {id}")));
    }
    told
}

fn set(change: &Change, state: EscalationState, ctx: &Ctx) -> anyhow::Result<Exit> {
    ctx.block_on(async {
        let mut client = Client::connect(ctx).await?;
        for id in &change.ids {
            // It becomes a part of a path.
            anyhow::ensure!(id.bytes().all(|b| b.is_ascii_alphanumeric()), "`{id}` is not an id");
            let path = format!("/api/escalations/{id}");
            let row: EscalationRow = client.put(&path, &SetEscalation { state }).await?;
            if change.json {
                ctx.json_line(&row)?;
            } else {
                let text = format!("{} {}: {}", row.id, row.state, row.message);
                writeln!(ctx.out(), "{}", clean(&text))?;
            }
        }
        Ok(Exit::Ok)
    })
}
