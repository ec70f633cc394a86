//! `weir status`: everything at a glance; exits 10 where the agent does less than asked.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use super::client::Client;
use super::table::{Column, Table};
use super::text::{
    calls, clean, count, coverage, date_time, elapsed, milliseconds, percent, short, usd,
};
use super::{Ctx, Exit};
use crate::admin::status::{EscalationState, NamespaceState, PolicyState, State, Status};
use crate::config::Mode;

/// Whether it works, what it covers, what today cost.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Print it again every two seconds
    #[arg(long, conflicts_with = "json")]
    watch: bool,
}

const WATCH_EVERY: Duration = Duration::from_secs(2);

pub(super) fn run(args: &Args, ctx: &Ctx) -> anyhow::Result<Exit> {
    ctx.block_on(async {
        loop {
            let status: Status = Client::connect(ctx).await?.get("/api/status", &()).await?;
            if args.json {
                ctx.json(&status)?;
            } else {
                let mut out = ctx.out();
                if args.watch && out.is_terminal() {
                    // Home, and clear to the end of the screen.
                    write!(out, "\x1b[H\x1b[J")?;
                }
                for line in lines(&status, ctx) {
                    writeln!(out, "{line}")?;
                }
            }
            if !args.watch {
                return Ok(match status.state {
                    State::Healthy => Exit::Ok,
                    State::Degraded => Exit::Degraded,
                });
            }
            tokio::time::sleep(WATCH_EVERY).await;
        }
    })
}

fn lines(status: &Status, ctx: &Ctx) -> Vec<String> {
    let mut lines = vec![headline(status, ctx)];
    let mode = &status.mode;
    if mode.wanted != mode.effective {
        let reason = mode.reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
        let text = format!("mode       {}, not {}{reason}", mode.effective, mode.wanted);
        lines.push(ctx.alarm(&clean(&text)));
    }
    lines.extend(today(status));
    if let Some(overhead) = status.overhead {
        #[expect(clippy::cast_precision_loss, reason = "microseconds of a call")]
        let shown = |us: u64| milliseconds(us as f64 / 1e3);
        let (p50, p99) = (shown(overhead.p50_us), shown(overhead.p99_us));
        lines.push(format!("added      {p50} p50, {p99} p99"));
    }
    lines.extend(escalations(status.escalations));
    lines.extend(capture(status));
    lines.extend(namespaces(&status.namespaces));
    for listener in &status.listeners {
        lines.push(clean(&format!("{:<10} {}", listener.name, listener.address)).into_owned());
    }
    lines.push(clean(&format!("trust      {}", status.trust.detail)).into_owned());
    lines.extend(policies(&status.policies));
    lines.extend(top(status, ctx.width));
    if !status.warnings.is_empty() {
        lines.push("warnings".to_owned());
    }
    for warning in &status.warnings {
        lines.push(ctx.alarm(&clean(&format!("  ! {}", warning.what))));
        lines.extend(warning.fix.iter().map(|fix| clean(&format!("    → {fix}")).into_owned()));
    }
    lines
}

/// What it does, in one word.
pub(super) fn doing(status: &Status) -> &'static str {
    match (status.mode.effective, status.capture.on) {
        (Mode::Off, _) => "off",
        (_, false) => "down",
        (Mode::Observe, true) => "observing",
        (Mode::Meter, true) => "metering",
        (Mode::Enforce, true) => "enforcing",
    }
}

fn headline(status: &Status, ctx: &Ctx) -> String {
    let doing = doing(status);
    let state = match status.state {
        State::Healthy => ctx.bold(doing),
        State::Degraded => ctx.alarm(&format!("{doing} (degraded)")),
    };
    let version = clean(&status.version).into_owned();
    let since = date_time(status.since, &ctx.zone);
    let up = elapsed(status.since, ctx.now);
    format!("weir {version}  {state}  since {since} (up {up})  pid {}", status.pid)
}

fn today(status: &Status) -> Vec<String> {
    let today = &status.today;
    let tokens = &today.tokens;
    let mut lines = vec![
        format!("today      {}  {}", usd(today.cost_usd), coverage(&status.coverage)),
        format!(
            "           {}  {} in ({} cached)  {} out",
            calls(today.calls),
            short(tokens.sent()),
            short(tokens.cached()),
            short(tokens.received()),
        ),
    ];
    if today.unpriced_calls > 0 {
        let calls = calls(today.unpriced_calls);
        lines.push(format!("           {calls} of unknown cost not in it → weir price unknown"));
    }
    lines
}

