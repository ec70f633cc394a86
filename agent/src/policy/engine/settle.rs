//! After a call was let through: what it comes to while it runs, and in the end.

use std::sync::Arc;

use super::{Extension, show};
use crate::llm::usage::NanoUsd;
use crate::policy::budget::News;
use crate::policy::call::{Actual, Bound, Hold, Joined, Reserved, Ticket};
use crate::policy::counters::{Counter, Owner};
use crate::policy::gauge::{Fit, Gauge, Part, Reading};
use crate::policy::rules::Rule;
use crate::policy::settings::{self, OnBreach, Quantity, Says};
use crate::policy::text;
use crate::record::{Notice, Topic};

/// Times a reservation is raised before raises are put together.
const RAISES: usize = 8;

/// Raises what a call has reserved to what it has come to.
pub(super) fn extend(
    rules: &mut [Rule],
    ticket: &mut Ticket,
    so_far: &Bound,
    t: Reading<'_>,
) -> Extension {
    let cuts = |limit: &settings::Limit, _: &Gauge| limit.cut_streams;
    if raise_all(rules, ticket, so_far, |_| so_far.cost, (t, cuts)).is_err() {
        return Extension::Cut;
    }
    Extension::Raised
}

/// Raises what a call has reserved to what it can come to if it is made again; the name of the
/// limit that does not cover that, where there is one: nothing is raised then.
pub(super) fn cover(
    rules: &mut [Rule],
    ticket: &mut Ticket,
    worst: &Bound,
    t: Reading<'_>,
) -> Result<(), Arc<str>> {
    let holds = |limit: &settings::Limit, gauge: &Gauge| match limit.on_breach {
        OnBreach::Deny | OnBreach::Freeze => true,
        // A budget of the calendar slows calls down, and lets them go.
        OnBreach::Throttle(_) => gauge.is_sliding(),
        OnBreach::Downgrade(_) | OnBreach::Alert => false,
    };
    // A limit that joined on the way counts what came after.
    let since = |joined: &Joined| worst.cost.map(|cost| rest(cost, joined.before));
    raise_all(rules, ticket, worst, since, (t, holds))
}

