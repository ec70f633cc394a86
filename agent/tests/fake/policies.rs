//! Made-up policies: they are switched as real ones are, and count nothing.

use agent::admin::breakers::{BreakerRow, BreakerState, Hand};
use agent::admin::budgets::{BudgetQuery, BudgetRow, Standing};
use agent::admin::calls::DecisionRow;
use agent::admin::money::Usd;
use agent::admin::policies::{PolicyDetail, PolicyRow, Reach};
use agent::admin::reload::Reloaded;
use agent::admin::status::{Overridden, PolicyState};
use agent::admin::trial::{Trial, TrialCall, TrialQuery, TrialVerdict};
use agent::admin::usage::{Quantity, UsageQuery, UsageRow};
use agent::admin::{Control, Failure, SCHEMA_VERSION};
use agent::config::Change;
use agent::llm::usage::NanoUsd;
use agent::policy::Enforcement;

use super::{Fake, HOSTILE, NOBODY};

/// What was switched: the first policy's reach, and whether openai's breaker is open.
#[derive(Debug, Default)]
pub(super) struct State {
    /// Whether the configuration has no limits.
    unset: bool,
    set: Option<Enforcement>,
    tripped: bool,
}

const FIRST: &str = "rate_limits.batch-agent";

fn usd(cents: i64) -> Usd {
    Usd(NanoUsd(cents * 10_000_000))
}

fn policy(name: &str, goes: Enforcement, file: Enforcement, summary: &str) -> PolicyRow {
    PolicyRow {
        name: name.to_owned(),
        enforcement: Reach(goes),
        configured: Reach(file),
        overridden: goes != file,
        about: "batch-agent".to_owned(),
        summary: summary.to_owned(),
        passed: Some(1_234),
        acted: Some(7),
        shadowed: Some(0),
    }
}

fn usage(subject: &str, uid: Option<u32>, unit: &str, [used, limit]: [Quantity; 2]) -> UsageRow {
    UsageRow {
        subject: subject.to_owned(),
        policy: FIRST.to_owned(),
        uid,
        unit: unit.to_owned(),
        used,
        limit,
        remaining: Quantity::Count(2),
        used_percent: used.percent_of(limit),
        resets_at: Some("2099-01-01T00:00:00Z".parse().unwrap()),
    }
}

fn budget(subject: &str, uid: Option<u32>, cents: i64, standing: Standing) -> BudgetRow {
    BudgetRow {
        policy: "budgets.nightly".to_owned(),
        subject: subject.to_owned(),
        uid,
        period: "day".to_owned(),
        spent_usd: usd(cents),
        reserved_usd: usd(20),
        limit_usd: usd(1000),
        remaining_usd: usd((980 - cents).max(0)),
        #[expect(clippy::cast_precision_loss, reason = "small")]
        used_percent: (cents + 20) as f64 / 10.0,
        standing,
        began_at: None,
        resets_at: None,
        exhausted_at: Some("2020-01-01T00:00:00Z".parse().unwrap()),
        alert_at_percent: vec![80],
        action: "deny".to_owned(),
        enforcement: Reach(Enforcement::Enforce),
    }
}

impl Fake {
    /// Takes limits and budgets out of the configuration.
    pub(crate) fn unset_limits(&self) {
        self.policies.lock().unwrap().unset = true;
    }

    fn has_no_limits(&self) -> bool {
        self.policies.lock().unwrap().unset
    }

    pub(super) fn policy_state(&self) -> PolicyState {
        let rows = self.policies();
        let overridden = rows.iter().filter(|row| row.overridden).map(|row| Overridden {
            name: row.name.clone(),
            enforcement: row.enforcement,
            configured: row.configured,
        });
        PolicyState {
            total: 4,
            shadow: 1,
            overridden: overridden.collect(),
            ..PolicyState::default()
        }
    }
}

impl Control for Fake {
    fn acting(&self) -> bool {
        false
    }

    fn policies(&self) -> Vec<PolicyRow> {
        use Enforcement::{Enforce, Shadow};
        let set = self.policies.lock().unwrap().set;
        let mut rows = vec![
            policy(FIRST, set.unwrap_or(Enforce), Enforce, "5 requests/min, 100 requests/h"),
            policy("budgets.nightly", Shadow, Shadow, "$10.00/day"),
            policy("failover.meta/llama-3", Enforce, Enforce, HOSTILE),
            policy("breaker.openai", Enforce, Enforce, "5 in a row, 50% of 20 in 30s"),
        ];
        if self.has_no_limits() {
            rows.drain(..2);
        }
        rows
    }

