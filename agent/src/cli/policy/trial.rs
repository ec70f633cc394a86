//! `weir policy test`: what would be said of a call that nobody makes.

use jiff::Timestamp;

use super::super::client::Client;
use super::super::explain;
use super::super::text::{clean, count, date_time, usd_or_unknown};
use super::super::when::When;
use super::super::{Ctx, Exit, unset};
use super::show::NOT_ACTING;
use crate::admin::trial::{Trial, TrialQuery, TrialVerdict};

/// What would be said of a call; exits 11 where it would be refused.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Nothing is sent, reserved or counted. The verdict is that of policies that act; in a mode that
only meters, the call would go through all the same, and the answer says so.

Examples:
  weir policy test --workload batch-agent --model gpt-4o
  weir policy test --workload unit:etl.service --model claude-opus-4-6 --max-output 64000
  weir policy test --workload batch-agent --model gpt-4o --at +2h || echo no")]
pub(super) struct Args {
    /// Its workload, as `weir ps` shows it or as rules leave it bare: unit:etl.service, batch-agent
    #[arg(long)]
    workload: String,
    /// Model asked for
    #[arg(long)]
    model: String,
    /// Provider asked; otherwise the one whose model it is
    #[arg(long)]
    provider: Option<String>,
    /// Its user, by name or id; otherwise a member of --team, or you
    #[arg(long)]
    user: Option<String>,
    /// The team it must belong to
    #[arg(long)]
    team: Option<String>,
    /// Its environment; otherwise the configuration's
    #[arg(long)]
    environment: Option<String>,
    /// Input tokens; otherwise 1,000
    #[arg(long, value_name = "N")]
    input_tokens: Option<u64>,
    /// Most output tokens it asks for; otherwise it sets no limit
    #[arg(long, value_name = "N")]
    max_output: Option<u64>,
    /// When: RFC 3339, a day (2026-12-24), or so long from now (+2h); otherwise now
    #[arg(long, value_name = "TIME", value_parser = moment)]
    at: Option<Moment>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A point in time, most often one to come.
#[derive(Debug, Clone, Copy)]
enum Moment {
    /// So long from now.
    In(std::time::Duration),
    /// As reads write it.
    When(When),
}

fn moment(text: &str) -> anyhow::Result<Moment> {
    Ok(match text.strip_prefix('+') {
        Some(span) => Moment::In(humantime::parse_duration(span)?),
        None => Moment::When(text.parse()?),
    })
}

pub(super) fn run(args: &Args, ctx: &Ctx) -> anyhow::Result<Exit> {
    let query = query(args, ctx)?;
    let trial: Trial = ctx
        .block_on(async { Client::connect(ctx).await?.get("/api/policies/test", &query).await })?;
    if args.json {
        ctx.json(&trial)?;
    } else {
        let mut lines = lines(&trial, ctx);
        if trial.decisions.is_empty() {
            let none = || vec!["no policy is about this call".to_owned()];
            lines.extend(unset::lines(unset::Rules::All, ctx)?.unwrap_or_else(none));
        }
        ctx.lines(&lines)?;
    }
    Ok(match trial.verdict {
        TrialVerdict::Pass => Exit::Ok,
        TrialVerdict::Refuse => Exit::Over,
    })
}

fn query(args: &Args, ctx: &Ctx) -> anyhow::Result<TrialQuery> {
    let at = |moment| -> anyhow::Result<Timestamp> {
        match moment {
            Moment::In(span) => Ok(ctx.now.checked_add(span)?),
            Moment::When(when) => when.at(ctx.now, &ctx.zone),
        }
    };
    let you = || rustix::process::getuid().as_raw().to_string();
    let user = args.user.clone().or_else(|| args.team.is_none().then(you));
    Ok(TrialQuery {
        workload: args.workload.clone(),
        model: args.model.clone(),
        provider: args.provider.clone(),
        user,
        team: args.team.clone(),
        environment: args.environment.clone(),
        input_tokens: args.input_tokens,
        max_output: args.max_output,
        at: args.at.map(at).transpose()?,
    })
}

fn lines(trial: &Trial, ctx: &Ctx) -> Vec<String> {
    let call = &trial.call;
    let verdict = match (&trial.verdict, &trial.refused_by) {
        (TrialVerdict::Pass, _) => "pass".to_owned(),
        (TrialVerdict::Refuse, Some(policy)) => format!("refuse, by {policy}"),
        (TrialVerdict::Refuse, None) => "refuse".to_owned(),
    };
    let team = call.team.as_ref().map(|team| format!("  team {team}")).unwrap_or_default();
    let (input, output) = (count(call.input_tokens), count(call.max_output));
    let lines = [
        format!("verdict    {verdict}"),
        format!("who        {}  user {}{team}", call.workload, call.user),
        format!("what       {} {} ({})", call.provider, call.model, call.environment),
        format!(
            "bound      {input} tokens in, {output} out, at most {}",
            usd_or_unknown(call.cost_usd)
        ),
        format!("when       {}", date_time(call.at, &ctx.zone)),
    ];
    let mut lines: Vec<String> = lines.iter().map(|line| clean(line).into_owned()).collect();
    if trial.verdict == TrialVerdict::Refuse && !trial.acting {
        lines.push(format!("mode       {NOT_ACTING} → weir mode enforce"));
    }
    if !trial.decisions.is_empty() {
        lines.push("decisions".to_owned());
    }
    lines.extend(explain::decisions(&trial.decisions));
    lines
}
