//! Making the host trust the CA, and undoing exactly that.
//!
//! What is about to be done is written to the ledger first, so that whatever happens in between,
//! the undoing knows all of it.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use jiff::Timestamp;

use super::file::{self, Write, digest, digest_of};
use super::store::{Host, Plan, Store, without_lines};
use super::{java, nss, system};
use crate::downstream::ca::{PUBLIC_ROOT, Root};
use crate::downstream::trust::installed::{contains, system_bundle};
use crate::downstream::trust::ledger::{Ledger, Touched};

/// What came of an undoing.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Undone {
    /// Files taken away or put back.
    pub(super) files: Vec<PathBuf>,
    /// Files somebody has changed since, from which only what is ours was taken.
    pub(super) merged: Vec<PathBuf>,
    /// Files somebody has changed since, with nothing of ours to be found: left as they are.
    pub(super) changed: Vec<PathBuf>,
}

/// Directories to be made for `path`, outermost first.
pub(super) fn missing_directories(path: &Path) -> Vec<PathBuf> {
    let missing = path.ancestors().skip(1).take_while(|directory| !directory.exists());
    let mut found: Vec<_> = missing.map(Path::to_path_buf).collect();
    found.reverse();
    found
}

/// Whether `ca` is installed in this store as the ledger says, with nothing left to do.
pub(super) fn is_installed(
    store: Store,
    plan: &Plan,
    host: Host<'_>,
    state_dir: &Path,
    ca: &Root,
) -> anyhow::Result<bool> {
    let Some(ledger) = Ledger::load(state_dir)? else { return Ok(false) };
    let mut own = ledger.files.iter().filter(|file| file.store == store.name());
    let intact = own.all(|file| digest_of(&file.path).as_ref() == Some(&file.sha256));
    let has = |path: &Path| ledger.files.iter().any(|file| file.path.starts_with(path));
    Ok(intact
        && ledger.fingerprint == ca.fingerprint()
        && plan.targets.iter().all(|target| has(&target.path))
        && (store != Store::System || in_bundle(host.root, ca)?))
}

/// Carries out a store's plan; returns what was written. On failure the store is as it was before.
pub(super) fn install(
    (store, plan): (Store, &Plan),
    host: Host<'_>,
    state_dir: &Path,
    ca: &Root,
    now: Timestamp,
) -> anyhow::Result<Vec<PathBuf>> {
    let pem = fs::read_to_string(state_dir.join(PUBLIC_ROOT))?;
    match Ledger::load(state_dir)? {
        // An earlier CA is nowhere of use any more.
        Some(ledger) if ledger.fingerprint != ca.fingerprint() => undo(host, state_dir, None)?,
        // An earlier attempt.
        Some(_) => undo(host, state_dir, Some(store))?,
        None => Undone::default(),
    };
    let mut ledger = Ledger::load(state_dir)?.unwrap_or_else(|| Ledger::new(ca.fingerprint(), now));
    let mut done = Vec::new();
    let mut replaces = false;
    for target in &plan.targets {
        // One at a time: the next may be about a file that this one changes.
        let result = (|| {
            let writes = target.writes(host, ca, &pem)?;
            replaces |= record(&mut ledger, store, &writes, &pem)?;
            ledger.save(state_dir).context("writing the trust ledger")?;
            for write in &writes {
                for directory in missing_directories(&write.path) {
                    fs::create_dir(&directory).with_context(|| directory.display().to_string())?;
                    fs::set_permissions(&directory, Permissions::from_mode(0o755))?;
                }
                write.perform().with_context(|| write.path.display().to_string())?;
                done.push(write.path.clone());
            }
            anyhow::Ok(())
        })();
        if let Err(error) = result {
            undo(host, state_dir, Some(store)).context("undoing a failed installation")?;
            return Err(error);
        }
    }
    if store == Store::System
        && let Err(error) = refresh(host, state_dir, ca, replaces)
    {
        undo(host, state_dir, Some(store)).context("undoing a failed installation")?;
        return Err(error);
    }
    Ok(done)
}

fn refresh(host: Host<'_>, state_dir: &Path, ca: &Root, replaces: bool) -> anyhow::Result<()> {
    let layout = system::detect(host.root)?;
    if replaces {
        layout.forget(host.root, state_dir)?;
    } else {
        layout.refresh(host.root)?;
    }
    if !in_bundle(host.root, ca)? {
        let command = layout.refresh_command(host.root).join(" ");
        bail!("`{command}` ran, but the system bundle does not contain the CA");
    }
    Ok(())
}

/// Enters what is about to be written; true where something other than ours is replaced.
fn record(ledger: &mut Ledger, store: Store, writes: &[Write], pem: &str) -> anyhow::Result<bool> {
    let mut replaces = false;
    for write in writes {
        let Some(content) = &write.content else { continue };
        let before = file::read(&write.path, write.owner)
            .with_context(|| write.path.display().to_string())?;
        // Ours, from an installation whose ledger is lost.
        let is_ours = before.as_ref().is_some_and(|it| it == content || it == pem.as_bytes());
        let before = before.filter(|_| !is_ours);
        replaces |= before.is_some();
        for directory in missing_directories(&write.path) {
            if !ledger.directories.contains(&directory) {
                ledger.directories.push(directory);
            }
        }
        let touched =
            Touched::new(&write.path, store.name(), (before.as_deref(), content), write.owner);
        ledger.files.push(touched);
    }
    Ok(replaces)
}

