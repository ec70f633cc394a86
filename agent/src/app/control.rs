//! What the admin server asks of the policies.

use std::sync::Arc;

use super::agent::Running;
use super::trial;
use crate::admin::breakers::{BreakerRow, BreakerState, Hand};
use crate::admin::budgets::{BudgetQuery, BudgetRow, Standing};
use crate::admin::policies::{PolicyDetail, PolicyRow, Reach};
use crate::admin::reload::Reloaded;
use crate::admin::status::{Overridden, PolicyState, Warning};
use crate::admin::trial::{Trial, TrialQuery};
use crate::admin::usage::{UsageQuery, UsageRow};
use crate::admin::{Control, Failure, SCHEMA_VERSION};
use crate::clock::Now;
use crate::pipeline::Rules;
use crate::policy::Enforcement;

/// Budgets that are named one by one in the warnings.
const NAMED: usize = 5;

impl Running {
    fn rules(&self) -> Arc<Rules> {
        self.front.rules.load_full()
    }

    fn clock(&self) -> Now {
        self.front.runtime.clock.now()
    }

    /// What is out of the ordinary with policies: for the status.
    pub(super) fn policy_state(&self) -> PolicyState {
        let rows = self.policies();
        let count = |is: fn(Enforcement) -> bool| {
            u64::try_from(rows.iter().filter(|row| is(row.enforcement.0)).count()).unwrap_or(0)
        };
        let overridden = rows.iter().filter(|row| row.overridden).map(|row| Overridden {
            name: row.name.clone(),
            enforcement: row.enforcement,
            configured: row.configured,
        });
        PolicyState {
            acting: self.acting(),
            total: count(|_| true),
            shadow: count(|it| it == Enforcement::Shadow),
            canary: count(|it| matches!(it, Enforcement::Canary(_))),
            off: count(|it| it == Enforcement::Off),
            overridden: overridden.collect(),
        }
    }

    /// Budgets near or over their limit, fullest first.
    pub(super) fn near_budgets(&self, uid: Option<u32>) -> Vec<BudgetRow> {
        let mut rows = self.budgets(&BudgetQuery { uid, ..BudgetQuery::default() });
        rows.retain(|row| row.standing > Standing::Ok && row.enforcement.0 != Enforcement::Off);
        rows.sort_by(|a, b| b.used_percent.total_cmp(&a.used_percent));
        rows
    }

    /// Breakers that are not closed.
    pub(super) fn open_breakers(&self) -> Vec<BreakerRow> {
        let mut rows = self.breakers();
        rows.retain(|row| row.state != BreakerState::Closed);
        rows
    }
}

impl Control for Running {
    fn acting(&self) -> bool {
        self.rules().policies.is_acting()
    }

    fn policies(&self) -> Vec<PolicyRow> {
        self.toggles.all(&self.rules().policies).into_iter().map(PolicyRow::from).collect()
    }

    fn policy(&self, name: &str) -> Option<PolicyDetail> {
        let policy = self.toggles.find(&self.rules().policies, name).map(PolicyRow::from)?;
        let subject = Some(name.to_owned());
        let usage = UsageQuery { subject: subject.clone(), ..UsageQuery::default() };
        let budgets = BudgetQuery { name: subject, ..BudgetQuery::default() };
        let mut breakers = self.breakers();
        breakers.retain(|breaker| is_about(name, &breaker.name));
        Some(PolicyDetail {
            schema_version: SCHEMA_VERSION,
            acting: self.acting(),
            policy,
            usage: self.usage(&usage),
            budgets: self.budgets(&budgets),
            breakers,
        })
    }

    fn set_policy(&self, name: &str, reach: Option<Reach>) -> Result<bool, Failure> {
        let wanted = reach.map(|Reach(enforcement)| enforcement);
        let known = self.toggles.set(&self.rules().policies, name, wanted).map_err(|error| {
            Failure::Unavailable(format!("nothing was changed, it cannot be kept: {error}"))
        })?;
        if known && let Some(now) = self.toggles.find(&self.rules().policies, name) {
            self.teller.policy(&now);
        }
        Ok(known)
    }

    fn reload(&self) -> Reloaded {
        self.take_config()
    }

    fn test(&self, call: &TrialQuery) -> Result<Trial, Failure> {
        let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        let teams = self.config.lock().config.policy.teams.clone();
        trial::run(&self.rules(), &teams, &users, call, self.clock())
    }

    fn usage(&self, query: &UsageQuery) -> Vec<UsageRow> {
        let found = {
            let rules = self.rules();
            let engine = rules.policies.engine.lock();
            engine.usage(query.subject.as_deref(), self.clock())
        };
        let mut rows: Vec<UsageRow> = found.into_iter().map(UsageRow::from).collect();
        rows.retain(|row| query.matches(row));
        rows
    }

    fn budgets(&self, query: &BudgetQuery) -> Vec<BudgetRow> {
        let found = self.rules().policies.engine.lock().budgets(self.clock());
        let mut rows: Vec<BudgetRow> = found.into_iter().map(BudgetRow::from).collect();
        rows.retain(|row| query.matches(row));
        rows
    }

