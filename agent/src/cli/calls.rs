//! `weir calls`: single calls, past and as they happen.

use std::io::Write;

use serde::de::IntoDeserializer;
use serde::de::value::{Error, StrDeserializer};
use serde::{Deserialize, Serialize};

use super::client::Client;
use super::table::{Column, Table};
use super::text::{bytes, clean, date_time, maybe_milliseconds, short, usd_or_unknown};
use super::when::When;
use super::{Ctx, Exit};
use crate::admin::calls::{CallQuery, CallRow, Calls, StatusFilter};
use crate::record::{Kind, Outcome};

/// Single calls, past and as they happen.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  weir calls                             the last 20
  weir calls -f --workload exe:curl      those of one workload, as they happen
  weir calls --since 1h --status 4xx     what was refused in the last hour
  weir calls -f -o json | jq .cost_usd   one JSON object per line")]
pub(super) struct Args {
    /// Go on with calls as they end
    #[arg(short, long)]
    follow: bool,
    /// From: how long ago (2h, 7d), a day (2026-11-01), or RFC 3339
    #[arg(long, value_name = "WHEN")]
    since: Option<When>,
    /// Until; written like --since
    #[arg(long, value_name = "WHEN", conflicts_with = "follow")]
    until: Option<When>,
    /// The newest so many; 20 without --since
    #[arg(long, value_name = "N")]
    last: Option<u32>,
    /// Of this workload
    #[arg(long)]
    workload: Option<String>,
    /// Of this process
    #[arg(long)]
    pid: Option<u32>,
    /// Of this user
    #[arg(long)]
    user: Option<String>,
    /// Of this team
    #[arg(long)]
    team: Option<String>,
    /// To this provider
    #[arg(long)]
    provider: Option<String>,
    /// Asked for, or answered by, this model
    #[arg(long)]
    model: Option<String>,
    /// With this status (429) or one of these (4xx)
    #[arg(long)]
    status: Option<StatusFilter>,
    /// With this end: `ok`, `upstream_error`, `rate_limited`, `client_abort`, …
    #[arg(long, value_parser = word::<Outcome>)]
    outcome: Option<Outcome>,
    /// `call`, `request` (no LLM call) or `opaque` (not understood); all of them by default
    #[arg(long, value_parser = word::<Kind>)]
    kind: Option<Kind>,
    /// How to print them
    #[arg(short, long, value_enum, default_value_t = Format::Compact)]
    output: Format,
    /// Same as -o json
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// One line each
    Compact,
    /// Every field on its own line
    Dict,
    /// JSON; one object per line with -f
    Json,
}

/// A word of the API, as the API reads it.
fn word<T: for<'de> Deserialize<'de>>(text: &str) -> Result<T, Error> {
    let text: StrDeserializer<'_, Error> = text.into_deserializer();
    T::deserialize(text)
}

pub(super) fn run(args: &Args, ctx: &Ctx) -> anyhow::Result<Exit> {
    let query = query(args, ctx)?;
    let format = if args.json { Format::Json } else { args.output };
    ctx.block_on(async {
        let mut client = Client::connect(ctx).await?;
        if args.follow {
            return follow(client, &query, format, ctx).await;
        }
        let calls: Calls = client.get("/api/calls", &query).await?;
        match format {
            Format::Json => ctx.json(&calls)?,
            Format::Dict => calls.rows.iter().try_for_each(|call| dict(call, ctx))?,
            Format::Compact => compact(&calls.rows, true, ctx)?,
        }
        Ok(Exit::Ok)
    })
}

fn query(args: &Args, ctx: &Ctx) -> anyhow::Result<CallQuery> {
    let at = |when: Option<When>| when.map(|when| when.at(ctx.now, &ctx.zone)).transpose();
    Ok(CallQuery {
        since: at(args.since)?,
        until: at(args.until)?,
        last: args.last.or_else(|| args.since.is_none().then_some(20)),
        after: None,
        limit: None,
        workload: args.workload.clone(),
        pid: args.pid,
        user: args.user.clone(),
        team: args.team.clone(),
        provider: args.provider.clone(),
        model: args.model.clone(),
        status: args.status,
        outcome: args.outcome,
        kind: args.kind,
        follow: args.follow,
        uid: None,
    })
}

/// A line of the stream.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Line {
    Call(Box<CallRow>),
    Missed { missed: u64 },
}

async fn follow(
    mut client: Client,
    query: &CallQuery,
    format: Format,
    ctx: &Ctx,
) -> anyhow::Result<Exit> {
    if format == Format::Compact {
        compact(&[], true, ctx)?;
    }
    let mut lines = client.lines("/api/calls", query).await?;
    while let Some(line) = lines.next().await? {
        match serde_json::from_slice(&line)? {
            Line::Call(call) => match format {
                Format::Json => ctx.json_line(&call)?,
                Format::Dict => dict(&call, ctx)?,
                Format::Compact => compact(&[*call], false, ctx)?,
            },
            Line::Missed { missed } => {
                writeln!(std::io::stderr(), "weir: {missed} calls were too fast to be shown")?;
            }
        }
    }
    writeln!(std::io::stderr(), "weir: the agent has stopped")?;
    Ok(Exit::NoDaemon)
}