    fn policy(&self, name: &str) -> Option<PolicyDetail> {
        let policy = self.policies().into_iter().find(|policy| policy.name == name)?;
        let subject = Some(name.to_owned());
        let usage = UsageQuery { subject: subject.clone(), ..UsageQuery::default() };
        let budgets = BudgetQuery { name: subject, ..BudgetQuery::default() };
        Some(PolicyDetail {
            schema_version: SCHEMA_VERSION,
            acting: false,
            policy,
            usage: self.usage(&usage),
            budgets: self.budgets(&budgets),
            breakers: if name == "breaker.openai" { self.breakers() } else { Vec::new() },
        })
    }

    fn set_policy(&self, name: &str, reach: Option<Reach>) -> Result<bool, Failure> {
        if name == FIRST {
            self.policies.lock().unwrap().set = reach.map(|Reach(enforcement)| enforcement);
        }
        Ok(self.policies().iter().any(|policy| policy.name == name))
    }

    /// A terminal is told what the file says, hostile or not.
    fn reload(&self) -> Reloaded {
        let change = |key: &str, old, new| Change { key: key.to_owned(), old, new };
        let name = Some(serde_json::json!(HOSTILE));
        Reloaded {
            schema_version: SCHEMA_VERSION,
            ok: true,
            problems: Vec::new(),
            changes: vec![
                change("environment", Some("prod".into()), name),
                change("rate_limits.a", None, Some(serde_json::json!({"requests_per_minute": 5}))),
            ],
            needs_restart: vec![change("listen.admin", Some("off".into()), Some("on".into()))],
            warnings: Vec::new(),
        }
    }

    fn test(&self, call: &TrialQuery) -> Result<Trial, Failure> {
        let refused = call.model == "gpt-4o";
        let decision = |rule: &str, action: &str, detail: &str| DecisionRow {
            at_ms: None,
            rule: rule.to_owned(),
            action: action.to_owned(),
            detail: detail.to_owned(),
        };
        let last = if refused { "refuse" } else { "pass" };
        Ok(Trial {
            schema_version: SCHEMA_VERSION,
            acting: false,
            verdict: if refused { TrialVerdict::Refuse } else { TrialVerdict::Pass },
            refused_by: refused.then(|| FIRST.to_owned()),
            call: TrialCall {
                workload: format!("exe:{}", call.workload),
                user: call.user.clone().unwrap_or_else(|| "member".to_owned()),
                team: call.team.clone(),
                environment: "prod".to_owned(),
                provider: "openai".to_owned(),
                model: call.model.clone(),
                input_tokens: call.input_tokens.unwrap_or(1_000),
                max_output: 4_096,
                cost_usd: None,
                at: call.at.unwrap_or_else(|| "2020-01-02T00:00:00Z".parse().unwrap()),
            },
            decisions: if self.has_no_limits() {
                Vec::new()
            } else {
                vec![
                    decision("budgets.nightly", "would-refuse", "$9.99 of $10.00"),
                    decision(FIRST, last, "requests_per_minute 5 of 5"),
                ]
            },
        })
    }

    fn usage(&self, query: &UsageQuery) -> Vec<UsageRow> {
        let counts = [Quantity::Count(3), Quantity::Count(5)];
        let money = [Quantity::Usd(usd(150)), Quantity::Usd(usd(1000))];
        let mut rows = vec![
            usage("batch-agent", None, "requests_per_minute", counts),
            usage("user:nobody", Some(NOBODY), "usd_per_hour", money),
            usage(HOSTILE, Some(0), "tokens_per_day", counts),
        ];
        rows.retain(|row| query.matches(row) && !self.has_no_limits());
        rows
    }

    fn budgets(&self, query: &BudgetQuery) -> Vec<BudgetRow> {
        let mut rows = vec![
            budget("nightly", None, 910, Standing::Near),
            budget("user:nobody", Some(NOBODY), 100, Standing::Ok),
            budget("user:root", Some(0), 1000, Standing::Over),
        ];
        rows.retain(|row| query.matches(row) && !self.has_no_limits());
        rows
    }

    fn breakers(&self) -> Vec<BreakerRow> {
        let tripped = self.policies.lock().unwrap().tripped;
        let row = |name: &str, state, reason: Option<&str>| BreakerRow {
            name: name.to_owned(),
            state,
            reason: reason.map(str::to_owned),
            since: None,
            until: Some("2020-01-01T00:00:00Z".parse().unwrap()),
            by_hand: tripped && name == "openai",
            failures: 5,
            failure_percent: 50,
            calls: 20,
            opened: 1,
        };
        let openai = if tripped { BreakerState::Open } else { BreakerState::Closed };
        vec![row("openai", openai, None), row("openai/gpt-4o", BreakerState::Open, Some(HOSTILE))]
    }

    fn set_breaker(&self, name: &str, hand: Hand) -> Option<BreakerRow> {
        if name == "openai" {
            self.policies.lock().unwrap().tripped = hand == Hand::Open;
        }
        self.breakers().into_iter().find(|breaker| breaker.name == name)
    }
}
