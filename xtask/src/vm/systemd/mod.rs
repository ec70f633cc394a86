//! What happens to the package on a host with a real systemd, from its installation to its removal:
//! in namespaces, which takes seconds and is part of every run of the tests, and on Debian's own
//! kernels in virtual machines, which is what a release has to pass.
//!
//! Both start the same files and run the same program there (`tests/systemd`).

mod tree;
mod seed;
mod host;
mod disk;
mod packages;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::Args;

use super::machine::{self, Files, Verdict};
use super::{Outcome, Scratch, Source, folder, kernels, report, running};
use crate::{dist, shell, test};

/// As much as is asked of a host: an emulated machine does a tenth of it.
const LOAD: (u32, u32) = (200, 10);
const EMULATED: (u32, u32) = (20, 2);
/// Longest run in namespaces.
const LIMIT: Duration = Duration::from_mins(10);

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// A series as `vm list` shows it, or host-like: the one nearest to this machine's kernel
    #[arg(long = "kernel", default_value = "6.1", value_delimiter = ',')]
    kernels: Vec<String>,
    /// In namespaces on this machine's kernel instead
    #[arg(long, conflicts_with = "kernels")]
    here: bool,
    /// A kernel may take this long, in seconds
    #[arg(long, default_value_t = 3600, value_parser = clap::value_parser!(u64).range(10..=86_400))]
    seconds: u64,
    /// The package; otherwise it is built
    #[arg(long, value_name = "DEB")]
    package: Option<PathBuf>,
    #[command(flatten)]
    source: Source,
}

/// The task.
pub(super) fn run(run: &Run) -> anyhow::Result<()> {
    if run.here {
        let verdict = here(run.package.as_deref(), run.source.mirror.as_deref())?;
        return report(&[Outcome { release: "this kernel".to_owned(), result: Ok(verdict) }]);
    }
    machine::check()?;
    let folder = folder()?;
    let scratch = Scratch::new(&folder)?;
    let mirror = run.source.mirror.as_deref();
    let made = Made::new(&folder, &scratch.0, run.package.as_deref(), mirror)?;
    let mut outcomes = Vec::new();
    for name in &run.kernels {
        let kernel = kernels::chosen(&folder, name, running().as_deref(), &run.source)?;
        println!("\n== Linux {} ({name})", kernel.release);
        let result = on(&folder, &kernel, &made, run);
        outcomes.push(Outcome { release: kernel.release, result });
    }
    report(&outcomes)
}

/// In namespaces, for `cargo xtask test`.
pub(crate) fn check() -> anyhow::Result<test::Count> {
    if !shell::is_root() {
        println!("skipped: needs root for namespaces and cgroups");
        return Ok(test::Count::default());
    }
    let verdict = here(None, None)?;
    anyhow::ensure!(verdict.is_good(), "see above");
    Ok(verdict.count)
}

fn here(package: Option<&Path>, mirror: Option<&str>) -> anyhow::Result<Verdict> {
    let folder = folder()?;
    let scratch = Scratch::new(&folder)?;
    let made = Made::new(&folder, &scratch.0, package, mirror)?;
    let seed = made.seed(&scratch.0, &[], LOAD)?;
    host::boot(&[&seed, &made.tree], &scratch.0, LIMIT)
}

/// One kernel, from the download to its last word.
fn on(folder: &Path, kernel: &kernels::Kernel, made: &Made, run: &Run) -> anyhow::Result<Verdict> {
    let files = kernels::fetch(folder, kernel, &run.source)?;
    let scratch = folder.join(format!("run-{}", std::process::id())).join(&kernel.release);
    std::fs::create_dir_all(&scratch)?;
    let seed = made.seed(&scratch, &files.modules, EMULATED)?;
    let image = scratch.join("disk");
    disk::write(&image, &[&seed, &made.tree], &scratch)?;
    let limit = Duration::from_secs(run.seconds);
    let verdict =
        machine::boot(&files.vmlinuz, &Files::Disk(&image), &scratch.join("console"), limit);
    // Some hundred megabytes.
    std::fs::remove_dir_all(&scratch)?;
    verdict
}

/// What all runs share.
struct Made {
    tree: PathBuf,
    scenario: PathBuf,
    packages: [PathBuf; 2],
}

impl Made {
    fn new(
        folder: &Path,
        scratch: &Path,
        package: Option<&Path>,
        mirror: Option<&str>,
    ) -> anyhow::Result<Self> {
        // All that `cargo xtask test` builds: with fewer packages their dependencies would be others.
        let build = ["build", "--workspace", "--exclude", "agent-ebpf"];
        shell::run(&mut shell::cargo(&build))?;
        let profile = shell::root().join("target/debug");
        let pack = || dist::deb(&profile.join("weir"), scratch);
        let package = package.map_or_else(pack, |named| Ok(std::path::absolute(named)?))?;
        let packages = packages::with_later(package, scratch)?;
        let tree = tree::made(folder, mirror)?;
        Ok(Self { tree, scenario: profile.join("scenario"), packages })
    }

    fn seed(
        &self,
        scratch: &Path,
        modules: &[PathBuf],
        load: (u32, u32),
    ) -> anyhow::Result<PathBuf> {
        let root = scratch.join("seed");
        let payload =
            seed::Payload { scenario: &self.scenario, packages: &self.packages, modules, load };
        seed::lay(&root, &payload).context("lay out the host's files")?;
        Ok(root)
    }
}
