//! `weir statusline`: one line for prompts, tmux and coding agents. It asks for no more than the line
//! needs, gives up soon, and never says $0.00 of what it does not know.

mod ancestors;
mod format;

use std::io::Write;
use std::time::Duration;

use jiff::{SignedDuration, ToSpan};
use tokio::time::timeout;

use self::format::{Field, Format};
use super::client::Client;
use super::status::doing;
use super::text::{calls, clean, count, percent, short, usd};
use super::when::midnight;
use super::{Ctx, Exit, Fault};
use crate::admin::budgets::{BudgetQuery, BudgetRow, Budgets};
use crate::admin::processes::{ProcessQuery, Processes};
use crate::admin::spend::{Dimension, Spend, SpendQuery, SpendRow};
use crate::admin::status::{State, Status};
use crate::policy::Enforcement;
use crate::subject::Workload;

/// A prompt does not wait longer.
const PATIENCE: Duration = Duration::from_secs(1);
/// What stands between two parts of the stock line.
const BETWEEN: &str = " · ";

/// One line for prompts, tmux and coding agents.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Fields of --format:
  {today}       what today's calls cost             $1.32
  {calls}       today's calls                       12
  {errors}      those of them that failed           0
  {unpriced}    those whose cost is not known       0
  {tokens}      tokens of today                     310k
  {in} {out}    sent and received                   302k 8.1k
  {workloads}   workloads that made calls           3
  {workload}    the workload it is about            exe:claude
  {coverage}    connections that were metered       100%
  {budget}      the fullest budget                  84%
  {budget_name} its name                            nightly
  {mode}        what the agent does                 metering
  {state}       healthy or degraded                 healthy
  {warnings}    what someone should look at         0
  {breakers}    breakers that are not closed        0
  {escalations} failures nobody looked at           0
  {{ and }}     braces

What is not known is `-`, or `?` where calls have no price.

Examples:
  weir statusline
  weir statusline --self --quiet
  weir statusline --format '{today} {calls} {budget}'")]
pub(super) struct Args {
    /// What to print, with fields in braces; see below
    #[arg(long, value_name = "TEXT")]
    format: Option<Format>,
    /// Only of this workload
    #[arg(long, value_name = "WORKLOAD", conflicts_with_all = ["pid", "own"])]
    workload: Option<String>,
    /// Only of the workload of this process, or of the nearest above it that made calls
    #[arg(long, conflicts_with = "own")]
    pid: Option<u32>,
    /// Only of the workload that runs this command: what a coding agent asks for
    #[arg(long = "self")]
    own: bool,
    /// Print `weir: off` and exit 0 where no agent answers
    #[arg(short, long)]
    quiet: bool,
}

pub(super) fn run(args: &Args, ctx: &Ctx) -> anyhow::Result<Exit> {
    let asking = async {
        match timeout(PATIENCE, ask(args, ctx)).await {
            Ok(answer) => answer,
            Err(_elapsed) => Err(Fault {
                exit: Exit::NoDaemon,
                what: format!("the agent did not answer within {} s", PATIENCE.as_secs()),
                fix: Some("weir status".to_owned()),
            }
            .into()),
        }
    };
    let line = match ctx.block_on(asking) {
        Ok(line) => line,
        Err(wrong) if args.quiet && is_off(&wrong) => "weir: off".to_owned(),
        Err(wrong) => return Err(wrong),
    };
    writeln!(ctx.out(), "{}", clean(&line))?;
    Ok(Exit::Ok)
}

fn is_off(wrong: &anyhow::Error) -> bool {
    wrong.downcast_ref::<Fault>().is_some_and(|fault| fault.exit == Exit::NoDaemon)
}

async fn ask(args: &Args, ctx: &Ctx) -> anyhow::Result<String> {
    let mut client = Client::connect(ctx).await?;
    let whose = whose(args, &mut client, ctx).await?;
    let needs = |is_needed: fn(Field) -> bool, by_default: bool| match &args.format {
        Some(format) => format.fields().any(is_needed),
        None => by_default,
    };
    let mut answers = Answers { whose, ..Answers::default() };
    if needs(Field::is_of_spend, true) {
        let since = Some(midnight(ctx.now, &ctx.zone, 0.days())?);
        let query = SpendQuery { since, by: vec![Dimension::Workload], ..SpendQuery::default() };
        answers.spend = Some(client.get("/api/spend", &query).await?);
    }
    if needs(Field::is_of_budgets, true) {
        let budgets: Budgets = client.get("/api/budgets", &BudgetQuery::default()).await?;
        answers.budgets = budgets.rows;
    }
    if needs(Field::is_of_status, false) {
        answers.status = Some(client.get("/api/status", &()).await?);
    }
    Ok(match &args.format {
        Some(format) => format.filled(|field| answers.field(field)),
        None => answers.line(),
    })
}

/// The workload the line is about.
async fn whose(args: &Args, client: &mut Client, ctx: &Ctx) -> anyhow::Result<Whose> {
    let first = match (&args.workload, args.pid, args.own) {
        (Some(workload), ..) => return Ok(Whose::Workload(workload.clone())),
        (None, Some(pid), _) => Some(pid),
        // This command is a process of its own, which makes no calls.
        (None, None, true) => ancestors::parent(std::process::id()),
        (None, None, false) => return Ok(Whose::Everyone),
    };
    let since = ctx.now.checked_sub(SignedDuration::from_hours(24)).ok();
    for pid in ancestors::chain(first) {
        let query = ProcessQuery { since, pid: Some(pid), ..ProcessQuery::default() };
        let found: Processes = client.get("/api/processes", &query).await?;
        // Its id may have been another's before.
        if let Some(row) = found.rows.into_iter().find(|row| ancestors::runs(pid, &row.exe)) {
            return Ok(Whose::Workload(row.workload));
        }
    }
    Ok(Whose::Nobody)
}

