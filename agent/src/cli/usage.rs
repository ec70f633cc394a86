//! `weir usage`: what is used of every limit, what is left, and when it is back.

use super::client::Client;
use super::table::{Column, Table};
use super::text::{ahead, count, usd};
use super::{Ctx, Exit, unset};
use crate::admin::usage::{Quantity, Usage, UsageQuery, UsageRow};

/// What is used of every limit, what is left, and when it is back.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  weir usage                   every subject that used something
  weir usage batch-agent       of one subject, as rules name it
  weir usage user:alice
  weir usage rate_limits.batch-agent --json

Who does not administer the agent sees what counts for them alone.")]
pub(super) struct Args {
    /// A subject (batch-agent, user:alice, team:payments), or a policy
    subject: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, ctx: &Ctx) -> anyhow::Result<Exit> {
    let query = UsageQuery { subject: args.subject.clone(), ..UsageQuery::default() };
    let usage: Usage =
        ctx.block_on(async { Client::connect(ctx).await?.get("/api/usage", &query).await })?;
    if args.json {
        ctx.json(&usage)?;
        return Ok(Exit::Ok);
    }
    if usage.rows.is_empty() {
        if let Some(lines) = unset::lines(unset::Rules::Limits, ctx)? {
            ctx.lines(&lines)?;
            return Ok(Exit::Ok);
        }
        let of = args.subject.as_ref().map(|subject| format!(" by {subject}")).unwrap_or_default();
        let whose = if usage.only_uid.is_some() { " that counts for you alone" } else { "" };
        ctx.lines(&[format!("nothing was used of any limit{whose}{of}")])?;
    } else {
        ctx.lines(&table(&usage.rows, ctx))?;
    }
    Ok(Exit::Ok)
}

pub(super) fn table(rows: &[UsageRow], ctx: &Ctx) -> Vec<String> {
    let mut table = Table::new([
        Column::Name("SUBJECT"),
        Column::Name("POLICY"),
        Column::Word("LIMIT"),
        Column::Figure("USED"),
        Column::Figure("OF"),
        Column::Figure("LEFT"),
        Column::Word("RESETS"),
    ]);
    for row in rows {
        table.row([
            row.subject.clone(),
            row.policy.clone(),
            unit(&row.unit),
            quantity(row.used),
            quantity(row.limit),
            quantity(row.remaining),
            ahead(row.resets_at, ctx.now),
        ]);
    }
    table.lines(ctx.width)
}

fn quantity(quantity: Quantity) -> String {
    match quantity {
        Quantity::Count(number) => count(number),
        Quantity::Usd(amount) => usd(amount),
    }
}

/// `requests/min` for `requests_per_minute`, `usd/day` for `daily_limit_usd`.
fn unit(key: &str) -> String {
    match key {
        "hourly_limit_usd" => "usd/h".to_owned(),
        "daily_limit_usd" => "usd/day".to_owned(),
        "weekly_limit_usd" => "usd/week".to_owned(),
        "monthly_limit_usd" => "usd/month".to_owned(),
        key => key.replacen("_per_", "/", 1).replace("/minute", "/min").replace("/hour", "/h"),
    }
}

#[cfg(test)]
mod tests {
    use super::unit;

    #[test]
    fn limits_are_named_shortly() {
        for (key, shown) in [
            ("requests_per_minute", "requests/min"),
            ("usd_per_hour", "usd/h"),
            ("daily_limit_usd", "usd/day"),
            ("loops", "loops"),
        ] {
            assert_eq!(unit(key), shown);
        }
    }
}
