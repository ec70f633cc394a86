//! A batch that the database refuses, entry by entry: what is wrong with one is no fault of the
//! others.

use rusqlite::ErrorCode;

use super::super::super::entry::Entry;
use super::super::{ID_SKEW, SEGMENT, Store, put_meta};
use super::{Batch, PUT_FULL, PUT_USUAL, Sums};

impl Store {
    /// Writes a segment's entries in one transaction, but each by itself. Those that the database
    /// objects to are handed to `keep` before the others are committed.
    pub(in crate::ledger) fn import_singly<E: From<rusqlite::Error>>(
        &mut self,
        segment: u64,
        entries: &[Entry],
        keep: impl FnOnce(&[&Entry]) -> Result<(), E>,
    ) -> Result<(), E> {
        let written = self.write_singly(segment, entries, keep);
        // Rows that were remembered may be gone: with the transaction, or with an entry.
        self.subjects.clear();
        self.shapes.clear();
        written
    }

    fn write_singly<E: From<rusqlite::Error>>(
        &mut self,
        segment: u64,
        entries: &[Entry],
        keep: impl FnOnce(&[&Entry]) -> Result<(), E>,
    ) -> Result<(), E> {
        let transaction = self.connection.transaction()?;
        let mut id_skew = self.id_skew;
        let mut refused = Vec::new();
        for entry in entries {
            transaction.execute_batch("SAVEPOINT entry")?;
            let mut batch = Batch {
                connection: &transaction,
                put_usual: transaction.prepare_cached(PUT_USUAL)?,
                put_full: transaction.prepare_cached(PUT_FULL)?,
                subjects: &mut self.subjects,
                shapes: &mut self.shapes,
                id_skew,
                sums: Sums::default(),
            };
            let written = batch.write(std::slice::from_ref(entry));
            let skew = batch.id_skew;
            drop(batch);
            match written {
                Ok(()) => id_skew = skew,
                Err(error) if is_about_content(&error) => {
                    transaction.execute_batch("ROLLBACK TO entry")?;
                    self.subjects.clear();
                    self.shapes.clear();
                    refused.push(entry);
                }
                Err(error) => return Err(error.into()),
            }
            transaction.execute_batch("RELEASE entry")?;
        }
        put_meta(&transaction, ID_SKEW, id_skew)?;
        put_meta(&transaction, SEGMENT, i64::try_from(segment).unwrap_or(i64::MAX))?;
        keep(&refused)?;
        transaction.commit()?;
        self.id_skew = id_skew;
        Ok(())
    }
}

/// Whether the database objects to what it is given, which will not change by waiting.
pub(in crate::ledger) fn is_about_content(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch | ErrorCode::TooBig)
    )
}
