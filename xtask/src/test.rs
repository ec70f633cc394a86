//! The whole check: what a change must pass, locally and in CI.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::{setup, shell, tidy, vm};

/// Sums of cargo's own result lines.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
}

/// Runs every step, also after one has failed, and fails if any did.
pub(crate) fn run() -> anyhow::Result<()> {
    let mut report = Report::default();
    let mut count = Count::default();
    report.step("setup", || {
        setup::run(false)?;
        setup::clients::prepare()
    });
    report.step("fmt", || shell::run(&mut shell::cargo(&["fmt", "--all", "--check"])));
    report.step("tidy", tidy::run);
    report.step("clippy", || {
        let clippy = ["clippy", "--workspace", "--exclude", "agent-ebpf", "--all-targets"];
        shell::run(shell::cargo(&clippy).args(["--", "-D", "warnings"]))
    });
    report.step("clippy (kernel half)", kernel_half);
    // The system tests run the binary, which `cargo test` alone does not build.
    report.step("build", || {
        shell::run(&mut shell::cargo(&["build", "--workspace", "--exclude", "agent-ebpf"]))
    });
    report.step("test", || tests(&mut count));
    report.step("systemd", || {
        let Count { passed, failed } = vm::systemd::check()?;
        count.passed += passed;
        count.failed += failed;
        Ok(())
    });
    report.print();
    // In this form the closing line is read by whoever counts tests.
    println!("{} passed, {} failed", count.passed, count.failed);
    match report.failures() {
        0 => Ok(()),
        failures => bail!("{failures} of the steps failed"),
    }
}

/// Lints the kernel half for its own target: stable Rust builds `core` for it when told that
/// unstable flags are meant.
fn kernel_half() -> anyhow::Result<()> {
    let clippy = ["clippy", "--package", "agent-ebpf", "--target", "bpfel-unknown-none"];
    let mut cargo = shell::cargo(&clippy);
    cargo.args(["-Zbuild-std=core", "--target-dir", "target/bpf-lint", "--", "-D", "warnings"]);
    shell::run(cargo.env("RUSTC_BOOTSTRAP", "1"))
}

fn tests(count: &mut Count) -> anyhow::Result<()> {
    let arguments = ["test", "--workspace", "--exclude", "agent-ebpf", "--no-fail-fast"];
    let mut cargo = shell::cargo(&arguments);
    if shell::is_root() && !is_told_otherwise() {
        // As root nothing has an excuse: what would be skipped elsewhere fails.
        cargo.env("WEIR_REQUIRE_KERNEL", "1");
    }
    println!("$ {}", shell::told(&cargo));
    let mut child = cargo.stdout(Stdio::piped()).spawn().context("start cargo")?;
    let output = child.stdout.take().context("the output is piped")?;
    for line in BufReader::new(output).lines() {
        let line = line?;
        println!("{line}");
        if let Some(Count { passed, failed }) = counted(&line) {
            count.passed += passed;
            count.failed += failed;
        }
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("cargo test: {status}");
    }
    if count.passed == 0 {
        bail!("no test ran");
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "a task is steered by its caller's environment")]
fn is_told_otherwise() -> bool {
    std::env::var_os("WEIR_REQUIRE_KERNEL").is_some()
}

/// `test result: ok. 12 passed; 0 failed; …`
pub(crate) fn counted(line: &str) -> Option<Count> {
    let numbers = line.strip_prefix("test result: ")?;
    let number = |word: &str| {
        let before = numbers.split(word).next()?;
        before.trim_end().rsplit([' ', ';']).next()?.parse().ok()
    };
    Some(Count { passed: number("passed")?, failed: number("failed")? })
}

#[derive(Default)]
struct Report(Vec<(&'static str, anyhow::Result<()>, Duration)>);

impl Report {
    #[expect(clippy::disallowed_methods, reason = "times its own steps, nothing is decided by it")]
    fn step(&mut self, name: &'static str, work: impl FnOnce() -> anyhow::Result<()>) {
        println!("\n== {name}");
        let start = Instant::now();
        let result = work();
        if let Err(error) = &result {
            println!("{name} failed: {error:#}");
        }
        self.0.push((name, result, start.elapsed()));
    }

    fn failures(&self) -> usize {
        self.0.iter().filter(|(_, result, _)| result.is_err()).count()
    }

    fn print(&self) {
        println!("\n== summary");
        for (name, result, took) in &self.0 {
            let word = if result.is_ok() { "ok" } else { "FAILED" };
            println!("{name:<22} {word:<7} {:6.1} s", took.as_secs_f64());
            if let Err(error) = result {
                println!("    {error:#}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_cargos_result_lines() {
        let line = "test result: FAILED. 9 passed; 1 failed; 0 ignored; 0 measured; 3 filtered out";
        assert_eq!(counted(line), Some(Count { passed: 9, failed: 1 }));
        assert_eq!(counted("running 10 tests"), None);
    }
}
