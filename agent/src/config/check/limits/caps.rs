//! Rate limits and budgets.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use super::whom::Known;
use super::{Check, enforcement};
use crate::config::amount::{Count, Dollars, Percent, Words};
use crate::config::problem::Trail;
use crate::config::raw::{RawAction, RawBudget, RawOverrun, RawRateLimit, RawRolling};
use crate::config::value::{OneOrMany, Span};
use crate::policy::settings::{Cap, Limit, OnBreach, Over, Quantity, Rule, Says, Watch};

const MINUTE: Over = Over::Sliding(Duration::from_mins(1));
const HOUR: Over = Over::Sliding(Duration::from_hours(1));
const DAY: Over = Over::Sliding(Duration::from_hours(24));

/// Percentages at which people are told, at most.
const THRESHOLDS: usize = 8;

/// Longest rolling budget, in hours: what the ledger keeps by default.
const LONGEST: u64 = 90 * 24;

/// The longest a call may be made to wait: clients give up at ten minutes.
const LONGEST_WAIT: Duration = Duration::from_mins(5);

impl Check<'_> {
    pub(super) fn rate_limit(
        &mut self,
        key: &str,
        raw: &RawRateLimit,
        (trail, known): (&Trail, &Known),
    ) -> Option<Rule> {
        let before = self.problems.len();
        let count = |count: Option<Count>| count.map(|count| count.0);
        let money = |money: Option<Dollars>| money.map(nanos);
        let (requests, tokens, usd) = (Quantity::Requests, Quantity::Tokens, Quantity::Usd);
        let caps = self.caps(
            [
                ("requests_per_minute", requests, MINUTE, count(raw.requests_per_minute)),
                ("requests_per_hour", requests, HOUR, count(raw.requests_per_hour)),
                ("requests_per_day", requests, DAY, count(raw.requests_per_day)),
                ("tokens_per_minute", tokens, MINUTE, count(raw.tokens_per_minute)),
                ("tokens_per_hour", tokens, HOUR, count(raw.tokens_per_hour)),
                ("tokens_per_day", tokens, DAY, count(raw.tokens_per_day)),
                ("usd_per_minute", usd, MINUTE, money(raw.usd_per_minute)),
                ("usd_per_hour", usd, HOUR, money(raw.usd_per_hour)),
                ("usd_per_day", usd, DAY, money(raw.usd_per_day)),
            ],
            trail,
        );
        let (selector, per) = self.whom(key, (raw.matching.as_ref(), raw.per), (trail, known));
        let action = (raw.on_breach, raw.downgrade_to.as_deref(), raw.throttle_up_to);
        let on_breach = self.on_breach(action, (trail, known));
        if caps.is_empty() {
            self.limits_nothing(
                trail,
                before,
                "requests_per_minute, tokens_per_day, usd_per_hour, …",
            );
            return None;
        }
        let cut_streams = raw.on_stream_overrun == Some(RawOverrun::Cut);
        Some(Rule {
            name: format!("rate_limits.{key}").into(),
            about: key.into(),
            enforcement: enforcement(raw.enforcement),
            selector,
            per,
            says: Says::Limit(Limit { caps, on_breach, cut_streams, watch: None }),
        })
    }

    pub(super) fn budget(
        &mut self,
        key: &str,
        raw: &RawBudget,
        (trail, known): (&Trail, &Known),
    ) -> Option<Rule> {
        let before = self.problems.len();
        let usd = Quantity::Usd;
        let money = |money: Option<Dollars>| money.map(nanos);
        let mut caps = self.caps(
            [
                ("hourly_limit_usd", usd, HOUR, money(raw.hourly_limit_usd)),
                ("daily_limit_usd", usd, Over::Day, money(raw.daily_limit_usd)),
                ("weekly_limit_usd", usd, Over::Week, money(raw.weekly_limit_usd)),
                ("monthly_limit_usd", usd, Over::Month, money(raw.monthly_limit_usd)),
            ],
            trail,
        );
        if let Some(OneOrMany(rolling)) = &raw.rolling {
            for (item, rolling) in self.items(&trail.key("rolling"), rolling) {
                // One that stands alone is no list.
                let at = if self.kept.find(&item).is_some() { item } else { trail.key("rolling") };
                caps.extend(self.rolling(rolling, &at));
            }
        }
        let (selector, per) = self.whom(key, (raw.matching.as_ref(), raw.per), (trail, known));
        let action = (raw.on_breach, raw.downgrade_to.as_deref(), raw.throttle_up_to);
        let on_breach = self.on_breach(action, (trail, known));
        let alert_at = self.thresholds(raw.alert_at_percent.as_ref(), trail);
        if caps.is_empty() {
            self.limits_nothing(trail, before, "daily_limit_usd, monthly_limit_usd, rolling, …");
            return None;
        }
        let watch = Watch {
            alert_at,
            forecast: raw.forecast.unwrap_or(true),
            spike_percent: Some(raw.cost_spike_percent.unwrap_or(300)).filter(|most| *most > 0),
        };
        if watch.spike_percent.is_some_and(|percent| percent <= 100) {
            let what = "must be over 100 (percent of the usual hour), or 0 for never".to_owned();
            self.problem(&trail.key("cost_spike_percent"), what);
        }
        let cut_streams = raw.on_stream_overrun == Some(RawOverrun::Cut);
        Some(Rule {
            name: format!("budgets.{key}").into(),
            about: key.into(),
            enforcement: enforcement(raw.enforcement),
            selector,
            per,
            says: Says::Limit(Limit { caps, on_breach, cut_streams, watch: Some(watch) }),
        })
    }

    /// The limits given, shortest first within each quantity; one that can never bind is a
    /// problem.
    fn caps<const N: usize>(
        &mut self,
        given: [(&'static str, Quantity, Over, Option<u64>); N],
        trail: &Trail,
    ) -> Vec<Cap> {
        let mut caps: Vec<Cap> = Vec::new();
        for (unit, of, over, limit) in given {
            let Some(limit) = limit else { continue };
            let Some(limit) = NonZeroU64::new(limit) else {
                let what = "must be more than 0; what is not to be used at all is a guardrail's";
                self.problem(&trail.key(unit), what.to_owned());
                continue;
            };
            let wider = Cap { unit, of, over, limit };
            for shorter in caps.iter().filter(|cap| cap.of == of && cap.limit > limit) {
                let what = format!("can never be reached: `{unit}` allows less than this");
                self.problem(&trail.key(shorter.unit), what);
            }
            caps.push(wider);
        }
        caps
    }

    fn rolling(&mut self, raw: &RawRolling, trail: &Trail) -> Option<Cap> {
        let hours = match (raw.hours, raw.days) {
            (Some(hours), None) => u64::from(hours),
            (None, Some(days)) => u64::from(days) * 24,
            _ => {
                self.problem(trail, "needs either `hours` or `days`".to_owned());
                return None;
            }
        };
        if !(1..=LONGEST).contains(&hours) {
            self.problem(trail, format!("must be 1 hour to {} days long", LONGEST / 24));
        }
        let limit = raw.limit_usd.map(nanos).and_then(NonZeroU64::new);
        if limit.is_none() {
            self.problem(trail, "needs `limit_usd`, more than 0".to_owned());
        }
        let over = Over::Sliding(Duration::from_hours(hours));
        Some(Cap { unit: "rolling", of: Quantity::Usd, over, limit: limit? })
    }

    pub(super) fn on_breach(
        &mut self,
        (action, downgrade_to, throttle): (Option<RawAction>, Option<&str>, Option<Span>),
        (trail, known): (&Trail, &Known),
    ) -> OnBreach {
        if let Some(target) = downgrade_to {
            let at = trail.key("downgrade_to");
            if action != Some(RawAction::Downgrade) {
                self.problem(&at, "says nothing without `on_breach: downgrade`".to_owned());
            }
            match target.strip_prefix("tier:") {
                Some(tier) if !known.tiers.contains(tier) => {
                    let what = format!("there is no tier `{tier}` under `tiers`");
                    self.unknown(&at, (tier, what), known.tiers.iter().map(String::as_str));
                }
                None if target.is_empty() => self.problem(&at, "is empty".to_owned()),
                _ => {}
            }
        }
        if let Some(Span(most)) = throttle {
            let at = trail.key("throttle_up_to");
            if action != Some(RawAction::Throttle) {
                self.problem(&at, "says nothing without `on_breach: throttle`".to_owned());
            }
            if most.is_zero() || most > LONGEST_WAIT {
                self.problem(&at, "must be longer than 0s and at most 5m".to_owned());
            }
        }
        match action {
            None | Some(RawAction::Deny) => OnBreach::Deny,
            Some(RawAction::Freeze) => OnBreach::Freeze,
            Some(RawAction::Alert) => OnBreach::Alert,
            Some(RawAction::Throttle) => {
                OnBreach::Throttle(throttle.map_or(Duration::from_secs(10), |span| span.0))
            }
            Some(RawAction::Downgrade) => {
                self.missing(
                    trail,
                    &["downgrade_to"],
                    "needs `downgrade_to`, a model or tier:NAME",
                );
                OnBreach::Downgrade(Arc::from(downgrade_to.unwrap_or_default()))
            }
        }
    }

    fn thresholds(&mut self, raw: Option<&Words<Percent>>, trail: &Trail) -> Vec<u8> {
        let Some(Words(percents)) = raw else { return vec![80] };
        let at = trail.key("alert_at_percent");
        let mut kept = Vec::new();
        for (item, Percent(percent)) in self.items(&at, percents) {
            match u8::try_from(*percent) {
                Ok(percent @ 1..=100) => kept.push(percent),
                _ => self.problem(&item, format!("{percent} is none of 1 to 100 percent")),
            }
        }
        kept.sort_unstable();
        kept.dedup();
        if kept.len() > THRESHOLDS {
            self.problem(&at, format!("takes at most {THRESHOLDS} percentages"));
        }
        kept
    }

    fn limits_nothing(&mut self, trail: &Trail, before: usize, some: &str) {
        // What was written but could not be read is reported already.
        let is_whole =
            self.kept.find(trail).is_some_and(|kept| same_size(kept, self.tree.find(trail)));
        if is_whole && self.problems.len() == before {
            self.problem(trail, format!("limits nothing: give one of {some}"));
        }
    }
}

/// Whether nothing was taken out of a map.
fn same_size(
    kept: &crate::config::tree::Node,
    written: Option<&crate::config::tree::Node>,
) -> bool {
    use crate::config::tree::Value;
    match (&kept.value, written.map(|node| &node.value)) {
        (Value::Map(kept), Some(Value::Map(written))) => kept.len() == written.len(),
        _ => true,
    }
}

fn nanos(dollars: Dollars) -> u64 {
    u64::try_from(dollars.0.0).unwrap_or(0)
}
