//! Limits and budgets begin where they stood before this start.

use crate::clock::Now;
use crate::ledger::Ledger;
use crate::pipeline::Policies;
use crate::policy::engine::Spent;

/// Counts what the ledger knows. Calls that were open when the agent died have been settled by
/// then: they count as requests, and as what is known of them.
pub(super) fn restore(ledger: &Ledger, policies: &Policies, now: Now) {
    let Some(horizon) = policies.engine.lock().horizon(now) else { return };
    let rows = match ledger.reader().spent(horizon, now.wall) {
        Ok(rows) => rows,
        Err(error) => {
            // Calls must go on all the same: the host's apps are not to pay for our disk.
            tracing::error!(%error, "what was spent before this start is unknown: limits begin anew");
            return;
        }
    };
    let sums = rows.len();
    let mut engine = policies.engine.lock();
    for row in rows {
        let spent = Spent {
            at: row.at,
            subject: row.subject,
            agent_name: row.agent_name,
            environment: row.environment,
            provider: row.provider,
            model: row.model,
            requests: row.requests,
            tokens: row.tokens,
            cost: row.cost,
        };
        engine.restore(&spent, now);
    }
    tracing::info!(sums, "limits and budgets restored from the ledger");
}
