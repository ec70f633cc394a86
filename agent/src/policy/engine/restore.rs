//! What was used before this start, or before a rule was written.

use std::time::{Duration, SystemTime};

use jiff::tz::TimeZone;

use super::{Engine, Spent, show};
use crate::clock::Now;
use crate::policy::Settings;
use crate::policy::calendar::{Period, minute_of_day};
use crate::policy::call::{Bound, Call, Hold, Reserved, Ticket};
use crate::policy::gauge::{Part, Reading};
use crate::policy::rules::Rule;
use crate::policy::settings::{self, Over, Quantity, Says};
use crate::record::Billing;

impl Engine {
    /// Counts what was spent before this start. Only limits that were not there before take it, and
    /// only what is older than they are; what lies in the future is, too: the clock was set back.
    /// Rules about paths take all of it: the ledger's sums do not tell paths apart, and forgetting
    /// would be worse.
    pub fn restore(&mut self, spent: &Spent, now: Now) {
        let Self { line, zone, teams, rules, profiles, .. } = self;
        let t = Reading { at: line.at(now), wall: now.wall, zone };
        let age = now.wall.duration_since(spent.at).unwrap_or_default();
        let age = u64::try_from(age.as_nanos()).unwrap_or(u64::MAX);
        let at = t.at.saturating_sub(age);
        let minute = minute_of_day(spent.at, zone);
        let agent_name = spent.agent_name.as_deref();
        for entry in profiles.of(&spent.subject, agent_name, (rules, teams)) {
            let Some(rule) = rules.get_mut(entry.rule) else { continue };
            let Says::Limit(limit) = &rule.set.says else { continue };
            let path = rule.set.selector.path.first().map(ToString::to_string);
            let call = as_call(spent, path.as_deref().unwrap_or_default());
            let is_before = spent.at < rule.began || spent.at > now.wall;
            let is_asked = is_before && rule.is_new.contains(&true);
            if !is_asked || (entry.asks && !rule.set.selector.is_about(&call, minute)) {
                continue;
            }
            let watch = limit.watch.clone();
            let uid = spent.subject.process.uid;
            let is_new = rule.is_new.clone();
            let Some(counter) = entry.counter(rule, uid, t) else { continue };
            for (gauge, _) in counter.gauges.iter_mut().zip(is_new).filter(|(_, is_new)| *is_new) {
                gauge.advance(t);
                let amount = match gauge.cap.of {
                    Quantity::Requests => spent.requests,
                    Quantity::Tokens => spent.tokens,
                    Quantity::Usd => u64::try_from(spent.cost.0).unwrap_or(0),
                };
                let began = match (gauge.period(t), gauge.cap.over) {
                    (Some(period), _) => Some(period.begins),
                    (None, over) => now.wall.checked_sub(over.longest()),
                };
                if began.is_some_and(|began| spent.at < began) {
                    continue;
                }
                gauge.count(at, amount);
                gauge.advance(t);
                let standing = show::standing(gauge, t);
                if let (Some(watcher), Some(watch)) = (&mut gauge.watcher, &watch) {
                    watcher.spend(at, amount);
                    watcher.catch_up(watch, standing);
                }
            }
        }
    }

    /// Counts from now on: what was spent before has another place than this start.
    pub fn begin(&mut self, now: Now) {
        for rule in &mut self.rules {
            rule.began = now.wall;
        }
    }