/// Nothing where nothing was ever escalated.
fn escalations(state: EscalationState) -> Option<String> {
    let open = state.open;
    let rate = state.rate.filter(|rate| rate.escalated > 0);
    let share = rate
        .and_then(|rate| rate.rate)
        .map(|rate| format!("{:.1}% of the calls of the last 24 hours", rate * 100.0));
    match (open, share) {
        (0, None) => None,
        (open, share) => {
            let share = share.map(|share| format!(", {share}")).unwrap_or_default();
            Some(format!("escalated  {} open{share} → weir escalations list", count(open)))
        }
    }
}

fn capture(status: &Status) -> Vec<String> {
    let works: Vec<&str> = status
        .capabilities
        .iter()
        .filter(|capability| capability.ok)
        .map(|capability| capability.hook.as_str())
        .collect();
    let state = match (&status.capture.reason, status.capture.on) {
        (_, true) => format!("on: {}", works.join(" ")),
        (Some(reason), false) => format!("off: {reason}"),
        (None, false) => "off".to_owned(),
    };
    let mut lines = vec![clean(&format!("capture    {state}")).into_owned()];
    for capability in status.capabilities.iter().filter(|capability| !capability.ok) {
        let missing = capability.missing.as_deref().unwrap_or("does not work here");
        let mut text = format!("           {}: {missing}", capability.hook);
        if let Some(consequence) = &capability.consequence {
            text = format!("{text} ({consequence})");
        }
        lines.push(clean(&text).into_owned());
    }
    lines
}

/// Nothing where there are none.
fn namespaces(state: &NamespaceState) -> Option<String> {
    let left_out = state.left_out.iter();
    let left_out: Vec<String> =
        left_out.map(|(reason, number)| format!("{} not ({reason})", count(*number))).collect();
    let metered = (state.armed > 0).then(|| format!("{} metered", count(state.armed)));
    let parts: Vec<String> = metered.into_iter().chain(left_out).collect();
    (!parts.is_empty()).then(|| {
        clean(&format!("containers network namespaces: {}", parts.join(", "))).into_owned()
    })
}

/// How many there are, and which are not as the configuration says.
fn policies(state: &PolicyState) -> Vec<String> {
    if state.total == 0 {
        return Vec::new();
    }
    let kinds = [(state.shadow, "shadow"), (state.canary, "canary"), (state.off, "off")];
    let kinds = kinds.iter().filter(|(number, _)| *number > 0);
    let mut parts: Vec<String> =
        kinds.map(|(number, kind)| format!("{} {kind}", count(*number))).collect();
    if !state.acting {
        parts.push("none acts in this mode".to_owned());
    }
    let details = if parts.is_empty() { String::new() } else { format!(": {}", parts.join(", ")) };
    let mut lines = vec![format!("policies   {}{details}", count(state.total))];
    for set in &state.overridden {
        let (name, goes, file) = (&set.name, set.enforcement, set.configured);
        let text = format!("           {name} is {goes}, set by hand (configuration: {file})");
        lines.push(clean(&text).into_owned());
        lines.push(clean(&format!("           → weir policy reset {name}")).into_owned());
    }
    lines
}

fn top(status: &Status, width: u16) -> Vec<String> {
    if status.top.is_empty() {
        return Vec::new();
    }
    let mut table = Table::new([
        Column::Name("WORKLOAD TODAY"),
        Column::Figure("CALLS"),
        Column::Figure("COST"),
        Column::Figure("COV"),
    ]);
    for row in &status.top {
        table.row([
            row.workload.clone().unwrap_or_default(),
            count(row.calls),
            usd(row.cost_usd),
            percent(row.coverage),
        ]);
    }
    table.lines(width)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::alerts::EscalationRate;

    #[test]
    fn escalations_are_told_of_where_there_are_any() {
        let shown = |open, escalated| {
            let rate = EscalationRate { calls: 412, escalated, rate: Some(0.0121) };
            escalations(EscalationState { open, rate: Some(rate) })
        };
        assert_eq!(shown(0, 0), None);
        assert_eq!(shown(2, 0).unwrap(), "escalated  2 open → weir escalations list");
        let both =
            "escalated  1 open, 1.2% of the calls of the last 24 hours → weir escalations list";
        assert_eq!(shown(1, 5).unwrap(), both);
        assert_eq!(escalations(EscalationState { open: 0, rate: None }), None);
    }
}
