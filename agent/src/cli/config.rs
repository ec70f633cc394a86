//! `weir config`: check, show or describe the configuration, which needs no running agent; or let
//! the agent take it over.

use std::io::Write;
use std::path::PathBuf;

use clap::Subcommand;

use super::client::Client;
use super::text::clean;
use super::{Ctx, Exit};
use crate::admin::SCHEMA_VERSION;
use crate::admin::reload::Reloaded;
use crate::config::{self, Paths, Problems};

/// Check, show or describe the configuration, or have it taken over.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Report every problem, with line and column; exits 78 if there is one
    Check {
        /// The file to check instead of the one in use
        file: Option<PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print every key with its value and where it was set
    Show {
        /// One line per value: key, value, the file and line it comes from, or `default`
        #[arg(long)]
        origin: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Let the agent take the configuration over: all of it, or where there is a problem nothing
    Reload {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print a JSON Schema, for editors
    Schema,
}

pub(super) fn run(args: &Args, ctx: &Ctx) -> anyhow::Result<Exit> {
    match &args.what {
        What::Check { file, json } => check(file.as_ref(), *json, ctx),
        What::Show { origin, json } => show(*origin, *json, ctx),
        What::Reload { json } => reload(*json, ctx),
        What::Schema => {
            ctx.json(&config::schema())?;
            Ok(Exit::Ok)
        }
    }
}

fn check(file: Option<&PathBuf>, json: bool, ctx: &Ctx) -> anyhow::Result<Exit> {
    let mut paths = ctx.paths.clone();
    if let Some(file) = file {
        paths = Paths { config: file.clone(), config_named: true, ..paths };
    }
    let found = config::effective(&paths);
    if json {
        let problems = found.as_ref().err().map(|problems| &problems.0[..]).unwrap_or_default();
        let config = found.as_ref().map(|effective| &effective.config);
        let warnings = config.map(|config| &config.warnings[..]).unwrap_or_default();
        ctx.json(&serde_json::json!({
            "schema_version": SCHEMA_VERSION,
            "ok": found.is_ok(),
            "files": found.as_ref().map(|effective| &effective.files[..]).unwrap_or_default(),
            "problems": problems,
            "warnings": warnings,
        }))?;
        return Ok(if found.is_ok() { Exit::Ok } else { Exit::Config });
    }
    let effective = found?;
    for warning in &effective.config.warnings {
        writeln!(std::io::stderr(), "warning: {}", clean(&warning.to_string()))?;
    }
    let files = effective.files;
    match &files[..] {
        [] => writeln!(ctx.out(), "ok: no file, the defaults hold")?,
        files => {
            let names: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
            writeln!(ctx.out(), "ok: {}", clean(&names.join(", ")))?;
        }
    }
    Ok(Exit::Ok)
}

fn show(origin: bool, json: bool, ctx: &Ctx) -> anyhow::Result<Exit> {
    let effective = config::effective(&ctx.paths)?;
    if json {
        let mut shown = serde_json::json!({
            "schema_version": SCHEMA_VERSION,
            "files": effective.files,
            "config": effective.json(),
        });
        if origin {
            shown["values"] = serde_json::to_value(effective.origins())?;
        }
        ctx.json(&shown)?;
    } else if origin {
        for value in effective.origins() {
            let line = format!("{}: {}  # {}", value.key, value.shown(), value.origin);
            writeln!(ctx.out(), "{}", clean(&line))?;
        }
    } else {
        for line in effective.yaml().lines() {
            writeln!(ctx.out(), "{}", clean(line))?;
        }
    }
    Ok(Exit::Ok)
}

fn reload(json: bool, ctx: &Ctx) -> anyhow::Result<Exit> {
    let done: Reloaded = ctx.block_on(async {
        let mut client = Client::connect(ctx).await?;
        client.put("/api/config/reload", &serde_json::json!({})).await
    })?;
    if json {
        ctx.json(&done)?;
        return Ok(if done.ok { Exit::Ok } else { Exit::Config });
    }
    if !done.ok {
        return Err(Problems(done.problems).into());
    }
    for warning in &done.warnings {
        writeln!(std::io::stderr(), "warning: {}", clean(warning))?;
    }
    // Sections stand together: changes come in the order of their keys.
    for change in &done.changes {
        writeln!(ctx.out(), "{}", clean(&change.to_string()))?;
    }
    for change in &done.needs_restart {
        writeln!(ctx.out(), "needs a restart: {}", clean(&change.to_string()))?;
    }
    if done.changes.is_empty() && done.needs_restart.is_empty() {
        writeln!(ctx.out(), "nothing has changed")?;
    }
    Ok(Exit::Ok)
}
