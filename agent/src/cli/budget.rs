//! `weir budget`: what is spent, reserved and left, and until when it lasts.

use clap::Subcommand;
use serde::Serialize;

use super::client::Client;
use super::table::{Column, Table};
use super::text::{ahead, clean, usd};
use super::{Ctx, Exit, Fault, unset};
use crate::admin::budgets::{BudgetQuery, BudgetRow, Budgets, Standing};
use crate::policy::Enforcement;

/// What is spent of budgets, and until when they last.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  weir budget list
  weir budget check code-reviewer && start-the-review
  weir budget check nightly --subject user:alice --at 80 --json

Who does not administer the agent sees the budgets that count for them alone.")]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// All budgets, for everyone they count
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Whether there is money left; exits 11 where there is none
    Check {
        /// The budget, with or without `budgets.` before it
        name: String,
        /// Only for this subject: code-reviewer, user:alice
        #[arg(long)]
        subject: Option<String>,
        /// Exit 11 from this share of the limit on, in percent
        #[arg(long, value_name = "PERCENT", default_value_t = 100)]
        at: u8,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// What `budget check --json` prints.
#[derive(Debug, Serialize)]
struct Checked<'a> {
    schema_version: u32,
    over: bool,
    at_percent: u8,
    rows: &'a [BudgetRow],
}

pub(super) fn run(args: &Args, ctx: &Ctx) -> anyhow::Result<Exit> {
    match &args.what {
        What::List { json } => list(*json, ctx),
        What::Check { name, subject, at, json } => {
            let query = BudgetQuery {
                name: Some(name.clone()),
                subject: subject.clone(),
                ..BudgetQuery::default()
            };
            check(&query, *at, *json, ctx)
        }
    }
}

fn ask(query: &BudgetQuery, ctx: &Ctx) -> anyhow::Result<Budgets> {
    ctx.block_on(async { Client::connect(ctx).await?.get("/api/budgets", query).await })
}

fn list(json: bool, ctx: &Ctx) -> anyhow::Result<Exit> {
    let budgets = ask(&BudgetQuery::default(), ctx)?;
    if json {
        ctx.json(&budgets)?;
    } else if budgets.rows.is_empty() {
        let whose = if budgets.only_uid.is_some() { " that counts for you alone" } else { "" };
        let nothing = || vec![format!("nothing was spent of any budget{whose}")];
        ctx.lines(&unset::lines(unset::Rules::Budgets, ctx)?.unwrap_or_else(nothing))?;
    } else {
        ctx.lines(&table(&budgets.rows, ctx))?;
    }
    Ok(Exit::Ok)
}

fn check(query: &BudgetQuery, at: u8, json: bool, ctx: &Ctx) -> anyhow::Result<Exit> {
    let budgets = ask(query, ctx)?;
    let name = query.name.as_deref().unwrap_or_default();
    if budgets.rows.is_empty() && budgets.only_uid.is_some() {
        // Silence would read as "there is money left".
        return Err(Fault {
            exit: Exit::Permission,
            what: format!("budget {name} does not count for you alone"),
            fix: Some("try again with sudo".to_owned()),
        }
        .into());
    }
    let is_over = |row: &BudgetRow| {
        row.enforcement.0 != Enforcement::Off && row.used_percent >= f64::from(at)
    };
    let over = budgets.rows.iter().any(is_over);
    if json {
        let schema_version = budgets.schema_version;
        ctx.json(&Checked { schema_version, over, at_percent: at, rows: &budgets.rows })?;
    } else if budgets.rows.is_empty() {
        ctx.lines(&[clean(&format!("ok    {name}: nothing was spent")).into_owned()])?;
    } else {
        let lines: Vec<String> = budgets.rows.iter().map(|row| line(row, ctx)).collect();
        ctx.lines(&lines)?;
    }
    Ok(if over { Exit::Over } else { Exit::Ok })
}

/// Verdict first, then the figures it rests on.
pub(super) fn line(row: &BudgetRow, ctx: &Ctx) -> String {
    let mut text = format!(
        "{:<4}  {}: {} of {} per {} ({}%), {} reserved, {} left",
        row.standing.word(),
        whose(row),
        usd(row.spent_usd),
        usd(row.limit_usd),
        row.period,
        row.used_percent.floor(),
        usd(row.reserved_usd),
        usd(row.remaining_usd),
    );
    if row.resets_at.is_some() {
        text.extend([", resets ", &ahead(row.resets_at, ctx.now)]);
    }
    if row.exhausted_at.is_some() && row.standing != Standing::Over {
        text.extend([", runs out ", &ahead(row.exhausted_at, ctx.now)]);
    }
    let consequence = match row.enforcement.0 {
        Enforcement::Enforce => format!("then {}", row.action),
        other => format!("then {}, but it is {other}", row.action),
    };
    clean(&format!("{text}; {consequence}")).into_owned()
}

/// `nightly`, or `nightly of user:alice` where it counts others than its name says.
pub(super) fn whose(row: &BudgetRow) -> String {
    if row.subject == row.name() {
        row.name().to_owned()
    } else {
        format!("{} of {}", row.name(), row.subject)
    }
}

pub(super) fn table(rows: &[BudgetRow], ctx: &Ctx) -> Vec<String> {
    let mut table = Table::new([
        Column::Name("BUDGET"),
        Column::Word("PER"),
        Column::Figure("SPENT"),
        Column::Figure("RESERVED"),
        Column::Figure("LIMIT"),
        Column::Figure("USED"),
        Column::Word("RUNS OUT"),
        Column::Word("RESETS"),
    ]);
    for row in rows {
        table.row([
            whose(row),
            row.period.clone(),
            usd(row.spent_usd),
            usd(row.reserved_usd),
            usd(row.limit_usd),
            format!("{}%", row.used_percent.floor()),
            match row.standing {
                Standing::Over => "spent".to_owned(),
                _ => ahead(row.exhausted_at, ctx.now),
            },
            ahead(row.resets_at, ctx.now),
        ]);
    }
    table.lines(ctx.width)
}
