//! Installs what a fresh Debian or Ubuntu machine with Rust lacks. Says what it does, does only
//! what is missing, and needs no network when nothing is.

pub(crate) mod clients;
pub(crate) mod packages;
mod dashboard;

use anyhow::Context;

use crate::shell;

/// The linker that makes BPF objects of Rust; it must understand the LLVM of the pinned Rust.
const BPF_LINKER: &str = "0.10.3";

/// Checks everything and installs what is missing.
pub(crate) fn run(bench: bool) -> anyhow::Result<()> {
    rust_src()?;
    packages::install(bench)?;
    dashboard::prepare()?;
    bpf_linker()
}

/// The standard library's sources: `core` is compiled for the BPF target.
fn rust_src() -> anyhow::Result<()> {
    let sysroot = shell::output(&mut shell::command("rustc", &["--print", "sysroot"]))
        .context("rustc does not run: install Rust with rustup first")?;
    let sources = format!("{sysroot}/lib/rustlib/src/rust/library/core/src/lib.rs");
    if std::path::Path::new(&sources).is_file() {
        return Ok(());
    }
    shell::run(&mut shell::command("rustup", &["component", "add", "rust-src"]))
}

fn bpf_linker() -> anyhow::Result<()> {
    let installed = shell::output(&mut shell::command("bpf-linker", &["--version"]));
    if installed.as_deref() == Some(format!("bpf-linker {BPF_LINKER}").as_str()) {
        return Ok(());
    }
    println!("setup: bpf-linker {BPF_LINKER} is needed, found {installed:?}");
    let install = ["install", "bpf-linker", "--version", BPF_LINKER, "--locked", "--force"];
    shell::run(&mut shell::cargo(&install))
}
