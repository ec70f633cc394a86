//! `weir mode`: how much the agent does.

use std::io::Write;

use super::client::Client;
use super::text::clean;
use super::{Ctx, Exit};
use crate::admin::SetMode;
use crate::admin::status::ModeState;
use crate::config::Mode;

/// Show how much the agent does, or set it: also after a restart, until the file says otherwise.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The mode from now on
    #[arg(value_enum)]
    mode: Option<Word>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Word {
    /// Nothing
    Off,
    /// Connections, bytes, seconds; nothing is decrypted
    Observe,
    /// Tokens and dollars
    Meter,
    /// As meter, and policies act
    Enforce,
}

impl From<Word> for Mode {
    fn from(word: Word) -> Self {
        match word {
            Word::Off => Self::Off,
            Word::Observe => Self::Observe,
            Word::Meter => Self::Meter,
            Word::Enforce => Self::Enforce,
        }
    }
}

pub(super) fn run(args: &Args, ctx: &Ctx) -> anyhow::Result<Exit> {
    let state: ModeState = ctx.block_on(async {
        let mut client = Client::connect(ctx).await?;
        match args.mode {
            Some(mode) => client.put("/api/mode", &SetMode { mode: mode.into() }).await,
            None => client.get("/api/mode", &()).await,
        }
    })?;
    if args.json {
        ctx.json(&serde_json::json!({
            "schema_version": crate::admin::SCHEMA_VERSION,
            "wanted": state.wanted, "effective": state.effective, "reason": state.reason,
        }))?;
    } else if state.wanted == state.effective {
        writeln!(ctx.out(), "{}", state.effective)?;
    } else {
        let reason = state.reason.as_deref().unwrap_or("see weir status");
        let (effective, wanted) = (state.effective, state.wanted);
        writeln!(ctx.out(), "{effective} ({wanted} was asked for: {})", clean(reason))?;
    }
    Ok(if state.wanted == state.effective { Exit::Ok } else { Exit::Degraded })
}
