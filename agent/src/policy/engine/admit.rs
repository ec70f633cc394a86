//! Before a call is made: every rule that is about it is asked, and what it can come to reserved.
//!
//! The order: guardrails, whether the price is known, limits, loops. Of the limits all are asked,
//! so that a refusal can name the first of them (budgets, then tokens, then requests) and the time
//! after which none of them stands in the way. Only then, and only if all let it pass, is anything
//! counted.

use std::sync::Arc;
use std::time::Duration;

use super::settle::notice;
use super::show;
use crate::llm::usage::NanoUsd;
use crate::policy::call::{
    Admission, Bound, Call, Denied, Hold, Reason, Reserved, Ticket, Verdict,
};
use crate::policy::counters::Counter;
use crate::policy::gauge::{Fit, Gauge, Part, Reading};
use crate::policy::guardrail;
use crate::policy::loops::Repeated;
use crate::policy::rules::{self, Entry, Rule};
use crate::policy::settings::{self, GuardAction, Limit, OnBreach, Quantity, Says, UnknownPrice};
use crate::policy::text::{self, Act, Words};
use crate::record::{Decision, Notice, Topic};

/// The least output worth a call, in tokens. Where a limit buys less, a call that names no limit
/// of its own is refused instead of being cut short.
const LEAST_OUTPUT: u64 = 256;

/// Shortest wait a client is told.
const SHORTEST_WAIT: Duration = Duration::from_secs(1);

/// How often people are told of a rule that has no period.
const QUIET: u64 = 60_000_000_000;

/// One call on its way through the rules.
pub(super) struct Stage<'a, 'c> {
    rules: &'a mut [Rule],
    entries: &'a mut [Entry],
    call: &'a Call<'c>,
    acting: bool,
    t: Reading<'a>,
    minute: u16,
    words: &'a Words,
    bound: Bound,
    max_output: Option<u64>,
    downgrade: Option<Arc<str>>,
    delay: Duration,
    decisions: Vec<Decision>,
    notices: Vec<Notice>,
}

/// What one limiting rule says.
struct Said {
    entry: usize,
    acts: bool,
    breach: Option<Breach>,
    act: Act,
    /// How long the rule itself makes the call wait.
    delay: Duration,
}

/// Why a call does not fit.
#[derive(Clone, Copy)]
struct Breach {
    /// The gauge that is named.
    gauge: usize,
    class: u8,
    /// When none of the rule's gauges stands in the way any more; `None` for never.
    wait: Option<Duration>,
    /// The same, without hoping that running calls come to less than they reserved.
    sure: Option<Duration>,
    /// Whether a sliding limit is in the way.
    sliding: bool,
}

