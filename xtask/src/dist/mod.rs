//! Packages: `.deb`, `.rpm` and a tarball of the same files, with checksums and a list of what is in
//! the binary.
//!
//! ```text
//! build ─► tree (what is installed, as it lies on a host) ─┬─► cargo-deb           weir_V_ARCH.deb
//!                                                          ├─► cargo-generate-rpm  weir_V_ARCH.rpm
//!                                                          └─► tar                 weir_V_ARCH.tar.gz
//! Cargo.lock, cargo metadata, the dashboard's lock file ─► sbom ─► weir_V_ARCH.cdx.json
//! ```
//! The same commit, and by a guide the same profile, gives the same files, as far as the compiler
//! does: times are the commit's (`SOURCE_DATE_EPOCH`), paths of the building machine are left out
//! (not yet those in the kernel half's debug information).

mod guided;
mod inputs;
mod sbom;
mod scripts;
mod tools;
mod tree;
#[cfg(test)]
mod tests;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

use self::guided::Guide;
use self::inputs::Inputs;
use self::tree::Tree;
use crate::{setup, shell};

/// What `cargo xtask dist` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Dist {
    /// How the binary is built: `dist` takes longest and is smallest, `dev` is for trying packages
    #[arg(long, default_value = "dist", value_parser = ["dist", "release", "dev"])]
    profile: String,
    /// Have the binary laid out by what runs under load: built twice, with the benchmark in
    /// between, as root
    #[arg(long, conflicts_with_all = ["profile", "guided_by"])]
    guided: bool,
    /// The same by the profile that an earlier `--guided` left beside its packages
    #[arg(long, value_name = "FILE", conflicts_with = "profile")]
    guided_by: Option<PathBuf>,
    /// Where the packages go; by default target/dist
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Builds everything and says where it is.
pub(crate) fn run(dist: &Dist) -> anyhow::Result<()> {
    setup::run(false)?;
    tools::install(&[tools::DEB, tools::RPM])?;
    let inputs = Inputs::read()?;
    let guide = match &dist.guided_by {
        Some(file) => Some(Guide::read(file)?),
        None if dist.guided => Some(Guide::make(&inputs)?),
        None => None,
    };
    let binary = match &guide {
        Some(guide) => guide.build(&inputs)?,
        None => build(&dist.profile, &inputs)?,
    };
    let tree = Tree::lay_out(&binary, &inputs)?;

    let out = match &dist.out {
        Some(out) => std::path::absolute(out)?,
        None => inputs.target.join("dist"),
    };
    fs::create_dir_all(&out).with_context(|| out.display().to_string())?;
    let name = format!("weir_{}_{}", inputs.version, Inputs::architecture());
    let made = [".deb", ".rpm", ".tar.gz", ".cdx.json"].map(|suffix| format!("{name}{suffix}"));
    let [deb, rpm, tarball, list] = made.each_ref().map(|file| out.join(file));
    let mut made = made.to_vec();
    let quick = dist.profile == "dev";
    tools::deb(&deb, &inputs, quick)?;
    tools::rpm(&rpm, &inputs, quick)?;
    tarball_of(&tree, &tarball, &inputs)?;
    fs::write(&list, sbom::document(&inputs)?).with_context(|| list.display().to_string())?;
    if let Some(guide) = &guide {
        let kept = format!("{name}.profdata");
        fs::copy(&guide.profile, out.join(&kept)).with_context(|| kept.clone())?;
        made.push(kept);
    }
    checksums(&out, &made)?;
    for file in made.iter().map(String::as_str).chain(["SHA256SUMS"]) {
        println!("made {}", out.join(file).display());
    }
    Ok(())
}

/// Makes the `.deb` alone, of a binary that is there, and returns its path: for trying the package.
pub(crate) fn deb(binary: &Path, out: &Path) -> anyhow::Result<PathBuf> {
    tools::install(&[tools::DEB])?;
    let inputs = Inputs::read()?;
    Tree::lay_out(binary, &inputs)?;
    let file = out.join(format!("weir_{}_{}.deb", inputs.version, Inputs::architecture()));
    tools::deb(&file, &inputs, true)?;
    Ok(file)
}

fn build(profile: &str, inputs: &Inputs) -> anyhow::Result<PathBuf> {
    let arguments = ["build", "--locked", "--package", "agent", "--bin", "weir", "--profile"];
    let mut cargo = shell::cargo(&arguments);
    cargo.arg(profile);
    // Other flags than those of everyday builds would have those built anew after each package.
    if profile != "dev" {
        cargo.env("CARGO_ENCODED_RUSTFLAGS", Inputs::remapped().join("\x1f"));
    }
    shell::run(&mut cargo)?;
    let directory = if profile == "dev" { "debug" } else { profile };
    Ok(inputs.target.join(directory).join("weir"))
}

/// What the packages hold, below one directory: `tar -C / --strip-components=1 -xf …`.
fn tarball_of(tree: &Tree, file: &Path, inputs: &Inputs) -> anyhow::Result<()> {
    let mut tar = shell::command("tar", &["--create", "--sort=name", "--format=gnu"]);
    tar.args(["--owner=0", "--group=0", "--numeric-owner", "--use-compress-program=gzip -9n"]);
    tar.arg(format!("--mtime=@{}", inputs.epoch));
    tar.arg(format!("--transform=s,^\\./*,weir-{}/,", inputs.version));
    tar.arg("--file").arg(file);
    for part in tree.parts() {
        tar.arg("--directory").arg(part).arg(".");
    }
    shell::run(&mut tar)
}

/// `SHA256SUMS`, as `sha256sum --check` reads it.
fn checksums(out: &Path, made: &[String]) -> anyhow::Result<()> {
    let mut sums = shell::command("sha256sum", &["--"]);
    let sums = shell::output(sums.current_dir(out).args(made)).context("sha256sum does not run")?;
    fs::write(out.join("SHA256SUMS"), format!("{sums}\n"))?;
    Ok(())
}
