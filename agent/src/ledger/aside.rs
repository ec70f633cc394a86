//! What cannot be used is put aside and never thrown away: a damaged database beside the new one
//! that takes its place, and records that the database refuses beside the journal.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use jiff::Timestamp;
use rusqlite::ErrorCode;

use super::entry::Entry;
use super::error::LedgerError;
use super::store::Store;
use super::{line, segment};

/// What follows the database's name, before the time.
const MARK: &str = ".corrupt-";

/// Files that belong to a database, by what follows its name.
const PARTS: [&str; 3] = ["", "-wal", "-shm"];

/// Opens the database. One that is damaged is put aside first, and a fresh one begun: true then.
/// What the journal still holds goes into that one.
pub(super) fn open(database: &Path, now: SystemTime) -> Result<(Store, bool), LedgerError> {
    match open_and_look(database) {
        Err(LedgerError::Database { source, .. }) if is_damage(&source) => {
            let aside = put_aside(database, now)
                .map_err(|source| LedgerError::Directory { path: database.to_owned(), source })?;
            tracing::error!(
                error = %source,
                aside = %aside.display(),
                "the ledger's database is damaged: it is put aside, and a new one begun"
            );
            Ok((Store::open(database)?, true))
        }
        opened => opened.map(|store| (store, false)),
    }
}

fn open_and_look(database: &Path) -> Result<Store, LedgerError> {
    let store = Store::open(database)?;
    let unreadable = |source| LedgerError::Database { path: database.to_owned(), source };
    store.last_segment().map_err(unreadable)?;
    Ok(store)
}

/// Whether the error says that the file is not, or no longer, a sound database.
pub(super) fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

/// Renames all files of a database; returns the new name of the first. The names keep belonging
/// together, so that `sqlite3` can still be asked to recover what is in there.
fn put_aside(database: &Path, now: SystemTime) -> io::Result<PathBuf> {
    let at = Timestamp::try_from(now).unwrap_or_default().strftime("%Y%m%dT%H%M%SZ");
    let aside = with(database, &format!("{MARK}{at}"));
    for part in PARTS {
        match fs::rename(with(database, part), with(&aside, part)) {
            Err(error) if part.is_empty() || error.kind() != io::ErrorKind::NotFound => {
                return Err(error);
            }
            _ => {}
        }
    }
    Ok(aside)
}

/// The databases that lie aside, the oldest first.
pub(super) fn databases(database: &Path) -> Vec<PathBuf> {
    let start = with(database, MARK);
    let entries = database.parent().map(fs::read_dir).into_iter().flatten().flatten().flatten();
    let is_one = |path: &PathBuf| {
        let name = path.to_string_lossy();
        name.starts_with(&*start.to_string_lossy())
            && !PARTS.iter().any(|part| !part.is_empty() && name.ends_with(part))
    };
    let mut found: Vec<_> = entries.map(|entry| entry.path()).filter(is_one).collect();
    found.sort();
    found
}

/// Appends records to the file of a segment's unusable lines, with all they refer to.
pub(super) fn records(dir: &Path, number: u64, entries: &[&Entry]) -> io::Result<()> {
    // An epoch that no segment has: whatever an entry refers to is spelled out again.
    let epoch = u64::MAX - number;
    let mut lines = Vec::new();
    for entry in entries {
        line::encode(entry, epoch, &mut lines)?;
    }
    let path = segment::corrupt_path(dir, number);
    let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    file.write_all(&lines)
}

fn with(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}
