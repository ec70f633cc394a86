//! The kernel tests on other kernels: Debian's own, booted in a virtual machine that has no disk and
//! no network and lives as long as its tests; and the package on hosts with a real systemd.
//!
//! What the guest of the kernel tests needs besides a kernel is this machine's own programs, so that
//! the test binaries find the C library they were linked with.

mod apt;
mod kernels;
mod programs;
mod image;
mod machine;
pub(crate) mod systemd;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::{Args, Subcommand};

use crate::{shell, test};

/// What is run when no test is named: all that runs programs in the kernel.
const TESTS: [&str; 3] = ["kernel::", "split::", "namespaces::"];

/// What the helper process holds, and `setpriv` is told to leave: no more is needed to attach.
const CAPABILITIES: &str =
    "-all,+dac_override,+dac_read_search,+net_admin,+sys_ptrace,+perfmon,+bpf";

#[derive(Debug, Subcommand)]
pub(crate) enum Vm {
    /// Which kernels can be had
    List(Source),
    /// Boot kernels and run the kernel tests on each
    Test(Run),
    /// Install the package on a host with systemd, and live through everything up to its removal
    Systemd(systemd::Run),
}

#[derive(Debug, Args)]
pub(crate) struct Source {
    /// A Debian mirror; otherwise the one that this machine's apt uses
    #[arg(long)]
    mirror: Option<String>,
    /// Ask the mirror again, for newer kernels too
    #[arg(long)]
    refresh: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// A series as `vm list` shows it, or host-like: the one nearest to this machine's kernel
    #[arg(long = "kernel", required = true, value_delimiter = ',')]
    kernels: Vec<String>,
    /// A kernel may take this long, in seconds
    #[arg(long, default_value_t = 1800, value_parser = clap::value_parser!(u64).range(10..=86_400))]
    seconds: u64,
    /// How many tests run at once
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    threads: u16,
    #[command(flatten)]
    source: Source,
    /// Names of tests, or parts of them; all kernel tests if none is given
    names: Vec<String>,
}

/// What a kernel said.
struct Outcome {
    release: String,
    result: anyhow::Result<machine::Verdict>,
}

pub(crate) fn run(task: &Vm) -> anyhow::Result<()> {
    ensure!(cfg!(target_arch = "x86_64"), "only x86-64 machines are emulated");
    match task {
        Vm::List(source) => list(source),
        Vm::Test(run) => test(run),
        Vm::Systemd(run) => systemd::run(run),
    }
}

fn list(source: &Source) -> anyhow::Result<()> {
    let folder = folder()?;
    let running = running();
    for kernel in kernels::known(&folder, source)? {
        let note = if kernels::is_here(&folder, &kernel.release) { "(downloaded)" } else { "" };
        println!("{:<8} {:<32} {note}", kernel.series.to_string(), kernel.release);
    }
    println!("this machine runs {}", running.as_deref().unwrap_or("an unknown kernel"));
    Ok(())
}

fn test(run: &Run) -> anyhow::Result<()> {
    let folder = folder()?;
    machine::check()?;
    let built = built()?;
    let mut outcomes = Vec::new();
    for name in &run.kernels {
        let kernel = kernels::chosen(&folder, name, running().as_deref(), &run.source)?;
        println!("\n== Linux {} ({name})", kernel.release);
        let result = on(&folder, &kernel, &built, run);
        if let Err(error) = &result {
            println!("{} failed: {error:#}", kernel.release);
        }
        outcomes.push(Outcome { release: kernel.release, result });
    }
    report(&outcomes)
}

/// One kernel, from the download to its last word.
fn on(
    folder: &Path,
    kernel: &kernels::Kernel,
    built: &Built,
    run: &Run,
) -> anyhow::Result<machine::Verdict> {
    let files = kernels::fetch(folder, kernel, &run.source)?;
    let scratch = Scratch::new(folder)?;
    let limit = Duration::from_secs(run.seconds);
    let image = scratch.0.join("initramfs");
    image::write(&image, &files, &built.all(), &script(built, run))?;
    machine::boot(
        &files.vmlinuz,
        &machine::Files::Memory(&image),
        &scratch.0.join("console"),
        limit,
    )
}

/// What the guest runs, as root, when it is up: the preflight with the agent's capabilities alone,
/// then the tests. Its status is the tests', or else the preflight's.
fn script(built: &Built, run: &Run) -> String {
    let names =
        if run.names.is_empty() { TESTS.map(str::to_owned).to_vec() } else { run.names.clone() };
    let names = names.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(" ");
    format!(
        "echo '-- weir doctor --preflight, with the capabilities of the helper process'\n\
         setpriv --bounding-set={CAPABILITIES} --inh-caps=-all {weir} doctor --preflight\n\
         preflight=$?\n\
         echo '-- tests'\n\
         timeout -k 5 {seconds} {it} --test-threads={threads} {names}\n\
         tests=$?\n\
         echo \"preflight $preflight, tests $tests\"\n\
         [ $tests = 0 ] || exit $tests\n\
         exit $preflight\n",
        weir = quoted(&built.weir.display().to_string()),
        it = quoted(&built.it.display().to_string()),
        seconds = run.seconds,
        threads = run.threads,
    )
}

