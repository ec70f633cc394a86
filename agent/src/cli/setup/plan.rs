//! What setup will change, found out without changing anything.

use std::path::Path;

use jiff::SignedDuration;
use serde_json::{Value, json};

use super::Args;
use super::first::Call;
use crate::admin::SCHEMA_VERSION;
use crate::admin::processes::{ProcessQuery, ProcessRow, Processes, Word};
use crate::admin::status::Status;
use crate::cli::client::Client;
use crate::cli::doctor::{self, Row};
use crate::cli::trust::own_roots;
use crate::cli::trust::together::{Together, is_permission};
use crate::cli::variables::environment;
use crate::cli::{Ctx, Exit, Fault, local};
use crate::config::{self, Mode};

/// Programs that are named one by one.
const NAMED: usize = 6;

/// What will be done.
pub(super) struct Plan {
    /// Absent where every client is taken to trust the CA (`trust.assume`).
    pub(super) trust: Option<Together>,
    /// The mode before, and the one from then on.
    pub(super) mode: (Mode, Mode),
    pub(super) call: Option<Call>,
    /// Why connections are not led to the agent, where they are not.
    pub(super) not_captured: Option<String>,
    /// Where the mode is kept.
    kept: String,
    /// Processes that talk to providers and read their trust before it changed.
    older: Vec<ProcessRow>,
    own_roots: Vec<String>,
    remarks: Vec<Row>,
}

impl Plan {
    /// Looks at the host, its agent and this environment.
    pub(super) fn make(args: &Args, ctx: &Ctx) -> anyhow::Result<Self> {
        let since = ctx.now.checked_sub(SignedDuration::from_hours(24)).ok();
        let query = ProcessQuery { since, ..ProcessQuery::default() };
        let (status, processes): (Status, Processes) = ctx.block_on(async {
            let mut client = Client::connect(ctx).await?;
            let status = client.get("/api/status", &()).await?;
            Ok((status, client.get("/api/processes", &query).await?))
        })?;
        let own = ctx.paths.root_certificate();
        if status.trust.root.as_ref().is_some_and(|root| *root != own) {
            let root = status.trust.root.as_deref().unwrap_or(&own).display();
            return Err(Fault {
                exit: Exit::Usage,
                what: format!("the running agent's CA is {root}, not {}", own.display()),
                fix: Some("say where its state is: --state-dir DIR".to_owned()),
            }
            .into());
        }
        let remarks = preflight(&status, ctx)?;
        let env = environment();
        let site = local::site(ctx)?;
        let assumed = status.trust.detail == "assumed";
        let trust = (!assumed).then(|| Together::plan(Path::new("/"), args.env, &site));
        let trust = trust.transpose().map_err(explained)?;
        let is_new = trust.as_ref().is_some_and(|trust| !trust.is_done());
        let wanted = status.mode.wanted;
        let to = if wanted >= Mode::Meter { wanted } else { Mode::Meter };
        let is_on = status.capture.on;
        let proxy = status.listeners.iter().find(|listener| listener.name == "proxy");
        let proxy = proxy.filter(|_| !is_on).and_then(|listener| listener.address.parse().ok());
        Ok(Self {
            trust,
            mode: (wanted, to),
            call: Call::choose(args, &env, proxy),
            not_captured: (!is_on).then(|| {
                status.capture.reason.unwrap_or_else(|| "the kernel half is off".to_owned())
            }),
            kept: ctx.paths.state.join("mode.json").display().to_string(),
            older: older(processes.rows, is_new),
            own_roots: if args.env || assumed { Vec::new() } else { own_roots::found(&env) },
            remarks,
        })
    }

    /// Whether everything is as it would be already.
    pub(super) fn is_done(&self) -> bool {
        self.trust.as_ref().is_none_or(Together::is_done) && self.mode.0 == self.mode.1
    }

    /// For programs.
    pub(super) fn told(&self) -> anyhow::Result<Value> {
        let stores = self.trust.as_ref().map(Together::announced).transpose()?;
        let older = self
            .older
            .iter()
            .map(|row| json!({"pid": row.pid, "workload": row.workload, "user": row.user}));
        Ok(json!({
            "schema_version": SCHEMA_VERSION,
            "done": self.is_done(),
            "stores": stores.unwrap_or_default(),
            "mode": {"from": self.mode.0, "to": self.mode.1, "kept": self.kept},
            "call": self.call.as_ref().map(Call::told),
            "not_captured": self.not_captured,
            "restart": older.collect::<Vec<_>>(),
            "own_roots": self.own_roots,
            "remarks": self.remarks,
        }))
    }

