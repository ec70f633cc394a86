//! `weir setup --undo`: nothing is read any more, and nothing trusts the CA.

use std::io::Write as _;
use std::path::Path;

use crate::admin::SetMode;
use crate::admin::status::ModeState;
use crate::cli::client::Client;
use crate::cli::text::clean;
use crate::cli::trust::together;
use crate::cli::{Ctx, Exit, Fault};
use crate::config::Mode;

pub(super) fn run(ctx: &Ctx) -> anyhow::Result<Exit> {
    // First nobody is given a certificate any more that he is about to reject.
    let told = observe(ctx)?;
    let mut out = ctx.out();
    writeln!(out, "mode   {told}")?;
    let (undone, left) = together::undo_all(Path::new("/"), &ctx.paths.state)?;
    for path in &undone {
        writeln!(out, "undid  {}", clean(&path.display().to_string()))?;
    }
    for path in &left {
        let path = path.display().to_string();
        writeln!(out, "kept   {}: changed since; remove it by hand", clean(&path))?;
    }
    if undone.is_empty() && left.is_empty() {
        writeln!(out, "nothing was installed")?;
    }
    Ok(if left.is_empty() { Exit::Ok } else { Exit::Failure })
}

/// Asks the agent for it. Where none runs, what an earlier one was asked for is forgotten.
fn observe(ctx: &Ctx) -> anyhow::Result<String> {
    let asked = ctx.block_on(async {
        let mut client = Client::connect(ctx).await?;
        let current: ModeState = client.get("/api/mode", &()).await?;
        if current.wanted <= Mode::Observe {
            return Ok(current);
        }
        client.put::<ModeState>("/api/mode", &SetMode { mode: Mode::Observe }).await
    });
    match asked {
        Ok(state) => Ok(state.wanted.to_string()),
        Err(error) if is_no_daemon(&error) => {
            match std::fs::remove_file(ctx.paths.state.join("mode.json")) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
                _ => Ok("as configured, at the next start (no agent runs)".to_owned()),
            }
        }
        Err(error) => Err(error),
    }
}

fn is_no_daemon(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Fault>().is_some_and(|fault| fault.exit == Exit::NoDaemon)
}
