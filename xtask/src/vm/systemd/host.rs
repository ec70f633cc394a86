//! A host in namespaces: systemd as the first process, on this kernel, with a network and a cgroup of
//! its own. It takes a second to start, so it is what every run of the tests can afford; what it does
//! not have is a kernel of its own, and the resource controllers of cgroup v2 where this machine gives
//! them to the first version.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};

use super::super::machine::{self, Running, Verdict};
use crate::shell;

const HOST: &str = include_str!("host.sh");
/// Enters the cgroup before it is made the top of a namespace.
const ENTER: &str =
    "exec >\"$1\" 2>&1; echo $$ >\"$2/cgroup.procs\" || exit 1; shift 2; exec \"$@\"";
const NAMESPACES: [&str; 9] = [
    "unshare",
    "--mount",
    "--uts",
    "--ipc",
    "--pid",
    "--net",
    "--cgroup",
    "--fork",
    "--kill-child",
];

/// Starts a host of these layers, the uppermost first, prints what it says and returns how it ended.
pub(super) fn boot(layers: &[&Path], scratch: &Path, limit: Duration) -> anyhow::Result<Verdict> {
    let script = scratch.join("host.sh");
    fs::write(&script, HOST)?;
    let work = scratch.join("work");
    fs::create_dir_all(&work)?;
    let console = scratch.join("console");
    shell::run(shell::command("mkfifo", &["--mode=600"]).arg(&console))?;
    let cgroup = Cgroup::create()?;
    // However this process ends, the host ends with it.
    let mut host = shell::command("setpriv", &["--pdeathsig", "KILL", "sh", "-c", ENTER, "sh"]);
    host.arg(&console).arg(&cgroup.0).args(NAMESPACES).arg("sh").arg(&script);
    host.arg(joined(layers)?).arg(&work).arg(&console).stdin(Stdio::null());
    let host = Running::start(&mut host)?;
    // Waits for the other end.
    let output = File::open(&console)?;
    let verdict = machine::listen(&machine::lines(output), limit);
    drop(host);
    verdict
}

/// As overlayfs wants its layers.
pub(super) fn joined(layers: &[&Path]) -> anyhow::Result<OsString> {
    let mut joined = OsString::new();
    for layer in layers {
        let told = layer.to_str().context("a path that is Unicode")?;
        ensure!(!told.contains([':', ',', '\\']), "overlayfs cannot be told of {told}");
        if !joined.is_empty() {
            joined.push(":");
        }
        joined.push(layer);
    }
    Ok(joined)
}

/// What all processes of a host are in; empty and gone once they are.
struct Cgroup(PathBuf);

impl Cgroup {
    fn create() -> anyhow::Result<Self> {
        let mounts = fs::read_to_string("/proc/self/mounts")?;
        let mut fields = mounts.lines().map(|line| line.split(' '));
        let mount = fields.find_map(|mut field| {
            let place = field.nth(1)?;
            (field.next()? == "cgroup2").then_some(place)
        });
        let mount = Path::new(mount.context("no cgroup v2 hierarchy is mounted")?);
        let path = mount.join(format!("weir-host-{}", std::process::id()));
        fs::create_dir(&path).with_context(|| format!("create {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // The kernel takes a moment to end them all.
        for _ in 0..100 {
            if remove(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        println!("vm: {} is still in use", self.0.display());
    }
}

/// Removes a cgroup and those below it.
fn remove(cgroup: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(cgroup)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove(&entry.path())?;
        }
    }
    fs::remove_dir(cgroup)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_told_uppermost_first_and_only_where_they_can_be() {
        let told = joined(&[Path::new("/a/seed"), Path::new("/b/tree")]).unwrap();
        assert_eq!(told, "/a/seed:/b/tree");
        assert!(joined(&[Path::new("/a:b")]).is_err());
    }
}
