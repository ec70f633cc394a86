//! What a test run needs on disk, and what the caller demands: the binary, the prepared clients.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

/// The `weir` binary beside this test's own: `cargo build` puts it there, `cargo test` alone
/// does not.
pub fn weir() -> anyhow::Result<PathBuf> {
    let path = profile()?.join("weir");
    ensure!(path.is_file(), "{} is missing: run `cargo build`", path.display());
    Ok(path)
}

/// A prepared client environment under `target/clients`: `python-current`, `node`, …
pub fn client(name: &str) -> anyhow::Result<PathBuf> {
    let target = profile()?.parent().context("the profile directory has a parent")?.to_owned();
    let path = target.join("clients").join(name);
    ensure!(path.is_dir(), "{} is missing: run `cargo xtask setup --clients`", path.display());
    Ok(path)
}

/// A script of `tests/clients`.
pub fn script(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("clients").join(name)
}

/// A copy of a program, to be run under another name or by others.
///
/// Another process makes it, and so [`program`]: while this one had it open for writing, whatever other
/// tests start at that moment would have it open too, and what is open for writing cannot be run.
pub fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    let cp = Command::new("cp").arg("--").arg(from).arg(to).status()?;
    ensure!(cp.success(), "cp {} {}: {cp}", from.display(), to.display());
    Ok(())
}

/// A program of these lines.
pub fn program(lines: &str, to: &Path) -> anyhow::Result<()> {
    let mut shell = Command::new("sh");
    let shell = shell.args(["-c", "cat > \"$0\" && chmod 755 \"$0\""]).arg(to);
    let mut writing = shell.stdin(Stdio::piped()).spawn()?;
    writing.stdin.take().context("its input")?.write_all(lines.as_bytes())?;
    let written = writing.wait()?;
    ensure!(written.success(), "writing {}: {written}", to.display());
    Ok(())
}

/// A browser: Debian's.
pub fn chromium() -> anyhow::Result<PathBuf> {
    let path = PathBuf::from("/usr/bin/chromium");
    ensure!(path.exists(), "{} is missing: run `cargo xtask setup`", path.display());
    Ok(path)
}

/// Where pictures are left to be looked at: below `target`, of no consequence.
pub fn pictures() -> anyhow::Result<PathBuf> {
    let target = profile()?.parent().context("the profile directory has a parent")?.to_owned();
    let path = target.join("pictures");
    std::fs::create_dir_all(&path)?;
    Ok(path)
}

/// Whether what cannot run here must fail instead of being skipped (`WEIR_REQUIRE_KERNEL=1`).
#[expect(clippy::disallowed_methods, reason = "a test run is steered by its environment")]
pub fn is_required() -> bool {
    std::env::var_os("WEIR_REQUIRE_KERNEL").is_some_and(|value| value == "1")
}

/// `target/debug` or `target/release`: tests run from its `deps`.
fn profile() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe()?;
    let deps = own.parent().context("a test binary has a directory")?;
    let profile = if deps.ends_with("deps") { deps.parent().unwrap_or(deps) } else { deps };
    Ok(profile.to_owned())
}
