//! `weir explain`: why a call, or a process, was treated as it was.

use std::io::Write;

use serde::Serialize;

use super::calls::{SHORT_ID, spelled};
use super::client::Client;
use super::ps::cost as cost_of_process;
use super::text::{
    bytes, clean, count, date_time, maybe_milliseconds, milliseconds, usd_or_unknown,
};
use super::{Ctx, Exit};
use crate::admin::calls::{AttemptRow, CallDetail, CallQuery, CallRow, Calls, DecisionRow};
use crate::admin::processes::{ProcessQuery, ProcessRow, Processes};

/// Why a call, or a process, was treated as it was.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A call's id, its last digits as `weir calls` shows them, or a process id
    #[arg(value_name = "CALL-ID|PID")]
    subject: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Calls among which the last digits of an id are looked for.
const RECENT: u32 = 10_000;
/// Digits of a whole id.
const WHOLE_ID: usize = 26;
/// Width at which the columns of rules and actions stop growing: longer ones push the rest aside.
const RULE: usize = 32;
/// See [`RULE`].
const ACTION: usize = 18;

pub(super) fn run(args: &Args, ctx: &Ctx) -> anyhow::Result<Exit> {
    ctx.block_on(async {
        let mut client = Client::connect(ctx).await?;
        if let Ok(pid) = args.subject.parse::<u32>() {
            let query = ProcessQuery { pid: Some(pid), ..ProcessQuery::default() };
            let found: Processes = client.get("/api/processes", &query).await?;
            // Six digits could also be the end of an id.
            if !found.rows.is_empty() || args.subject.len() != SHORT_ID {
                return process(&found, pid, args.json, ctx);
            }
        }
        let id = whole_id(&mut client, &args.subject).await?;
        let detail: CallDetail = client.get(&format!("/api/calls/{id}"), &()).await?;
        if args.json {
            ctx.json(&detail)?;
        } else {
            let mut out = ctx.out();
            for line in call(&detail, ctx) {
                writeln!(out, "{}", clean(&line))?;
            }
        }
        Ok(Exit::Ok)
    })
}

async fn whole_id(client: &mut Client, given: &str) -> anyhow::Result<String> {
    let given = given.to_ascii_uppercase();
    anyhow::ensure!(
        given.bytes().all(|b| b.is_ascii_alphanumeric()) && (4..=WHOLE_ID).contains(&given.len()),
        "{given} is neither a call's id nor a process id"
    );
    if given.len() == WHOLE_ID {
        return Ok(given);
    }
    let query = CallQuery { last: Some(RECENT), ..CallQuery::default() };
    let calls: Calls = client.get("/api/calls", &query).await?;
    let mut ids = calls.rows.iter().map(|call| call.call_id.to_string());
    let mut found = ids.by_ref().filter(|id| id.ends_with(&given));
    match (found.next(), found.next()) {
        (Some(id), None) => Ok(id),
        (Some(_), Some(_)) => anyhow::bail!("several calls end in {given}; give the whole id"),
        (None, _) => {
            anyhow::bail!("none of the last {} calls ends in {given}", count(RECENT.into()))
        }
    }
}

/// What is said of a call, line by line; not yet safe for a terminal.
pub(super) fn call(detail: &CallDetail, ctx: &Ctx) -> Vec<String> {
    let call = &detail.call;
    let mut lines = vec![
        format!("call       {}", call.call_id),
        format!("what       {} {} {}", call.operation, call.method, detail.url),
        who(call),
        format!("           {}", call.command),
        format!("when       {}, took {}", date_time(call.started_at, &ctx.zone), times(call)),
        format!("result     {}", outcome(call)),
        format!("tokens     {} ({})", tokens(call), spelled(&call.usage_source)),
        format!("cost       {}", cost(call)),
    ];
    if let Some(asked) = &call.model {
        let served = call.model_served.as_ref().filter(|served| *served != asked);
        let served = served.map(|served| format!(", answered by {served}")).unwrap_or_default();
        lines.insert(2, format!("model      {asked}{served}"));
    }
    if let Some(repeats) = call.retry_of {
        lines.push(format!("repeats    {repeats}"));
    }
    if !call.flags.is_empty() {
        let flags: Vec<String> = call.flags.iter().map(spelled).collect();
        lines.push(format!("note       {}", flags.join(", ")));
    }
    for (number, attempt) in (1..).zip(&detail.attempts) {
        lines.push(format!("attempt {number:<2} {}", self::attempt(call, attempt)));
    }
    if !detail.decisions.is_empty() {
        lines.push("decisions".to_owned());
    }
    lines.extend(decisions(&detail.decisions));
    lines
}

fn who(call: &CallRow) -> String {
    let mut text = format!("who        {}  pid {}  user {}", call.workload, call.pid, call.user);
    let parts = [("team", &call.team), ("agent", &call.agent_name), ("account", &call.account)];
    for (word, name) in parts {
        if let Some(name) = name {
            text.extend(["  ", word, " ", name]);
        }
    }
    text
}

fn attempt(call: &CallRow, attempt: &AttemptRow) -> String {
    let after = attempt.started_at.duration_since(call.started_at).as_secs_f64() * 1e3;
    let model = attempt.model.as_deref().unwrap_or("-");
    let status = attempt.status.map(|status| format!("{status} ")).unwrap_or_default();
    let outcome = spelled(&attempt.outcome);
    let (took, cost) = (maybe_milliseconds(attempt.upstream_ms), usd_or_unknown(attempt.cost_usd));
    let (at, provider) = (fine(after), &attempt.provider);
    format!("{at:>7}  {provider} {model}: {status}{outcome}, {took}, {cost}")
}