/// Digits of an id that are shown: the last ones tell calls apart, the first ones are their time.
pub(super) const SHORT_ID: usize = 6;

fn compact(calls: &[CallRow], header: bool, ctx: &Ctx) -> anyhow::Result<()> {
    // What the fixed columns and the gaps leave, for the two names.
    let names = ctx.width.saturating_sub(8 + 4 + 5 + 5 + 8 + 6 + 6 + 8);
    let model = names * 2 / 5;
    let mut table = Table::tight([
        Column::Fixed("TIME", 8),
        Column::Fixed("WORKLOAD", names - model),
        Column::Fixed("MODEL", model),
        Column::Fixed("STAT", 4),
        Column::FixedFigure("IN", 5),
        Column::FixedFigure("OUT", 5),
        Column::FixedFigure("COST", 8),
        Column::FixedFigure("TOOK", 6),
        Column::Fixed("ID", 6),
    ]);
    for call in calls {
        table.row(cells(call, ctx));
    }
    let mut out = ctx.out();
    for line in table.lines(ctx.width).iter().skip(usize::from(!header)) {
        writeln!(out, "{line}")?;
    }
    Ok(())
}

fn cells(call: &CallRow, ctx: &Ctx) -> [String; 9] {
    let began = call.started_at.to_zoned(ctx.zone.clone());
    let today = began.date() == ctx.now.to_zoned(ctx.zone.clone()).date();
    let llm = call.kind == Kind::Call;
    let tokens = |count: u64| if llm { short(count) } else { "-".to_owned() };
    let id = call.call_id.to_string();
    [
        began.strftime(if today { "%H:%M:%S" } else { "%d %b" }).to_string(),
        call.workload.clone(),
        call.model_served
            .clone()
            .or_else(|| call.model.clone())
            .unwrap_or_else(|| format!("({})", call.operation)),
        result(call),
        tokens(call.tokens.sent()),
        tokens(call.tokens.received()),
        if llm { usd_or_unknown(call.cost_usd) } else { "-".to_owned() },
        maybe_milliseconds(call.latency_ms),
        id[id.len().saturating_sub(SHORT_ID)..].to_owned(),
    ]
}

/// The status, or in four letters why it does not tell how the call ended.
pub(super) fn result(call: &CallRow) -> String {
    let Some(outcome) = call.outcome else { return "open".to_owned() };
    let word = match outcome {
        Outcome::Ok | Outcome::UpstreamError | Outcome::RateLimited | Outcome::Refused => "",
        Outcome::StreamError => "serr",
        Outcome::ConnectError => "conn",
        Outcome::UpstreamCut => "cut",
        Outcome::ClientAbort => "gone",
        Outcome::Internal => "bug",
        Outcome::Lost => "lost",
    };
    match call.status {
        Some(status) if word.is_empty() => status.to_string(),
        _ if word.is_empty() => "-".to_owned(),
        _ => word.to_owned(),
    }
}

/// Every field that says something, on its own line.
pub(super) fn dict(call: &CallRow, ctx: &Ctx) -> anyhow::Result<()> {
    let mut out = ctx.out();
    let Ok(serde_json::Value::Object(fields)) = serde_json::to_value(call) else {
        anyhow::bail!("the call cannot be printed");
    };
    writeln!(out, "{}", ctx.bold(&call.call_id.to_string()))?;
    for (name, value) in fields {
        let shown = match (name.as_str(), &value) {
            ("call_id", _) | (_, serde_json::Value::Null) => continue,
            ("started_at", _) => date_time(call.started_at, &ctx.zone),
            ("bytes_in", _) => bytes(call.bytes_in),
            ("bytes_out", _) => bytes(call.bytes_out),
            (_, serde_json::Value::String(text)) => text.clone(),
            (_, serde_json::Value::Number(number)) if number.as_u64() == Some(0) => continue,
            (_, serde_json::Value::Array(items)) if items.is_empty() => continue,
            (_, other) => other.to_string(),
        };
        writeln!(out, "  {name:<22} {}", clean(&shown))?;
    }
    Ok(())
}

/// A word of the API, as the API writes it.
pub(super) fn spelled(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        Ok(other) => other.to_string(),
        Err(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_the_api() {
        assert_eq!(word::<Outcome>("client_abort").unwrap(), Outcome::ClientAbort);
        assert!(word::<Kind>("calls").unwrap_err().to_string().contains("expected one of"));
        assert_eq!(spelled(&Outcome::RateLimited), "rate_limited");
        assert!("4xx".parse::<StatusFilter>().is_ok());
    }
}
