//! How rules stand, for those who ask.

use crate::policy::Figure;
use crate::policy::budget::Standing;
use crate::policy::counters::Counter;
use crate::policy::gauge::{Gauge, Reading};
use crate::policy::rules::Rule;
use crate::policy::settings::{Limit, Over, Quantity, Says};
use crate::policy::text;
use crate::policy::view::{BudgetView, PolicyView, UsageView};

pub(super) fn policy(rule: &Rule) -> PolicyView {
    PolicyView {
        name: std::sync::Arc::clone(&rule.set.name),
        enforcement: rule.enforcement(),
        configured: rule.set.enforcement,
        about: rule.set.about.to_string(),
        summary: text::summary(&rule.set.says),
        passed: rule.tally.passed,
        acted: rule.tally.acted,
        shadowed: rule.tally.shadowed,
    }
}

pub(super) fn usage(rule: &Rule, of: Option<&str>, t: Reading<'_>) -> Vec<UsageView> {
    let is_named = |name: &str| {
        let bare = name.split_once('.').map_or(name, |(_section, bare)| bare);
        of.is_none_or(|of| of == name || of == bare)
    };
    let whole = is_named(&rule.set.name);
    let counters = rule.counters.iter().filter(|counter| {
        // Who claims a name is found under it.
        let claimed = counter.key.split_once(" in ").map(|(name, _)| name);
        whole || of == Some(&*counter.key) || (claimed.is_some() && of == claimed)
    });
    let views = counters.flat_map(|counter| {
        counter.gauges.iter().map(|gauge| {
            let figure = figure(gauge, t);
            let left = gauge.cap.limit.get().saturating_sub(gauge.used_at(t));
            UsageView {
                policy: std::sync::Arc::clone(&rule.set.name),
                subject: std::sync::Arc::clone(&counter.key),
                uid: counter.owner.uid(),
                remaining: text::amount(gauge.cap.of, left),
                figure,
            }
        })
    });
    views.collect()
}

/// A limit and what is used of it.
pub(super) fn figure(gauge: &Gauge, t: Reading<'_>) -> Figure {
    Figure {
        unit: gauge.cap.unit,
        used: text::amount(gauge.cap.of, gauge.used_at(t)),
        limit: text::amount(gauge.cap.of, gauge.cap.limit.get()),
        resets_at: gauge.resets_at(t),
    }
}

pub(super) fn budgets(rule: &Rule, t: Reading<'_>) -> Vec<BudgetView> {
    let Says::Limit(limit) = &rule.set.says else { return Vec::new() };
    let Some(watch) = &limit.watch else { return Vec::new() };
    let views = rule.counters.iter().flat_map(|counter| {
        let money = counter.gauges.iter().filter(|gauge| gauge.cap.of == Quantity::Usd);
        money.map(|gauge| BudgetView {
            alert_at: watch.alert_at.clone(),
            ..budget((rule, limit), (counter, gauge), t)
        })
    });
    views.collect()
}

fn budget(
    (rule, limit): (&Rule, &Limit),
    (counter, gauge): (&Counter, &Gauge),
    t: Reading<'_>,
) -> BudgetView {
    let (used, reserved) = (gauge.used_at(t), gauge.reserved(t));
    let period = gauge.period(t);
    let standing = standing(gauge, t);
    let wait = gauge.watcher.as_ref().and_then(|watcher| watcher.exhausted_in(standing));
    BudgetView {
        policy: std::sync::Arc::clone(&rule.set.name),
        subject: std::sync::Arc::clone(&counter.key),
        uid: counter.owner.uid(),
        period: text::period(gauge.cap.over),
        spent: text::usd(used.saturating_sub(reserved)),
        reserved: text::usd(reserved),
        limit: text::usd(gauge.cap.limit.get()),
        began_at: period.map(|period| period.begins),
        resets_at: gauge.resets_at(t),
        exhausted_at: wait.and_then(|wait| t.wall.checked_add(wait)),
        alert_at: Vec::new(),
        action: limit.on_breach.word(),
        enforcement: rule.enforcement(),
    }
}

/// How a budget stands, as its watcher is told.
pub(super) fn standing(gauge: &Gauge, t: Reading<'_>) -> Standing {
    Standing {
        spent: gauge.used_at(t).saturating_sub(gauge.reserved(t)),
        limit: gauge.cap.limit.get(),
        at: t.at,
        rolling: match gauge.cap.over {
            Over::Sliding(length) => Some(length),
            Over::Day | Over::Week | Over::Month => None,
        },
        left: gauge.period(t).and_then(|period| period.ends.duration_since(t.wall).ok()),
    }
}