impl<'a, 'c> Stage<'a, 'c> {
    pub(super) fn new(
        rules: &'a mut [Rule],
        entries: &'a mut [Entry],
        (call, acting): (&'a Call<'c>, bool),
        (t, minute): (Reading<'a>, u16),
        words: &'a Words,
    ) -> Self {
        Self {
            decisions: Vec::with_capacity(entries.len()),
            rules,
            entries,
            call,
            acting,
            t,
            minute,
            words,
            bound: call.bound,
            max_output: None,
            downgrade: None,
            delay: Duration::ZERO,
            notices: Vec::new(),
        }
    }

    pub(super) fn run(mut self) -> Admission {
        if let Some(denied) = self.guardrails().or_else(|| self.price()) {
            return self.refuse(denied, false);
        }
        let mut said = self.limits();
        if let Some((denied, freeze)) = self.first_refusal(&said) {
            self.decide_limits(&said, None);
            return self.refuse(denied, freeze);
        }
        self.delay = said.iter().map(|said| said.delay).max().unwrap_or_default();
        let (denied, looping) = self.loops();
        if let Some(denied) = denied {
            self.decide_limits(&said, None);
            self.decisions.extend(looping);
            return self.refuse(denied, false);
        }
        let ticket = self.reserve(&mut said);
        self.decisions.extend(looping);
        let verdict = Verdict::Pass {
            ticket,
            delay: self.delay,
            max_output: self.max_output,
            downgrade: self.downgrade,
        };
        Admission { verdict, decisions: self.decisions, notices: self.notices }
    }

    fn refuse(self, denied: Denied, freeze: bool) -> Admission {
        let denied = Box::new(denied);
        let verdict = if freeze { Verdict::Freeze(denied) } else { Verdict::Refuse(denied) };
        Admission { verdict, decisions: self.decisions, notices: self.notices }
    }

    /// The places of entries whose rules are about this call and say such a thing.
    fn about(&self, entry: usize, wanted: fn(&Says) -> bool) -> bool {
        let Some(entry) = self.entries.get(entry) else { return false };
        let Some(rule) = self.rules.get(entry.rule) else { return false };
        wanted(&rule.set.says)
            && (!entry.asks || rule.set.selector.is_about(self.call, self.minute))
    }

    fn guardrails(&mut self) -> Option<Denied> {
        for place in 0..self.entries.len() {
            if !self.about(place, |says| matches!(says, Says::Guard(_))) {
                continue;
            }
            let entry = self.entries.get(place)?;
            let acts = entry.acts && self.acting;
            let rule = self.rules.get_mut(entry.rule)?;
            let Says::Guard(guard) = &rule.set.says else { continue };
            let Some(message) = guardrail::breach(guard, self.call) else {
                if acts && guard.on_breach == GuardAction::Block {
                    let most = guardrail::output_cap(guard, self.call);
                    self.max_output = most.into_iter().chain(self.max_output).min();
                }
                rule.tally.passed += 1;
                self.decisions.push(decision(self.words, rule, (Act::Pass, acts), String::new()));
                continue;
            };
            let act = match guard.on_breach {
                GuardAction::Block => Act::Refuse,
                GuardAction::Warn | GuardAction::Log => Act::Warn,
            };
            let silent = guard.on_breach == GuardAction::Log;
            count(rule, (act, acts));
            self.decisions.push(decision(self.words, rule, (act, acts), message.clone()));
            let is_news = rule.told.is_none_or(|told| self.t.at >= told + QUIET);
            if acts && !silent && is_news {
                rule.told = Some(self.t.at);
                let subject = &self.call.subject.workload.name;
                self.notices.push(Notice {
                    uid: Some(self.call.subject.process.uid),
                    ..plain(&rule.set, subject, (Topic::Guardrail, message.clone()), self.t)
                });
            }
            if acts && act == Act::Refuse {
                return Some(Denied {
                    policy: Arc::clone(&rule.set.name),
                    subject: Arc::clone(&self.call.subject.workload.name),
                    reason: Reason::Guardrail,
                    message,
                    figures: Vec::new(),
                    retry_after: None,
                });
            }
        }
        if let Some(most) = self.max_output {
            self.cap_output(most);
        }
        None
    }

    fn price(&mut self) -> Option<Denied> {
        if self.call.bound.cost.is_some() {
            return None;
        }
        let is_price = |says: &Says| matches!(says, Says::Price(_));
        let place = (0..self.entries.len()).find(|place| self.about(*place, is_price))?;
        let entry = self.entries.get(place)?;
        let acts = entry.acts && self.acting;
        let rule = self.rules.get_mut(entry.rule)?;
        let Says::Price(unknown) = rule.set.says else { return None };
        match unknown {
            UnknownPrice::AllowAndFlag => None,
            UnknownPrice::AssumeMax { input, output } => {
                // Also on trial: what is counted then is an upper bound all the same.
                let of = |tokens: u64, per_million: NanoUsd| {
                    let nanos = u128::from(tokens) * u128::from(per_million.0.unsigned_abs());
                    i64::try_from(nanos.div_ceil(1_000_000)).unwrap_or(i64::MAX)
                };
                let input = NanoUsd(of(self.bound.input, input));
                self.bound.input_cost = Some(input);
                let output = NanoUsd(of(self.bound.output, output));
                self.bound.cost = Some(input.saturating_add(output));
                rule.tally.passed += 1;
                let detail =
                    format!("price unknown: taken as up to ${}", input.saturating_add(output));
                self.decisions.push(decision(self.words, rule, (Act::Pass, acts), detail));
                None
            }
            UnknownPrice::Deny => {
                count(rule, (Act::Refuse, acts));
                let message = match self.call.model {
                    Some(model) => format!(
                        "The price of model {} is unknown",
                        crate::subject::printable(model, 100)
                    ),
                    None => "The price of a call whose model is not known is unknown".to_owned(),
                };
                self.decisions.push(decision(
                    self.words,
                    rule,
                    (Act::Refuse, acts),
                    message.clone(),
                ));
                acts.then(|| Denied {
                    policy: Arc::clone(&rule.set.name),
                    subject: Arc::clone(&self.call.subject.workload.name),
                    reason: Reason::UnknownPrice,
                    message,
                    figures: Vec::new(),
                    retry_after: None,
                })
            }
        }
    }

    /// Asks every limit; nothing is counted yet.
    fn limits(&mut self) -> Vec<Said> {
        let mut all = Vec::with_capacity(self.entries.len());
        for place in 0..self.entries.len() {
            if !self.about(place, |says| matches!(says, Says::Limit(_))) {
                continue;
            }
            let Some(entry) = self.entries.get_mut(place) else { continue };
            let acts = entry.acts && self.acting;
            let Some(rule) = self.rules.get_mut(entry.rule) else { continue };
            let Some((limit, counter)) = counter(entry, rule, (self.call, self.t)) else {
                continue;
            };
            for gauge in &mut counter.gauges {
                gauge.advance(self.t);
                if acts {
                    gauge.act();
                }
            }
            // A call without a limit of its own can be given one; what must fit is the least.
            let firm = is_firm(&limit.on_breach);
            let need = if firm { least(&self.bound) } else { self.bound };
            let breach = breach(&counter.gauges, &need, self.t);
            if firm && acts && breach.is_none() {
                let buys = counter.gauges.iter().filter_map(|gauge| buys(gauge, &self.bound));
                self.max_output = buys.chain(self.max_output).min();
            }
            let (act, delay) = answer(limit, breach);
            if let (true, Act::Downgrade, OnBreach::Downgrade(to)) = (acts, act, &limit.on_breach) {
                self.downgrade.get_or_insert_with(|| Arc::clone(to));
            }
            let delay = if acts { delay } else { Duration::ZERO };
            all.push(Said { entry: place, acts, breach, act, delay });
        }
        if let Some(most) = self.max_output {
            self.cap_output(most);
        }
        all
    }

    /// Bounds the call's output by what it will be given.
    fn cap_output(&mut self, most: u64) {
        if most >= self.bound.output {
            return;
        }
        let output = self.bound.output;
        let bound = &mut self.bound;
        if let (Some(input), Some(cost)) = (bound.input_cost, bound.cost) {
            let rest = u128::from(cost.0.saturating_sub(input.0).unsigned_abs()) * u128::from(most);
            let rest = i64::try_from(rest.div_ceil(u128::from(output))).unwrap_or(i64::MAX);
            bound.cost = Some(input.saturating_add(NanoUsd(rest)));
        }
        bound.output = most;
    }

    /// The first refusal, and whether its workload is to be frozen. Freezing comes before mere
    /// refusing: it is asked for where refusing is not enough.
    fn first_refusal(&self, said: &[Said]) -> Option<(Denied, bool)> {
        let refusing = |act: Act| move |said: &&Said| said.acts && said.act == act;
        let first = |act: Act| {
            let found = said.iter().filter(refusing(act));
            found
                .filter_map(|said| Some((said, said.breach?)))
                .min_by_key(|(_, breach)| breach.class)
        };
        let freeze = first(Act::Freeze);
        let (said_first, named) = freeze.or_else(|| first(Act::Refuse))?;
        let waits = said
            .iter()
            .filter(|said| said.acts && matches!(said.act, Act::Refuse | Act::Freeze))
            .filter_map(|said| said.breach.map(|breach| breach.wait));
        let wait = waits.into_iter().try_fold(SHORTEST_WAIT, |most, wait| Some(most.max(wait?)));
        let entry = self.entries.get(said_first.entry)?;
        let rule = self.rules.get(entry.rule)?;
        let counter = rule.counters.peek(entry.slot?)?;
        let gauge = counter.gauges.get(named.gauge)?;
        let denied = Denied {
            policy: Arc::clone(&rule.set.name),
            subject: Arc::clone(&counter.key),
            reason: match gauge.cap.of {
                Quantity::Requests => Reason::Requests,
                Quantity::Tokens => Reason::Tokens,
                Quantity::Usd => Reason::Budget,
            },
            message: text::exceeded(&rule.set, &counter.key, &gauge.cap),
            figures: counter.gauges.iter().map(|gauge| show::figure(gauge, self.t)).collect(),
            retry_after: wait,
        };
        Some((denied, freeze.is_some()))
    }

    /// Notes what each limit said, and reserves where the call goes through.
    fn decide_limits(&mut self, said: &[Said], mut ticket: Option<&mut Ticket>) {
        for said in said {
            let Some(entry) = self.entries.get_mut(said.entry) else { continue };
            let Some(rule) = self.rules.get_mut(entry.rule) else { continue };
            let Some((slot, generation)) = entry.slot else { continue };
            count(rule, (said.act, said.acts));
            let Some(counter) = rule.counters.of(slot, generation) else { continue };
            let need = |gauge: &Gauge| need(gauge, &self.bound);
            let mut detail = String::with_capacity(64 * counter.gauges.len());
            for gauge in &counter.gauges {
                text::push_figure(&mut detail, gauge, need(gauge));
            }
            if let Some(most) =
                self.max_output.filter(|_| said.breach.is_none() && ticket.is_some())
            {
                detail.push_str("; output capped at ");
                detail.push_str(&most.to_string());
            }
            let whose = (Arc::clone(&counter.key), counter.owner.uid());
            if let Some(breach) = said.breach
                && let Some(message) =
                    news(&rule.set, (counter, &mut rule.told), (breach, &self.bound), self.t)
                && let Some(gauge) = counter.gauges.get(breach.gauge)
            {
                let what = (Topic::BudgetExceeded, message);
                self.notices.push(notice(&rule.set, &whose, what, (gauge, self.t)));
            }
            if let Some(ticket) = &mut ticket {
                // A limit that makes calls wait counts them when they go.
                let at = self.t.at + u64::try_from(said.delay.as_nanos()).unwrap_or(0);
                let is_surplus = said.breach.is_some() && !said.acts;
                for gauge in &mut counter.gauges {
                    let amount = need(gauge).unwrap_or(0);
                    gauge.reserve(Part { at, amount }, is_surplus);
                }
                counter.holds += 1;
                ticket.holds.push(Hold {
                    rule: (entry.rule, rule.id),
                    counter: (slot, generation),
                    at,
                    acts: said.acts,
                    is_surplus,
                });
            }
            let what = (said.act, said.acts);
            self.decisions.push(decision(self.words, rule, what, detail));
        }
    }

    fn reserve(&mut self, said: &mut [Said]) -> Ticket {
        let cost = self.bound.cost.map_or(0, |cost| u64::try_from(cost.0).unwrap_or(0));
        let tokens = self.bound.input.saturating_add(self.bound.output);
        let mut ticket = Ticket {
            holds: Vec::with_capacity(self.entries.len()),
            first: Reserved { tokens, cost },
            more: Vec::new(),
        };
        self.decide_limits(said, Some(&mut ticket));
        self.hold_loops(&mut ticket);
        ticket
    }

    /// Asks loop protection; its decisions come after those of the limits.
    fn loops(&mut self) -> (Option<Denied>, Vec<Decision>) {
        let mut decisions = Vec::new();
        for place in 0..self.entries.len() {
            if !self.about(place, |says| matches!(says, Says::Loops(_))) {
                continue;
            }
            let Some(entry) = self.entries.get_mut(place) else { continue };
            let acts = entry.acts && self.acting;
            let Some(rule) = self.rules.get_mut(entry.rule) else { continue };
            let uid = self.call.subject.process.uid;
            let Some(counter) = entry.counter(rule, uid, self.t) else { continue };
            let whose = (Arc::clone(&counter.key), counter.owner.uid());
            let Some((slot, generation)) = entry.slot else { continue };
            let Says::Loops(loops) = &rule.set.says else { continue };
            let Some(counter) = rule.counters.of(slot, generation) else { continue };
            let Some(repetition) = &mut counter.repetition else { continue };
            let Some((what, wait)) = repetition.breach(loops, self.call.prompt, self.t.at) else {
                rule.tally.passed += 1;
                decisions.push(decision(self.words, rule, (Act::Pass, acts), String::new()));
                continue;
            };
            let message = match what {
                Repeated::Prompt(times) => {
                    format!("{} sent the same prompt {times} times in a minute", whose.0)
                }
                Repeated::Errors(times) => format!("{} failed {times} times in a minute", whose.0),
            };
            let act = match loops.on_breach {
                OnBreach::Throttle(most) => {
                    if acts {
                        self.delay = self.delay.max(most);
                    }
                    Act::Delay
                }
                OnBreach::Alert => Act::Alert,
                OnBreach::Deny | OnBreach::Downgrade(_) | OnBreach::Freeze => Act::Refuse,
            };
            if repetition.is_news(self.t.at) {
                let told = plain(&rule.set, &whose.0, (Topic::Loop, message.clone()), self.t);
                self.notices.push(Notice { uid: whose.1, ..told });
            }
            count(rule, (act, acts));
            decisions.push(decision(self.words, rule, (act, acts), message.clone()));
            if acts && act == Act::Refuse {
                let denied = Denied {
                    policy: Arc::clone(&rule.set.name),
                    subject: whose.0,
                    reason: Reason::Loop,
                    message,
                    figures: Vec::new(),
                    retry_after: Some(wait.max(SHORTEST_WAIT)),
                };
                return (Some(denied), decisions);
            }
        }
        (None, decisions)
    }

    /// Counts the prompt of a call that goes through.
    fn hold_loops(&mut self, ticket: &mut Ticket) {
        for place in 0..self.entries.len() {
            if !self.about(place, |says| matches!(says, Says::Loops(_))) {
                continue;
            }
            let Some(entry) = self.entries.get(place) else { continue };
            let Some(rule) = self.rules.get_mut(entry.rule) else { continue };
            let Some((slot, generation)) = entry.slot else { continue };
            let Some(counter) = rule.counters.of(slot, generation) else { continue };
            let Some(repetition) = &mut counter.repetition else { continue };
            repetition.made(self.call.prompt, self.t.at);
            counter.holds += 1;
            ticket.holds.push(Hold {
                rule: (entry.rule, rule.id),
                counter: (slot, generation),
                at: self.t.at,
                acts: entry.acts && self.acting,
                is_surplus: false,
            });
        }
    }
}

/// The limit and the caller's counter.
fn counter<'r>(
    entry: &mut Entry,
    rule: &'r mut Rule,
    (call, t): (&Call<'_>, Reading<'_>),
) -> Option<(&'r Limit, &'r mut Counter)> {
    entry.counter(rule, call.subject.process.uid, t)?;
    let (slot, generation) = entry.slot?;
    let Says::Limit(limit) = &rule.set.says else { return None };
    Some((limit, rule.counters.of(slot, generation)?))
}

