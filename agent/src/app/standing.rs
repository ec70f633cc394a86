//! How policies and accounts stand, as metrics show it.

use std::sync::Arc;

use crate::clock::Now;
use crate::llm::quota::Quota;
use crate::metrics::{BudgetGauge, LimitGauge, QuotaGauge, Standing};
use crate::pipeline::Policies;
use crate::policy::Amount;

/// Asks the policies; their lock is held for the two questions only.
pub(super) fn standing(policies: &Policies, now: Now) -> Standing {
    let (budgets, usage) = {
        let engine = policies.engine.lock();
        (engine.budgets(now), engine.usage(None, now))
    };
    let budgets = budgets.into_iter().map(|it| BudgetGauge {
        policy: it.policy,
        subject: it.subject,
        period: it.period,
        spent: it.spent,
        limit: it.limit,
    });
    let limits = usage.into_iter().map(|it| LimitGauge {
        ratio: ratio(it.figure.used, it.figure.limit),
        policy: it.policy,
        subject: it.subject,
        unit: it.figure.unit,
    });
    let accounts = policies.accounts.all().into_iter();
    let quotas = accounts.flat_map(|it| {
        let of = |quota: &Quota| QuotaGauge {
            provider: Arc::clone(&it.provider),
            account: Arc::clone(&it.account),
            kind: quota.kind,
            remaining: quota.remaining,
        };
        it.quotas.iter().map(of).collect::<Vec<_>>()
    });
    Standing { budgets: budgets.collect(), limits: limits.collect(), quotas: quotas.collect() }
}

#[expect(clippy::cast_precision_loss, reason = "a share needs no more")]
fn ratio(used: Amount, limit: Amount) -> f64 {
    let number = |amount| match amount {
        Amount::Count(count) => count as f64,
        Amount::Usd(money) => money.0 as f64,
    };
    let limit = number(limit);
    if limit > 0.0 { number(used) / limit } else { 1.0 }
}
