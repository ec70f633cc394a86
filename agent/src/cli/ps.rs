//! `weir ps`: who talks to LLM providers, and how far that is metered.

use std::collections::BTreeSet;
use std::io::Write;

use super::client::Client;
use super::table::{Column, Table};
use super::text::{clean, count, usd};
use super::when::When;
use super::{Ctx, Exit};
use crate::admin::processes::{ProcessQuery, ProcessRow, Processes, Word};

/// Processes that talk to LLM providers, and how far they are metered.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Seen since: how long ago (2h, 7d), a day (2026-11-01), or RFC 3339
    #[arg(long, value_name = "WHEN", default_value = "1d")]
    since: When,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, ctx: &Ctx) -> anyhow::Result<Exit> {
    let since = Some(args.since.at(ctx.now, &ctx.zone)?);
    let query = ProcessQuery { since, pid: None, uid: None };
    let processes: Processes =
        ctx.block_on(async { Client::connect(ctx).await?.get("/api/processes", &query).await })?;
    if args.json {
        ctx.json(&processes)?;
        return Ok(Exit::Ok);
    }
    let mut out = ctx.out();
    if processes.rows.is_empty() {
        writeln!(out, "no process has talked to an LLM provider")?;
    } else {
        for line in lines(&processes.rows, ctx.width) {
            writeln!(out, "{line}")?;
        }
    }
    Ok(Exit::Ok)
}

/// `anthropic+1` for two of them.
pub(super) fn providers(row: &ProcessRow) -> String {
    let names = row.connections.iter().map(|same| same.provider.as_str());
    match &names.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>()[..] {
        [] => "-".to_owned(),
        [one] => (*one).to_owned(),
        [first, others @ ..] => format!("{first}+{}", others.len()),
    }
}

/// What was not read, or has no price, has no cost: that is not one of zero.
pub(super) fn cost(row: &ProcessRow) -> String {
    match (row.calls, row.unpriced_calls) {
        (0, _) => "-".to_owned(),
        (calls, unpriced) if calls == unpriced => "?".to_owned(),
        _ => usd(row.cost_usd),
    }
}

fn lines(rows: &[ProcessRow], width: u16) -> Vec<String> {
    let mut table = Table::new([
        Column::Figure("PID"),
        Column::Name("WORKLOAD"),
        Column::UpTo("USER", 8),
        Column::UpTo("PROVIDER", 12),
        Column::Figure("CONNS"),
        Column::Figure("CALLS"),
        Column::Figure("COST"),
        Column::Word("COVERAGE"),
    ]);
    for row in rows {
        table.row([
            row.pid.to_string(),
            row.workload.clone(),
            row.user.clone(),
            providers(row),
            count(row.connections.iter().map(|same| same.count).sum()),
            count(row.calls),
            cost(row),
            row.coverage.word().to_owned(),
        ]);
    }
    let mut lines = table.lines(width);
    let unmetered = rows.iter().filter(|row| row.coverage != Word::Metered && row.fix.is_some());
    lines.extend(unmetered.flat_map(|row| {
        let reason = row.cause.as_deref().or(row.reason.as_deref());
        let reason = reason.unwrap_or_else(|| row.coverage.word());
        let what = format!("  ! {} (pid {}): {reason}", row.workload, row.pid);
        let fix = format!("    → {}", row.fix.as_deref().unwrap_or_default());
        [clean(&what).into_owned(), clean(&fix).into_owned()]
    }));
    lines
}
