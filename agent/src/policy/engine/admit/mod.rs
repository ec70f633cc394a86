//! Before a call is made: every rule that is about it is asked, and what it can come to reserved.
//!
//! The order: guardrails, whether the price is known, limits, loops. Of the limits all are asked,
//! so that a refusal can name the first of them (budgets, then tokens, then requests) and the time
//! after which none of them stands in the way. Only then, and only if all let it pass, is anything
//! counted.

mod fit;
mod gates;
mod further;
mod hinge;
mod telling;

use std::sync::Arc;
use std::time::Duration;

use self::fit::{Breach, answer, breach, buys, is_firm, least, need};
use self::telling::{count, decision, news};
use super::settle::notice;
use super::show;
use crate::llm::usage::NanoUsd;
use crate::policy::call::{
    Admission, Bound, Call, Denied, Hold, Reason, Reserved, Ticket, Verdict,
};
use crate::policy::counters::Counter;
use crate::policy::gauge::{Gauge, Part, Reading};
use crate::policy::rules::{Entry, Rule};
use crate::policy::settings::{Limit, OnBreach, Quantity, Says};
use crate::policy::text::{self, Act, Words};
use crate::record::{Decision, Detail, Figures, More, Notice, Topic};

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
    /// Rules besides the limits that let it pass: counted once nothing else refuses it.
    passed: Vec<usize>,
    /// Rules besides the limits that were counted at once, what for, and when they had told people
    /// before.
    noted: Vec<(usize, (Act, bool), Option<u64>)>,
    decisions: Vec<Decision>,
    notices: Vec<Notice>,
}

