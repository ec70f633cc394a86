//! The benchmark: what Weir costs beside nginx and beside nothing, in one run on one machine.
//!
//! `cargo xtask bench` builds it optimised and runs `overhead`, `watched`, `streams`, `policy`,
//! `helper` or `chaos`; the other commands are its own child processes, so that each can be
//! pinned and charged apart.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool")]

mod pki;
mod upstream;
mod wire;
mod load;
mod cells;
mod rig;
mod peers;
mod hooks;
mod overhead;
mod eyes;
mod watched;
mod streams;
mod policy;
mod helper;
mod dial;
mod upset;
mod chaos;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// CPU per call, added latency and memory: direct, through nginx, through Weir
    Overhead(overhead::Options),
    /// CPU per call while dashboard, events and telemetry are on, beside nobody looking
    Watched(watched::Options),
    /// Memory with many streams held open by one process
    Streams(streams::Options),
    /// What deciding on a call costs, with many rules and subjects
    Policy(policy::Options),
    /// What a question to the helper process costs
    Helper(helper::Options),
    /// Clients that connect all the time while the agent is killed, stopped, switched
    Chaos(chaos::Options),
    /// The provider: as little work per answer as can be
    #[command(hide = true)]
    Upstream(upstream::Options),
    /// The generator: a closed loop on one thread
    #[command(hide = true)]
    Load(load::Options),
    /// The chaos run's client: an open loop
    #[command(hide = true)]
    Dial(dial::Options),
    /// Connects and closes, for the hooks' run statistics
    #[command(hide = true)]
    Connects(hooks::Connects),
}

fn main() -> ExitCode {
    match run(Arguments::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> anyhow::Result<()> {
    match task {
        Task::Overhead(options) => overhead::run(options),
        Task::Watched(options) => watched::run(options),
        Task::Streams(options) => streams::run(options),
        Task::Policy(options) => policy::run(&options),
        Task::Helper(options) => helper::run(&options),
        Task::Chaos(options) => chaos::run(options),
        Task::Dial(options) => dial::run(&options),
        Task::Upstream(options) => upstream::run(&options),
        Task::Load(options) => load::run(options),
        Task::Connects(options) => {
            hooks::connect(&options);
            Ok(())
        }
    }
}