    /// For people.
    pub(super) fn lines(&self) -> anyhow::Result<Vec<String>> {
        let mut lines = Vec::new();
        if self.is_done() {
            lines.push("already set up".to_owned());
            lines.extend(self.notes());
            return Ok(lines);
        }
        lines.push("weir setup will, on this host:".to_owned());
        if let Some(trust) = &self.trust {
            let hosts = trust.hosts();
            for store in trust.announced()? {
                let what = match (store.store, store.installed) {
                    (_, true) => "trusts the CA already".to_owned(),
                    ("system", _) => {
                        format!(
                            "make programs trust this host's own CA, for {hosts} LLM hosts only"
                        )
                    }
                    ("java", _) => "the same for JDKs with key stores of their own".to_owned(),
                    ("nss", _) => "the same for browsers".to_owned(),
                    _ => "lead programs with roots of their own there, in new sessions".to_owned(),
                };
                lines.push(format!("  {:<8} {what}", store.store));
                lines.extend(store.changes.iter().map(|line| format!("             {line}")));
            }
        }
        let (from, to) = self.mode;
        if from == to {
            lines.push(format!("  mode     stays {to}"));
        } else {
            lines
                .push(format!("  mode     {from} → {to}: TLS to providers is read here, to count"));
            let kept = &self.kept;
            lines.push(format!("           kept in {kept} until the configuration's mode changes"));
        }
        lines.extend(self.call.iter().map(|call| format!("  call     {}", call.line())));
        lines.extend(self.notes());
        lines.push("Nothing else changes. weir setup --undo takes it all back.".to_owned());
        Ok(lines)
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if let Some(why) = &self.not_captured {
            notes.push(format!(
                "  note     nothing is captured ({why}): only the proxy and base URLs"
            ));
        }
        if let Some(restart) = self.restart() {
            notes.push(format!("  restart  {restart}"));
        }
        if !self.own_roots.is_empty() {
            let names = self.own_roots.join(", ");
            notes.push(format!(
                "  note     {names} bring roots of their own: --env, or weir run -- …"
            ));
        }
        for row in &self.remarks {
            let fix = row.fix.as_deref().map(|fix| format!(" → {fix}")).unwrap_or_default();
            notes.push(format!("  note     {}: {}{fix}", row.check, row.detail));
        }
        notes
    }

    /// Who has to be restarted to be metered, by name.
    pub(super) fn restart(&self) -> Option<String> {
        let mut names: Vec<String> = Vec::new();
        for row in &self.older {
            let name = format!("{} (pid {})", row.workload, row.pid);
            if names.len() < NAMED && !names.contains(&name) {
                names.push(name);
            }
        }
        let more = self.older.len().saturating_sub(names.len());
        let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
        (!names.is_empty())
            .then(|| format!("metered once they are restarted: {}{rest}", names.join(", ")))
    }
}

/// What would keep the agent from working here; an error where it cannot at all.
fn preflight(status: &Status, ctx: &Ctx) -> anyhow::Result<Vec<Row>> {
    let config = config::load(&ctx.paths)?;
    let mut rows = doctor::preflight_rows(&config, &ctx.paths);
    rows.retain(|row| row.status != doctor::Status::Pass);
    // What the running agent has attached needs no other proof.
    let proved = |row: &Row| row.check == "programs" || row.check == "capabilities";
    rows.retain(|row| !(status.capture.on && proved(row)));
    match rows.iter().find(|row| row.status == doctor::Status::Fail) {
        None => Ok(rows),
        Some(row) => Err(Fault {
            exit: Exit::Failure,
            what: format!("not ready: {}: {}", row.check, row.detail),
            fix: row.fix.clone(),
        }
        .into()),
    }
}

/// A lack of permission with what helps, or the error with what was done.
fn explained(error: anyhow::Error) -> anyhow::Error {
    if !is_permission(&error) {
        return error.context("looking at the trust stores");
    }
    let what = format!("{error:#}");
    let fix = Some("sudo weir setup --dry-run".to_owned());
    Fault { exit: Exit::Permission, what, fix }.into()
}

/// Processes that still run and read their trust before: all, where it is only now about to change.
fn older(rows: Vec<ProcessRow>, is_new: bool) -> Vec<ProcessRow> {
    let lives = |row: &ProcessRow| Path::new(&format!("/proc/{}", row.pid)).exists();
    let reads_old = |row: &ProcessRow| match row.coverage {
        Word::NeedsRestart => true,
        Word::Observed | Word::Untrusted => is_new,
        _ => false,
    };
    rows.into_iter().filter(|row| reads_old(row) && lives(row)).collect()
}
