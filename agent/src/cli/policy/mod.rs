//! `weir policy`: which rules there are, how far each goes, and what they would say of a call.

mod frozen;
mod show;
mod trial;

use clap::Subcommand;

use super::client::{Client, encoded};
use super::{Ctx, Exit};
use crate::admin::policies::{Policies, PolicyDetail, Reach, SetPolicy};
use crate::policy::Enforcement;

/// Show policies, and set how far each goes: from the next call on, and after a restart too.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A policy is named after its place in the configuration: rate_limits.batch-agent,
budgets.code-reviewer, failover.gpt-4o, breaker.openai, retry.

Examples:
  weir policy list                               all of them, and how they fared
  weir policy shadow budgets.code-reviewer       it decides and counts, and does not act
  weir policy canary rate_limits.batch-agent 10  it acts on a tenth of the workloads
  weir policy reset rate_limits.batch-agent      back to what the configuration says
  weir policy test --workload batch-agent --model gpt-4o

What is set here holds until the configuration's own value for that policy changes.")]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// All policies, how far they go, and how they fared
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// One policy: what it says, and how those it counts stand
    Show(Named),
    /// Let it act
    Enable(Named),
    /// Let it do nothing
    Disable(Named),
    /// Let it decide and count, and not act
    Shadow(Named),
    /// Let it act on a share of the workloads, always the same ones, and be a shadow for the others
    Canary {
        #[command(flatten)]
        named: Named,
        /// The share, from 0 to 100
        #[arg(value_parser = clap::value_parser!(u8).range(0..=100))]
        percent: u8,
    },
    /// Give it back to the configuration
    Reset(Named),
    /// Workloads that a policy has frozen
    Frozen {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Let a frozen workload go on
    Thaw {
        /// The workload, as `weir policy frozen` shows it
        workload: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// What would be said of a call; exits 11 where it would be refused
    Test(trial::Args),
}

#[derive(Debug, clap::Args)]
struct Named {
    /// Its name, as `weir policy list` shows it
    name: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, ctx: &Ctx) -> anyhow::Result<Exit> {
    match &args.what {
        What::List { json } => list(*json, ctx),
        What::Show(named) => {
            let path = path(&named.name);
            let detail =
                ctx.block_on(async { Client::connect(ctx).await?.get(&path, &()).await })?;
            print(&detail, named.json, ctx)
        }
        What::Enable(named) => set(named, Some(Enforcement::Enforce), ctx),
        What::Disable(named) => set(named, Some(Enforcement::Off), ctx),
        What::Shadow(named) => set(named, Some(Enforcement::Shadow), ctx),
        What::Canary { named, percent } => set(named, Some(Enforcement::Canary(*percent)), ctx),
        What::Reset(named) => set(named, None, ctx),
        What::Frozen { json } => frozen::list(*json, ctx),
        What::Thaw { workload, json } => frozen::thaw(workload, *json, ctx),
        What::Test(args) => trial::run(args, ctx),
    }
}

fn path(name: &str) -> String {
    format!("/api/policies/{}", encoded(name))
}

fn list(json: bool, ctx: &Ctx) -> anyhow::Result<Exit> {
    let policies: Policies =
        ctx.block_on(async { Client::connect(ctx).await?.get("/api/policies", &()).await })?;
    if json {
        ctx.json(&policies)?;
    } else {
        ctx.lines(&show::list(&policies, ctx.width))?;
    }
    Ok(Exit::Ok)
}

fn set(named: &Named, enforcement: Option<Enforcement>, ctx: &Ctx) -> anyhow::Result<Exit> {
    let body = SetPolicy { enforcement: enforcement.map(Reach) };
    let path = path(&named.name);
    let detail: PolicyDetail =
        ctx.block_on(async { Client::connect(ctx).await?.put(&path, &body).await })?;
    if named.json {
        ctx.json(&detail)?;
    } else {
        ctx.lines(&show::changed(&detail))?;
    }
    Ok(Exit::Ok)
}

fn print(detail: &PolicyDetail, json: bool, ctx: &Ctx) -> anyhow::Result<Exit> {
    if json {
        ctx.json(detail)?;
    } else {
        ctx.lines(&show::detail(detail, ctx))?;
    }
    Ok(Exit::Ok)
}
