//! The command line: one file per command, each `Args` and `run(args, &Ctx)`.
//!
//! Data goes to stdout, everything else to stderr. Exit codes are fixed in [`Exit`].

mod fault;
mod text;
mod table;
mod output;
mod when;
mod client;
mod site;
mod local;
mod variables;
mod bundle;
pub mod daemon;
pub(crate) mod helper;
mod demo;
mod status;
mod dashboard;
mod top;
mod statusline;
mod spend;
mod errors;
mod calls;
mod ps;
mod explain;
mod price;
mod escalations;
mod webhook;
mod policy;
mod usage;
mod unset;
mod budget;
mod breaker;
mod mode;
mod up;
mod down;
mod upgrade;
mod pause;
mod bypass;
mod log;
mod debug;
mod setup;
mod config;
mod trust;
mod run;
mod env;
mod doctor;
mod completions;
mod man;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub use self::fault::{Exit, Fault};
pub use self::output::Ctx;

use crate::config::{Overrides, Paths};

/// Weir attributes, prices and governs the LLM calls of every process on this host.
#[derive(Debug, Parser)]
#[command(name = "weir", version, propagate_version = true, disable_help_subcommand = true)]
#[command(after_help = "\
Examples:
  weir status                        does it work, and what did today cost
  weir spend --by workload,model     who spent it, on what
  weir calls -f                      calls as they happen
  weir explain CALL-ID               why a call was treated as it was
  weir policy list                   which rules there are, and how far they go

Exit codes: 0 ok, 1 failure, 2 usage, 10 degraded, 11 over budget or
refused by a policy test, 69 no daemon,
77 permission, 78 bad configuration")]
pub(super) struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Accepted before and after the command.
#[derive(Debug, clap::Args)]
struct Global {
    /// Configuration file; `conf.d` beside it is read too
    #[arg(long, global = true, value_name = "FILE", env = "WEIR_CONFIG")]
    config: Option<PathBuf>,
    /// Directory of the ledger and the CA
    #[arg(long, global = true, value_name = "DIR", env = "WEIR_STATE_DIR")]
    state_dir: Option<PathBuf>,
    /// Directory of the admin socket
    #[arg(long, global = true, value_name = "DIR", env = "WEIR_RUN_DIR")]
    run_dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the agent (the service does this)
    Daemon(daemon::Args),
    /// Hold the privileges for the daemon, which starts this itself
    #[command(hide = true)]
    Helper(helper::Args),
    /// See it work, on a stage of its own where nothing of this host changes
    Demo(demo::Args),
    /// From observing to the first metered call: shows what it changes, asks once
    Setup(setup::Args),
    /// Makes one call, for `setup`, which starts this itself
    #[command(hide = true)]
    FirstCall(setup::FirstCall),
    /// Whether it works, what it covers, what today cost
    Status(status::Args),
    /// The dashboard's address, with a session for the browser
    Dashboard(dashboard::Args),
    /// Who is spending what right now, as a screen that follows
    Top(top::Args),
    /// One line for prompts, tmux and coding agents
    Statusline(statusline::Args),
    /// Calls, tokens and dollars, by anything
    Spend(spend::Args),
    /// Why calls failed, and how available providers were
    Errors(errors::Args),
    /// Single calls, past and as they happen
    Calls(calls::Args),
    /// Processes that talk to LLM providers, and how far they are metered
    Ps(ps::Args),
    /// Why a call, or a process, was treated as it was
    Explain(explain::Args),
    /// What models cost
    Price(price::Args),
    /// Calls that failed for good
    Escalations(escalations::Args),
    /// What people were told
    Webhook(webhook::Args),
    /// Show policies, set how far they go, try them on a call
    Policy(policy::Args),
    /// What is used of every limit, what is left, when it is back
    Usage(usage::Args),
    /// What is spent of budgets, and until when they last
    Budget(budget::Args),
    /// Show circuit breakers, open or close them
    Breaker(breaker::Args),
    /// Show or set how much the agent does
    Mode(mode::Args),
    /// Begin intercepting again
    Up(up::Args),
    /// Stop intercepting at once; connections that exist go on
    Down(down::Args),
    /// Replace the running daemon by the program on disk, without an interruption
    Upgrade(upgrade::Args),
    /// Stop intercepting for a while
    Pause(pause::Args),
    /// Whom to leave alone
    Bypass(bypass::Args),
    /// Show what the agent logs, or change it while it runs
    Log(log::Args),
    /// Check, show or describe the configuration
    Config(config::Args),
    /// Make this host's clients accept the agent's CA, or undo that
    Trust(trust::TrustArgs),
    /// Run a command whose process tree accepts the CA, with no change to the host
    Run(run::RunArgs),
    /// Print what `run` sets, for a shell
    Env(env::EnvArgs),
    /// What works here, what is missing, and what to do about it
    Doctor(doctor::DoctorArgs),
    /// What helps those who look for a fault
    Debug(debug::Args),
    /// Print a completion script for a shell
    Completions(completions::Args),
    /// Write the manual into a directory
    Man(man::Args),
}

