//! The system's trust store: where a distribution takes additional roots from, and the program that
//! turns them into the bundles that applications read.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use crate::downstream::trust::installed::below;

/// How a distribution lays out its store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    /// For humans.
    pub(super) name: &'static str,
    /// Directory whose existence tells the distribution.
    directory: &'static str,
    /// Our file in it.
    file: &'static str,
    refresh: &'static [&'static str],
}

const LAYOUTS: [Layout; 5] = [
    Layout {
        name: "Red Hat",
        directory: "/etc/pki/ca-trust/source/anchors",
        file: "weir.pem",
        refresh: &["update-ca-trust", "extract"],
    },
    Layout {
        name: "Arch",
        directory: "/etc/ca-certificates/trust-source/anchors",
        file: "weir.crt",
        refresh: &["update-ca-trust"],
    },
    Layout {
        name: "SUSE",
        directory: "/etc/pki/trust/anchors",
        file: "weir.pem",
        refresh: &["update-ca-certificates"],
    },
    Layout {
        name: "SUSE",
        directory: "/usr/share/pki/trust/anchors",
        file: "weir.pem",
        refresh: &["update-ca-certificates"],
    },
    Layout {
        name: "Debian",
        directory: "/usr/local/share/ca-certificates",
        file: "weir.crt",
        refresh: &["update-ca-certificates"],
    },
];

/// Debian's package makes its anchor directory, but an administrator may have removed it empty.
const DEBIAN_CONFIG: &str = "/etc/ca-certificates.conf";

/// The layout found below `root`.
pub(super) fn detect(root: &Path) -> anyhow::Result<Layout> {
    let present = |layout: &&Layout| below(root, layout.directory).is_dir();
    if let Some(layout) = LAYOUTS.iter().find(present) {
        return Ok(*layout);
    }
    let [.., debian] = LAYOUTS;
    if below(root, DEBIAN_CONFIG).is_file() {
        return Ok(debian);
    }
    bail!("no system trust store found; install the package `ca-certificates`")
}

/// Where our root would be, whatever the distribution.
pub(crate) fn anchors(root: &Path) -> Vec<PathBuf> {
    LAYOUTS.iter().map(|layout| layout.anchor(root)).collect()
}

impl Layout {
    /// Where our root goes.
    pub(super) fn anchor(&self, root: &Path) -> PathBuf {
        below(root, self.directory).join(self.file)
    }

    /// The command that takes up a new anchor, as words.
    pub(super) fn refresh_command(&self, root: &Path) -> Vec<String> {
        let words = self.refresh.iter().map(|word| (*word).to_owned());
        if root == Path::new("/") {
            words.collect()
        } else if self.is_debian() {
            // Debian's program can work elsewhere without being installed there.
            let at = |path| below(root, path).display().to_string();
            let options = [
                ("--certsconf", DEBIAN_CONFIG),
                ("--certsdir", "/usr/share/ca-certificates"),
                ("--localcertsdir", "/usr/local/share/ca-certificates"),
                ("--etccertsdir", "/etc/ssl/certs"),
                ("--hooksdir", "/etc/ca-certificates/update.d"),
            ];
            let options = options.iter().flat_map(|(name, path)| [(*name).to_owned(), at(path)]);
            words.chain(options).collect()
        } else {
            ["chroot".to_owned(), root.display().to_string()].into_iter().chain(words).collect()
        }
    }

    /// Takes up a new anchor.
    pub(super) fn refresh(&self, root: &Path) -> anyhow::Result<()> {
        execute(&self.refresh_command(root))
    }

    /// Takes up that our anchor is gone or another one. `scratch` is a directory for a file that
    /// does not stay.
    pub(super) fn forget(&self, root: &Path, scratch: &Path) -> anyhow::Result<()> {
        let mut words = self.refresh_command(root);
        if !self.is_debian() {
            return execute(&words);
        }
        // Debian's program notices a removal, clears the links to it and tells its hooks (Java's
        // store is one) only where its configuration disables the certificate by name. The
        // alternative, `--fresh`, leaves the host without any roots while it runs.
        let config = fs::read_to_string(below(root, DEBIAN_CONFIG)).unwrap_or_default();
        let disabling = scratch.join(".ca-certificates.conf");
        // The directory may be another user's, who could have put a link there.
        let write = || {
            if disabling.symlink_metadata().is_ok() {
                fs::remove_file(&disabling)?;
            }
            let mut file = OpenOptions::new().write(true).create_new(true).open(&disabling)?;
            file.write_all(format!("{config}\n!{}\n", self.file).as_bytes())
        };
        write().with_context(|| disabling.display().to_string())?;
        // The last one given counts.
        words.extend(["--certsconf".to_owned(), disabling.display().to_string()]);
        let done = execute(&words);
        fs::remove_file(&disabling)?;
        done
    }

    fn is_debian(&self) -> bool {
        self.name == "Debian"
    }
}

fn execute(words: &[String]) -> anyhow::Result<()> {
    // The directories of system programs are not on everyone's path, and nobody else's belong on
    // root's.
    let output = Command::new(&words[0])
        .args(&words[1..])
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .output()
        .with_context(|| format!("running {}", words[0]))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{}: {}: {}", words.join(" "), output.status, said.trim());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(directories: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for directory in directories {
            fs::create_dir_all(below(dir.path(), directory)).unwrap();
        }
        dir
    }

    #[test]
    fn each_distribution_is_known_by_its_directory() {
        for (directory, name, anchor) in [
            ("/etc/pki/ca-trust/source/anchors", "Red Hat", "weir.pem"),
            ("/etc/ca-certificates/trust-source/anchors", "Arch", "weir.crt"),
            ("/etc/pki/trust/anchors", "SUSE", "weir.pem"),
            ("/usr/share/pki/trust/anchors", "SUSE", "weir.pem"),
            ("/usr/local/share/ca-certificates", "Debian", "weir.crt"),
        ] {
            let dir = host(&[directory]);
            let layout = detect(dir.path()).unwrap();
            assert_eq!(layout.name, name);
            assert_eq!(layout.anchor(dir.path()), below(dir.path(), directory).join(anchor));
        }
        assert!(detect(host(&["/etc"]).path()).is_err());
    }

    #[test]
    fn debian_is_known_by_its_configuration_too() {
        let dir = host(&["/etc"]);
        fs::write(below(dir.path(), DEBIAN_CONFIG), "").unwrap();
        assert_eq!(detect(dir.path()).unwrap().name, "Debian");
    }

    #[test]
    fn another_root_is_refreshed_from_outside_or_inside() {
        let debian = detect(host(&["/usr/local/share/ca-certificates"]).path()).unwrap();
        assert_eq!(debian.refresh_command(Path::new("/")), ["update-ca-certificates"]);
        let there = debian.refresh_command(Path::new("/mnt")).join(" ");
        assert!(there.contains("--etccertsdir /mnt/etc/ssl/certs"), "{there}");
        let fedora = detect(host(&["/etc/pki/ca-trust/source/anchors"]).path()).unwrap();
        let there = fedora.refresh_command(Path::new("/mnt"));
        assert_eq!(there, ["chroot", "/mnt", "update-ca-trust", "extract"]);
    }
}
