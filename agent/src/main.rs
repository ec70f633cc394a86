//! Entry point: the command line to its exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    agent::cli::main(std::env::args_os(), agent::app::main)
}
