//! `weir config`: check, show or describe the configuration. Needs no running agent.

use std::io::Write;
use std::path::PathBuf;

use clap::Subcommand;

use super::text::clean;
use super::{Ctx, Exit};
use crate::admin::SCHEMA_VERSION;
use crate::config::{self, Paths};

/// Check, show or describe the configuration.
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
        What::Show { json } => show(*json, ctx),
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

fn show(json: bool, ctx: &Ctx) -> anyhow::Result<Exit> {
    let effective = config::effective(&ctx.paths)?;
    if json {
        ctx.json(&serde_json::json!({
            "schema_version": SCHEMA_VERSION,
            "files": effective.files,
            "config": effective.json(),
        }))?;
    } else {
        for line in effective.yaml().lines() {
            writeln!(ctx.out(), "{}", clean(line))?;
        }
    }
    Ok(Exit::Ok)
}
