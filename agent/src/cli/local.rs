//! What the commands that change this host, rather than ask the agent, work with.

use std::net::{Ipv4Addr, SocketAddr};

use jiff::SignedDuration;

use super::Ctx;
use super::client::Client;
use super::doctor::Row;
use super::site::Site;
use super::text::clean;
use crate::admin::processes::{ProcessQuery, Processes, Word};
use crate::admin::status::Status;
use crate::app;
use crate::config::{self, Mode};

/// Processes that are named one by one.
const NAMED: usize = 20;

/// Paths and addresses, from the same configuration that the daemon reads.
pub(super) fn site(ctx: &Ctx) -> anyhow::Result<Site> {
    let config = config::load(&ctx.paths)?;
    let default = SocketAddr::from((Ipv4Addr::LOCALHOST, 4180));
    Ok(Site {
        state_dir: ctx.paths.state.clone(),
        explicit_addr: proxy(ctx).or(config.listen.proxy).unwrap_or(default),
        daemon_socket: ctx.paths.socket(),
        hosts: app::providers(&config).hosts().map(ToString::to_string).collect(),
    })
}

/// Whether a daemon runs that the kernel brings connections to.
pub(super) fn is_redirecting(ctx: &Ctx) -> bool {
    status(ctx).is_some_and(|status| {
        status.capture.on && matches!(status.mode.effective, Mode::Meter | Mode::Enforce)
    })
}

/// What the running daemon knows about itself; `None` where none answers.
pub(super) fn findings(ctx: &Ctx) -> Option<Vec<Row>> {
    let status = status(ctx)?;
    let mut rows = Vec::new();
    let mode = &status.mode;
    let reason = mode.reason.as_deref().unwrap_or("as asked for");
    rows.push(if mode.wanted == mode.effective {
        Row::pass("mode", format!("{}: {reason}", mode.effective))
    } else {
        Row::fail(
            "mode",
            format!("{}, not {}: {reason}", mode.effective, mode.wanted),
            "weir trust install",
        )
    });
    for hook in &status.capabilities {
        rows.push(if hook.ok {
            Row::pass(&hook.hook, "proved by a connection of its own".to_owned())
        } else {
            let missing = hook.missing.as_deref().unwrap_or("not available");
            let consequence = hook.consequence.as_deref().unwrap_or("see the daemon's log");
            Row::fail(&hook.hook, missing.to_owned(), consequence)
        });
    }
    for warning in &status.warnings {
        let fix = warning.fix.as_deref().unwrap_or("see weir status");
        rows.push(if warning.degrades {
            Row::fail("daemon", warning.what.clone(), fix)
        } else {
            Row::warn("daemon", warning.what.clone(), fix)
        });
    }
    rows.extend(processes(ctx));
    Some(rows)
}

/// Processes of the last day that are not metered, each with its cause and cure; those of one
/// workload with the same are one.
fn processes(ctx: &Ctx) -> Vec<Row> {
    let since = ctx.now.checked_sub(SignedDuration::from_hours(24)).ok();
    let query = ProcessQuery { since, ..ProcessQuery::default() };
    let ask = async { Client::connect(ctx).await?.get("/api/processes", &query).await };
    let Ok(found) = ctx.block_on::<Processes>(ask) else { return Vec::new() };
    let mut rows: Vec<Row> = Vec::new();
    for process in found.rows {
        let Some(fix) = process.fix.filter(|_| process.coverage != Word::Metered) else { continue };
        let cause = process.cause.or(process.reason).unwrap_or_default();
        let detail = format!("{}: {cause} (pid {})", process.coverage.word(), process.pid);
        let row = Row::warn(clean(&process.workload), clean(&detail), clean(&fix));
        let is_known = |known: &Row| known.check == row.check && known.fix == row.fix;
        if rows.len() < NAMED && !rows.iter().any(is_known) {
            rows.push(row);
        }
    }
    rows
}

/// Where the running daemon's explicit proxy listens: its port may be any.
fn proxy(ctx: &Ctx) -> Option<SocketAddr> {
    let listeners = status(ctx)?.listeners;
    listeners.iter().find(|listener| listener.name == "proxy")?.address.parse().ok()
}

fn status(ctx: &Ctx) -> Option<Status> {
    let ask = async { Client::connect(ctx).await?.get("/api/status", &()).await };
    ctx.block_on(ask).ok()
}