    fn breakers(&self) -> Vec<BreakerRow> {
        let found = self.rules().policies.reliability.lock().breakers(self.clock());
        found.into_iter().map(BreakerRow::from).collect()
    }

    fn set_breaker(&self, name: &str, hand: Hand) -> Option<BreakerRow> {
        let now = self.clock();
        let known = {
            let rules = self.rules();
            let mut reliability = rules.policies.reliability.lock();
            match hand {
                Hand::Open => reliability.trip(name, now),
                Hand::Closed => reliability.reset(name, now),
            }
        };
        self.teller.look();
        let row = || self.breakers().into_iter().find(|breaker| breaker.name == name);
        // One that no call has met yet has nothing to be reset.
        known.then(|| row().unwrap_or_else(|| BreakerRow::unmet(name)))
    }
}

/// Whether a policy is about a breaker: `breaker.openai` about those of its models, too.
fn is_about(policy: &str, breaker: &str) -> bool {
    policy.strip_prefix("breaker.").is_some_and(|name| {
        breaker.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

/// What someone should look at: budgets that are nearly spent, breakers that reject calls.
pub(super) fn warnings(budgets: &[BudgetRow], breakers: &[BreakerRow]) -> Vec<Warning> {
    let warning = |what: String, fix: String| Warning { what, fix: Some(fix), degrades: false };
    let mut warnings = Vec::new();
    for row in budgets.iter().take(NAMED) {
        let (percent, limit) = (row.used_percent.floor(), row.limit_usd);
        let whose =
            if row.subject == row.name() { String::new() } else { format!(" of {}", row.subject) };
        let state = if row.standing == Standing::Over { "spent" } else { "nearly spent" };
        let what = format!(
            "budget {}{whose} is {state}: {percent}% of ${limit} per {}",
            row.name(),
            row.period
        );
        warnings.push(warning(what, format!("weir budget check {}", row.name())));
    }
    if budgets.len() > NAMED {
        let what = format!("{} more budgets are spent or nearly so", budgets.len() - NAMED);
        warnings.push(warning(what, "weir budget list".to_owned()));
    }
    for row in breakers {
        let reason = row.reason.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
        let what = format!("breaker {} is {}{reason}", row.name, row.state.word());
        warnings.push(warning(what, format!("weir breaker reset {}", row.name)));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::money::Usd;
    use crate::llm::usage::NanoUsd;

    fn budget(subject: &str, used_percent: f64, standing: Standing) -> BudgetRow {
        BudgetRow {
            policy: "budgets.nightly".to_owned(),
            subject: subject.to_owned(),
            uid: None,
            period: "day".to_owned(),
            spent_usd: Usd::default(),
            reserved_usd: Usd::default(),
            limit_usd: Usd(NanoUsd(10_000_000_000)),
            remaining_usd: Usd::default(),
            used_percent,
            standing,
            began_at: None,
            resets_at: None,
            exhausted_at: None,
            alert_at_percent: Vec::new(),
            action: "deny".to_owned(),
            enforcement: Reach(Enforcement::Enforce),
        }
    }

    #[test]
    fn every_warning_says_what_to_do() {
        let breaker = BreakerRow {
            name: "openai".to_owned(),
            state: BreakerState::Open,
            reason: Some("5 failures in a row".to_owned()),
            since: None,
            until: None,
            by_hand: false,
            failures: 5,
            failure_percent: 100,
            calls: 5,
            opened: 1,
        };
        let mut budgets = vec![
            budget("nightly", 99.99, Standing::Near),
            budget("user:al", 100.0, Standing::Over),
        ];
        let told = |budgets: &[BudgetRow]| {
            let warnings = warnings(budgets, std::slice::from_ref(&breaker));
            let lines = warnings.into_iter().map(|it| format!("{} → {}", it.what, it.fix.unwrap()));
            lines.collect::<Vec<_>>()
        };
        assert_eq!(
            told(&budgets),
            [
                "budget nightly is nearly spent: 99% of $10.00 per day → weir budget check nightly",
                "budget nightly of user:al is spent: 100% of $10.00 per day → weir budget check nightly",
                "breaker openai is open: 5 failures in a row → weir breaker reset openai",
            ]
        );
        budgets.resize(9, budget("user:bo", 90.0, Standing::Near));
        let many = told(&budgets);
        assert_eq!(many[NAMED], "4 more budgets are spent or nearly so → weir budget list");
        assert_eq!(many.len(), NAMED + 2);
    }

    #[test]
    fn a_policy_is_about_its_breaker_and_those_of_its_models() {
        for (policy, breaker, about) in [
            ("breaker.openai", "openai", true),
            ("breaker.openai", "openai/gpt-4o", true),
            ("breaker.openai", "openai-eu", false),
            ("breaker.openai/gpt-4o", "openai/gpt-4o", true),
            ("breaker.openai/gpt-4o", "openai", false),
            ("retry", "retry", false),
        ] {
            assert_eq!(is_about(policy, breaker), about, "{policy} {breaker}");
        }
    }
}
