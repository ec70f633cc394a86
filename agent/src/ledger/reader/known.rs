//! Rows of subjects and shapes by their number, each read once.

use std::rc::Rc;

use foldhash::{HashMap, HashMapExt as _};
use rusqlite::{CachedStatement, Connection, OptionalExtension as _, Row};

/// Those that have been asked for.
pub(super) struct Known<'a, T> {
    query: CachedStatement<'a>,
    read: fn(&Row<'_>) -> rusqlite::Result<T>,
    rows: HashMap<i64, Option<Rc<T>>>,
}

impl<'a, T> Known<'a, T> {
    /// None yet. The query's only parameter is the number.
    pub(super) fn new(
        query: CachedStatement<'a>,
        read: fn(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Self {
        Self { query, read, rows: HashMap::new() }
    }

    /// The row with this number, if there is one.
    pub(super) fn get(&mut self, id: i64) -> rusqlite::Result<Option<Rc<T>>> {
        if let Some(known) = self.rows.get(&id) {
            return Ok(known.clone());
        }
        let row = self.query.query_row([id], self.read).optional()?.map(Rc::new);
        self.rows.insert(id, row.clone());
        Ok(row)
    }
}

/// A subject's user and workload.
pub(super) type Owner = (u32, Rc<str>);

/// The owners of calls and connections.
pub(super) fn owners(connection: &Connection) -> rusqlite::Result<Known<'_, Owner>> {
    let query = connection.prepare_cached("SELECT uid, workload FROM subject WHERE id = ?")?;
    Ok(Known::new(query, |row| Ok((row.get(0)?, row.get(1)?))))
}
