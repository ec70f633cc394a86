//! Debian's package index, asked through apt with a state of its own: what this machine's apt knows
//! and has installed stays as it is.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail, ensure};

use crate::shell;

/// Where kernels are looked for, oldest first.
const SUITES: [&str; 5] =
    ["bullseye", "bookworm", "bookworm-backports", "trixie", "trixie-backports"];
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// An index, below `target/vm/apt`.
pub(super) struct Apt {
    folder: PathBuf,
}

impl Apt {
    pub(super) fn new(folder: &Path) -> Self {
        Self { folder: folder.join("apt") }
    }

    /// Whether an index was ever fetched.
    pub(super) fn is_there(&self) -> bool {
        self.folder.join("fetched").is_file()
    }

    /// Fetches the index, about 40 MB.
    pub(super) fn update(&self, mirror: Option<&str>) -> anyhow::Result<()> {
        ensure!(
            shell::runs("apt-get", &["--version"]) && shell::runs("dpkg-deb", &["--version"]),
            "apt-get and dpkg-deb fetch and unpack the kernels, and one of them is missing"
        );
        ensure!(
            Path::new(KEYRING).is_file(),
            "{KEYRING} is missing: install the package debian-archive-keyring"
        );
        let mirror = self::mirror(mirror)?;
        for below in ["state/lists/partial", "cache/archives/partial"] {
            std::fs::create_dir_all(self.folder.join(below))?;
        }
        let lines =
            SUITES.map(|suite| format!("deb [signed-by={KEYRING}] {mirror} {suite} main\n"));
        std::fs::write(self.folder.join("sources.list"), lines.concat())?;
        println!("vm: fetching the index of {mirror}");
        let mut update = self.command("apt-get");
        if !update.arg("update").status().context("start apt-get")?.success() {
            // A suite may have gone; the others are still good.
            println!("vm: not every suite could be read");
        }
        Ok(std::fs::write(self.folder.join("fetched"), "")?)
    }

    /// Names of packages that match a regular expression.
    pub(super) fn search(&self, pattern: &str) -> anyhow::Result<Vec<String>> {
        let mut search = self.command("apt-cache");
        let found = shell::output(search.args(["search", "--names-only", pattern]));
        let found = found.context("apt-cache search failed")?;
        let names = found.lines().filter_map(|line| line.split(' ').next());
        Ok(names.map(str::to_owned).collect())
    }

    /// Downloads packages and unpacks them, nothing installed, nothing of theirs run.
    pub(super) fn unpack(&self, names: &[String], into: &Path) -> anyhow::Result<()> {
        std::fs::create_dir_all(into)?;
        let mut download = self.command("apt-get");
        shell::run(download.arg("download").args(names).current_dir(into))?;
        let mut unpacked = 0;
        for entry in std::fs::read_dir(into)? {
            let path = entry?.path();
            if path.extension().is_some_and(|it| it == "deb") {
                let mut unpack = shell::command("dpkg-deb", &["--extract"]);
                shell::run(unpack.arg(&path).arg(into))?;
                unpacked += 1;
            }
        }
        if unpacked < names.len() {
            bail!("apt-get downloaded {unpacked} packages of {}", names.len());
        }
        Ok(())
    }

    /// A command of apt's that reads and writes below our directory.
    fn command(&self, program: &str) -> Command {
        let mut command = shell::command(program, &["-qq"]);
        let below = |path: &str| self.folder.join(path).display().to_string();
        for (option, value) in [
            ("Dir::Etc::sourcelist", below("sources.list")),
            ("Dir::Etc::sourceparts", "-".to_owned()),
            ("Dir::State", below("state")),
            ("Dir::State::status", "/dev/null".to_owned()),
            ("Dir::Cache", below("cache")),
            ("Acquire::Languages", "none".to_owned()),
            // Its own user could not write here.
            ("APT::Sandbox::User", "root".to_owned()),
        ] {
            command.arg("-o").arg(format!("{option}={value}"));
        }
        command
    }
}

/// The mirror that was named, or else the one that this machine itself installs from.
pub(super) fn mirror(named: Option<&str>) -> anyhow::Result<String> {
    let own = || {
        own_mirror().context("this machine's apt knows no mirror of Debian: name one with --mirror")
    };
    named.map_or_else(own, |named| Ok(named.to_owned()))
}

fn own_mirror() -> Option<String> {
    let format = "$(REPO_URI) $(ORIGIN) $(LABEL)";
    let targets = ["indextargets", "--format", format, "Created-By: Packages"];
    let targets = shell::output(&mut shell::command("apt-get", &targets))?;
    targets.lines().find_map(|line| line.strip_suffix(" Debian Debian").map(str::to_owned))
}