/// Whether a limit holds calls back, so that their output may be bounded to make them fit.
fn is_firm(on_breach: &OnBreach) -> bool {
    matches!(on_breach, OnBreach::Deny | OnBreach::Freeze | OnBreach::Throttle(_))
}

/// What a rule does about a breach, and how long it makes the call wait.
fn answer(limit: &Limit, breach: Option<Breach>) -> (Act, Duration) {
    let Some(breach) = breach else { return (Act::Pass, Duration::ZERO) };
    match &limit.on_breach {
        OnBreach::Deny => (Act::Refuse, Duration::ZERO),
        OnBreach::Freeze => (Act::Freeze, Duration::ZERO),
        OnBreach::Downgrade(_) => (Act::Downgrade, Duration::ZERO),
        OnBreach::Alert => (Act::Alert, Duration::ZERO),
        OnBreach::Throttle(most) => match breach.sure {
            Some(wait) if wait <= *most => (Act::Delay, wait),
            // A budget of the calendar is not waited for: it slows calls down.
            _ if !breach.sliding => (Act::Delay, *most),
            _ => (Act::Refuse, Duration::ZERO),
        },
    }
}

/// The least that must fit for the call to be worth making.
fn least(bound: &Bound) -> Bound {
    let output = bound.output.min(LEAST_OUTPUT);
    if bound.output_asked || output == bound.output {
        return *bound;
    }
    let cost = bound.input_cost.zip(bound.cost).map(|(input, cost)| {
        let rest = u128::from(cost.0.saturating_sub(input.0).unsigned_abs()) * u128::from(output);
        let rest = i64::try_from(rest.div_ceil(u128::from(bound.output))).unwrap_or(i64::MAX);
        input.saturating_add(NanoUsd(rest))
    });
    Bound { output, cost: cost.or(bound.cost), ..*bound }
}

