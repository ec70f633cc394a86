//! The trust stores of a host, and what installing into each takes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::ValueEnum;

use super::file::Write;
use super::{environment, java, nss, system};
use crate::downstream::ca::Root;

/// A kind of trust store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(super) enum Store {
    /// The host's own, which most programs read
    System,
    /// Key stores of JDKs that do not follow the system's
    Java,
    /// Browsers: policies, and users' NSS databases
    Nss,
    /// Variables for programs with roots of their own: Node, certifi, gRPC
    Env,
}

/// The host that is changed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Host<'a> {
    /// Its root directory: `/`, but for images and tests.
    pub(super) root: &'a Path,
    /// Where programs that work on stores are looked for.
    pub(super) tools: &'a [PathBuf],
    /// Where work in progress may lie; does not stay.
    pub(super) scratch: &'a Path,
}

/// What installing into one store will do.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// What is changed, in this order.
    pub(super) targets: Vec<Target>,
    /// What is left out, and why.
    pub(super) skipped: Vec<String>,
    /// What the user should do next.
    pub(super) next: Vec<String>,
}

/// One thing to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    /// The file, or the directory of a database.
    pub(super) path: PathBuf,
    /// How its new content comes about.
    pub(super) make: Make,
}

/// How a file's new content comes about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Make {
    /// The CA in PEM.
    Pem,
    /// This text.
    Text(String),
    /// A browser's policy that names the CA.
    Policy,
    /// The key store with one more entry, by this `keytool`.
    KeyStore(PathBuf),
    /// The database with one more certificate, by this `certutil`, in its owner's name.
    Database(PathBuf, (u32, u32)),
}

impl Store {
    /// Its name in options and the ledger.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Java => "java",
            Self::Nss => "nss",
            Self::Env => "env",
        }
    }

    /// The store of that name.
    pub(super) fn named(name: &str) -> Option<Self> {
        [Self::System, Self::Java, Self::Nss, Self::Env].into_iter().find(|it| it.name() == name)
    }

    /// What installing into it takes.
    pub(super) fn plan(self, host: Host<'_>) -> anyhow::Result<Plan> {
        Ok(match self {
            Self::System => {
                let anchor = system::detect(host.root)?.anchor(host.root);
                let targets = vec![Target { path: anchor, make: Make::Pem }];
                Plan { targets, ..Plan::default() }
            }
            Self::Java => java::plan(host),
            Self::Nss => nss::plan(host),
            Self::Env => environment::plan(host.root)?,
        })
    }
}

impl Target {
    /// The files to write, with their content. Nothing of the host is changed yet.
    pub(super) fn writes(
        &self,
        host: Host<'_>,
        ca: &Root,
        pem: &str,
    ) -> anyhow::Result<Vec<Write>> {
        let plain = |content: Vec<u8>| {
            vec![Write { path: self.path.clone(), content: Some(content), owner: None }]
        };
        Ok(match &self.make {
            Make::Pem => plain(pem.as_bytes().to_vec()),
            Make::Text(text) => plain(text.as_bytes().to_vec()),
            Make::Policy => plain(nss::policy(ca).into_bytes()),
            Make::KeyStore(keytool) => {
                let content = java::with(&self.path, keytool, pem, host.scratch)
                    .with_context(|| self.path.display().to_string())?;
                plain(content)
            }
            Make::Database(certutil, owner) => {
                nss::with(&self.path, (certutil, *owner), pem, host.scratch)
                    .with_context(|| self.path.display().to_string())?
            }
        })
    }
}

/// The directories where a system keeps its programs. Root runs nobody else's.
pub(super) fn system_tools() -> Vec<PathBuf> {
    ["/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(PathBuf::from).to_vec()
}

/// A program in one of `directories`.
pub(super) fn find(directories: &[PathBuf], program: &str) -> Option<PathBuf> {
    directories.iter().map(|directory| directory.join(program)).find(|path| path.is_file())
}

/// The lines of `current` that are not among `ours`; `None` where none is.
pub(super) fn without_lines(current: &str, ours: &str) -> Option<String> {
    if let Some((before, after)) = current.split_once(ours).filter(|_| !ours.is_empty()) {
        return Some(format!("{before}{after}"));
    }
    let mut left: BTreeMap<&str, usize> = BTreeMap::new();
    for line in ours.lines().filter(|line| !line.trim().is_empty()) {
        *left.entry(line).or_default() += 1;
    }
    let mut rest = String::new();
    let mut found = false;
    for line in current.split_inclusive('\n') {
        match left.get_mut(line.trim_end_matches('\n')) {
            Some(count @ 1..) => {
                *count -= 1;
                found = true;
            }
            _ => rest.push_str(line),
        }
    }
    found.then_some(rest)
}

/// A directory that does not stay.
#[derive(Debug)]
pub(super) struct Scratch(PathBuf);

impl Scratch {
    /// Makes one below `parent`, for `owner` alone.
    pub(super) fn make(parent: &Path, owner: Option<(u32, u32)>) -> anyhow::Result<Self> {
        use std::os::unix::fs::{DirBuilderExt, chown};
        let path = parent.join(format!(".trust-work-{}", std::process::id()));
        if path.exists() {
            fs::remove_dir_all(&path)?;
        }
        let mut builder = fs::DirBuilder::new();
        builder.mode(0o700).create(&path).with_context(|| path.display().to_string())?;
        let made = Self(path);
        if let Some((uid, gid)) = owner {
            chown(&made.0, Some(uid), Some(gid))?;
        }
        Ok(made)
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left of it is a copy.
        let _best_effort = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_lines_go() {
        let ours = "# weir\nA=1\nB=2\n";
        assert_eq!(without_lines("# weir\nA=1\nB=2\nC=3\n", ours).unwrap(), "C=3\n");
        assert_eq!(without_lines("X=0\n# weir\nA=1\nB=9\n", ours).unwrap(), "X=0\nB=9\n");
        assert_eq!(without_lines("theirs\n", ours), None);
        assert_eq!(without_lines("A=1\nA=1\n", "A=1\nB=2\n").unwrap(), "A=1\n");
    }

    #[test]
    fn stores_are_known_by_their_names() {
        for store in Store::value_variants() {
            assert_eq!(Store::named(store.name()), Some(*store));
        }
        assert_eq!(Store::named("keychain"), None);
    }
}
