//! `weir spend`: calls, tokens and dollars, by anything; coverage beside every figure.

use std::borrow::Cow;
use std::io::Write;

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use super::client::Client;
use super::table::{Column, Table};
use super::text::{calls, clean, count, coverage, date_time, percent, short, usd};
use super::when::{When, midnight};
use super::{Ctx, Exit};
use crate::admin::harmless::inert;
use crate::admin::money::Coverage;
use crate::admin::spend::{Bucket, Dimension, Spend, SpendQuery, SpendRow};

/// Calls, tokens and dollars, by anything.
#[derive(Debug, Default, clap::Args)]
#[command(after_help = "\
Examples:
  weir spend                              today, by workload
  weir spend daily                        the last 30 days
  weir spend --by user,model --since 7d   a week, by user and model
  weir spend monthly --csv                for a spreadsheet")]
pub(super) struct Args {
    /// Span of time, and whether to split it
    #[arg(value_enum)]
    period: Option<Period>,
    /// Group by: workload, process, user, team, provider, model, environment, unit, container, app
    #[arg(long, value_delimiter = ',', value_name = "WHAT")]
    by: Vec<Dimension>,
    /// From: how long ago (2h, 7d), a day (2026-11-01), or RFC 3339
    #[arg(long, value_name = "WHEN")]
    since: Option<When>,
    /// Until; written like --since
    #[arg(long, value_name = "WHEN")]
    until: Option<When>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Print CSV
    #[arg(long, conflicts_with = "json")]
    csv: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Period {
    /// Since midnight
    Today,
    /// The last 30 days, by day
    Daily,
    /// The last 12 weeks, by week
    Weekly,
    /// The last 12 months, by month
    Monthly,
}

pub(super) fn run(args: &Args, ctx: &Ctx) -> anyhow::Result<Exit> {
    let query = query(args, ctx)?;
    let spend: Spend =
        ctx.block_on(async { Client::connect(ctx).await?.get("/api/spend", &query).await })?;
    if args.json {
        ctx.json(&spend)?;
    } else if args.csv {
        csv(&spend, &query, ctx)?;
    } else {
        let mut out = ctx.out();
        for line in lines(&spend, &query, ctx) {
            writeln!(out, "{line}")?;
        }
    }
    Ok(Exit::Ok)
}

/// Today by workload, as text.
pub(super) async fn today(client: &mut Client, ctx: &Ctx) -> anyhow::Result<Vec<String>> {
    let query = query(&Args::default(), ctx)?;
    let spend: Spend = client.get("/api/spend", &query).await?;
    Ok(lines(&spend, &query, ctx))
}

fn query(args: &Args, ctx: &Ctx) -> anyhow::Result<SpendQuery> {
    let at = |when: Option<When>| when.map(|when| when.at(ctx.now, &ctx.zone)).transpose();
    let since = at(args.since)?;
    // A span given by --since is one span, unless it is to be split.
    let period = args.period.or_else(|| since.is_none().then_some(Period::Today));
    let (bucket, begin) = match period {
        None => (None, None),
        Some(Period::Today) => (None, Some(midnight(ctx.now, &ctx.zone, 0.days())?)),
        Some(Period::Daily) => (Some(Bucket::Day), Some(midnight(ctx.now, &ctx.zone, 29.days())?)),
        Some(Period::Weekly) => (Some(Bucket::Week), Some(monday(ctx.now, &ctx.zone)?)),
        Some(Period::Monthly) => (Some(Bucket::Month), Some(first_of_month(ctx.now, &ctx.zone)?)),
    };
    let by = match &args.by[..] {
        [] if bucket.is_none() => vec![Dimension::Workload],
        by => by.to_vec(),
    };
    // A zone without a name (a POSIX rule, a copied file) is told by its offset of today.
    let zone = match ctx.zone.iana_name() {
        Some(_) => ctx.zone.clone(),
        None => TimeZone::fixed(ctx.zone.to_offset(ctx.now)),
    };
    let until = at(args.until)?;
    Ok(SpendQuery { since: since.or(begin), until, by, bucket, zone, uid: None })
}

/// Twelve whole weeks back, the present one included.
fn monday(now: Timestamp, zone: &TimeZone) -> anyhow::Result<Timestamp> {
    let today = now.to_zoned(zone.clone());
    let days = i64::from(today.weekday().to_monday_zero_offset()) + 11 * 7;
    midnight(now, zone, days.days())
}

/// Twelve whole months back, the present one included.
fn first_of_month(now: Timestamp, zone: &TimeZone) -> anyhow::Result<Timestamp> {
    let first = now.to_zoned(zone.clone()).first_of_month()?;
    Ok(first.checked_sub(11.months())?.start_of_day()?.timestamp())
}

fn lines(spend: &Spend, query: &SpendQuery, ctx: &Ctx) -> Vec<String> {
    let since = spend.since.map(|since| format!("since {}", date_time(since, &ctx.zone)));
    let until = spend.until.map(|until| format!("until {}", date_time(until, &ctx.zone)));
    let mut lines: Vec<String> = [since, until].into_iter().flatten().collect();
    lines = vec![lines.join(" "), coverage(&spend.coverage), unmetered(&spend.coverage)];
    lines.retain(|line| !line.is_empty());
    lines.push(String::new());
    if spend.rows.is_empty() {
        lines.push("no calls".to_owned());
    } else {
        lines.extend(table(spend, query).lines(ctx.width));
    }
    lines.extend(notes(&spend.total));
    lines
}

/// `not metered: 2 untrusted, 1 no_sni`.
fn unmetered(coverage: &Coverage) -> String {
    let reasons = coverage.reasons.iter();
    let reasons: Vec<String> =
        reasons.map(|reason| format!("{} {}", count(reason.count), reason.reason)).collect();
    if reasons.is_empty() {
        return String::new();
    }
    clean(&format!("not metered: {}", reasons.join(", "))).into_owned()
}

fn table(spend: &Spend, query: &SpendQuery) -> Table {
    let mut columns = Vec::new();
    columns.extend(query.bucket.map(|bucket| {
        Column::Word(match bucket {
            Bucket::Day => "DAY",
            Bucket::Week => "WEEK OF",
            Bucket::Month => "MONTH",
        })
    }));
    columns.extend(query.by.iter().map(|by| Column::Name(title(*by))));
    let keys = columns.len();
    columns.extend(["CALLS", "IN", "CACHED", "OUT", "COST", "COV"].map(Column::Figure));
    let mut table = Table::new(columns);
    for row in &spend.rows {
        let mut cells: Vec<String> = query.bucket.iter().map(|_| period(row)).collect();
        cells.extend(query.by.iter().map(|by| row.key(*by).unwrap_or("-").to_owned()));
        cells.extend(figures(row, row.coverage));
        table.row(cells);
    }
    if keys > 0 && spend.rows.len() > 1 {
        let mut cells = vec![String::new(); keys];
        "TOTAL".clone_into(&mut cells[0]);
        cells.extend(figures(&spend.total, spend.coverage.ratio()));
        table.row(cells);
    }
    table
}

fn title(by: Dimension) -> &'static str {
    match by {
        Dimension::Workload => "WORKLOAD",
        Dimension::Process => "PROCESS",
        Dimension::User => "USER",
        Dimension::Team => "TEAM",
        Dimension::Provider => "PROVIDER",
        Dimension::Model => "MODEL",
        Dimension::Environment => "ENVIRONMENT",
        Dimension::Unit => "UNIT",
        Dimension::Container => "CONTAINER",
        Dimension::App => "APP",
    }
}