    /// Reserves for a call that another agent has let through, which this one follows; to be settled
    /// as one of ours is. Nobody is asked any more.
    pub fn adopt(&mut self, call: &Spent, now: Now) -> Ticket {
        let Self { line, zone, teams, rules, profiles, .. } = self;
        let t = Reading { at: line.at(now), wall: now.wall, zone };
        let age = now.wall.duration_since(call.at).unwrap_or_default();
        let at = t.at.saturating_sub(u64::try_from(age.as_nanos()).unwrap_or(u64::MAX));
        let minute = minute_of_day(call.at, zone);
        let cost = u64::try_from(call.cost.0).unwrap_or(0);
        let first = Reserved { tokens: call.tokens, cost };
        let mut ticket = Ticket { first, ..Ticket::default() };
        for entry in profiles.of(&call.subject, call.agent_name.as_deref(), (rules, teams)) {
            let Some(rule) = rules.get_mut(entry.rule) else { continue };
            if !matches!(rule.set.says, Says::Limit(_)) {
                continue;
            }
            let path = rule.set.selector.path.first().map(ToString::to_string);
            let asked = as_call(call, path.as_deref().unwrap_or_default());
            if entry.asks && !rule.set.selector.is_about(&asked, minute) {
                continue;
            }
            let known = (entry.rule, rule.id);
            let Some(counter) = entry.counter(rule, call.subject.process.uid, t) else { continue };
            for gauge in &mut counter.gauges {
                gauge.advance(t);
                let amount = match gauge.cap.of {
                    Quantity::Requests => 1,
                    Quantity::Tokens => first.tokens,
                    Quantity::Usd => first.cost,
                };
                // A period of the calendar begins, as far as is known here, with this engine.
                let at = if gauge.is_sliding() { at } else { t.at };
                gauge.reserve(Part { at, amount }, false);
            }
            counter.holds += 1;
            let Some(counter) = entry.slot else { continue };
            let (since, acts, is_surplus) = (t.at, true, false);
            ticket.holds.push(Hold { rule: known, counter, since, at, acts, is_surplus });
        }
        ticket
    }

    /// How far back it would have to go once these rules were taken over: asked before, so that
    /// what was spent is at hand when they are.
    pub fn horizon_of(&self, settings: &Settings, now: Now) -> Option<SystemTime> {
        let at = self.line.peek(now);
        let is_counted = |set: &settings::Rule, cap: &settings::Cap| {
            let same = |rule: &&Rule| rule.set.name == set.name && rule.set.per == set.per;
            let known = self.rules.iter().find(same);
            known.is_some_and(|rule| {
                rule.caps().iter().any(|old| (old.of, old.over) == (cap.of, cap.over))
            })
        };
        let new = settings.rules.iter().flat_map(|set| {
            let Says::Limit(limit) = &set.says else { return Vec::new() };
            limit.caps.iter().filter(|cap| !is_counted(set, cap)).collect::<Vec<_>>()
        });
        new.filter_map(|cap| begins(cap.over, now, (at, &settings.zone))).min()
    }

    /// How far back [`Self::restore`] has to go for every rule to hold; `None` where no rule
    /// outlives a restart.
    pub fn horizon(&self, now: Now) -> Option<SystemTime> {
        let at = self.line.peek(now);
        let caps = self.rules.iter().filter_map(|rule| match &rule.set.says {
            Says::Limit(limit) => Some(limit.caps.iter().zip(&rule.is_new)),
            Says::Guard(_) | Says::Price(_) | Says::Loops(_) => None,
        });
        caps.flatten()
            .filter(|(_, is_new)| **is_new)
            .filter_map(|(cap, _)| begins(cap.over, now, (at, &self.zone)))
            .min()
    }
}

/// Since when use counts in a limit.
fn begins(over: Over, now: Now, line: (u64, &TimeZone)) -> Option<SystemTime> {
    match over {
        // A step more, for what is on the edge.
        Over::Sliding(length) => now.wall.checked_sub(length + Duration::from_secs(1)),
        over => Some(Period::of(over, now.wall, line).begins),
    }
}

fn as_call<'a>(spent: &'a Spent, path: &'a str) -> Call<'a> {
    Call {
        subject: &spent.subject,
        agent_name: spent.agent_name.as_deref(),
        environment: &spent.environment,
        provider: &spent.provider,
        host: "",
        path,
        model: spent.model.as_deref(),
        body_bytes: 0,
        bound: Bound::default(),
        billing: Billing::Unknown,
        prompt: None,
    }
}
