//! Metrics of policies: what they decided, how far limits and budgets are used, and what providers
//! say is left of their own.
//!
//! Decisions are counted as calls settle; the rest is taken over when metrics are read. Series of
//! what no longer exists go away. Each gauge shows a bounded number of series, the fullest ones.

use std::sync::Arc;
use std::time::{Duration, Instant};

use foldhash::HashMap;
use parking_lot::Mutex;
use prometheus::{IntCounter, IntCounterVec, Opts, Registry};

use super::series::{Bound, Family as _, Series};
use super::shown::Shown;
use crate::llm::usage::NanoUsd;
use crate::record::{Detail, Record};

/// Counters of decisions found by address, before they are looked up anew.
const KNOWN: usize = 1024;

/// How policies and accounts stand at a moment.
#[derive(Debug, Clone, Default)]
pub struct Standing {
    /// Every budget of everyone.
    pub budgets: Vec<BudgetGauge>,
    /// Every limit of everyone.
    pub limits: Vec<LimitGauge>,
    /// Every provider's limits.
    pub quotas: Vec<QuotaGauge>,
}

/// One budget of one subject in one period.
#[derive(Debug, Clone)]
pub struct BudgetGauge {
    /// The policy.
    pub policy: Arc<str>,
    /// Whom it counts.
    pub subject: Arc<str>,
    /// `day`, `month`, …
    pub period: Arc<str>,
    /// Spent in it.
    pub spent: NanoUsd,
    /// The limit.
    pub limit: NanoUsd,
}

/// How far one limit is used by one subject.
#[derive(Debug, Clone)]
pub struct LimitGauge {
    /// The policy.
    pub policy: Arc<str>,
    /// Whom it counts.
    pub subject: Arc<str>,
    /// The key of the configuration: `requests_per_minute`.
    pub unit: &'static str,
    /// The used share, reservations included.
    pub ratio: f64,
}

/// What is left of one of a provider's own limits on an account.
#[derive(Debug, Clone)]
pub struct QuotaGauge {
    /// The provider.
    pub provider: Arc<str>,
    /// The account, as a keyed hash.
    pub account: Arc<str>,
    /// Which limit: `requests`, `tokens`, `5h`.
    pub kind: &'static str,
    /// The share that is left, 0 to 1.
    pub remaining: f64,
}

#[derive(Debug)]
pub(super) struct Policies {
    per_user: bool,
    decisions: Series<IntCounterVec>,
    /// Counters by the addresses of their labels, which the labels beside them keep taken.
    known: Mutex<Known>,
    counted: IntCounterVec,
    spent: Shown<3>,
    limit: Shown<3>,
    usage: Shown<3>,
    quota: Shown<3>,
}

type Known = HashMap<(usize, usize), (IntCounter, [Arc<str>; 2])>;

impl Policies {
    pub(super) fn new(
        registry: &Registry,
        per_user: bool,
        overflow: &IntCounterVec,
    ) -> prometheus::Result<Self> {
        let decisions = IntCounterVec::new(
            Opts::new(
                "weir_policy_decisions_total",
                "What policies said of calls; would-… where they did not act.",
            ),
            &["policy", "action"],
        )?;
        let bound = Bound { most: 400, open: &["policy"] };
        let decisions = Series::new(registry, decisions, bound, overflow)?;
        let counted = IntCounterVec::new(
            Opts::new(
                "weir_token_counts_total",
                "Prompts of calls near a limit: count where their tokens were counted, skip where \
                 that could not be done.",
            ),
            &["result"],
        )?;
        registry.register(Box::new(counted.clone()))?;
        let of_budget = ["policy", "subject", "period"];
        Ok(Self {
            per_user,
            decisions,
            known: Mutex::default(),
            counted,
            spent: Shown::new(
                registry,
                Opts::new("weir_budget_spent_usd", "Spent in the present period, in dollars."),
                &of_budget,
            )?,
            limit: Shown::new(
                registry,
                Opts::new("weir_budget_limit_usd", "What a budget allows, in dollars."),
                &of_budget,
            )?,
            usage: Shown::new(
                registry,
                Opts::new(
                    "weir_limit_usage_ratio",
                    "Used share of a limit, calls in flight included.",
                ),
                &["policy", "subject", "limit"],
            )?,
            quota: Shown::new(
                registry,
                Opts::new(
                    "weir_provider_limit_remaining_ratio",
                    "What is left of a provider's own limit, as it last said; accounts are hashes.",
                ),
                &["provider", "account", "kind"],
            )?,
        })
    }

    /// Counts what policies decided on a call.
    pub(super) fn count(&self, record: &Record) {
        let mut known = self.known.lock();
        for decision in record.decisions.iter().filter(|decision| is_policy(&decision.rule)) {
            let (rule, action) = (&decision.rule, &decision.action);
            let labels = [&**rule, &**action];
            // Limits share their words with every other call; nothing else is met so often.
            let Detail::Figures(_) = &decision.detail else {
                self.decisions.add(&labels, IntCounter::inc);
                continue;
            };
            if known.len() >= KNOWN {
                known.clear();
            }
            let addresses = (Arc::as_ptr(rule).addr(), Arc::as_ptr(action).addr());
            let known = known.entry(addresses).or_insert_with(|| {
                (self.decisions.handle(&labels), [Arc::clone(rule), Arc::clone(action)])
            });
            known.0.inc();
        }
        for decision in record.decisions.iter().filter(|decision| &*decision.rule == "tokens") {
            self.counted.with_label_values(&[&*decision.action]).inc();
        }
    }

    /// Takes away counters that have not grown for `ttl`; how many.
    pub(super) fn sweep(&self, now: Instant, ttl: Duration) -> u64 {
        let idle = self.decisions.idle(now, ttl);
        if idle.is_empty() {
            return 0;
        }
        // Held while they are counted.
        let mut known = self.known.lock();
        known.clear();
        self.decisions.remove(&idle)
    }

    /// Shows how things stand.
    #[expect(clippy::cast_precision_loss, reason = "the exact figures are in the API")]
    pub(super) fn show(&self, standing: &Standing) {
        let dollars = |amount: NanoUsd| amount.0 as f64 / 1e9;
        let share = |budget: &BudgetGauge| budget.spent.0 as f64 / budget.limit.0.max(1) as f64;
        let labels = |budget: &BudgetGauge| {
            [Arc::clone(&budget.policy), self.who(&budget.subject), Arc::clone(&budget.period)]
        };
        let budgets = || standing.budgets.iter();
        self.spent.set(budgets().map(|it| (labels(it), share(it), dollars(it.spent))));
        self.limit.set(budgets().map(|it| (labels(it), share(it), dollars(it.limit))));
        self.usage.set(standing.limits.iter().map(|it| {
            let labels = [Arc::clone(&it.policy), self.who(&it.subject), Arc::from(it.unit)];
            (labels, it.ratio, it.ratio)
        }));
        self.quota.set(standing.quotas.iter().map(|it| {
            let labels = [Arc::clone(&it.provider), self.who(&it.account), Arc::from(it.kind)];
            (labels, -it.remaining, it.remaining)
        }));
    }

    /// Where users are not told apart, the fullest stands for all.
    fn who(&self, subject: &Arc<str>) -> Arc<str> {
        if self.per_user { Arc::clone(subject) } else { Arc::from("all") }
    }
}

/// Whether a decision is a policy's: built-in ones (`route`, `price`) have no dot in their names.
fn is_policy(rule: &str) -> bool {
    rule.contains('.') || matches!(rule, "retry" | "loop_protection")
}
