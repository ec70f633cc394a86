//! Calls whose end nobody saw.

use rusqlite::params;

use crate::ledger::store::{Store, word};
use crate::record::{FailureClass, Outcome, UsageSource};

/// Calls that are found open: nothing of what they came to is known.
const PUT_SUMS: &str = "INSERT INTO call_sum
    SELECT started_at / 900000000, subject, shape, ?2, count(*), 0, 0, 0, 0, 0,
           0, 0, 0, 0, 0, 0, 0, 0, max(started_at)
    FROM call WHERE latency_us IS NULL AND shape = ?1
    GROUP BY 1, 2";

impl Store {
    /// Settles calls that are still open as lost; returns how many there were. Only right while
    /// no call can be open, which is before the first of this run is imported.
    pub(in crate::ledger) fn settle_open(&mut self, now: i64) -> rusqlite::Result<usize> {
        let transaction = self.connection.transaction()?;
        let open: Vec<i64> = transaction
            .prepare(
                "SELECT DISTINCT c.shape FROM call c JOIN shape h ON h.id = c.shape
                 WHERE c.latency_us IS NULL AND h.outcome IS NULL",
            )?
            .query_map([], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        let class = FailureClass::of(Outcome::Lost, None, None).map_or("", FailureClass::word);
        let mut lost = 0;
        for shape in open {
            transaction.execute(
                "INSERT INTO shape
                   (kind, via, environment, team, account, agent_name, provider, host, operation,
                    method, path, model, model_served, stream, status, outcome, usage_source, billing,
                    price_version, attempts, flags, last_used)
                 SELECT kind, via, environment, team, account, agent_name, provider, host, operation,
                    method, path, model, model_served, stream, status, ?, ?, billing,
                    price_version, attempts, flags, ?
                 FROM shape WHERE id = ?",
                params![word(&Outcome::Lost), word(&UsageSource::Unknown), now, shape],
            )?;
            let settled = transaction.last_insert_rowid();
            lost += transaction.execute(
                "UPDATE call SET shape = ? WHERE latency_us IS NULL AND shape = ?",
                params![settled, shape],
            )?;
            transaction.execute(PUT_SUMS, params![settled, class])?;
        }
        transaction.commit()?;
        Ok(lost)
    }
}