fn period(row: &SpendRow) -> String {
    row.period.clone().unwrap_or_default()
}

fn figures(row: &SpendRow, coverage: Option<f64>) -> [String; 6] {
    // Nothing but calls without a price is not $0.00.
    let cost = if row.calls > 0 && row.unpriced_calls == row.calls {
        "?".to_owned()
    } else {
        usd(row.cost_usd)
    };
    [
        count(row.calls),
        short(row.tokens.sent()),
        short(row.tokens.cached()),
        short(row.tokens.received()),
        cost,
        percent(coverage),
    ]
}

fn notes(total: &SpendRow) -> Vec<String> {
    let mut notes = Vec::new();
    if total.unpriced_calls > 0 {
        let calls = calls(total.unpriced_calls);
        notes.push(format!("{calls} of unknown cost not in it → weir price unknown"));
    }
    if total.estimated_calls > 0 {
        let calls = calls(total.estimated_calls);
        notes.push(format!("{calls} estimated, because no usage arrived"));
    }
    if total.subscription_usd.0.0 > 0 {
        let notional = usd(total.subscription_usd);
        notes.push(format!("{notional} of it is notional: a subscription pays"));
    }
    if !notes.is_empty() {
        notes.insert(0, String::new());
    }
    notes
}

fn csv(spend: &Spend, query: &SpendQuery, ctx: &Ctx) -> anyhow::Result<()> {
    let mut out = csv::Writer::from_writer(ctx.out());
    let mut header: Vec<&str> = query.bucket.iter().map(|_| "period").collect();
    header.extend(query.by.iter().map(|by| by.word()));
    header.extend([
        "calls",
        "requests",
        "errors",
        "input_tokens",
        "cache_read_tokens",
        "cache_write_5m_tokens",
        "cache_write_1h_tokens",
        "output_tokens",
        "reasoning_tokens",
        "audio_input_tokens",
        "audio_output_tokens",
        "cost_usd",
        "subscription_usd",
        "unpriced_calls",
        "estimated_calls",
        "coverage",
    ]);
    out.write_record(&header)?;
    for row in &spend.rows {
        let mut cells: Vec<Cow<'_, str>> =
            query.bucket.iter().map(|_| period(row).into()).collect();
        cells.extend(query.by.iter().map(|by| inert(row.key(*by).unwrap_or_default())));
        let tokens = &row.tokens;
        let figures = [
            row.calls,
            row.requests,
            row.errors,
            tokens.input_tokens,
            tokens.cache_read_tokens,
            tokens.cache_write_5m_tokens,
            tokens.cache_write_1h_tokens,
            tokens.output_tokens,
            tokens.reasoning_tokens,
            tokens.audio_input_tokens,
            tokens.audio_output_tokens,
        ];
        cells.extend(figures.map(|figure| figure.to_string().into()));
        cells.push(row.cost_usd.to_string().into());
        cells.push(row.subscription_usd.to_string().into());
        cells.push(row.unpriced_calls.to_string().into());
        cells.push(row.estimated_calls.to_string().into());
        let covered = row.coverage.map(|coverage| format!("{coverage:.4}")).unwrap_or_default();
        cells.push(covered.into());
        out.write_record(cells.iter().map(|cell| cell.as_bytes()))?;
    }
    out.flush()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_begin_where_their_first_bucket_does() {
        let now: Timestamp = "2026-11-22T09:12:00Z".parse().unwrap();
        assert_eq!(monday(now, &TimeZone::UTC).unwrap().to_string(), "2026-08-31T00:00:00Z");
        assert_eq!(
            first_of_month(now, &TimeZone::UTC).unwrap().to_string(),
            "2025-12-01T00:00:00Z"
        );
    }
}
