//! Builds the kernel half for the BPF target and leaves its objects in `OUT_DIR`, where
//! `capture::object` embeds them: `weir-ebpf` without logging, `weir-ebpf-log` with. Beside them it
//! leaves the list of the dashboard's files, which `admin::dashboard` embeds.
#![expect(clippy::disallowed_methods, reason = "cargo's parameters are environment variables")]

#[path = "dashboard/embed.rs"]
mod embed;

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

/// What an outer cargo sets for its own build, wrong for a build for another target: clippy's and
/// coverage's wrappers, flags for the host, the jobserver, a target directory that is locked.
const NOT_FOR_BPF: [&str; 11] = [
    "RUSTC",
    "RUSTC_WRAPPER",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTDOC",
    "RUSTFLAGS",
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
    "CARGO_BUILD_TARGET_DIR",
    "CARGO_TARGET_DIR",
    "CARGO_MAKEFLAGS",
    "MAKEFLAGS",
];

fn main() -> Result<()> {
    let workspace = PathBuf::from(var("CARGO_MANIFEST_DIR")?).join("..");
    for part in [
        "agent-ebpf/src",
        "agent-ebpf/Cargo.toml",
        "agent-common/src",
        "agent-common/Cargo.toml",
        "Cargo.toml",
        "Cargo.lock",
    ] {
        println!("cargo:rerun-if-changed={}", workspace.join(part).display());
    }
    println!("cargo:rerun-if-changed=build.rs");

    check_tools()?;
    let out = PathBuf::from(var("OUT_DIR")?);
    embed::list(&workspace, &out)?;
    build(&workspace, &out, "weir-ebpf", &[])?;
    build(&workspace, &out, "weir-ebpf-log", &["--features", "log"])
}

/// Says what is missing before cargo does so in its own, longer words.
fn check_tools() -> Result<()> {
    let linker = Command::new("bpf-linker").arg("--version").stdout(Stdio::null()).status();
    ensure!(
        linker.is_ok_and(|status| status.success()),
        "bpf-linker, which links the kernel half, is missing: run `cargo xtask setup`"
    );
    let sysroot = Command::new(var("RUSTC")?).args(["--print", "sysroot"]).output()?;
    let sysroot = PathBuf::from(String::from_utf8(sysroot.stdout)?.trim());
    ensure!(
        sysroot.join("lib/rustlib/src/rust/library/core").is_dir(),
        "rust-src, from which `core` is built for the BPF target, is missing: run `cargo xtask setup`"
    );
    Ok(())
}

fn build(workspace: &Path, out: &Path, name: &str, features: &[&str]) -> Result<()> {
    let endian = match var("CARGO_CFG_TARGET_ENDIAN")?.to_str() {
        Some("big") => "bpfeb",
        _ => "bpfel",
    };
    let target = format!("{endian}-unknown-none");
    let target_dir = out.join("bpf");
    let arch = var("CARGO_CFG_TARGET_ARCH")?.to_string_lossy().into_owned();
    let flags = [&format!("--cfg=bpf_target_arch=\"{arch}\""), "-Cdebuginfo=2", "-Clink-arg=--btf"];

    let mut cargo = Command::new(var("CARGO")?);
    for name in NOT_FOR_BPF {
        cargo.env_remove(name);
    }
    let output = cargo
        .current_dir(workspace)
        .args(["build", "--quiet", "--package", "agent-ebpf", "--release", "-Zbuild-std=core"])
        .args(["--target", &target])
        .args(features)
        .arg("--target-dir")
        .arg(&target_dir)
        // `-Zbuild-std` is the one unstable thing we need: the pinned stable compiler has it.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        .stdin(Stdio::null())
        .output()
        .context("cargo could not be run for the BPF target")?;
    if !output.status.success() {
        bail!("the kernel half does not build:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    let object = target_dir.join(&target).join("release/weir-ebpf");
    fs::copy(&object, out.join(name)).with_context(|| format!("no {}", object.display()))?;
    Ok(())
}

fn var(name: &str) -> Result<OsString> {
    env::var_os(name).with_context(|| format!("{name} is not set: not run by cargo"))
}
