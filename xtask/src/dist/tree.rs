//! What is installed, laid out as it lies on a host: `target/package/all` for everybody, beside it what
//! Debian or the others have elsewhere. The packages' metadata in `agent/Cargo.toml` names these
//! directories.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::inputs::Inputs;
use crate::shell;

/// Where a file of the repository goes: from, to. What ends in `/` is a directory, whose files go.
const FILES: [(&str, &str); 11] = [
    ("agent/packaging/systemd/weir.service", "usr/lib/systemd/system/weir.service"),
    ("agent/packaging/sysusers/weir.conf", "usr/lib/sysusers.d/weir.conf"),
    ("agent/packaging/tmpfiles/weir.conf", "usr/lib/tmpfiles.d/weir.conf"),
    ("agent/packaging/config/weir.yaml", "etc/weir/weir.yaml"),
    ("agent/packaging/examples/", "usr/share/doc/weir/examples/"),
    ("agent/packaging/drop-ins/", "usr/share/doc/weir/drop-ins/"),
    ("agent/packaging/share/", "usr/share/weir/"),
    ("agent/packaging/grafana/", "usr/share/weir/grafana/"),
    ("agent/packaging/prometheus/", "usr/share/weir/prometheus/"),
    ("agent/docs/", "usr/share/doc/weir/"),
    ("README.md", "usr/share/doc/weir/README.md"),
];

/// Where everybody but Debian has it.
const RPM_FILES: [(&str, &str); 2] = [
    ("agent/packaging/preset/50-weir.preset", "usr/lib/systemd/system-preset/50-weir.preset"),
    ("LICENSE", "usr/share/licenses/weir/LICENSE"),
];

const BASH: &str = "usr/share/bash-completion/completions/weir";
const FISH: &str = "usr/share/fish/vendor_completions.d/weir.fish";
const ZSH: &str = "usr/share/zsh/site-functions/_weir";
const DEBIAN_ZSH: &str = "usr/share/zsh/vendor-completions/_weir";

/// The directories that were laid out.
pub(super) struct Tree {
    all: PathBuf,
    deb: PathBuf,
    rpm: PathBuf,
}

impl Tree {
    /// Lays everything out anew.
    pub(super) fn lay_out(binary: &Path, inputs: &Inputs) -> anyhow::Result<Self> {
        let base = inputs.target.join("package");
        match fs::remove_dir_all(&base) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).with_context(|| base.display().to_string());
            }
            _ => {}
        }
        let tree = Self { all: base.join("all"), deb: base.join("deb"), rpm: base.join("rpm") };
        let weir = tree.all.join("usr/bin/weir");
        put(binary, &weir, 0o755)?;
        shell::run(shell::command("strip", &["--strip-all"]).arg(&weir))?;
        for (from, to) in FILES {
            copy(from, &tree.all.join(to))?;
        }
        for (from, to) in RPM_FILES {
            copy(from, &tree.rpm.join(to))?;
        }
        tree.pages(&weir)?;
        tree.completions(&weir)?;
        write(&tree.deb.join("changelog"), &changelog(inputs)?)?;
        Ok(tree)
    }

    /// What a tarball is made of.
    pub(super) fn parts(&self) -> [&Path; 2] {
        [&self.all, &self.rpm]
    }

    /// The manual, compressed as every distribution wants it.
    fn pages(&self, weir: &Path) -> anyhow::Result<()> {
        let manual = self.all.join("usr/share/man");
        shell::run(shell::command(weir, &["man"]).arg(&manual))?;
        let gzip = ["--best", "--no-name", "--recursive"];
        shell::run(shell::command("gzip", &gzip).arg(&manual))?;
        Ok(())
    }

    fn completions(&self, weir: &Path) -> anyhow::Result<()> {
        for (shell, places) in [
            ("bash", &[self.all.join(BASH)][..]),
            ("fish", &[self.all.join(FISH)]),
            ("zsh", &[self.rpm.join(ZSH), self.deb.join(DEBIAN_ZSH)]),
        ] {
            let script = shell::output(&mut shell::command(weir, &["completions", shell]));
            let script = script.with_context(|| format!("weir completions {shell} fails"))?;
            for place in places {
                write(place, &format!("{script}\n"))?;
            }
        }
        Ok(())
    }
}

/// Debian's form of it; what has changed is told by the repository's history.
fn changelog(inputs: &Inputs) -> anyhow::Result<String> {
    let (version, date) = (&inputs.version, inputs.date(&["--rfc-email"])?);
    Ok(format!(
        "weir ({version}-1) stable; urgency=medium\n\n  * Release {version}.\n\n \
         -- Weir maintainers <weir-agent@users.noreply.github.com>  {date}\n"
    ))
}

/// Of directories, the files that are there: which there are is the repository's matter.
fn copy(from: &str, to: &Path) -> anyhow::Result<()> {
    let source = shell::root().join(from);
    if !from.ends_with('/') {
        return put(&source, to, 0o644);
    }
    if !source.is_dir() {
        return Ok(());
    }
    for file in files(&source)? {
        put(&file, &to.join(file.file_name().unwrap_or_default()), 0o644)?;
    }
    Ok(())
}

fn files(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(directory).with_context(|| directory.display().to_string())?;
    let mut files: Vec<PathBuf> =
        entries.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    files.retain(|path| path.is_file());
    files.sort();
    Ok(files)
}

fn put(from: &Path, to: &Path, mode: u32) -> anyhow::Result<()> {
    let told = || format!("{} to {}", from.display(), to.display());
    fs::create_dir_all(to.parent().unwrap_or(to)).with_context(told)?;
    fs::copy(from, to).with_context(told)?;
    fs::set_permissions(to, fs::Permissions::from_mode(mode)).with_context(told)
}

fn write(path: &Path, content: &str) -> anyhow::Result<()> {
    let told = || path.display().to_string();
    fs::create_dir_all(path.parent().unwrap_or(path)).with_context(told)?;
    fs::write(path, content).with_context(told)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).with_context(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_of_a_directory_goes_with_it() {
        for (from, _) in FILES.iter().chain(&RPM_FILES) {
            let source = shell::root().join(from);
            if !from.ends_with('/') {
                assert!(source.is_file(), "{from}");
                continue;
            }
            let all = fs::read_dir(&source).unwrap().count();
            // What lies deeper would be left behind.
            assert_eq!(files(&source).unwrap().len(), all, "{from}");
            assert!(all > 0, "{from}");
        }
    }

    #[test]
    fn rules_and_dashboards_are_below_share() {
        let place = |from: &str| FILES.iter().find(|(it, _)| *it == from).map(|(_, to)| *to);
        for (from, to, file) in [
            ("agent/packaging/prometheus/", "usr/share/weir/prometheus/", "weir.rules.yml"),
            ("agent/packaging/grafana/", "usr/share/weir/grafana/", "weir-fleet.json"),
        ] {
            assert_eq!(place(from), Some(to));
            let base = std::env::temp_dir().join(format!("weir-tree-{}", std::process::id()));
            let target = base.join(to);
            copy(from, &target).unwrap();
            let copied = fs::read(target.join(file)).unwrap();
            assert_eq!(copied, fs::read(shell::root().join(from).join(file)).unwrap());
            fs::remove_dir_all(&base).unwrap();
        }
    }
}
