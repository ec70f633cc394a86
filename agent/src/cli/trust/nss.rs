//! Browsers: managed policies, which need no user's doing, and users' NSS databases, which Chromium
//! and Firefox read beside their own roots.
//!
//! What lies in a home is its user's: it is read and written in that user's name only, so that no link
//! in there leads root astray.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::json;

use super::file::{self, Write, is_us};
use super::store::{Host, Make, Plan, Scratch, Target, find};
use crate::downstream::ca::Root;
use crate::downstream::trust::installed::below;

/// Our certificate's name in databases.
pub(super) const NICKNAME: &str = "weir";

/// Browsers that read managed policies: what shows that they are there, and where policies go.
const BROWSERS: [(&[&str], &str); 4] = [
    (&["/usr/bin/chromium", "/usr/bin/chromium-browser"], "/etc/chromium/policies/managed"),
    (&["/usr/bin/google-chrome", "/opt/google/chrome"], "/etc/opt/chrome/policies/managed"),
    (&["/usr/bin/microsoft-edge", "/opt/microsoft/msedge"], "/etc/opt/edge/policies/managed"),
    (&["/usr/bin/brave-browser", "/opt/brave.com/brave"], "/etc/brave/policies/managed"),
];

/// Our policy's file.
const POLICY: &str = "weir.json";

/// Where users' databases are, below their homes; a star stands for any directory.
const DATABASES: [&str; 5] = [
    ".pki/nssdb",
    ".local/share/pki/nssdb",
    ".mozilla/firefox/*",
    "snap/chromium/current/.pki/nssdb",
    "snap/firefox/common/.mozilla/firefox/*",
];

/// A database's files.
pub(super) const FILES: [&str; 3] = ["cert9.db", "key4.db", "pkcs11.txt"];

/// Users looked at, and entries of a directory of profiles.
const MOST: usize = 256;

/// Users' databases below `root`, with their owners.
pub(crate) fn databases(root: &Path) -> Vec<(PathBuf, (u32, u32))> {
    let users = fs::read_to_string(below(root, "/etc/passwd")).unwrap_or_default();
    let mut found = Vec::new();
    for line in users.lines().take(MOST) {
        let fields: Vec<&str> = line.split(':').collect();
        let [_, _, uid, gid, _, home, ..] = fields[..] else { continue };
        let (Ok(uid), Ok(gid)) = (uid.parse(), gid.parse()) else { continue };
        if !home.starts_with('/') || home == "/" {
            continue;
        }
        for place in DATABASES {
            let home = below(root, home);
            let directories = match place.strip_suffix("/*") {
                Some(parent) => {
                    let entries = fs::read_dir(home.join(parent)).into_iter().flatten().flatten();
                    entries.take(MOST).map(|entry| entry.path()).collect()
                }
                None => vec![home.join(place)],
            };
            for directory in directories {
                let is_theirs = |meta: fs::Metadata| meta.is_file() && meta.uid() == uid;
                let is_there = fs::symlink_metadata(directory.join(FILES[0])).is_ok_and(is_theirs);
                if is_there && !found.iter().any(|(known, _)| *known == directory) {
                    found.push((directory, (uid, gid)));
                }
            }
        }
    }
    found
}

/// Policy files that are ours, or would be.
pub(crate) fn policies(root: &Path) -> Vec<PathBuf> {
    BROWSERS.iter().map(|(_, directory)| below(root, directory).join(POLICY)).collect()
}