/// How much of a gauge a call needs; `None` where its price is not known.
fn need(gauge: &Gauge, bound: &Bound) -> Option<u64> {
    match gauge.cap.of {
        Quantity::Requests => Some(1),
        Quantity::Tokens => Some(bound.input.saturating_add(bound.output)),
        Quantity::Usd => bound.cost.map(|cost| u64::try_from(cost.0).unwrap_or(0)),
    }
}

/// The most output a gauge still buys, where that is less than the call could come to.
fn buys(gauge: &Gauge, bound: &Bound) -> Option<u64> {
    if bound.output_asked || bound.output == 0 || need(gauge, bound)? <= gauge.left() {
        return None;
    }
    match gauge.cap.of {
        Quantity::Requests => None,
        Quantity::Tokens => Some(gauge.left().saturating_sub(bound.input)),
        Quantity::Usd => {
            let (input, cost) = (bound.input_cost?, bound.cost?);
            let rest = u128::from(cost.0.saturating_sub(input.0).unsigned_abs());
            let left = u128::from(gauge.left().saturating_sub(input.0.unsigned_abs()));
            u64::try_from((left * u128::from(bound.output)).checked_div(rest)?).ok()
        }
    }
}

/// Whether a call does not fit, and which gauge says so.
fn breach(gauges: &[Gauge], bound: &Bound, t: Reading<'_>) -> Option<Breach> {
    let mut found: Option<Breach> = None;
    for (place, gauge) in gauges.iter().enumerate() {
        let Some(need) = need(gauge, bound) else { continue };
        let (wait, sure) = match gauge.fit(need, t) {
            Fit::Now => continue,
            Fit::After { sure, likely } => (Some(likely), Some(sure)),
            Fit::Never => (None, None),
        };
        let class = rules::class(gauge.cap.of);
        let sliding = gauge.is_sliding();
        found = Some(match found {
            None => Breach { gauge: place, class, wait, sure, sliding },
            Some(first) => {
                let wait = first.wait.zip(wait).map(|(one, other)| one.max(other));
                let sure = first.sure.zip(sure).map(|(one, other)| one.max(other));
                let sliding = first.sliding || sliding;
                if class < first.class {
                    Breach { gauge: place, class, wait, sure, sliding }
                } else {
                    Breach { wait, sure, sliding, ..first }
                }
            }
        });
    }
    found
}

/// What people are told of a breach, where they have not been yet. Reservations alone exceed
/// nothing.
fn news(
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

fn decision(words: &Words, rule: &Rule, (act, acts): (Act, bool), detail: String) -> Decision {
    Decision {
        at: Duration::ZERO,
        rule: Arc::clone(&rule.set.name),
        action: words.of(act, acts),
        detail,
    }
}

fn count(rule: &mut Rule, (act, acts): (Act, bool)) {
    match (act, acts) {
        (Act::Pass, _) => rule.tally.passed += 1,
        (_, true) => rule.tally.acted += 1,
        (_, false) => rule.tally.shadowed += 1,
    }
}

fn plain(
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
    }
}
