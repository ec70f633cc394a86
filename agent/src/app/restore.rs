//! Limits and budgets begin where they stood before this start, or before they were written.

use std::time::SystemTime;

use crate::clock::Now;
use crate::ledger::Ledger;
use crate::pipeline::Policies;
use crate::policy::engine::Spent;

/// Sums counted while calls wait: some 0.2 ms.
const AT_ONCE: usize = 128;

/// Counts what the ledger knows. Calls that were open when the agent died have been settled by
/// then: they count as requests, and as what is known of them.
pub(super) fn restore(ledger: &Ledger, policies: &Policies, now: Now) {
    let Some(horizon) = policies.engine.lock().horizon(now) else { return };
    let spent = spent(ledger, horizon, now);
    count(policies, &spent, now);
}

/// What was spent since. Reads the disk: not under a lock that calls wait for.
pub(super) fn spent(ledger: &Ledger, since: SystemTime, now: Now) -> Vec<Spent> {
    let rows = match ledger.reader().spent(since, now.wall) {
        Ok(rows) => rows,
        Err(error) => {
            // Calls must go on all the same: the host's apps are not to pay for our disk.
            tracing::error!(%error, "what was spent before is unknown: limits begin anew");
            return Vec::new();
        }
    };
    let spent = rows.into_iter().map(|row| Spent {
        at: row.at,
        subject: row.subject,
        agent_name: row.agent_name,
        environment: row.environment,
        provider: row.provider,
        model: row.model,
        requests: row.requests,
        tokens: row.tokens,
        cost: row.cost,
    });
    spent.collect()
}

/// Counts it in limits that do not know of it, letting calls pass in between.
pub(super) fn count(policies: &Policies, spent: &[Spent], now: Now) {
    for some in spent.chunks(AT_ONCE) {
        let mut engine = policies.engine.lock();
        for spent in some {
            engine.restore(spent, now);
        }
        parking_lot::MutexGuard::unlock_fair(engine);
    }
    if !spent.is_empty() {
        tracing::info!(sums = spent.len(), "limits and budgets restored from the ledger");
    }
}