pub(super) fn plan(host: Host<'_>) -> Plan {
    let mut plan = Plan::default();
    for (signs, directory) in BROWSERS {
        if signs.iter().any(|sign| below(host.root, sign).exists()) {
            let path = below(host.root, directory).join(POLICY);
            plan.targets.push(Target { path, make: Make::Policy });
        }
    }
    let databases = databases(host.root);
    match find(host.tools, "certutil") {
        Some(certutil) => {
            plan.targets.extend(databases.into_iter().map(|(path, owner)| Target {
                path,
                make: Make::Database(certutil.clone(), owner),
            }));
        }
        None if databases.is_empty() => {}
        None => plan.skipped.push(format!(
            "nss: {} databases of users (Firefox, Chromium) need certutil: install the package \
             `libnss3-tools` (Debian), `nss-tools` (Fedora) or `mozilla-nss-tools` (SUSE)",
            databases.len()
        )),
    }
    if plan.targets.is_empty() && plan.skipped.is_empty() {
        plan.skipped.push("nss: no browser and no user's database found".to_owned());
    }
    if !plan.targets.is_empty() {
        plan.next.push("Browsers that run read their stores anew when restarted.".to_owned());
    }
    plan
}

/// A policy that makes the CA trusted.
pub(super) fn policy(ca: &Root) -> String {
    let policy = json!({"CACertificates": [BASE64.encode(ca.certificate())]});
    format!("{policy:#}\n")
}

/// A database's files with the CA in them: those that change.
pub(super) fn with(
    directory: &Path,
    (certutil, owner): (&Path, (u32, u32)),
    pem: &str,
    scratch: &Path,
) -> anyhow::Result<Vec<Write>> {
    changed(directory, owner, scratch, |work| {
        let root = work.join("weir.pem");
        fs::write(&root, pem)?;
        let file = root.to_str().context("a path in UTF-8")?;
        // An entry of an earlier CA gives way.
        let _was_there = run(certutil, owner, work, &["-D", "-n", NICKNAME]);
        run(certutil, owner, work, &["-A", "-n", NICKNAME, "-t", "C,,", "-i", file])?;
        fs::remove_file(root)?;
        Ok(true)
    })
}

/// A database's files without our certificate: those that change; empty where it has none.
pub(super) fn without(
    directory: &Path,
    tools: &[PathBuf],
    owner: (u32, u32),
    scratch: &Path,
) -> anyhow::Result<Vec<Write>> {
    let Some(certutil) = find(tools, "certutil") else {
        bail!("needs certutil to take our certificate out of it");
    };
    changed(directory, owner, scratch, |work| {
        if run(&certutil, owner, work, &["-L", "-n", NICKNAME]).is_err() {
            return Ok(false);
        }
        run(&certutil, owner, work, &["-D", "-n", NICKNAME])?;
        Ok(true)
    })
}

/// What `change` makes of a copy.
fn changed(
    directory: &Path,
    owner: (u32, u32),
    scratch: &Path,
    change: impl FnOnce(&Path) -> anyhow::Result<bool>,
) -> anyhow::Result<Vec<Write>> {
    let work = Scratch::make(scratch, Some(owner))?;
    let mut before = Vec::new();
    for name in FILES {
        let content = file::read(&directory.join(name), Some(owner))?;
        if let Some(content) = &content {
            let copy = work.path().join(name);
            fs::write(&copy, content)?;
            std::os::unix::fs::chown(&copy, Some(owner.0), Some(owner.1))?;
        }
        before.push(content);
    }
    if !change(work.path())? {
        return Ok(Vec::new());
    }
    let mut writes = Vec::new();
    for (name, before) in FILES.iter().zip(before) {
        let after = fs::read(work.path().join(name)).ok();
        if after.is_some() && after != before {
            let path = directory.join(name);
            writes.push(Write { path, content: after, owner: Some(owner) });
        }
    }
    Ok(writes)
}

fn run(certutil: &Path, owner: (u32, u32), db: &Path, words: &[&str]) -> anyhow::Result<()> {
    let mut command = Command::new(certutil);
    command.args(words).arg("-d").arg(format!("sql:{}", db.display()));
    // A database that asks for a password is not ours to open.
    command.args(["-f", "/dev/null"]).env_clear().stdin(Stdio::null());
    if !is_us(owner.0) {
        command.uid(owner.0).gid(owner.1);
    }
    let output = command.output().with_context(|| format!("running {}", certutil.display()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("certutil: {}", said.lines().next().unwrap_or("failed").trim());
    }
    Ok(())
}
