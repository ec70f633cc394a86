//! Retention: rows older than the ledger keeps go away, a bounded number at a time, so that the
//! importer is never held up for long.

use rusqlite::params;

use super::{QUARTER, SUMS_SINCE, Store, put_meta, sums_since};

/// Rows deleted in one transaction.
const CHUNK: i64 = 1_000;

impl Store {
    /// Deletes some of what is older than `cutoff` (microseconds); true where more may remain.
    pub(in crate::ledger) fn prune(&mut self, cutoff: i64) -> rusqlite::Result<bool> {
        let newest = newest_id(cutoff.saturating_add(self.id_skew));
        let transaction = self.connection.transaction()?;
        let calls: Vec<String> = transaction
            .prepare_cached(
                "SELECT call_id FROM call WHERE call_id < ? AND started_at < ? LIMIT ?",
            )?
            .query_map(params![newest, cutoff, CHUNK], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        for call in &calls {
            transaction.prepare_cached("DELETE FROM call WHERE call_id = ?")?.execute([call])?;
            transaction.prepare_cached("DELETE FROM attempt WHERE call_id = ?")?.execute([call])?;
        }
        // Rows of these tables are in the order of time, or have an index on it. Subjects and
        // shapes go a while after the last row that refers to them, since their times are coarse.
        let slack = 2 * 60 * 60 * 1_000_000;
        let mut deleted = calls.len();
        // A process or shape that comes back after its row was deleted needs a new one.
        self.subjects.clear();
        self.shapes.clear();
        for (sql, cutoff) in [
            (
                "DELETE FROM decision WHERE last_at < ?1 AND id IN
                   (SELECT id FROM decision ORDER BY id LIMIT ?2)",
                cutoff,
            ),
            (
                "DELETE FROM connection WHERE id IN
                   (SELECT id FROM connection WHERE closed_at < ?1 LIMIT ?2)",
                cutoff,
            ),
            (
                "DELETE FROM subject WHERE id IN
                   (SELECT id FROM subject WHERE last_seen < ?1 LIMIT ?2)",
                cutoff - slack,
            ),
            (
                "DELETE FROM shape WHERE id IN
                   (SELECT id FROM shape WHERE last_used < ?1 LIMIT ?2)",
                cutoff - slack,
            ),
        ] {
            deleted += transaction.prepare_cached(sql)?.execute(params![cutoff, CHUNK])?;
        }
        // A quarter of which some calls are gone is one that cannot be gone by.
        let whole = cutoff.div_euclid(QUARTER) + 1;
        if whole > sums_since(&transaction)? {
            for table in ["call_sum", "connection_sum"] {
                let sql = format!("DELETE FROM {table} WHERE quarter < ?");
                deleted += transaction.execute(&sql, [whole])?;
            }
            put_meta(&transaction, SUMS_SINCE, whole)?;
        }
        transaction.commit()?;
        Ok(deleted > 0)
    }
}

/// The first id of the millisecond after a time.
fn newest_id(at: i64) -> String {
    let ms = u64::try_from(at / 1_000 + 1).unwrap_or(0);
    ulid::Ulid::from_parts(ms.min(u64::MAX >> 16), 0).to_string()
}
