//! Making the host trust the CA, and undoing exactly that.
//!
//! What is about to be done is written to the ledger first, so that whatever happens in between,
//! the undoing knows all of it.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use jiff::Timestamp;

use super::system::{self, Layout};
use crate::downstream::ca::{PUBLIC_ROOT, Root, hex};
use crate::downstream::trust::installed::{contains, system_bundle};
use crate::downstream::trust::ledger::{Ledger, Touched};

/// Name of the store in ledger and options.
pub(super) const STORE: &str = "system";

/// What an installation will do, or has done.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// Directories to make, outermost first.
    pub(super) directories: Vec<PathBuf>,
    /// The file to write.
    pub(super) anchor: PathBuf,
    /// The command to run then.
    pub(super) refresh: String,
    layout: Layout,
}

/// What came of an undoing.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Undone {
    /// Files taken away or put back.
    pub(super) files: Vec<PathBuf>,
    /// Files somebody has changed since: left as they are.
    pub(super) changed: Vec<PathBuf>,
}

/// What making the host below `root` trust our CA takes.
pub(super) fn plan(root: &Path) -> anyhow::Result<Plan> {
    let layout = system::detect(root)?;
    let anchor = layout.anchor(root);
    let mut directories: Vec<_> = anchor
        .ancestors()
        .skip(1)
        .take_while(|directory| !directory.exists())
        .map(Path::to_path_buf)
        .collect();
    directories.reverse();
    let refresh = layout.refresh_command(root).join(" ");
    Ok(Plan { directories, anchor, refresh, layout })
}

/// Whether `ca` is installed below `root` as the ledger says, with nothing left to do.
pub(super) fn is_installed(root: &Path, state_dir: &Path, ca: &Root) -> anyhow::Result<bool> {
    let Some(ledger) = Ledger::load(state_dir)? else { return Ok(false) };
    let intact =
        ledger.files.iter().all(|file| digest_of(&file.path).as_ref() == Some(&file.sha256));
    Ok(intact && ledger.fingerprint == ca.fingerprint() && in_bundle(root, ca)?)
}

/// Carries out a plan. On failure everything is as it was before.
pub(super) fn install(
    plan: &Plan,
    root: &Path,
    state_dir: &Path,
    ca: &Root,
    now: Timestamp,
) -> anyhow::Result<()> {
    if Ledger::load(state_dir)?.is_some() {
        // An earlier CA, or an earlier attempt.
        undo(root, state_dir)?;
    }
    let pem = fs::read_to_string(state_dir.join(PUBLIC_ROOT))?;
    let previous = match fs::read_to_string(&plan.anchor) {
        // Ours, from an installation whose ledger is lost.
        Ok(there) if there == pem => None,
        Ok(there) => Some(there),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error).with_context(|| plan.anchor.display().to_string()),
    };
    let replaces = previous.is_some();
    let mut ledger = Ledger::new(ca.fingerprint(), now);
    ledger.directories.clone_from(&plan.directories);
    ledger.files.push(Touched {
        path: plan.anchor.clone(),
        store: STORE.to_owned(),
        sha256: digest(pem.as_bytes()),
        previous,
    });
    ledger.save(state_dir).context("writing the trust ledger")?;

    let done = put(plan, &pem).and_then(|()| {
        if replaces {
            plan.layout.forget(root, state_dir)?;
        } else {
            plan.layout.refresh(root)?;
        }
        if !in_bundle(root, ca)? {
            bail!("`{}` ran, but the system bundle does not contain the CA", plan.refresh);
        }
        Ok(())
    });
    if done.is_err() {
        undo(root, state_dir).context("undoing a failed installation")?;
    }
    done
}

fn put(plan: &Plan, pem: &str) -> anyhow::Result<()> {
    for directory in &plan.directories {
        fs::create_dir(directory).with_context(|| directory.display().to_string())?;
        fs::set_permissions(directory, Permissions::from_mode(0o755))?;
    }
    write(&plan.anchor, pem).with_context(|| plan.anchor.display().to_string())
}

/// Undoes what the ledger says was done. Nothing installed is nothing to undo.
pub(super) fn undo(root: &Path, state_dir: &Path) -> anyhow::Result<Undone> {
    let mut undone = Undone::default();
    let Some(mut ledger) = Ledger::load(state_dir)? else { return Ok(undone) };
    for file in ledger.files.iter().rev() {
        let found = digest_of(&file.path);
        let result = match &file.previous {
            // Gone, or back to what it was, already; or never written.
            _ if found.is_none() => continue,
            Some(previous) if found == Some(digest(previous.as_bytes())) => continue,
            _ if found.as_ref() != Some(&file.sha256) => {
                undone.changed.push(file.path.clone());
                continue;
            }
            Some(previous) => write(&file.path, previous),
            None => fs::remove_file(&file.path),
        };
        result.with_context(|| file.path.display().to_string())?;
        undone.files.push(file.path.clone());
    }
    for directory in ledger.directories.iter().rev() {
        // Stays where somebody else has put something into it.
        let _kept = fs::remove_dir(directory);
    }
    // An earlier undoing may have been cut short between the file and the bundle.
    let lingers = || Root::read(state_dir).is_ok_and(|ca| in_bundle(root, &ca).unwrap_or(false));
    if !undone.files.is_empty() || lingers() {
        system::detect(root)?.forget(root, state_dir)?;
    }
    if undone.changed.is_empty() {
        Ledger::delete(state_dir)?;
    } else {
        ledger.files.retain(|file| undone.changed.contains(&file.path));
        ledger.save(state_dir)?;
    }
    Ok(undone)
}

/// Whether the system bundle below `root` contains the CA.
pub(super) fn in_bundle(root: &Path, ca: &Root) -> anyhow::Result<bool> {
    let Some(bundle) = system_bundle(root) else { return Ok(false) };
    contains(&bundle, ca.certificate()).with_context(|| bundle.display().to_string())
}

/// The digest of a file's content; `None` where it cannot be read.
pub(super) fn digest_of(path: &Path) -> Option<String> {
    fs::read(path).ok().map(|content| digest(&content))
}

fn digest(content: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, content);
    hex(digest.as_ref())
}

/// Puts a file in place whole, readable for all.
fn write(path: &Path, content: &str) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // A name that no distribution's tool takes for a certificate.
    let fresh = path.with_file_name(format!(".{name}.weir-new"));
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o644).open(&fresh)?;
    file.set_permissions(Permissions::from_mode(0o644))?;
    file.write_all(content.as_bytes())?;
    file.sync_all()?;
    fs::rename(&fresh, path)
}
