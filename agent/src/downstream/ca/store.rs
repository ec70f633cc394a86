//! The authority's files: `STATE/ca/` (0700: root, intermediate, its key 0600) and the public copy
//! of the root, `STATE/weir-ca.pem` (0644).
//!
//! The directory appears whole by a rename or not at all, so that a crash at any point leaves
//! either no authority or a complete one; the public copy is made again whenever it is missing.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{
    DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown, lchown,
};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::CaError;

/// Name of the public root in the state directory.
pub const PUBLIC_ROOT: &str = "weir-ca.pem";

const DIRECTORY: &str = "ca";
const UNFINISHED: &str = ".ca-unfinished";
const ROOT: &str = "root.pem";
const INTERMEDIATE: &str = "intermediate.pem";
const KEY: &str = "intermediate.key";

/// Everything an authority consists of, as PEM.
pub(super) struct Files {
    pub(super) root: String,
    pub(super) intermediate: String,
    pub(super) key: String,
}

/// Where the authority is kept.
pub(super) fn directory(state_dir: &Path) -> PathBuf {
    state_dir.join(DIRECTORY)
}

/// Reads the authority, and puts the public root back where it is missing or different.
pub(super) fn open(state_dir: &Path) -> Result<Files, CaError> {
    let directory = directory(state_dir);
    if let Err(error) = fs::metadata(&directory) {
        return Err(match error.kind() {
            io::ErrorKind::NotFound => CaError::Missing { path: directory },
            _ => CaError::Io { path: directory, error },
        });
    }
    let key = directory.join(KEY);
    let mode = at(&key, fs::metadata(&key))?.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(CaError::Exposed { path: key, mode });
    }
    let read = |name| {
        let path = directory.join(name);
        at(&path, fs::read_to_string(&path))
    };
    let files = Files { root: read(ROOT)?, intermediate: read(INTERMEDIATE)?, key: read(KEY)? };
    publish(state_dir, &files.root)?;
    Ok(files)
}

/// Writes an authority, unless one is there already.
pub(super) fn create(state_dir: &Path, files: &Files) -> Result<(), CaError> {
    if !state_dir.exists() {
        // Others may pass through to the public root and bundles, but not look around.
        let made = DirBuilder::new().recursive(true).mode(0o711).create(state_dir);
        at(state_dir, made)?;
    }
    let handle = lock(state_dir)?;
    let directory = directory(state_dir);
    if directory.exists() {
        return Ok(());
    }

    let unfinished = state_dir.join(UNFINISHED);
    if unfinished.exists() {
        // What a crash left: never used, and its key must not lie about.
        at(&unfinished, fs::remove_dir_all(&unfinished))?;
    }
    at(&unfinished, DirBuilder::new().mode(0o700).create(&unfinished))?;
    let owner = at(state_dir, handle.metadata())?;
    for (name, content) in
        [(ROOT, &files.root), (INTERMEDIATE, &files.intermediate), (KEY, &files.key)]
    {
        let path = unfinished.join(name);
        at(&path, write(&path, content, 0o600, &owner))?;
    }
    if is_handed_over(&owner) {
        at(&unfinished, lchown(&unfinished, Some(owner.uid()), Some(owner.gid())))?;
    }
    at(&unfinished, File::open(&unfinished).and_then(|dir| dir.sync_all()))?;
    at(&directory, fs::rename(&unfinished, &directory))?;
    at(state_dir, handle.sync_all())
}

/// Deletes the authority and the public root. Whatever trusts them must have been undone before.
pub fn remove(state_dir: &Path) -> Result<(), CaError> {
    let public = state_dir.join(PUBLIC_ROOT);
    let directory = directory(state_dir);
    for (path, removed) in
        [(&public, fs::remove_file(&public)), (&directory, fs::remove_dir_all(&directory))]
    {
        match removed {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => at(path, other)?,
        }
    }
    Ok(())
}

/// Puts the root where clients and tools may read it.
fn publish(state_dir: &Path, root: &str) -> Result<(), CaError> {
    let path = state_dir.join(PUBLIC_ROOT);
    let published = || fs::read_to_string(&path).is_ok_and(|published| published == root);
    if published() {
        return Ok(());
    }
    let held = lock(state_dir)?;
    if published() {
        return Ok(());
    }
    let fresh = state_dir.join(".weir-ca.pem.new");
    let owner = at(state_dir, held.metadata())?;
    at(&fresh, write(&fresh, root, 0o644, &owner))?;
    at(&path, fs::rename(&fresh, &path))
}

/// Keeps other writers out until the handle is dropped: daemon and `weir trust install` may both be
/// first.
fn lock(state_dir: &Path) -> Result<File, CaError> {
    let handle = at(state_dir, File::open(state_dir))?;
    at(state_dir, flock(&handle, FlockOperation::LockExclusive).map_err(io::Error::from))?;
    Ok(handle)
}

/// Writes a file of exactly this mode, through to the disk. It belongs to the owner of the state
/// directory, who may put anything there while root writes: nothing is written through a link.
fn write(path: &Path, content: &str, mode: u32, owner: &fs::Metadata) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    // The umask may have taken bits off.
    file.set_permissions(Permissions::from_mode(mode))?;
    if is_handed_over(owner) {
        fchown(&file, Some(owner.uid()), Some(owner.gid()))?;
    }
    file.write_all(content.as_bytes())?;
    file.sync_all()
}

/// Whether files are given to the owner of the state directory: root may be the first to make the
/// authority (`weir trust install`), and the daemon the one who runs without privilege.
fn is_handed_over(owner: &fs::Metadata) -> bool {
    rustix::process::geteuid().is_root() && owner.uid() != 0
}

fn at<T>(path: &Path, result: io::Result<T>) -> Result<T, CaError> {
    result.map_err(|error| CaError::Io { path: path.to_path_buf(), error })
}
