//! The database: opening it, bringing its schema up to date, and writing batches of entries.

mod write;
mod words;
mod prune;

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension as _, params};

use super::error::LedgerError;

pub(super) use words::{parse, word};
pub(super) use write::{QUARTER, is_about_content};

/// Each brings the schema from the version of its index to the next; never changed once released.
const MIGRATIONS: &[&str] = &[
    include_str!("schema.sql"),
    include_str!("team.sql"),
    include_str!("limits.sql"),
    include_str!("acted.sql"),
    include_str!("sums.sql"),
];

/// The last segment whose records are in the database.
const SEGMENT: &str = "segment";

/// The largest difference found between a call's start and the time in its id, in microseconds:
/// how far a search by id has to reach beyond the times it is for.
const ID_SKEW: &str = "id_skew_us";

/// The quarter of an hour from which on the sums are whole.
const SUMS_SINCE: &str = "sums_since";

/// The writing side of the database. One exists per ledger.
pub(super) struct Store {
    connection: Connection,
    /// Rows of `subject` and `shape`, by the numbers entries use.
    subjects: HashMap<u64, Row>,
    shapes: HashMap<u64, Row>,
    id_skew: i64,
}

/// A row written in this run, and the time last put into it.
struct Row {
    id: i64,
    touched: i64,
}

impl Store {
    /// Opens or creates the database and migrates it; refuses a newer one without touching it.
    pub(super) fn open(path: &Path) -> Result<Self, LedgerError> {
        let failed = |source| LedgerError::Database { path: path.to_owned(), source };
        refuse_newer(path)?;
        // Created here for its mode, which the -wal and -shm files take over.
        OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)
            .map_err(|source| LedgerError::Directory { path: path.to_owned(), source })?;
        let mut connection = Connection::open(path).map_err(failed)?;
        configure(&connection).map_err(failed)?;
        migrate(&mut connection).map_err(failed)?;
        let id_skew = meta(&connection, ID_SKEW).map_err(failed)?;
        Ok(Self { connection, subjects: HashMap::new(), shapes: HashMap::new(), id_skew })
    }

    /// Number of the last segment imported.
    pub(super) fn last_segment(&self) -> rusqlite::Result<u64> {
        meta(&self.connection, SEGMENT).map(i64::unsigned_abs)
    }

    /// Moves everything from the write-ahead log into the database file.
    pub(super) fn checkpoint(&self) -> rusqlite::Result<()> {
        self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
    }
}

/// A read-only connection.
pub(super) fn read_only(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(connection)
}

/// How far ids may be off the times of their calls, in microseconds.
pub(super) fn id_skew(connection: &Connection) -> rusqlite::Result<i64> {
    meta(connection, ID_SKEW)
}

/// The quarter of an hour since 1970 from which on the sums are whole.
pub(super) fn sums_since(connection: &Connection) -> rusqlite::Result<i64> {
    meta(connection, SUMS_SINCE)
}

fn refuse_newer(path: &Path) -> Result<(), LedgerError> {
    let holds_something = path.metadata().is_ok_and(|it| it.len() > 0);
    if !holds_something {
        return Ok(());
    }
    let found = read_only(path)
        .and_then(|it| version(&it))
        .map_err(|source| LedgerError::Database { path: path.to_owned(), source })?;
    let known = known();
    if found > known {
        return Err(LedgerError::Newer { path: PathBuf::from(path), found, known });
    }
    Ok(())
}

fn configure(connection: &Connection) -> rusqlite::Result<()> {
    // Nobody else writes; should somebody hold a lock by hand, the importer tries again.
    connection.busy_timeout(Duration::from_millis(500))?;
    connection.set_prepared_statement_cache_capacity(32);
    connection.execute_batch(
        // FULL: with NORMAL, a power cut takes the last commits although they were confirmed.
        "PRAGMA journal_mode = WAL;
         PRAGMA synchronous = FULL;
         PRAGMA wal_autocheckpoint = 4000;
         PRAGMA journal_size_limit = 16777216;
         PRAGMA temp_store = MEMORY;",
    )
}

fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    let from = version(connection)?;
    for (version, migration) in (1..).zip(MIGRATIONS).filter(|(version, _)| *version > from) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(migration)?;
        transaction.pragma_update(None, "user_version", version)?;
        transaction.commit()?;
    }
    Ok(())
}

fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

fn known() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}

fn meta(connection: &Connection, name: &str) -> rusqlite::Result<i64> {
    let found = connection
        .prepare_cached("SELECT value FROM meta WHERE name = ?")?
        .query_row([name], |row| row.get(0))
        .optional()?;
    Ok(found.unwrap_or(0))
}

fn put_meta(connection: &Connection, name: &str, value: i64) -> rusqlite::Result<()> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)")?
        .execute(params![name, value])
        .map(drop)
}
