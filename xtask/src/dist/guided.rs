//! Profile-guided builds: what ran under load says which code is inlined and which lies together.
//!
//! A call runs a little of very much code, so this takes more than a third off what it costs. The
//! binary is built with counters and carries the benchmark's load, without policies and with them;
//! what was counted goes into the build that is packaged. It lies beside the packages then, for
//! whoever wants to build the same ones again.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

use super::inputs::Inputs;
use crate::{setup, shell};

/// A profile that one build makes and another follows.
///
/// What a function is called depends on how it is built, and one of another name has no profile: so
/// both are cargo's `release` for a named target, and only the second is optimised as a whole.
/// (Without a target, programs that run while it is built would count too.)
pub(super) struct Guide {
    host: String,
    /// Counts of what ran, put together.
    pub(super) profile: PathBuf,
}

const BINARY: [&str; 6] = ["--locked", "--release", "--package", "agent", "--bin", "weir"];

impl Guide {
    /// Reads the one that is there.
    pub(super) fn read(profile: &Path) -> anyhow::Result<Self> {
        let profile = fs::canonicalize(profile)
            .with_context(|| format!("{}: no profile to read", profile.display()))?;
        Ok(Self { host: Inputs::host()?, profile })
    }

    /// Makes one.
    pub(super) fn make(inputs: &Inputs) -> anyhow::Result<Self> {
        ensure!(
            shell::is_root(),
            "--guided puts a load on the agent, in namespaces and with eBPF: run it as root, or \
             with --guided-by and a profile that was made so"
        );
        setup::run(true)?;
        let merge = profdata()?;
        let directory = inputs.target.join("guided");
        let counts = directory.join("counts");
        if counts.exists() {
            fs::remove_dir_all(&counts).with_context(|| counts.display().to_string())?;
        }
        fs::create_dir_all(&counts).with_context(|| counts.display().to_string())?;
        let guide = Self { host: Inputs::host()?, profile: directory.join("weir.profdata") };

        let mut counting = shell::cargo(&["build"]);
        counting.args(BINARY).args(["--target", &guide.host]).arg("--target-dir").arg(&directory);
        let flag = format!("-Cprofile-generate={}", counts.display());
        shell::run(counting.env("CARGO_ENCODED_RUSTFLAGS", flag))?;

        let bench = ["build", "--locked", "--release", "--package", "tests", "--bin", "bench"];
        shell::run(&mut shell::cargo(&bench))?;
        // The benchmark runs the agent that lies beside it.
        let bench = directory.join(&guide.host).join("release/bench");
        fs::copy(inputs.target.join("release/bench"), &bench).context("the benchmark")?;
        let load = ["overhead", "--peers", "weir", "--rounds", "1", "--seconds", "5"];
        shell::run(&mut shell::command(&bench, &load))?;
        shell::run(shell::command(&bench, &load).arg("--policies"))?;

        let mut merged = shell::command(&merge, &["merge", "--output"]);
        shell::run(merged.arg(&guide.profile).arg(&counts))?;
        Ok(guide)
    }

    /// Builds the binary by it.
    pub(super) fn build(&self, inputs: &Inputs) -> anyhow::Result<PathBuf> {
        let mut cargo = shell::cargo(&["rustc"]);
        cargo.args(BINARY).args(["--target", &self.host]);
        cargo.args(["--", "-Clto=fat", "-Ccodegen-units=1", "-Cstrip=symbols"]);
        let mut flags = Inputs::remapped();
        flags.push(format!("-Cprofile-use={}", self.profile.display()));
        // What the whole is optimised from; cargo leaves it out of this profile.
        flags.push("-Cembed-bitcode=yes".to_owned());
        shell::run(cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f")))?;
        Ok(inputs.target.join(&self.host).join("release/weir"))
    }
}

/// The program that puts counts together, of the compiler's own LLVM.
fn profdata() -> anyhow::Result<PathBuf> {
    let print = ["--print", "target-libdir"];
    let libraries = shell::output(&mut shell::command("rustc", &print)).context("rustc")?;
    let program = Path::new(&libraries).with_file_name("bin").join("llvm-profdata");
    if !program.is_file() {
        shell::run(&mut shell::command("rustup", &["component", "add", "llvm-tools"]))?;
    }
    ensure!(program.is_file(), "{}: not there", program.display());
    Ok(program)
}
