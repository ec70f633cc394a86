//! What can go wrong with the ledger as a whole; trouble with single records is counted instead.

use std::io;
use std::path::PathBuf;

/// Why the ledger cannot be opened or read.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The state directory or the journal inside it cannot be used.
    #[error("cannot use {path} for the ledger: {source}")]
    Directory {
        /// What was tried.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// Another process holds the ledger.
    #[error("the ledger in {path} is in use by another process")]
    Busy {
        /// The journal directory that is locked.
        path: PathBuf,
    },
    /// The database was written by a newer version. Nothing was changed.
    #[error(
        "{path} has schema version {found}, and this version of weir knows up to {known}: it was left as it is; use the newer weir or another state directory"
    )]
    Newer {
        /// The database.
        path: PathBuf,
        /// Version found in it.
        found: i64,
        /// Newest version this program knows.
        known: i64,
    },
    /// `SQLite` refused.
    #[error("{path}: {source}")]
    Database {
        /// The database.
        path: PathBuf,
        /// Why it failed.
        source: rusqlite::Error,
    },
    /// A thread of the ledger could not be started.
    #[error("cannot start a thread of the ledger: {0}")]
    Thread(#[source] io::Error),
}
