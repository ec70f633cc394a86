//! Real SDKs for the client tests, pinned, in directories of their own under `target/clients`.

use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::shell;

/// Name of the environment and the file that pins what is in it.
const PYTHON: [(&str, &str); 2] =
    [("python-current", "python/current.txt"), ("python-legacy", "python/legacy.txt")];
const NODE: [(&str, &str); 2] =
    [("node", "node/package-lock.json"), ("dashboard", "dashboard/package-lock.json")];

/// Makes every environment that is missing or older than its pins.
pub(crate) fn prepare() -> anyhow::Result<()> {
    let all = shell::root().join("target/clients");
    std::fs::create_dir_all(&all)?;
    for (name, pins) in PYTHON {
        let home = all.join(name);
        let pins = source(pins);
        if !is_current(&home, &pins)? {
            python(&home, &pins)?;
            record(&home, &pins)?;
        }
    }
    for (name, lock) in NODE {
        node(&all.join(name), &source(lock))?;
    }
    Ok(())
}

/// The clients that only the matrix asks: runtimes by npm, programs made from `tests/clients/matrix`.
pub(crate) fn matrix() -> anyhow::Result<()> {
    let home = shell::root().join("target/clients/matrix");
    node(&home, &source("matrix/package-lock.json"))?;
    let [go, java] = ["ask.go", "Ask.java"].map(|name| source("matrix").join(name));
    if shell::runs("go", &["version"]) {
        let mut build = shell::command("go", &["build", "-o"]);
        shell::run(build.arg(home.join("ask-go")).arg(go))?;
    }
    if shell::runs("javac", &["-version"]) {
        shell::run(shell::command("javac", &["-d"]).arg(&home).arg(java))?;
    }
    Ok(())
}

fn python(home: &Path, pins: &Path) -> anyhow::Result<()> {
    let home = home.to_str().context("the workspace's path is UTF-8")?;
    shell::run(&mut shell::command("python3", &["-m", "venv", "--clear", home]))?;
    let mut pip = shell::command(
        Path::new(home).join("bin/pip"),
        &["install", "--quiet", "--disable-pip-version-check", "--requirement"],
    );
    shell::run(pip.arg(pins))
}

/// Installs what a lock file names, unless it is there.
pub(super) fn node(home: &Path, lock: &Path) -> anyhow::Result<()> {
    if is_current(home, lock)? {
        return Ok(());
    }
    std::fs::create_dir_all(home)?;
    std::fs::copy(lock, home.join("package-lock.json"))?;
    std::fs::copy(lock.with_file_name("package.json"), home.join("package.json"))?;
    let mut npm = shell::command("npm", &["ci", "--no-audit", "--no-fund", "--ignore-scripts"]);
    shell::run(npm.current_dir(home))?;
    record(home, lock)
}

fn source(pins: &str) -> PathBuf {
    shell::root().join("tests/clients").join(pins)
}

/// The pins an environment was made from are kept in it.
fn is_current(home: &Path, pins: &Path) -> anyhow::Result<bool> {
    let wanted = std::fs::read(pins).with_context(|| pins.display().to_string())?;
    Ok(std::fs::read(home.join(".pins")).is_ok_and(|made| made == wanted))
}

fn record(home: &Path, pins: &Path) -> anyhow::Result<()> {
    std::fs::copy(pins, home.join(".pins"))?;
    Ok(())
}