fn report(outcomes: &[Outcome]) -> anyhow::Result<()> {
    println!("\n== summary");
    let mut failures = 0;
    for Outcome { release, result } in outcomes {
        match result {
            Ok(verdict) => {
                let test::Count { passed, failed } = verdict.count;
                let word = if verdict.is_good() { "ok" } else { "FAILED" };
                let took = verdict.took.as_secs();
                println!("{release:<32} {word:<7} {passed} passed, {failed} failed, {took} s");
            }
            Err(error) => println!("{release:<32} FAILED  {error:#}"),
        }
        failures += usize::from(!result.as_ref().is_ok_and(machine::Verdict::is_good));
    }
    if failures > 0 {
        bail!("{failures} of {} kernels failed", outcomes.len());
    }
    Ok(())
}

/// What is run in the guest, where it lies here.
struct Built {
    it: PathBuf,
    weir: PathBuf,
    actor: PathBuf,
}

impl Built {
    fn all(&self) -> [&Path; 3] {
        [&self.it, &self.weir, &self.actor]
    }
}

/// Builds all of it.
fn built() -> anyhow::Result<Built> {
    // All that `cargo xtask test` builds: with fewer packages their dependencies would be others.
    let all = ["--workspace", "--exclude", "agent-ebpf"];
    shell::run(shell::cargo(&["build"]).args(all))?;
    let build = [&["test"][..], &all, &["--test", "it", "--no-run"]].concat();
    let mut cargo = shell::cargo(&build);
    let cargo = cargo.arg("--message-format=json-render-diagnostics");
    println!("$ {}", shell::told(cargo));
    let output = cargo.stderr(std::process::Stdio::inherit()).output().context("start cargo")?;
    ensure!(output.status.success(), "cargo test --no-run: {}", output.status);
    let said = String::from_utf8_lossy(&output.stdout);
    let it = said.lines().find_map(executable).context("cargo names no test binary")?;
    let profile = it.parent().and_then(Path::parent).context("a test binary lies in deps")?;
    let (weir, actor) = (profile.join("weir"), profile.join("actor"));
    Ok(Built { it, weir, actor })
}

/// The test binary, if this message of cargo's tells of it.
fn executable(message: &str) -> Option<PathBuf> {
    let message: serde_json::Value = serde_json::from_str(message).ok()?;
    let is_it = message["target"]["name"] == "it" && message["profile"]["test"] == true;
    let path = message["executable"].as_str().filter(|_| is_it)?;
    Some(path.into())
}

/// Where downloads stay and images come and go.
fn folder() -> anyhow::Result<PathBuf> {
    let folder = shell::root().join("target/vm");
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    Ok(folder)
}

fn running() -> Option<String> {
    shell::output(&mut shell::command("uname", &["-r"]))
}

/// A word as the shell reads it.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// A directory of this run's, gone with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join(format!("run-{}", std::process::id()));
        fs::create_dir_all(&path).with_context(|| format!("create {}", path.display()))?;
        sweep(folder)?;
        Ok(Self(path))
    }
}

/// Removes what killed runs have left.
fn sweep(folder: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder)?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let run = name.strip_prefix("run-").or_else(|| name.strip_prefix("kernel-"));
        if run.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Nothing depends on it: the next run has a name of its own.
        drop(fs::remove_dir_all(&self.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_test_binary_among_cargos_messages() {
        let library = r#"{"target":{"name":"tests"},"profile":{"test":false},"executable":null}"#;
        assert_eq!(executable(library), None);
        assert_eq!(executable("not json"), None);
        let it = r#"{"target":{"name":"it"},"profile":{"test":true},"executable":"/t/deps/it-1"}"#;
        assert_eq!(executable(it), Some(PathBuf::from("/t/deps/it-1")));
    }

    #[test]
    fn what_killed_runs_left_is_removed_and_what_others_need_is_not() {
        let folder = std::env::temp_dir().join(format!("weir-sweep-{}", std::process::id()));
        let ours = Scratch::new(&folder).unwrap();
        // No process has that number: it is above all that Linux gives out.
        for name in ["run-99999999", "kernel-99999999", "kernels"] {
            fs::create_dir_all(folder.join(name)).unwrap();
        }
        sweep(&folder).unwrap();
        let left = |name: &str| folder.join(name).is_dir();
        assert!(ours.0.is_dir() && left("kernels"));
        assert!(!left("run-99999999") && !left("kernel-99999999"));
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_quoted_word_stays_one() {
        assert_eq!(quoted("it's $HOME"), r"'it'\''s $HOME'");
    }
}
