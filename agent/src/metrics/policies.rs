//! Metrics of policies: what they decided, how far limits and budgets are used, and what providers
//! say is left of their own.
//!
//! Decisions are counted as calls settle; the rest is taken over when metrics are read. Series of
//! what no longer exists go away. Each gauge shows at most [`SERIES`] series, the fullest ones.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use parking_lot::Mutex;
use prometheus::{GaugeVec, IntCounter, IntCounterVec, Opts, Registry};

use crate::llm::usage::NanoUsd;
use crate::record::{Detail, Record};

/// Series per gauge.
const SERIES: usize = 500;

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
    decisions: IntCounterVec,
    /// Counters by the addresses of their labels, which the labels beside them keep taken.
    known: Mutex<Known>,
    counted: IntCounterVec,
    spent: Shown<3>,
    limit: Shown<3>,
    usage: Shown<3>,
    quota: Shown<3>,
}

type Known = HashMap<(usize, usize), (IntCounter, [Arc<str>; 2])>;

/// A gauge with so many labels, and the series it shows now.
#[derive(Debug)]
pub(super) struct Shown<const N: usize> {
    gauge: GaugeVec,
    labels: Mutex<HashSet<[Arc<str>; N]>>,
}

impl Policies {
    pub(super) fn new(registry: &Registry, per_user: bool) -> prometheus::Result<Self> {
        let decisions = IntCounterVec::new(
            Opts::new(
                "weir_policy_decisions_total",
                "What policies said of calls; would-… where they did not act.",
            ),
            &["policy", "action"],
        )?;
        registry.register(Box::new(decisions.clone()))?;
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
            let counter = || self.decisions.with_label_values(&[&**rule, &**action]);
            // Limits share their words with every other call; nothing else is met so often.
            let Detail::Figures(_) = &decision.detail else {
                counter().inc();
                continue;
            };
            if known.len() >= KNOWN {
                known.clear();
            }
            let addresses = (Arc::as_ptr(rule).addr(), Arc::as_ptr(action).addr());
            let known = known
                .entry(addresses)
                .or_insert_with(|| (counter(), [Arc::clone(rule), Arc::clone(action)]));
            known.0.inc();
        }
        for decision in record.decisions.iter().filter(|decision| &*decision.rule == "tokens") {
            self.counted.with_label_values(&[&*decision.action]).inc();
        }
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

impl<const N: usize> Shown<N> {
    pub(super) fn new(
        registry: &Registry,
        opts: Opts,
        labels: &[&str; N],
    ) -> prometheus::Result<Self> {
        let gauge = GaugeVec::new(opts, labels)?;
        registry.register(Box::new(gauge.clone()))?;
        Ok(Self { gauge, labels: Mutex::default() })
    }

    /// Shows these series, each with its labels, its fullness and its value, and no others.
    pub(super) fn set(&self, series: impl Iterator<Item = ([Arc<str>; N], f64, f64)>) {
        let mut series: Vec<_> = series.collect();
        series.sort_by(|one, other| other.1.total_cmp(&one.1));
        let mut shown = self.labels.lock();
        let mut next = HashSet::new();
        for (labels, _, value) in series {
            // Of several with the same labels the fullest came first.
            if next.len() < SERIES && next.insert(labels.clone()) {
                self.gauge.with_label_values(&labels.each_ref().map(|label| &**label)).set(value);
            }
        }
        for gone in shown.difference(&next) {
            let labels = gone.each_ref().map(|label| &**label);
            // Missing is what it should be.
            drop(self.gauge.remove_label_values(&labels));
        }
        *shown = next;
    }
}

/// Whether a decision is a policy's: built-in ones (`route`, `price`) have no dot in their names.
fn is_policy(rule: &str) -> bool {
    rule.contains('.') || matches!(rule, "retry" | "loop_protection")
}