/// What a call has met before anything is reserved for it.
enum Begun {
    /// A rule that is no limit refuses it.
    Denied(Denied),
    /// What each limit says.
    Limits(Vec<Said>),
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
            bound: owed(call),
            max_output: None,
            downgrade: None,
            delay: Duration::ZERO,
            passed: Vec::new(),
            noted: Vec::new(),
            notices: Vec::new(),
        }
    }

    pub(super) fn run(mut self) -> Admission {
        let begun = self.begin();
        self.finish(begun)
    }

    /// As [`Self::run`], but where fewer input tokens could let the call pass as it was asked:
    /// `None`, and nothing has happened.
    pub(super) fn run_unless_tight(mut self) -> Option<Admission> {
        let begun = self.begin();
        if self.hinges_on_input(&begun) {
            self.take_back();
            return None;
        }
        Some(self.finish(begun))
    }

    fn begin(&mut self) -> Begun {
        match self.guardrails().or_else(|| self.price()) {
            Some(denied) => Begun::Denied(denied),
            None => Begun::Limits(self.limits(&[])),
        }
    }

    fn finish(mut self, begun: Begun) -> Admission {
        let mut said = match begun {
            Begun::Denied(denied) => return self.refuse(denied, false),
            Begun::Limits(said) => said,
        };
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

    /// Whether an entry's rule is asked, is about this call, and says such a thing.
    fn about(&self, entry: usize, wanted: fn(&Says) -> bool) -> bool {
        let Some(entry) = self.entries.get(entry) else { return false };
        let Some(rule) = self.rules.get(entry.rule) else { return false };
        entry.is_on
            && wanted(&rule.set.says)
            && (!entry.asks || rule.set.selector.is_about(self.call, self.minute))
    }

    /// Asks every limit but those that hold something for the call already; nothing is counted yet.
    fn limits(&mut self, held: &[u64]) -> Vec<Said> {
        let mut all = Vec::with_capacity(self.entries.len());
        for place in 0..self.entries.len() {
            if !self.about(place, |says| matches!(says, Says::Limit(_))) {
                continue;
            }
            let Some(entry) = self.entries.get_mut(place) else { continue };
            let acts = entry.acts && self.acting;
            let Some(rule) = self.rules.get_mut(entry.rule) else { continue };
            if held.contains(&rule.id) {
                continue;
            }
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
            let (act, delay) = answer(limit, breach);
            // Who waits until the least fits is given no more than fits then.
            let fits = breach.is_none_or(|breach| act == Act::Delay && breach.sure == Some(delay));
            if firm && acts && fits {
                let then = later(self.t.at, delay);
                let buys = counter.gauges.iter().filter_map(|gauge| buys(gauge, &self.bound, then));
                self.max_output = buys.chain(self.max_output).min();
            }
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
            message: {
                let exceeded = text::exceeded(&rule.set, &counter.key, &gauge.cap);
                let unread = self.bound.unread && gauge.cap.of != Quantity::Requests;
                if unread { format!("{exceeded}. {}", text::UNREAD) } else { exceeded }
            },
            figures: counter.gauges.iter().map(|gauge| show::figure(gauge, self.t)).collect(),
            retry_after: wait,
        };
        Some((denied, freeze.is_some()))
    }

    /// Notes what each limit said, and reserves where the call goes through. Where another rule
    /// refuses it, only those that refuse it too, or would, have done anything.
    fn decide_limits(&mut self, said: &[Said], mut ticket: Option<&mut Ticket>) {
        let is_made = ticket.is_some();
        for said in said {
            let Some(entry) = self.entries.get_mut(said.entry) else { continue };
            let Some(rule) = self.rules.get_mut(entry.rule) else { continue };
            let Some((slot, generation)) = entry.slot else { continue };
            let has_say = is_made || matches!(said.act, Act::Refuse | Act::Freeze);
            if has_say {
                count(rule, (said.act, said.acts));
            }
            let Some(counter) = rule.counters.of(slot, generation) else { continue };
            let mut figures = Figures {
                limits: Arc::clone(&rule.limits),
                used: counter.gauges.iter().map(Gauge::used).collect(),
                more: has_say.then(|| more(&self.bound)),
                remark: None,
            };
            let is_about_money = || counter.gauges.iter().any(|it| it.cap.of == Quantity::Usd);
            if self.call.is_notional() && is_about_money() {
                figures.remark = Some("a subscription pays: its dollars are not counted".into());
            } else if let Some(most) = self.max_output
                && said.breach.is_none()
                && is_made
            {
                figures.remark = Some(format!("output capped at {most}").into());
            }
            if let Some(breach) = said.breach
                && let Some(message) =
                    news(&rule.set, (counter, &mut rule.told), (breach, &self.bound), self.t)
                && let Some(gauge) = counter.gauges.get(breach.gauge)
            {
                let whose = (Arc::clone(&counter.key), counter.owner.uid());
                let what = (Topic::BudgetExceeded, message);
                self.notices.push(notice(&rule.set, &whose, what, (gauge, self.t)));
            }
            if let Some(ticket) = &mut ticket {
                // A limit that makes calls wait counts them when they go.
                let at = later(self.t.at, said.delay);
                let is_surplus = said.breach.is_some() && !said.acts;
                for gauge in &mut counter.gauges {
                    let amount = need(gauge, &self.bound).unwrap_or(0);
                    gauge.reserve(Part { at, amount }, is_surplus);
                }
                counter.holds += 1;
                ticket.holds.push(Hold {
                    rule: (entry.rule, rule.id),
                    counter: (slot, generation),
                    since: self.t.at,
                    at,
                    acts: said.acts,
                    is_surplus,
                });
            }
            let what = (said.act, said.acts && has_say);
            self.decisions.push(decision(
                self.words,
                rule,
                what,
                Detail::Figures(Box::new(figures)),
            ));
        }
    }

    /// A ticket for what the call can come to; nothing is reserved with it yet.
    fn ticket(&self) -> Ticket {
        let cost = self.bound.cost.map_or(0, |cost| u64::try_from(cost.0).unwrap_or(0));
        let tokens = self.bound.input.saturating_add(self.bound.output);
        Ticket {
            holds: Vec::with_capacity(self.entries.len()),
            first: Reserved { tokens, cost },
            ..Ticket::default()
        }
    }

    fn reserve(&mut self, said: &mut [Said]) -> Ticket {
        let mut ticket = self.ticket();
        self.decide_limits(said, Some(&mut ticket));
        for place in &self.passed {
            if let Some(rule) = self.rules.get_mut(*place) {
                rule.tally.passed += 1;
            }
        }
        self.hold_loops(&mut ticket);
        ticket
    }
}

/// What a call can come to, in dollars that somebody owes.
fn owed(call: &Call<'_>) -> Bound {
    if call.is_notional() {
        let nothing = Some(NanoUsd::default());
        return Bound { input_cost: nothing, cost: nothing, ..call.bound };
    }
    call.bound
}

/// What a call is counted with, as far as it is known.
fn more(bound: &Bound) -> More {
    More {
        tokens: bound.input.saturating_add(bound.output),
        usd: bound.cost.map(|cost| u64::try_from(cost.0).unwrap_or(0)),
    }
}

/// So long after a position.
fn later(at: u64, wait: Duration) -> u64 {
    at.saturating_add(u64::try_from(wait.as_nanos()).unwrap_or(0))
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
