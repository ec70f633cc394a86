//! Measuring: builds optimised binaries and hands over to the benchmark, which lives with the
//! tests because it shares their stage.

use std::os::unix::process::CommandExt;

use anyhow::Context;
use clap::Subcommand;

use crate::{setup, shell};

/// What is measured.
#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// CPU per call, added latency and memory: direct, through nginx, through Weir
    Overhead {
        /// Arguments for the benchmark: --json, --rounds, --cells, --peers, --policies
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// CPU per call while dashboard, events and telemetry are on, beside nobody looking
    Watched {
        /// Arguments for the benchmark: --json, --rounds, --seconds, --eyes
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Memory with 2,000 streams held open by one process
    Streams {
        /// Arguments for the benchmark: --json, --streams
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// What deciding on a call costs, with 200 rules and 10,000 subjects
    Policy {
        /// Arguments for the benchmark: --json, --rules, --subjects, --calls
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// What a question to the helper process costs, beside one answered in the same process
    Helper {
        /// Arguments for the benchmark: --json, --questions
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// 200 connections a second while the agent is killed, stopped, switched and robbed of its
    /// helper: fails if any of them fails that was not in flight at such a moment
    Chaos {
        /// Arguments for the benchmark: --json, --minutes, --rate, --seed
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

/// Builds what is measured and becomes the benchmark.
pub(crate) fn run(bench: &Bench) -> anyhow::Result<()> {
    let (name, arguments) = match bench {
        Bench::Overhead { arguments } => ("overhead", arguments),
        Bench::Watched { arguments } => ("watched", arguments),
        Bench::Streams { arguments } => ("streams", arguments),
        Bench::Policy { arguments } => ("policy", arguments),
        Bench::Helper { arguments } => ("helper", arguments),
        Bench::Chaos { arguments } => ("chaos", arguments),
    };
    setup::run(true)?;
    let build = ["build", "--release", "--package", "agent", "--package", "tests", "--bins"];
    shell::run(&mut shell::cargo(&build))?;
    let program = shell::root().join("target/release/bench");
    let failure = shell::command(&program, &[name]).args(arguments).exec();
    Err(failure).with_context(|| format!("run {}", program.display()))
}