/// Whom the line is about.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
enum Whose {
    /// The whole host, or all that the asking user may see.
    #[default]
    Everyone,
    /// One workload.
    Workload(String),
    /// A process tree that has made no calls.
    Nobody,
}

/// What the agent said.
#[derive(Debug, Default)]
struct Answers {
    whose: Whose,
    spend: Option<Spend>,
    budgets: Vec<BudgetRow>,
    status: Option<Status>,
}

impl Answers {
    /// Today's figures.
    fn today(&self) -> SpendRow {
        let Some(spend) = &self.spend else { return SpendRow::default() };
        match &self.whose {
            Whose::Everyone => spend.total.clone(),
            Whose::Nobody => SpendRow::default(),
            Whose::Workload(name) => {
                let own = |row: &&SpendRow| row.workload.as_ref() == Some(name);
                spend.rows.iter().find(own).cloned().unwrap_or_default()
            }
        }
    }

    fn coverage(&self) -> Option<f64> {
        match self.whose {
            Whose::Everyone => self.spend.as_ref()?.coverage.ratio(),
            _ => self.today().coverage,
        }
    }

    /// The fullest budget that can refuse anything, of those that count the workload.
    fn budget(&self) -> Option<&BudgetRow> {
        let counts = |row: &&BudgetRow| match &self.whose {
            Whose::Everyone => true,
            Whose::Nobody => false,
            Whose::Workload(name) => is_of(&row.subject, name),
        };
        let acting = self.budgets.iter().filter(|row| row.enforcement.0 != Enforcement::Off);
        acting.filter(counts).max_by(|a, b| a.used_percent.total_cmp(&b.used_percent))
    }

    /// The stock line: what is not known, or as it should be, is left out.
    fn line(&self) -> String {
        let today = self.today();
        let mut parts = vec![format!("{} today", cost(&today)), calls(today.calls)];
        if let (Whose::Everyone, Some(spend)) = (&self.whose, &self.spend) {
            let many = workloads(spend);
            parts.push(format!("{many} workload{}", if many == 1 { "" } else { "s" }));
        }
        if today.unpriced_calls > 0 && today.unpriced_calls < today.calls {
            parts.push(format!("{} unpriced", count(today.unpriced_calls)));
        }
        parts.extend(self.coverage().map(|share| format!("coverage {}", percent(Some(share)))));
        parts.extend(self.budget().map(|row| format!("budget {:.0}%", row.used_percent.floor())));
        parts.join(BETWEEN)
    }

    fn field(&self, field: Field) -> String {
        let unknown = || "-".to_owned();
        let today = self.today();
        let tokens = &today.tokens;
        let status = |told: fn(&Status) -> String| self.status.as_ref().map_or_else(unknown, told);
        match field {
            Field::Today => cost(&today),
            Field::Calls => count(today.calls),
            Field::Errors => count(today.errors),
            Field::Unpriced => count(today.unpriced_calls),
            Field::Tokens => short(tokens.sent().saturating_add(tokens.received())),
            Field::In => short(tokens.sent()),
            Field::Out => short(tokens.received()),
            Field::Workloads => match (&self.whose, &self.spend) {
                (Whose::Everyone, Some(spend)) => count(workloads(spend)),
                (Whose::Workload(_), _) => "1".to_owned(),
                _ => "0".to_owned(),
            },
            Field::Workload => match &self.whose {
                Whose::Workload(name) => name.clone(),
                _ => unknown(),
            },
            Field::Coverage => percent(self.coverage()),
            Field::Budget => self
                .budget()
                .map_or_else(unknown, |row| format!("{:.0}%", row.used_percent.floor())),
            Field::BudgetName => self.budget().map_or_else(unknown, |row| row.name().to_owned()),
            Field::Mode => status(|status| doing(status).to_owned()),
            Field::State => status(|status| match status.state {
                State::Healthy => "healthy".to_owned(),
                State::Degraded => "degraded".to_owned(),
            }),
            Field::Warnings => status(|status| status.warnings.len().to_string()),
            Field::Breakers => status(|status| status.breakers.len().to_string()),
            Field::Escalations => status(|status| count(status.escalations.open)),
        }
    }
}

/// Nothing but calls without a price is not $0.00.
fn cost(today: &SpendRow) -> String {
    if today.calls > 0 && today.unpriced_calls == today.calls {
        return "?".to_owned();
    }
    usd(today.cost_usd)
}

/// Workloads that made calls: others are there for their connections.
fn workloads(spend: &Spend) -> u64 {
    let called = spend.rows.iter().filter(|row| row.calls > 0).count();
    u64::try_from(called).unwrap_or(u64::MAX)
}

/// Whether a rule's subject is this workload, by its name or one of the bare names of it.
fn is_of(subject: &str, workload: &str) -> bool {
    let workload =
        Workload { name: workload.into(), unit: None, container: None, pod: None, app: None };
    subject == &*workload.name || workload.stems().contains(&subject)
}

#[cfg(test)]
mod tests;
