//! The steps, each undone where a later one fails, and what came of them.

use std::io::Write as _;
use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;

use super::plan::Plan;
use crate::admin::calls::{CallQuery, CallRow, Calls};
use crate::admin::status::{ModeState, Status};
use crate::admin::{SetMode, money::Coverage};
use crate::cli::client::Client;
use crate::cli::text::{self, clean};
use crate::cli::trust::together::Together;
use crate::cli::{Ctx, Exit, Fault, spend};
use crate::clock::{Clock, System};
use crate::config::Mode;

/// How long the agent may take to see that the host trusts its CA: it looks every five seconds.
const SEES: Duration = Duration::from_secs(20);
/// How long a call may take to be in the ledger.
const KEPT: Duration = Duration::from_secs(10);
/// How often is asked.
const PAUSE: Duration = Duration::from_millis(100);

/// Installs, switches, calls, and reports.
pub(super) fn carry_out(plan: &Plan, ctx: &Ctx) -> anyhow::Result<Exit> {
    let mut out = ctx.out();
    if let Some(trust) = plan.trust.as_ref().filter(|trust| !trust.is_done()) {
        let written = trust.install().context(
            "trust cannot be installed; the mode is as it was, and weir trust status tells of the \
             stores",
        )?;
        for path in written {
            writeln!(out, "wrote  {}", clean(&path.display().to_string()))?;
        }
    }
    if let Err(error) = ctx.block_on(switch(plan.mode.1, ctx)) {
        undo(plan, ctx).with_context(|| {
            format!("{error:#}; and it cannot all be taken back: weir setup --undo")
        })?;
        return Err(error.context("everything is as it was before"));
    }
    writeln!(out, "mode   {}", plan.mode.1)?;
    let Some(call) = &plan.call else {
        writeln!(out, "no call was made; the next one of any new process is metered")?;
        drop(out);
        return finish(plan, ctx, true);
    };
    let since = now();
    drop(out);
    let (pid, ended) = call.make()?;
    let rows = ctx.block_on(recorded(since, pid, ctx))?;
    let mut out = ctx.out();
    for row in &rows {
        writeln!(out, "{}", clean(&line(row)))?;
    }
    if rows.is_empty() {
        let why = match (&plan.not_captured, ended.success()) {
            (Some(why), _) => why.clone(),
            (None, false) => format!("it ended with {ended}"),
            (None, true) => "its connection did not pass the agent: is it in capture.cgroup, and \
                             younger than the CA?"
                .to_owned(),
        };
        writeln!(out, "call   none was seen: {}", clean(&why))?;
        writeln!(out, "       trust and mode stay as they are now → weir ps, weir doctor")?;
    }
    drop(out);
    finish(plan, ctx, !rows.is_empty())
}

/// Asks for the mode, and waits until the agent does it.
async fn switch(mode: Mode, ctx: &Ctx) -> anyhow::Result<()> {
    let mut client = Client::connect(ctx).await?;
    let mut state: ModeState = client.put("/api/mode", &SetMode { mode }).await?;
    let waiting = async {
        while state.effective != mode {
            tokio::time::sleep(PAUSE).await;
            state = client.get("/api/mode", &()).await?;
        }
        anyhow::Ok(())
    };
    match tokio::time::timeout(SEES, waiting).await {
        Ok(done) => done,
        Err(_elapsed) => Err(Fault {
            exit: Exit::Failure,
            what: format!(
                "the agent stays in {}: {}",
                state.effective,
                state.reason.unwrap_or_else(|| "it does not say why".to_owned())
            ),
            fix: Some("weir doctor".to_owned()),
        }
        .into()),
    }
}

/// Takes back what was done so far.
fn undo(plan: &Plan, ctx: &Ctx) -> anyhow::Result<()> {
    let back = ctx.block_on(async {
        let mut client = Client::connect(ctx).await?;
        let _state: ModeState = client.put("/api/mode", &SetMode { mode: plan.mode.0 }).await?;
        Ok(())
    });
    let reverted = plan.trust.as_ref().map_or(Ok(()), Together::revert);
    back.and(reverted)
}

/// The call's rows, once they have ended; none where it never reached the agent. What the user's own
/// program starts is found by the time alone.
async fn recorded(since: Timestamp, pid: u32, ctx: &Ctx) -> anyhow::Result<Vec<CallRow>> {
    let mut client = Client::connect(ctx).await?;
    let started = System.now().mono;
    loop {
        let query = CallQuery { since: Some(since), last: Some(20), ..CallQuery::default() };
        let found: Calls = client.get("/api/calls", &query).await?;
        let ended = |row: &&CallRow| row.outcome.is_some();
        let own: Vec<CallRow> =
            found.rows.iter().filter(ended).filter(|row| row.pid == pid).cloned().collect();
        let late = System.now().mono.saturating_duration_since(started) > KEPT;
        if !own.is_empty() {
            return Ok(own);
        }
        let any: Vec<CallRow> = found.rows.iter().filter(ended).cloned().collect();
        if late || !any.is_empty() {
            return Ok(any);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// `call   exe:weir (pid 912)  openai gpt-4o-mini  200  8 in, 2 out  $0.0000024`
fn line(row: &CallRow) -> String {
    let status = row.status.map_or_else(|| "no answer".to_owned(), |status| status.to_string());
    let model = row.model.as_deref().unwrap_or("-");
    let cost = match row.cost_usd {
        Some(cost) => format!("${cost}"),
        None => "cost unknown".to_owned(),
    };
    format!(
        "call   {} (pid {})  {} {model}  {status}  {} in, {} out  {cost}",
        row.workload,
        row.pid,
        row.provider,
        text::count(row.tokens.sent()),
        text::count(row.tokens.received()),
    )
}

fn finish(plan: &Plan, ctx: &Ctx, seen: bool) -> anyhow::Result<Exit> {
    let exit = report(ctx)?;
    let mut out = ctx.out();
    if let Some(restart) = plan.restart() {
        writeln!(out, "next   {}", clean(&restart))?;
    }
    if plan.trust.is_some() {
        writeln!(out, "next   weir trust check --all   which clients of this host accept the CA")?;
    }
    writeln!(out, "next   weir status, weir spend, weir calls -f; weir mode enforce for limits")?;
    Ok(if seen { exit } else { Exit::Degraded })
}

/// What today cost, with the coverage beside it.
pub(super) fn report(ctx: &Ctx) -> anyhow::Result<Exit> {
    let (lines, status) = ctx.block_on(async {
        let mut client = Client::connect(ctx).await?;
        let lines = spend::today(&mut client, ctx).await?;
        let status: Status = client.get("/api/status", &()).await?;
        Ok((lines, status))
    })?;
    let mut out = ctx.out();
    writeln!(out)?;
    for line in lines {
        writeln!(out, "{line}")?;
    }
    writeln!(out)?;
    let Coverage { metered, total, .. } = status.coverage;
    if metered < total {
        writeln!(out, "What is not metered today ran before, or does not accept the CA: weir ps")?;
    }
    Ok(Exit::Ok)
}

fn now() -> Timestamp {
    Timestamp::try_from(System.now().wall).unwrap_or_default()
}