/// Raises everything that a call has reserved, or nothing where a limit that holds has no room:
/// that one is named then. `joined` tells the cost for limits that joined on the way.
fn raise_all(
    rules: &mut [Rule],
    ticket: &mut Ticket,
    worst: &Bound,
    joined: impl Fn(&Joined) -> Option<NanoUsd>,
    (t, holds): (Reading<'_>, impl Fn(&settings::Limit, &Gauge) -> bool),
) -> Result<(), Arc<str>> {
    let own = beyond(ticket, worst);
    let later: Vec<Reserved> = ticket
        .joined
        .iter()
        .map(|part| beyond(&part.ticket, &Bound { cost: joined(part), ..*worst }))
        .collect();
    let is_full = |rules: &mut [Rule], ticket: &Ticket, more| full(rules, ticket, more, t, &holds);
    if let Some(policy) = is_full(rules, ticket, own) {
        return Err(policy);
    }
    for (part, more) in ticket.joined.iter().zip(&later) {
        if let Some(policy) = is_full(rules, &part.ticket, *more) {
            return Err(policy);
        }
    }
    reserve(rules, ticket, own, t);
    for (part, more) in ticket.joined.iter_mut().zip(later) {
        reserve(rules, &mut part.ticket, more, t);
    }
    Ok(())
}

/// What is left of a cost without what had been spent before; all of it where that is not known.
fn rest(cost: NanoUsd, before: Option<NanoUsd>) -> NanoUsd {
    NanoUsd(cost.0.saturating_sub(before.map_or(0, |before| before.0)).max(0))
}

/// Ends what limits have reserved for a model that is not asked any more, where the next one is
/// none of theirs: its tries came to what was spent since they joined.
pub(super) fn leave(
    rules: &mut [Rule],
    ticket: &mut Ticket,
    spent: Option<NanoUsd>,
    (t, is_about): (Reading<'_>, impl Fn(&settings::Rule) -> bool),
) -> Vec<Notice> {
    let mut notices = Vec::new();
    for part in &mut ticket.joined {
        let mut goes = |hold: &mut Hold| !held(rules, hold).is_some_and(|(set, _)| is_about(set));
        let gone: Vec<_> = part.ticket.holds.extract_if(.., &mut goes).collect();
        if gone.is_empty() {
            continue;
        }
        let gone = Ticket {
            holds: gone,
            first: part.ticket.first,
            more: part.ticket.more.clone(),
            joined: Vec::new(),
        };
        let cost = spent.zip(part.before).map(|(spent, before)| rest(spent, Some(before)));
        // What failed was read at most, and nobody says so.
        let actual = Actual { sent: true, tokens: 0, cost, failed: true };
        notices.extend(settle(rules, &gone, &actual, t));
    }
    ticket.joined.retain(|part| !part.ticket.holds.is_empty());
    notices
}

/// How much more this is than what is reserved.
fn beyond(ticket: &Ticket, bound: &Bound) -> Reserved {
    let total = total(ticket);
    let cost = bound.cost.map_or(0, |cost| u64::try_from(cost.0).unwrap_or(0));
    Reserved {
        tokens: bound.input.saturating_add(bound.output).saturating_sub(total.tokens),
        cost: cost.saturating_sub(total.cost),
    }
}

/// The first limit that acts, holds, and has no room for more.
fn full(
    rules: &mut [Rule],
    ticket: &Ticket,
    more: Reserved,
    t: Reading<'_>,
    holds: impl Fn(&settings::Limit, &Gauge) -> bool,
) -> Option<Arc<str>> {
    for hold in ticket.holds.iter().filter(|hold| hold.acts) {
        let Some((set, counter)) = held(rules, hold) else { continue };
        let Says::Limit(limit) = &set.says else { continue };
        for gauge in &mut counter.gauges {
            gauge.advance(t);
            let need = raise(gauge, more);
            if need > 0 && holds(limit, gauge) && gauge.fit(need, t) != Fit::Now {
                return Some(Arc::clone(&set.name));
            }
        }
    }
    None
}

fn reserve(rules: &mut [Rule], ticket: &mut Ticket, more: Reserved, t: Reading<'_>) {
    if more == Reserved::default() {
        return;
    }
    for hold in &ticket.holds {
        let Some((_, counter)) = held(rules, hold) else { continue };
        for gauge in &mut counter.gauges {
            gauge.advance(t);
            let part = Part { at: t.at, amount: raise(gauge, more) };
            gauge.reserve(part, hold.is_surplus);
        }
    }
    ticket.more.push((t.at, more));
    if ticket.more.len() > RAISES {
        merge(rules, ticket);
    }
}

/// Puts the last two raises together, at the place of the later one.
fn merge(rules: &mut [Rule], ticket: &mut Ticket) {
    let (Some((at, last)), Some((before, more))) = (ticket.more.pop(), ticket.more.pop()) else {
        return;
    };
    for hold in &ticket.holds {
        let Some((_, counter)) = held(rules, hold) else { continue };
        for gauge in &mut counter.gauges {
            gauge.shift((before, at), raise(gauge, more), hold.is_surplus);
        }
    }
    let tokens = last.tokens.saturating_add(more.tokens);
    ticket.more.push((at, Reserved { tokens, cost: last.cost.saturating_add(more.cost) }));
}

fn raise(gauge: &Gauge, more: Reserved) -> u64 {
    match gauge.cap.of {
        Quantity::Requests => 0,
        Quantity::Tokens => more.tokens,
        Quantity::Usd => more.cost,
    }
}

fn total(ticket: &Ticket) -> Reserved {
    ticket.more.iter().fold(ticket.first, |sum, (_, more)| Reserved {
        tokens: sum.tokens.saturating_add(more.tokens),
        cost: sum.cost.saturating_add(more.cost),
    })
}

/// The rule and the counter of a reservation, where both are still there.
fn held<'r>(rules: &'r mut [Rule], hold: &Hold) -> Option<(&'r settings::Rule, &'r mut Counter)> {
    let (place, id) = hold.rule;
    // Rules change places when the configuration does.
    let place = match rules.get(place) {
        Some(rule) if rule.id == id => place,
        _ => rules.iter().position(|rule| rule.id == id)?,
    };
    let rule = rules.get_mut(place)?;
    let (slot, generation) = hold.counter;
    Some((&rule.set, rule.counters.of(slot, generation)?))
}

/// Puts what a call came to in the place of what it had reserved.
pub(super) fn settle(
    rules: &mut [Rule],
    ticket: &Ticket,
    actual: &Actual,
    t: Reading<'_>,
) -> Vec<Notice> {
    let mut notices = Vec::new();
    let total = total(ticket);
    let actual_of = |of: Quantity| match (actual.sent, of) {
        (false, _) => 0,
        (true, Quantity::Requests) => 1,
        (true, Quantity::Tokens) => actual.tokens,
        (true, Quantity::Usd) => {
            actual.cost.map_or(total.cost, |cost| u64::try_from(cost.0).unwrap_or(0))
        }
    };
    for hold in &ticket.holds {
        let Some((set, counter)) = held(rules, hold) else { continue };
        counter.holds = counter.holds.saturating_sub(1);
        if let Some(repetition) = &mut counter.repetition
            && actual.sent
            && actual.failed
        {
            repetition.failed(t.at);
        }
        for gauge in &mut counter.gauges {
            gauge.advance(t);
            let of = gauge.cap.of;
            let amount = |reserved: Reserved| match of {
                Quantity::Requests => 0,
                Quantity::Tokens => reserved.tokens,
                Quantity::Usd => reserved.cost,
            };
            let first = if of == Quantity::Requests { 1 } else { amount(ticket.first) };
            let more = ticket.more.iter().map(|(at, more)| Part { at: *at, amount: amount(*more) });
            let at = if gauge.is_sliding() { hold.at } else { hold.since };
            let parts = std::iter::once(Part { at, amount: first }).chain(more);
            let came_to = gauge.settle(parts, (actual_of(of), hold.is_surplus), t);
            if came_to > 0 {
                let whose = (&counter.key, counter.owner);
                watch(set, gauge, whose, (came_to, t), &mut notices);
            }
        }
    }
    for joined in &ticket.joined {
        let cost = actual.cost.zip(joined.before).map(|(cost, before)| rest(cost, Some(before)));
        notices.extend(settle(rules, &joined.ticket, &Actual { cost, ..*actual }, t));
    }
    notices
}

/// Tells the watcher of a budget what was spent, and people what that means.
fn watch(
    set: &settings::Rule,
    gauge: &mut Gauge,
    whose: (&Arc<str>, Owner),
    (amount, t): (u64, Reading<'_>),
    notices: &mut Vec<Notice>,
) {
    let Says::Limit(settings::Limit { watch: Some(watch), .. }) = &set.says else { return };
    if gauge.watcher.is_none() {
        return;
    }
    let standing = show::standing(gauge, t);
    let Some(watcher) = &mut gauge.watcher else { return };
    watcher.spend(t.at, amount);
    let news = watcher.news(watch, standing);
    if news == News::default() {
        return;
    }
    let News { threshold, exceeded, exhausted_in, spike } = news;
    let whose = &(Arc::clone(whose.0), whose.1.uid());
    let whom = text::whom(set, &whose.0);
    let cap = text::cap(&gauge.cap);
    let spent = text::usd(gauge.spent());
    let mut tell = |topic, message: String| {
        notices.push(notice(set, whose, (topic, message), (gauge, t)));
    };
    if let Some(percent) = threshold {
        tell(
            Topic::BudgetThreshold,
            format!("{whom} has spent {percent} % of its budget: ${spent} of {cap}"),
        );
    }
    if exceeded {
        tell(Topic::BudgetExceeded, format!("{whom} has spent its budget: ${spent} of {cap}"));
    }
    if let Some(wait) = exhausted_in {
        let minutes = wait.as_secs() / 60;
        tell(
            Topic::BudgetForecast,
            format!(
                "{whom} will have spent its budget of {cap} in {} h {} min at the present rate",
                minutes / 60,
                minutes % 60
            ),
        );
    }
    if let Some((hour, usual)) = spike {
        let (hour, usual) = (text::usd(hour), text::usd(usual));
        tell(Topic::CostSpike, format!("{whom} has spent ${hour} in this hour, usually ${usual}"));
    }
}

/// A notice about a limit.
pub(super) fn notice(
    set: &settings::Rule,
    (subject, uid): &(Arc<str>, Option<u32>),
    (topic, message): (Topic, String),
    (gauge, t): (&Gauge, Reading<'_>),
) -> Notice {
    let is_money = gauge.cap.of == Quantity::Usd;
    Notice {
        at: t.wall,
        topic,
        policy: Arc::clone(&set.name),
        subject: Arc::clone(subject),
        uid: *uid,
        call_id: None,
        message,
        spent: is_money.then(|| text::usd(gauge.spent())),
        limit: is_money.then(|| text::usd(gauge.cap.limit.get())),
        class: None,
        finding: None,
    }
}