/// Undoes what the ledger says was done, in one store or in all. Nothing installed is nothing to
/// undo.
pub(super) fn undo(
    host: Host<'_>,
    state_dir: &Path,
    only: Option<Store>,
) -> anyhow::Result<Undone> {
    let mut undone = Undone::default();
    let Some(mut ledger) = Ledger::load(state_dir)? else { return Ok(undone) };
    let is_meant = |file: &Touched| only.is_none_or(|store| file.store == store.name());
    let mut databases = BTreeSet::new();
    for touched in ledger.files.iter().rev().filter(|file| is_meant(file)) {
        let found = digest_of(&touched.path);
        let before = touched.before();
        // Gone, or back to what it was, already; or never written.
        if found.is_none() || found == before.as_deref().map(digest) {
            continue;
        }
        let path = touched.path.clone();
        if found.as_ref() == Some(&touched.sha256) {
            let write = Write { path: path.clone(), content: before, owner: touched.owner };
            write.perform().with_context(|| path.display().to_string())?;
            undone.files.push(path);
            continue;
        }
        // The files of one database are taken care of together.
        if touched.store == Store::Nss.name()
            && let (Some(directory), Some(_)) = (path.parent(), touched.owner)
            && !databases.insert(directory.to_owned())
        {
            continue;
        }
        let writes =
            unpick(touched, host, state_dir).with_context(|| path.display().to_string())?;
        for write in &writes {
            write.perform().with_context(|| path.display().to_string())?;
        }
        if writes.is_empty() { undone.changed.push(path) } else { undone.merged.push(path) }
    }
    let touched_system = |file: &Touched| is_meant(file) && file.store == Store::System.name();
    // An earlier undoing may have been cut short between the file and the bundle.
    let lingers =
        || Root::read(state_dir).is_ok_and(|ca| in_bundle(host.root, &ca).unwrap_or(false));
    if ledger.files.iter().any(touched_system)
        && (!undone.files.is_empty() || !undone.merged.is_empty() || lingers())
    {
        system::detect(host.root)?.forget(host.root, state_dir)?;
    }
    ledger.files.retain(|file| !is_meant(file) || undone.changed.contains(&file.path));
    ledger.directories.reverse();
    // What somebody else has put something into, or another store uses, stays.
    ledger.directories.retain(|directory| fs::remove_dir(directory).is_err() && directory.exists());
    ledger.directories.reverse();
    if ledger.files.is_empty() {
        Ledger::delete(state_dir)?;
    } else {
        ledger.save(state_dir)?;
    }
    Ok(undone)
}

/// What taking only ours out of a file takes that somebody has changed since; nothing where there is
/// nothing of ours in it.
fn unpick(touched: &Touched, host: Host<'_>, state_dir: &Path) -> anyhow::Result<Vec<Write>> {
    let path = &touched.path;
    let whole = |content: Vec<u8>| {
        let is_empty = content.iter().all(u8::is_ascii_whitespace);
        let content = (!is_empty).then_some(content);
        vec![Write { path: path.clone(), content, owner: touched.owner }]
    };
    match (Store::named(&touched.store), touched.owner) {
        (Some(Store::Java), _) => {
            let rest = java::without(path, host.tools, host.scratch)?;
            Ok(rest.map(whole).unwrap_or_default())
        }
        (Some(Store::Nss), Some(owner)) => {
            let directory = path.parent().context("a database lies in a directory")?;
            nss::without(directory, host.tools, owner, host.scratch)
        }
        _ => {
            let ours = match (&touched.written, Store::named(&touched.store)) {
                (Some(text), _) => text.clone(),
                // A ledger of an earlier release: it wrote the CA and nothing else.
                (None, Some(Store::System)) => fs::read_to_string(state_dir.join(PUBLIC_ROOT))?,
                (None, _) => return Ok(Vec::new()),
            };
            let current = fs::read_to_string(path)?;
            let rest = if touched.store == Store::Env.name() {
                without_lines(&current, &ours)
            } else {
                // Certificates and policies are whole, or not ours any more.
                current.split_once(&ours).map(|(before, after)| format!("{before}{after}"))
            };
            Ok(rest.map(|rest| whole(rest.into_bytes())).unwrap_or_default())
        }
    }
}

/// Whether the system bundle below `root` contains the CA.
pub(super) fn in_bundle(root: &Path, ca: &Root) -> anyhow::Result<bool> {
    let Some(bundle) = system_bundle(root) else { return Ok(false) };
    contains(&bundle, ca.certificate()).with_context(|| bundle.display().to_string())
}