/// One line for each decision, in columns, safe for a terminal. What policies would have done but
/// did not is told apart by its word.
pub(super) fn decisions(decisions: &[DecisionRow]) -> Vec<String> {
    let width = |part: fn(&DecisionRow) -> usize| decisions.iter().map(part).max().unwrap_or(0);
    let rules = width(|decision| decision.rule.chars().count()).min(RULE);
    let actions = width(|decision| decision.action.chars().count()).min(ACTION);
    let line = |decision: &DecisionRow| {
        let at = decision.at_ms.map_or_else(String::new, |at| format!("+{}", fine(at)));
        let action = match decision.action.strip_prefix("would-") {
            Some(action) => format!("would {action}"),
            None => decision.action.clone(),
        };
        let (rule, detail) = (&decision.rule, &decision.detail);
        let text = format!("{at:>8}  {rule:<rules$}  {action:<actions$}  {detail}");
        clean(text.trim_end()).into_owned()
    };
    let mut lines: Vec<String> =
        decisions.iter().map(line).map(|line| format!("  {line}")).collect();
    if decisions.iter().any(|decision| decision.action.starts_with("would-")) {
        lines.push(
            "  (would: a shadow, a canary for others, not enforcing, or refused by another)"
                .to_owned(),
        );
    }
    lines
}

/// As [`milliseconds`], and in microseconds what is too short for those: decisions are.
fn fine(span: f64) -> String {
    match span {
        ..0.9995 => format!("{:.0}µs", span.max(0.0) * 1e3),
        _ => milliseconds(span),
    }
}

fn times(call: &CallRow) -> String {
    let total = maybe_milliseconds(call.latency_ms);
    let provider = maybe_milliseconds(call.upstream_ms);
    match call.ttft_ms {
        Some(first) => {
            format!("{total} (provider {provider}, first token {})", milliseconds(first))
        }
        None => format!("{total} (provider {provider})"),
    }
}

fn outcome(call: &CallRow) -> String {
    let status = call.status.map(|status| format!("{status} ")).unwrap_or_default();
    let stream = if call.stream { ", streamed" } else { "" };
    let error = call.error.as_ref().map(|error| format!(": {error}")).unwrap_or_default();
    let sizes = format!("{} up, {} down", bytes(call.bytes_in), bytes(call.bytes_out));
    format!(
        "{status}{}{stream}{error}; {sizes}",
        call.outcome.map_or_else(|| "open".to_owned(), |end| spelled(&end))
    )
}

fn tokens(call: &CallRow) -> String {
    let tokens = &call.tokens;
    let kinds = [
        ("input", tokens.input_tokens),
        ("cache read", tokens.cache_read_tokens),
        ("cache write 5m", tokens.cache_write_5m_tokens),
        ("cache write 1h", tokens.cache_write_1h_tokens),
        ("output", tokens.output_tokens),
        ("reasoning", tokens.reasoning_tokens),
        ("audio in", tokens.audio_input_tokens),
        ("audio out", tokens.audio_output_tokens),
    ];
    let used = kinds.into_iter().filter(|(_, tokens)| *tokens > 0);
    let used: Vec<String> =
        used.map(|(kind, tokens)| format!("{kind} {}", count(tokens))).collect();
    if used.is_empty() { "none".to_owned() } else { used.join(", ") }
}

fn cost(call: &CallRow) -> String {
    let billing = spelled(&call.billing);
    match (&call.cost_usd, &call.price_version) {
        // Exact here: this is where people check the figure.
        (Some(cost), Some(version)) => format!("${cost}, {billing}, prices of {version}"),
        (Some(cost), None) => format!("${cost}, {billing}"),
        (None, _) => format!("unknown, {billing}"),
    }
}

fn process(found: &Processes, pid: u32, json: bool, ctx: &Ctx) -> anyhow::Result<Exit> {
    if found.rows.is_empty() {
        anyhow::bail!("process {pid} has not talked to an LLM provider");
    }
    if json {
        ctx.json(&Explained { schema_version: found.schema_version, processes: &found.rows })?;
        return Ok(Exit::Ok);
    }
    let mut out = ctx.out();
    for line in found.rows.iter().flat_map(|row| process_lines(row, ctx)) {
        writeln!(out, "{}", clean(&line))?;
    }
    Ok(Exit::Ok)
}

/// What is said of a process, line by line; not yet safe for a terminal.
pub(super) fn process_lines(row: &ProcessRow, ctx: &Ctx) -> Vec<String> {
    let mut lines = vec![
        format!("process    {}  {}  user {}", row.pid, row.workload, row.user),
        format!("           {}", row.command),
        format!("coverage   {}", row.coverage.word()),
        format!("calls      {}, {}", count(row.calls), cost_of_process(row)),
        format!("last seen  {}", date_time(row.last_seen, &ctx.zone)),
    ];
    for same in &row.connections {
        let (number, treatment) = (count(same.count), spelled(&same.treatment));
        let (up, down) = (bytes(same.bytes_up), bytes(same.bytes_down));
        let reason = if same.reason.is_empty() { "" } else { ": " };
        let failed = match same.failed {
            0 => String::new(),
            failed => format!(" ({} failed)", count(failed)),
        };
        lines.push(format!(
            "talks to   {}, {number} connections{failed} {treatment}{reason}{}, {up} up, {down} \
             down",
            same.provider, same.reason
        ));
    }
    let texts = [("why", &row.reason), ("cause", &row.cause), ("fix", &row.fix)];
    lines.extend(texts.into_iter().filter_map(|(word, text)| {
        let text = text.as_ref()?;
        Some(format!("{word:<10} {text}"))
    }));
    lines
}

/// What `--json` prints for a process.
#[derive(Debug, Serialize)]
struct Explained<'a> {
    schema_version: u32,
    processes: &'a [ProcessRow],
}
