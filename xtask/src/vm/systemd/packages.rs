//! The package, and the same as a later version of it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

use crate::shell;

/// Sorts after every version of ours.
const LATER: &str = "+later1";

/// The package, and a later one that is made of it below `scratch`.
pub(super) fn with_later(package: PathBuf, scratch: &Path) -> anyhow::Result<[PathBuf; 2]> {
    let later = scratch.join("weir-later.deb");
    relabel(&package, &scratch.join("later"), &later)?;
    Ok([package, later])
}

/// The same files under a later version.
fn relabel(package: &Path, work: &Path, to: &Path) -> anyhow::Result<()> {
    let mut unpack = shell::command("dpkg-deb", &["--raw-extract"]);
    shell::run(unpack.arg(package).arg(work))?;
    let control = work.join("DEBIAN/control");
    let told = fs::read_to_string(&control).context("read the package's control file")?;
    let lines = told.lines().map(|line| match line.strip_prefix("Version:") {
        Some(version) => format!("Version: {}{LATER}\n", version.trim()),
        None => format!("{line}\n"),
    });
    fs::write(&control, lines.collect::<String>())?;
    // Compressing is all the time it takes.
    let mut pack = shell::command("dpkg-deb", &["--root-owner-group", "-Znone", "--build"]);
    shell::run(pack.arg(work).arg(to))?;
    ensure!(to.is_file(), "dpkg-deb wrote nothing");
    Ok(fs::remove_dir_all(work)?)
}
