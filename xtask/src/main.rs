//! Weir's development tasks. `cargo xtask help` lists them.
//!
//! It stays small on purpose: it must build on a machine that has nothing but Rust, because it is
//! what installs the rest.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool")]

mod shell;
mod setup;
mod build;
mod tidy;
mod test;
mod bench;
mod fuzz;
mod matrix;
mod vm;
mod dist;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "Weir's development tasks")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Install what building and testing need and this machine lacks
    Setup {
        /// Also what only `bench` needs
        #[arg(long)]
        bench: bool,
        /// Also the SDKs the client tests run
        #[arg(long)]
        clients: bool,
    },
    /// Build everything, kernel half included
    Build {
        /// Optimised: target/release/weir
        #[arg(long)]
        release: bool,
    },
    /// Check formatting, lints, structure, and run all tests
    #[command(alias = "ci")]
    Test,
    /// Check the structure: who imports whom, file lengths, purity
    Tidy,
    /// Build and play the demo
    Demo {
        /// Arguments for `weir demo`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Try random input for a while: not part of `test`
    Fuzz {
        /// Arguments for the driver: --seconds, --target, --seed
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Which real clients accept the CA, and what rejecting it costs them: not part of `test`
    Matrix {
        /// Clients to ask: all of them otherwise
        arguments: Vec<String>,
    },
    /// Run the kernel tests on other kernels, each in a virtual machine: not part of `test`
    #[command(subcommand)]
    Vm(vm::Vm),
    /// Build packages (.deb, .rpm, tarball), their checksums and the list of what is in them
    Dist(dist::Dist),
    /// Measure
    #[command(subcommand)]
    Bench(bench::Bench),
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
        Task::Setup { bench, clients } => {
            setup::run(bench)?;
            if clients { setup::clients::prepare() } else { Ok(()) }
        }
        Task::Build { release } => build::run(release),
        Task::Test => test::run(),
        Task::Tidy => tidy::run(),
        Task::Demo { arguments } => build::demo(&arguments),
        Task::Fuzz { arguments } => fuzz::run(&arguments),
        Task::Matrix { arguments } => matrix::run(&arguments),
        Task::Vm(vm) => vm::run(&vm),
        Task::Dist(dist) => dist::run(&dist),
        Task::Bench(bench) => bench::run(&bench),
    }
}
