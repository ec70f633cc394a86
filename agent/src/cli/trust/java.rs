//! Key stores of JDKs. Debian's follow the system's store by themselves; others have their own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use super::store::{Host, Make, Plan, Scratch, Target, find};
use crate::downstream::trust::installed::below;

/// Our entry's name.
pub(super) const ALIAS: &str = "weir";

/// What protects every JDK's store of public roots, out of habit rather than for secrecy.
const PASSWORD: &str = "changeit";

/// Directories that hold JDKs, each in one of its own.
const HOMES: [&str; 4] = ["/usr/lib/jvm", "/usr/java", "/opt", "/usr/local"];

/// Where a JDK keeps its roots: since Java 9, and before.
const STORES: [&str; 2] = ["lib/security/cacerts", "jre/lib/security/cacerts"];

/// Follows the system's store by a hook of `ca-certificates-java`.
const DEBIANS: &str = "/etc/ssl/certs/java/cacerts";

/// JDKs looked at.
const MOST: usize = 64;

/// The key stores below `root`, and which of them follow the system's: each file once.
pub(crate) fn stores(root: &Path) -> Vec<(PathBuf, bool)> {
    let mut found: Vec<(PathBuf, bool)> = Vec::new();
    for home in HOMES {
        let entries = fs::read_dir(below(root, home)).into_iter().flatten().flatten();
        for entry in entries.take(MOST) {
            let mut stores = STORES.iter().map(|store| entry.path().join(store));
            let Some(store) = stores.find_map(|store| resolve(root, &store)) else {
                continue;
            };
            let follows = store == below(root, DEBIANS)
                && below(root, "/etc/ca-certificates/update.d/jks-keystore").exists();
            if !found.iter().any(|(known, _)| *known == store) {
                found.push((store, follows));
            }
        }
    }
    found.sort();
    found
}

/// The file behind a link, which is below `root` too.
fn resolve(root: &Path, store: &Path) -> Option<PathBuf> {
    let path = match fs::read_link(store) {
        Ok(to) if to.is_absolute() => below(root, to.to_str()?),
        Ok(to) => store.parent()?.join(to),
        Err(_) => store.to_owned(),
    };
    path.is_file().then_some(path)
}

pub(super) fn plan(host: Host<'_>) -> Plan {
    let mut plan = Plan::default();
    let found = stores(host.root);
    if found.is_empty() {
        plan.skipped.push("java: no JDK found".to_owned());
    }
    for (path, follows) in found {
        if follows {
            let path = path.display();
            plan.skipped.push(format!("java: {path} follows the system's store by itself"));
            continue;
        }
        // The JDK's own comes with it, and knows its format.
        let own = path.ancestors().nth(3).map(|home| home.join("bin/keytool"));
        let keytool = own.filter(|own| own.is_file()).or_else(|| find(host.tools, "keytool"));
        match keytool {
            Some(keytool) => plan.targets.push(Target { path, make: Make::KeyStore(keytool) }),
            None => plan.skipped.push(format!(
                "java: {} needs keytool: install a JDK, or the package `default-jre-headless`",
                path.display()
            )),
        }
    }
    if !plan.targets.is_empty() {
        plan.next.push("Java programs that run read their store anew when restarted.".to_owned());
    }
    plan
}

/// The content of `store` with the CA in it.
pub(super) fn with(
    store: &Path,
    keytool: &Path,
    pem: &str,
    scratch: &Path,
) -> anyhow::Result<Vec<u8>> {
    let work = Scratch::make(scratch, None)?;
    let root = work.path().join("weir.pem");
    fs::write(&root, pem)?;
    let copy = copied(store, &work)?;
    // An entry of an earlier CA gives way.
    let _was_there = run(keytool, &copy, &["-delete"]);
    let file = root.to_str().context("a path in UTF-8")?;
    run(keytool, &copy, &["-importcert", "-noprompt", "-trustcacerts", "-file", file])?;
    Ok(fs::read(copy)?)
}

/// The content of `store` without our entry; `None` where it has none.
pub(super) fn without(
    store: &Path,
    tools: &[PathBuf],
    scratch: &Path,
) -> anyhow::Result<Option<Vec<u8>>> {
    let Some(keytool) = find(tools, "keytool") else {
        bail!("needs keytool to take our entry out of it");
    };
    let work = Scratch::make(scratch, None)?;
    let copy = copied(store, &work)?;
    if run(&keytool, &copy, &["-list"]).is_err() {
        return Ok(None);
    }
    run(&keytool, &copy, &["-delete"])?;
    Ok(Some(fs::read(copy)?))
}

fn copied(store: &Path, work: &Scratch) -> anyhow::Result<PathBuf> {
    let copy = work.path().join("cacerts");
    fs::write(&copy, fs::read(store)?)?;
    Ok(copy)
}

fn run(keytool: &Path, store: &Path, words: &[&str]) -> anyhow::Result<()> {
    let output = Command::new(keytool)
        .args(words)
        .args(["-alias", ALIAS, "-storepass", PASSWORD, "-keystore"])
        .arg(store)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("running {}", keytool.display()))?;
    if !output.status.success() {
        // Of its complaints, the first line says it; they come on stdout.
        let said = String::from_utf8_lossy(&output.stdout);
        bail!("keytool: {}", said.lines().next().unwrap_or("failed").trim());
    }
    Ok(())
}
