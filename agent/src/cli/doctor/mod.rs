//! `weir doctor`: what stands between this host and metered calls, each with its fix.
//!
//! The checks here need no daemon; what only the daemon knows is handed in as rows.

mod clients;
mod kernel;
mod preflight;
mod leftovers;
mod trust;

use std::io::{self, Write};
use std::path::Path;

use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::site::{Site, code};
use super::variables::{Environment, environment};
use crate::config::{Config, Paths};

/// Checks this host, and says how to fix what is wrong.
#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Before it is installed: only what the agent itself needs, with its programs really loaded
    #[arg(long)]
    pub(super) preflight: bool,
    /// List only what of Weir is on this host, whether it is in use or was left behind; 10 where
    /// there is something
    #[arg(long, conflicts_with = "preflight")]
    pub(super) leftovers: bool,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Row {
    /// How bad it is.
    pub status: Status,
    /// What was checked.
    pub check: String,
    /// What was found.
    pub detail: String,
    /// What to do about it, where there is something.
    pub fix: Option<String>,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum Status {
    /// As it should be.
    Pass,
    /// Something is left out, and it is said what.
    Warn,
    /// Something that was asked for does not work.
    Fail,
}

impl Row {
    /// As it should be.
    pub(super) fn pass(check: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { status: Status::Pass, check: check.into(), detail: detail.into(), fix: None }
    }

    /// Something is left out.
    pub(super) fn warn(
        check: impl Into<String>,
        detail: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        let fix = Some(fix.into());
        Self { status: Status::Warn, check: check.into(), detail: detail.into(), fix }
    }

    /// Something does not work.
    pub(super) fn fail(
        check: impl Into<String>,
        detail: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self { status: Status::Fail, ..Self::warn(check, detail, fix) }
    }
}

/// Runs all checks and prints them; returns the exit code, 10 where one failed. `daemon` is what
/// the daemon says of itself, `None` where it does not run.
pub(super) fn run(args: &DoctorArgs, site: &Site, daemon: Option<Vec<Row>>) -> anyhow::Result<u8> {
    let root = Path::new("/");
    let rows = if args.leftovers {
        leftovers::rows(root, site)
    } else {
        rows(&environment(), site, root, daemon)
    };
    print(&rows, args.json, &mut io::stdout().lock())?;
    Ok(exit_code(&rows))
}

/// Checks whether the agent would work here; returns the exit code. `runs` says that it does.
pub(super) fn preflight(
    args: &DoctorArgs,
    config: &Config,
    paths: &Paths,
    runs: bool,
) -> anyhow::Result<u8> {
    let rows = preflight::rows(config, paths, runs);
    print(&rows, args.json, &mut io::stdout().lock())?;
    Ok(exit_code(&rows))
}

/// Findings of the same, beside an agent that runs.
pub(super) fn preflight_rows(config: &Config, paths: &Paths) -> Vec<Row> {
    preflight::rows(config, paths, true)
}

fn rows(env: &Environment, site: &Site, root: &Path, daemon: Option<Vec<Row>>) -> Vec<Row> {
    let mut rows = kernel::rows(root);
    rows.push(resolver(root));
    let ca = trust::ca(site, &mut rows);
    if let Some(ca) = &ca {
        let installed = trust::store(ca, site, root, &mut rows);
        trust::environment(env, ca, &mut rows);
        clients::rows(env, ca, installed, &mut rows);
    }
    match daemon {
        Some(theirs) => rows.extend(theirs),
        None => rows.push(Row::warn(
            "daemon",
            format!("nothing answers at {}", site.daemon_socket.display()),
            "start it: `systemctl start weir`, or `weir daemon`",
        )),
    }
    rows
}

/// Whether there is a name server to ask.
fn resolver(root: &Path) -> Row {
    let text = std::fs::read_to_string(root.join("etc/resolv.conf")).unwrap_or_default();
    let servers: Vec<_> = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver")?.split_whitespace().next())
        .collect();
    if servers.is_empty() {
        Row::fail(
            "resolver",
            "/etc/resolv.conf names no server: providers' addresses cannot be found",
            "add a `nameserver` line",
        )
    } else {
        Row::pass("resolver", servers.join(", "))
    }
}

fn exit_code(rows: &[Row]) -> u8 {
    let failed = rows.iter().any(|row| row.status == Status::Fail);
    if failed { code::DEGRADED } else { code::OK }
}

fn print(rows: &[Row], as_json: bool, out: &mut impl Write) -> io::Result<()> {
    let count = |status| rows.iter().filter(|row| row.status == status).count();
    let (failed, warned) = (count(Status::Fail), count(Status::Warn));
    let verdict = if failed > 0 { "degraded" } else { "ok" };
    if as_json {
        let report = json!({"schema_version": 1, "verdict": verdict, "rows": rows});
        return writeln!(out, "{report:#}");
    }
    for row in rows {
        let status = match row.status {
            Status::Pass => "PASS",
            Status::Warn => "WARN",
            Status::Fail => "FAIL",
        };
        writeln!(out, "{status}  {}: {}", row.check, row.detail)?;
        if let Some(fix) = &row.fix {
            writeln!(out, "      → {fix}")?;
        }
    }
    writeln!(out, "verdict: {verdict} ({failed} failed, {warned} warned)")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(rows: &[Row], as_json: bool) -> String {
        let mut out = Vec::new();
        print(rows, as_json, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_finding_stands_with_its_fix() {
        let rows = [Row::pass("kernel", "6.1"), Row::warn("java", "own store", "do this")];
        let said = printed(&rows, false);
        assert_eq!(
            said,
            "PASS  kernel: 6.1\nWARN  java: own store\n      → do this\n\
             verdict: ok (0 failed, 1 warned)\n"
        );
        assert_eq!(exit_code(&rows), code::OK);
    }

    #[test]
    fn a_failure_degrades() {
        let rows = [Row::fail("resolver", "none", "add one")];
        assert_eq!(exit_code(&rows), code::DEGRADED);
        let report: serde_json::Value = serde_json::from_str(&printed(&rows, true)).unwrap();
        assert_eq!(report["verdict"], "degraded");
        assert_eq!(report["rows"][0]["status"], "FAIL");
        assert_eq!(report["rows"][0]["fix"], "add one");
    }

    #[test]
    fn the_daemons_rows_stand_beside_ours() {
        let dir = tempfile::tempdir().unwrap();
        let site = Site {
            state_dir: dir.path().to_owned(),
            explicit_addr: "127.0.0.1:4180".parse().unwrap(),
            daemon_socket: dir.path().join("weir.sock"),
            hosts: Vec::new(),
        };
        let all = |daemon| rows(&Environment::new(), &site, dir.path(), daemon);
        let hook = Row::fail("hook connect4", "not attached", "…");
        assert!(all(Some(vec![hook.clone()])).contains(&hook));
        assert!(all(None).iter().any(|row| row.check == "daemon" && row.status == Status::Warn));
        let resolver = all(None).into_iter().find(|row| row.check == "resolver").unwrap();
        assert_eq!(resolver.status, Status::Fail, "no resolv.conf below this root");
    }
}
