//! Running other programs, in the workspace's root, telling what is run.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

/// The workspace's root. Cargo's word at run time counts: the binary may have been built where
/// the workspace once was.
#[expect(clippy::disallowed_methods, reason = "cargo tells its tasks by the environment")]
pub(crate) fn root() -> PathBuf {
    let own = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    own.parent().unwrap_or(&own).to_owned()
}

/// A command in the root.
pub(crate) fn command(program: impl AsRef<Path>, arguments: &[&str]) -> Command {
    let mut command = Command::new(program.as_ref());
    command.args(arguments).current_dir(root());
    command
}

/// A cargo command; the toolchain is the one pinned in `rust-toolchain.toml`.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    command(env!("CARGO"), arguments)
}

/// Prints the command, runs it, and fails unless it succeeds.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    println!("$ {}", told(command));
    let status = command.status().with_context(|| format!("start {}", told(command)))?;
    if !status.success() {
        bail!("`{}` failed: {status}", told(command));
    }
    Ok(())
}

/// What a command prints, or `None` if it cannot be run or fails.
pub(crate) fn output(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Whether a program is on the `PATH` and runs.
pub(crate) fn runs(program: &str, arguments: &[&str]) -> bool {
    output(&mut command(program, arguments)).is_some()
}

/// Whether the caller is root.
pub(crate) fn is_root() -> bool {
    output(&mut command("id", &["-u"])).is_some_and(|uid| uid == "0")
}

/// The command as one would type it; the path of cargo itself says nothing.
pub(crate) fn told(command: &Command) -> String {
    let own = command.get_program();
    let program = Path::new(own).file_name().unwrap_or(own);
    let words = std::iter::once(program).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}
