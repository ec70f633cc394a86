//! How what was decided is told: decisions, counts, notices.

use std::sync::Arc;
use std::time::Duration;

use super::QUIET;
use super::fit::{Breach, is_firm, least, need};
use crate::policy::call::Bound;
use crate::policy::counters::Counter;
use crate::policy::engine::show;
use crate::policy::gauge::Reading;
use crate::policy::rules::Rule;
use crate::policy::settings::{self, OnBreach, Says};
use crate::policy::text::{self, Act, Words};
use crate::record::{Decision, Detail, Notice, Topic};

/// What people are told of a breach, where they have not been yet. Reservations alone exceed
/// nothing.
pub(super) fn news(
    set: &settings::Rule,
    (counter, told): (&mut Counter, &mut Option<u64>),
    (breach, bound): (Breach, &Bound),
    t: Reading<'_>,
) -> Option<String> {
    let Says::Limit(limit) = &set.says else { return None };
    let (gauge, least) = (counter.gauges.get_mut(breach.gauge)?, least(bound));
    let standing = show::standing(gauge, t);
    let need = need(gauge, if is_firm(&limit.on_breach) { &least } else { bound }).unwrap_or(0);
    let is_news = match &mut gauge.watcher {
        Some(watcher) => {
            let is_spent = standing.spent.saturating_add(need) > standing.limit;
            standing.spent > 0 && is_spent && watcher.exceed(standing)
        }
        None => limit.on_breach == OnBreach::Alert && told.is_none_or(|told| t.at >= told + QUIET),
    };
    if gauge.watcher.is_none() && is_news {
        *told = Some(t.at);
    }
    is_news.then(|| text::exceeded(set, &counter.key, &gauge.cap))
}

pub(super) fn decision(
    words: &Words,
    rule: &Rule,
    (act, acts): (Act, bool),
    detail: impl Into<Detail>,
) -> Decision {
    Decision {
        at: Duration::ZERO,
        rule: Arc::clone(&rule.set.name),
        action: words.of(act, acts),
        detail: detail.into(),
    }
}

pub(super) fn count(rule: &mut Rule, (act, acts): (Act, bool)) {
    match (act, acts) {
        (Act::Pass, _) => rule.tally.passed += 1,
        (_, true) => rule.tally.acted += 1,
        (_, false) => rule.tally.shadowed += 1,
    }
}

pub(super) fn plain(
    set: &settings::Rule,
    subject: &Arc<str>,
    (topic, message): (Topic, String),
    t: Reading<'_>,
) -> Notice {
    Notice {
        at: t.wall,
        topic,
        policy: Arc::clone(&set.name),
        subject: Arc::clone(subject),
        uid: None,
        call_id: None,
        message,
        spent: None,
        limit: None,
        class: None,
        finding: None,
    }
}
