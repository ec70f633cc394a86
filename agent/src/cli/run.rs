//! `weir run [--] CMD…`: one process tree that trusts the local CA, with no change to the host.

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use clap::Args;

use super::site::Site;
use super::variables::{environment, variables};

/// Exit codes of a command that could not be started, as shells have them.
const NOT_FOUND: u8 = 127;
const NOT_EXECUTABLE: u8 = 126;

/// Runs a command with the variables that make it trust the local CA.
#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// The command and its arguments
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "CMD"
    )]
    command: Vec<OsString>,
}

/// Becomes the command; returns only where it cannot be started. `redirecting` says whether the
/// kernel brings connections to the daemon: where it does not, proxy variables are set too.
pub(super) fn run(args: &RunArgs, site: &Site, redirecting: bool) -> anyhow::Result<u8> {
    let found = variables(&environment(), site, Path::new("/"), redirecting)?;
    let err = &mut io::stderr();
    for note in &found.notes {
        writeln!(err, "weir: {note}")?;
    }
    let [program, arguments @ ..] = args.command.as_slice() else {
        anyhow::bail!("no command given");
    };
    // Replacing this process leaves signals, terminal and exit code to the command itself.
    let error = Command::new(program).args(arguments).envs(&found.set).exec();
    writeln!(err, "weir: {}: {error}", program.display())?;
    Ok(if error.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { NOT_EXECUTABLE })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        run: RunArgs,
    }

    fn command(line: &[&str]) -> Vec<OsString> {
        Cli::parse_from(["run"].iter().chain(line)).run.command
    }

    #[test]
    fn everything_after_the_command_is_its_own() {
        assert_eq!(command(&["curl", "-sS", "--json", "x"]), ["curl", "-sS", "--json", "x"]);
        assert_eq!(command(&["--", "python3", "--", "-c"]), ["python3", "--", "-c"]);
        assert!(Cli::try_parse_from(["run"]).is_err());
    }
}
