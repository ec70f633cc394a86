//! `weir setup`: from observing to the first metered call. It shows what it changes, asks once, and
//! undoes what it did where a step fails.

mod plan;
mod steps;
mod first;
mod undo;

use std::io::{self, BufRead, IsTerminal, Write};

use self::plan::Plan;
use super::text::clean;
use super::{Ctx, Exit, Fault};

pub(super) use self::first::{FirstCall, first_call};

/// From observing to the first metered call: shows what it changes, asks once, makes the host's
/// clients trust the local CA, switches to `meter`, and ends with a call and what it cost.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sudo weir setup --dry-run                    what it would change
  sudo --preserve-env=OPENAI_API_KEY weir setup
                                               with a call that your key pays for
  sudo weir setup --call 'python3 agent.py'    with a call of your own program
  sudo weir setup --undo                       everything as it was before")]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(super) struct Args {
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    /// Show what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Show that as JSON, and do nothing
    #[arg(long)]
    json: bool,
    /// Also set variables for programs with roots of their own (Node, certifi), for new sessions
    #[arg(long)]
    env: bool,
    /// Make the first call by this shell command, as the user who called sudo
    #[arg(long, value_name = "COMMAND", conflicts_with = "no_call")]
    call: Option<String>,
    /// Make no call
    #[arg(long)]
    no_call: bool,
    /// Go back: mode `observe`, and nothing trusts the CA any more
    #[arg(long, conflicts_with_all = ["dry_run", "json", "env", "call", "no_call"])]
    undo: bool,
}

pub(super) fn run(args: &Args, ctx: &Ctx) -> anyhow::Result<Exit> {
    let only_shows = args.dry_run || args.json;
    if !only_shows && !rustix::process::geteuid().is_root() {
        return Err(Fault {
            exit: Exit::Permission,
            what: "the host's trust stores are root's".to_owned(),
            fix: Some("sudo weir setup, or for one program only: weir run -- COMMAND".to_owned()),
        }
        .into());
    }
    if args.undo {
        return undo::run(ctx);
    }
    let plan = Plan::make(args, ctx)?;
    if args.json {
        ctx.json(&plan.told()?)?;
        return Ok(Exit::Ok);
    }
    let mut out = ctx.out();
    for line in plan.lines()? {
        writeln!(out, "{}", clean(&line))?;
    }
    if args.dry_run || plan.is_done() {
        drop(out);
        return if args.dry_run { Ok(Exit::Ok) } else { steps::report(ctx) };
    }
    if !args.yes && !is_confirmed(&mut out)? {
        writeln!(out, "nothing was changed")?;
        return Ok(Exit::Ok);
    }
    drop(out);
    steps::carry_out(&plan, ctx)
}

/// Asks once. Without a terminal there is nobody to ask.
fn is_confirmed(out: &mut impl Write) -> anyhow::Result<bool> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return Err(Fault {
            exit: Exit::Usage,
            what: "there is no terminal to ask on, and nothing was changed".to_owned(),
            fix: Some("read the plan above, then: weir setup --yes".to_owned()),
        }
        .into());
    }
    write!(out, "Go on? [y/N] ")?;
    out.flush()?;
    let mut answer = String::new();
    stdin.lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
