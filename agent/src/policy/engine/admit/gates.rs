//! What is asked before and after the limits: guardrails, whether the price is known, loops.

use std::sync::Arc;

use super::telling::{count, decision, plain};
use super::{QUIET, SHORTEST_WAIT, Stage};
use crate::llm::usage::NanoUsd;
use crate::policy::call::{Denied, Hold, Reason, Ticket};
use crate::policy::guardrail;
use crate::policy::loops::Repeated;
use crate::policy::settings::{GuardAction, OnBreach, Says, UnknownPrice};
use crate::policy::text::{self, Act};
use crate::record::{Decision, Notice, Topic};

impl Stage<'_, '_> {
    pub(super) fn guardrails(&mut self) -> Option<Denied> {
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
                self.passed.push(entry.rule);
                self.decisions.push(decision(self.words, rule, (Act::Pass, acts), String::new()));
                continue;
            };
            let act = match guard.on_breach {
                GuardAction::Block => Act::Refuse,
                GuardAction::Warn | GuardAction::Log => Act::Warn,
            };
            let silent = guard.on_breach == GuardAction::Log;
            self.noted.push((entry.rule, (act, acts), rule.told));
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

    pub(super) fn price(&mut self) -> Option<Denied> {
        // What can't be read may be anything: there is a most that it costs, and no price.
        let is_guess = self.call.bound.unread && self.call.model.is_none();
        if self.call.bound.cost.is_some() && !is_guess {
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
            // No price is taken where none is paid.
            UnknownPrice::AssumeMax { .. } if self.call.is_notional() => None,
            // The most that is known comes before the most that is assumed.
            UnknownPrice::AssumeMax { .. } if self.call.bound.cost.is_some() => None,
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
                self.passed.push(entry.rule);
                let detail =
                    format!("price unknown: taken as up to ${}", input.saturating_add(output));
                self.decisions.push(decision(self.words, rule, (Act::Pass, acts), detail));
                None
            }
            UnknownPrice::Deny => {
                self.noted.push((entry.rule, (Act::Refuse, acts), rule.told));
                count(rule, (Act::Refuse, acts));
                let message = match self.call.model {
                    Some(model) => format!(
                        "The price of model {} is unknown",
                        crate::subject::printable(model, 100)
                    ),
                    None if self.call.bound.unread => format!(
                        "The price of a call whose model is not known is unknown. {}",
                        text::UNREAD
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

    /// Asks loop protection; its decisions come after those of the limits.
    pub(super) fn loops(&mut self) -> (Option<Denied>, Vec<Decision>) {
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
                self.passed.push(entry.rule);
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
    pub(super) fn hold_loops(&mut self, ticket: &mut Ticket) {
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
                since: self.t.at,
                at: self.t.at,
                acts: entry.acts && self.acting,
                is_surplus: false,
            });
        }
    }
}