/// Runs a command line. `start` is what `weir daemon` runs.
pub fn main(args: impl IntoIterator<Item = OsString>, start: daemon::Start) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(wrong) => {
            // `--help` and `--version` end here too. Nobody is left to tell if printing fails.
            drop(wrong.print());
            return if wrong.use_stderr() { Exit::Usage.into() } else { Exit::Ok.into() };
        }
    };
    let ctx = Ctx::new(Paths::find(Overrides {
        config: cli.global.config,
        state: cli.global.state_dir,
        run: cli.global.run_dir,
    }));
    dispatch(&cli.command, &ctx, start).unwrap_or_else(|wrong| fault::report(&wrong).into())
}

fn dispatch(command: &Command, ctx: &Ctx, start: daemon::Start) -> anyhow::Result<ExitCode> {
    let done = match command {
        Command::Daemon(args) => daemon::run(args, ctx, start),
        Command::Helper(args) => helper::run(args),
        Command::Demo(args) => demo::run(args),
        Command::Setup(args) => setup::run(args, ctx),
        Command::FirstCall(args) => setup::first_call(args, ctx),
        Command::Status(args) => status::run(args, ctx),
        Command::Dashboard(args) => dashboard::run(args, ctx),
        Command::Top(args) => top::run(args, ctx),
        Command::Statusline(args) => statusline::run(args, ctx),
        Command::Spend(args) => spend::run(args, ctx),
        Command::Errors(args) => errors::run(args, ctx),
        Command::Calls(args) => calls::run(args, ctx),
        Command::Ps(args) => ps::run(args, ctx),
        Command::Explain(args) => explain::run(args, ctx),
        Command::Price(args) => price::run(args, ctx),
        Command::Escalations(args) => escalations::run(args, ctx),
        Command::Webhook(args) => webhook::run(args, ctx),
        Command::Policy(args) => policy::run(args, ctx),
        Command::Usage(args) => usage::run(args, ctx),
        Command::Budget(args) => budget::run(args, ctx),
        Command::Breaker(args) => breaker::run(args, ctx),
        Command::Mode(args) => mode::run(args, ctx),
        Command::Up(args) => up::run(args, ctx),
        Command::Down(args) => down::run(args, ctx),
        Command::Upgrade(args) => upgrade::run(args, ctx),
        Command::Pause(args) => pause::run(args, ctx),
        Command::Bypass(args) => bypass::run(args, ctx),
        Command::Log(args) => log::run(args, ctx),
        Command::Config(args) => config::run(args, ctx),
        Command::Debug(args) => debug::run(args, ctx),
        Command::Completions(args) => completions::run(args, ctx),
        Command::Man(args) => man::run(args, ctx),
        Command::Trust(args) => return Ok(trust::run(args, &local::site(ctx)?)?.into()),
        Command::Doctor(args) if args.preflight => {
            let config = crate::config::load(&ctx.paths)?;
            let runs = local::findings(ctx).is_some();
            return Ok(doctor::preflight(args, &config, &ctx.paths, runs)?.into());
        }
        Command::Doctor(args) => {
            let rows = if args.leftovers { None } else { local::findings(ctx) };
            return Ok(doctor::run(args, &local::site(ctx)?, rows)?.into());
        }
        Command::Run(args) => {
            let local = local::site(ctx)?;
            return Ok(run::run(args, &local, local::is_redirecting(ctx))?.into());
        }
        Command::Env(args) => {
            let local = local::site(ctx)?;
            return Ok(env::run(args, &local, local::is_redirecting(ctx))?.into());
        }
    };
    done.map(ExitCode::from)
}

#[cfg(test)]
mod documented;

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_tree_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn global_flags_stand_before_and_after_the_command() {
        for line in ["weir --run-dir /r status", "weir status --run-dir /r"] {
            let cli = Cli::try_parse_from(line.split(' ')).unwrap();
            assert_eq!(cli.global.run_dir, Some("/r".into()));
        }
    }
}
