//! `weir errors`: why calls failed, by class, and how available providers were.

use std::time::Duration;

use jiff::Timestamp;

use super::client::Client;
use super::table::{Column, Table};
use super::text::{calls, count, date_time};
use super::when::When;
use super::{Ctx, Exit};
use crate::admin::harmless::inert;
use crate::admin::watch::{Availability, ErrorQuery, Errors, ErrorsBy};

/// How far back is looked where nothing is said.
const BACK: Duration = Duration::from_hours(24);

/// Why calls failed, and how available providers were.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  weir errors                              the last 24 hours, by class
  weir errors --by workload --since 7d     who fails, and why
  weir errors --by provider --json

Classes: timeout, rate_limit, auth, invalid_request, server_error, connect, tls,
quality (an answer that is not whole), client_abort, refused (by the agent), other.
A provider is not available where it gives no answer, no whole one, or an error of
its own; every try counts, also those that were tried again.")]
pub(super) struct Args {
    /// From: how long ago (2h, 7d), a day (2026-11-01), or RFC 3339; by default 24h
    #[arg(long, value_name = "WHEN")]
    since: Option<When>,
    /// Until; written like --since
    #[arg(long, value_name = "WHEN")]
    until: Option<When>,
    /// Group by
    #[arg(long, value_enum, value_name = "WHAT")]
    by: Option<By>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Print CSV: the classes alone
    #[arg(long, conflicts_with = "json")]
    csv: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum By {
    /// Who called
    Workload,
    /// Who was to answer
    Provider,
    /// Which model was asked for
    Model,
}

impl By {
    fn title(self) -> &'static str {
        match self {
            Self::Workload => "WORKLOAD",
            Self::Provider => "PROVIDER",
            Self::Model => "MODEL",
        }
    }
}

pub(super) fn run(args: &Args, ctx: &Ctx) -> anyhow::Result<Exit> {
    let at = |when: When| when.at(ctx.now, &ctx.zone);
    let query = ErrorQuery {
        since: Some(at(args.since.unwrap_or(When::Ago(BACK)))?),
        until: args.until.map(at).transpose()?,
        by: args.by.map(|by| match by {
            By::Workload => ErrorsBy::Workload,
            By::Provider => ErrorsBy::Provider,
            By::Model => ErrorsBy::Model,
        }),
        uid: None,
    };
    let errors: Errors =
        ctx.block_on(async { Client::connect(ctx).await?.get("/api/errors", &query).await })?;
    if args.json {
        ctx.json(&errors)?;
    } else if args.csv {
        csv(&errors, ctx)?;
    } else {
        ctx.lines(&lines(&errors, args.by, ctx))?;
    }
    Ok(Exit::Ok)
}

fn lines(errors: &Errors, by: Option<By>, ctx: &Ctx) -> Vec<String> {
    let time = |word: &str, at: Option<Timestamp>| {
        at.map(|at| format!("{word} {}", date_time(at, &ctx.zone)))
    };
    let span = [time("since", errors.since), time("until", errors.until)];
    let span: Vec<String> = span.into_iter().flatten().collect();
    let mut lines = vec![span.join(" ")];
    if errors.calls == 0 {
        lines.extend([String::new(), "no calls".to_owned()]);
        return lines;
    }
    lines.push(format!(
        "{}, {} did not end well ({})",
        calls(errors.calls),
        count(errors.errors),
        share(errors.errors, errors.calls)
    ));
    if !errors.rows.is_empty() {
        lines.push(String::new());
        lines.extend(classes(errors, by).lines(ctx.width));
    }
    if !errors.availability.is_empty() {
        lines.push(String::new());
        lines.extend(availability(&errors.availability).lines(ctx.width));
    }
    lines
}

fn classes(errors: &Errors, by: Option<By>) -> Table {
    let mut columns: Vec<Column> = by.iter().map(|by| Column::Name(by.title())).collect();
    columns.push(Column::Word("CLASS"));
    columns.extend(["FAILED", "SHARE", "OF CALLS"].map(Column::Figure));
    let mut table = Table::new(columns);
    for row in &errors.rows {
        let mut cells: Vec<String> =
            by.iter().map(|_| row.key.clone().unwrap_or_default()).collect();
        cells.extend([
            row.class.to_string(),
            count(row.count),
            format!("{:.1}%", row.percent),
            count(row.calls),
        ]);
        table.row(cells);
    }
    table
}

fn availability(rows: &[Availability]) -> Table {
    let mut table = Table::new([
        Column::Name("PROVIDER"),
        Column::Figure("AVAILABLE"),
        Column::Figure("FAILED"),
        Column::Figure("OF TRIES"),
    ]);
    for row in rows {
        let available = share(row.calls.saturating_sub(row.failed), row.calls);
        table.row([row.provider.clone(), available, count(row.failed), count(row.calls)]);
    }
    table
}

/// In percent to the hundredth, rounded down: only all of it is 100%.
fn share(part: u64, whole: u64) -> String {
    let hundredths = u128::from(part) * 10_000 / u128::from(whole.max(1));
    format!("{}.{:02}%", hundredths / 100, hundredths % 100)
}

fn csv(errors: &Errors, ctx: &Ctx) -> anyhow::Result<()> {
    let mut out = csv::Writer::from_writer(ctx.out());
    out.write_record(["key", "class", "count", "percent", "calls"])?;
    for row in &errors.rows {
        let (count, calls) = (row.count.to_string(), row.calls.to_string());
        let percent = format!("{:.2}", row.percent);
        let key = inert(row.key.as_deref().unwrap_or_default());
        out.write_record([&*key, row.class.word(), &count, &percent, &calls])?;
    }
    out.flush()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_all_of_it_is_all() {
        assert_eq!(share(99_999, 100_000), "99.99%");
        assert_eq!(share(100_000, 100_000), "100.00%");
        assert_eq!(share(0, 0), "0.00%");
        assert_eq!(share(6, 40), "15.00%");
    }
}
