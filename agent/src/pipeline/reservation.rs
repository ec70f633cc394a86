//! What was reserved for a call: held by its exchange, raised while a stream outgrows it, settled
//! with the record.

use std::sync::Arc;
use std::time::SystemTime;

use super::Exchange;
use super::bound::Asked;
use crate::llm::call::Kind;
use crate::llm::meter::{Meter, Reading};
use crate::llm::usage::{NanoUsd, Usage};
use crate::policy::engine::Extension;
use crate::policy::{Actual, Barred, Bound, Call, Ticket, Tries};
use crate::record::{Billing, Flag, Notice, Outcome, Record, UsageSource};

/// Bytes of a stream between two looks at what it has come to: at the usual two hundred bytes per
/// token of a chat stream, some forty tokens.
const LOOK: usize = 8 << 10;

/// Where a further try goes.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) host: Arc<str>,
    pub(super) path: Arc<str>,
    /// Whether it asks another model or provider than the try before it.
    pub(super) moved: bool,
}

/// A reservation. Dropping it gives nothing back: [`Exchange::release`] does.
#[derive(Debug)]
pub(super) struct Reservation {
    ticket: Ticket,
    /// What it covers.
    bound: Bound,
    /// The most output that the request itself still allows, where it was given less than asked.
    most_output: Option<u64>,
    /// The same of the request to whoever answers in the place of the one that was asked.
    most_there: Option<u64>,
    /// Bytes of the stream since it was last looked at.
    unseen: usize,
    /// A policy has said that the stream ends.
    cut: bool,
}

impl Reservation {
    pub(super) fn new(ticket: Ticket, bound: Bound) -> Self {
        Self { ticket, bound, most_output: None, most_there: None, unseen: 0, cut: false }
    }

    fn covers(&self, so_far: &Bound) -> bool {
        let cost = match (so_far.cost, self.bound.cost) {
            (Some(so_far), Some(reserved)) => so_far <= reserved,
            // Not known now, or not known before: nothing was reserved that could be compared.
            (None, _) | (_, None) => true,
        };
        cost && so_far.output <= self.bound.output
    }
}

impl Exchange {
    /// Takes a reservation over.
    pub(super) fn reserve(&mut self, reservation: Reservation) {
        self.reservation = Some(reservation);
    }

    /// Less output was reserved than was asked for.
    pub(super) fn narrow(&mut self, output: u64) {
        let Some(reservation) = &mut self.reservation else { return };
        reservation.most_output = Some(output);
        let bound = &mut reservation.bound;
        bound.output = output;
        let (input, output) = (bound.input, output);
        let (input_cost, cost) = self.costs(input, output);
        if let Some(reservation) = &mut self.reservation {
            let bound = &mut reservation.bound;
            (bound.input_cost, bound.cost) = (input_cost, cost);
        }
    }

    /// Another try is to begin, at whoever answers now: what the earlier ones cost is spent, and
    /// this one may be dearer. What is reserved is raised to all of them together. Where it asks
    /// another model or provider than the one before, policies about those are asked too. Returns
    /// the most output the try may be given, where that is less than the request allows; the error
    /// says why it may not be made.
    pub(super) fn cover_attempt(&mut self, at: &Place) -> Result<Option<u64>, Barred> {
        if self.reservation.is_none() {
            return Ok(None);
        }
        let (mut tries, made) =
            self.peek(|record| (earlier(record), !record.attempts.is_empty())).unwrap_or_default();
        if !made && self.serving.is_none() {
            return Ok(None);
        }
        tries.moved = at.moved;
        let bound = self.bounded(at.moved);
        let (context, rules) = (Arc::clone(&self.context), Arc::clone(&self.rules));
        let (serving, parties) = (self.serving.clone(), &context.parties);
        let (agent_name, body_bytes, model, billing) = self
            .peek(|record| {
                let (name, model) = (record.agent_name.clone(), record.model.clone());
                (name, record.bytes_in, model, record.billing)
            })
            .unwrap_or((None, 0, None, Billing::Unknown));
        let provider = serving.as_ref().map_or(&parties.provider, |serving| &serving.provider);
        let is_own = provider.name == parties.provider.name;
        let call = Call {
            subject: &parties.subject,
            agent_name: agent_name.as_deref(),
            environment: &rules.environment,
            provider: &provider.name,
            host: &at.host,
            path: &at.path,
            model: serving.as_ref().map(|serving| &*serving.model).or(model.as_deref()),
            body_bytes,
            bound,
            // It is our key that pays elsewhere.
            billing: if is_own { billing } else { Billing::Metered },
            prompt: None,
        };
        let (acting, now) = (rules.policies.is_acting(), context.clock.now());
        let Some(reservation) = &mut self.reservation else { return Ok(None) };
        let asked = (&call, &tries);
        let further =
            rules.policies.engine.lock().further(&mut reservation.ticket, asked, acting, now);
        if let Ok(granted) = &further.verdict {
            if at.moved {
                reservation.most_there = granted.max_output;
            }
            if !reservation.covers(&granted.bound) || reservation.bound.cost.is_none() {
                reservation.bound = granted.bound;
            }
            if let Some(call_id) = self.record.as_ref().map(|record| record.call_id) {
                rules.policies.outstanding.raise(call_id, &granted.bound);
            }
        }
        let most_there = reservation.most_there;
        self.decided(further.decisions);
        self.tell(further.notices);
        further.verdict.map(|_granted| most_there)
    }

    /// The most that one try can come to, at whoever answers now.
    fn bounded(&self, moved: bool) -> Bound {
        let bound = self.wanted().bound();
        let reservation = self.reservation.as_ref();
        let there = reservation.and_then(|it| it.most_there).filter(|_| !moved);
        let here = reservation.and_then(|it| it.most_output);
        let Some(most) = there.into_iter().chain(here).min().filter(|most| *most < bound.output)
        else {
            return bound;
        };
        let (input_cost, cost) = self.wanted().costs(bound.input, most);
        Bound { output: most, input_cost, cost, ..bound }
    }

    /// Hands notices on, with the call that brought them about.
    pub(super) fn tell(&self, notices: Vec<Notice>) {
        for notice in notices {
            let call_id = notice.call_id.or_else(|| self.call_id());
            self.context.sink.notice(Notice { call_id, ..notice });
        }
    }

    /// Whether a stream has run past what was reserved for it and a policy says that it ends here.
    /// Looked at from time to time: `bytes` have come since the last question.
    pub(super) fn outgrew(&mut self, bytes: usize, meter: &Meter) -> bool {
        let Some(reservation) = &mut self.reservation else { return false };
        reservation.unseen = reservation.unseen.saturating_add(bytes);
        if reservation.cut {
            return true;
        }
        if reservation.unseen < LOOK {
            return false;
        }
        reservation.unseen = 0;
        let so_far = self.so_far(&meter.reading());
        self.raise(so_far)
    }

    /// Raises what is reserved, where that is less; true where a policy says that it may not be.
    fn raise(&mut self, so_far: Bound) -> bool {
        let now = self.context.clock.now();
        let Some(reservation) = &mut self.reservation else { return false };
        if reservation.covers(&so_far) {
            return false;
        }
        let policies = &self.rules.policies;
        match policies.engine.lock().extend(&mut reservation.ticket, &so_far, now) {
            Extension::Raised => {
                reservation.bound = so_far;
                if let Some(call_id) = self.record.as_ref().map(|record| record.call_id) {
                    policies.outstanding.raise(call_id, &so_far);
                }
                false
            }
            Extension::Cut => {
                reservation.cut = true;
                true
            }
        }
    }

    /// What a stream has come to, and a quarter more output: what comes until the next look is
    /// covered too.
    fn so_far(&self, reading: &Reading) -> Bound {
        let seen = reading.usage.unwrap_or(reading.estimate);
        let output = output(&seen);
        let input = match seen.total().saturating_sub(output) {
            // The provider has not said what it read.
            0 => self.wanted().input(),
            said => said,
        };
        let output = output + output / 4;
        let (input_cost, cost) = self.costs(input, output);
        Bound { input, output, input_cost, cost, ..Bound::default() }
    }

    /// What so many tokens cost, of whoever answers now, in dollars that are owed.
    fn costs(&self, input: u64, output: u64) -> (Option<NanoUsd>, Option<NanoUsd>) {
        let (input_cost, cost) = self.wanted().costs(input, output);
        let bound = self.owed(Bound { input_cost, cost, ..Bound::default() });
        (bound.input_cost, bound.cost)
    }

    /// The same without dollars where the client's flat plan pays. A call that was taken to
    /// another provider is paid for there, by the token.
    pub(super) fn owed(&self, bound: Bound) -> Bound {
        let asked = &self.context.parties.provider;
        let is_own = self.serving.as_ref().is_none_or(|by| by.provider.name == asked.name);
        let billing = self.peek(|record| record.billing);
        if is_own && billing == Some(Billing::Subscription) {
            let nothing = Some(NanoUsd::default());
            return Bound { input_cost: nothing, cost: nothing, ..bound };
        }
        bound
    }

    /// What is asked of whoever answers now.
    pub(super) fn wanted(&self) -> Asked<'_> {
        let asked = self.record();
        let (provider, model) = if let Some(serving) = &self.serving {
            (&*serving.provider, Some(&*serving.model))
        } else {
            let model = asked.and_then(|record| record.model.as_deref());
            (&*self.context.parties.provider, model)
        };
        Asked {
            prices: &self.rules.prices,
            provider,
            model,
            ask: self.ask.as_ref(),
            kind: self.route.kind,
            body_bytes: asked.map_or(0, |record| record.bytes_in),
            at: asked.map_or(SystemTime::UNIX_EPOCH, |record| record.started_at),
        }
    }

    /// Puts what a call came to in the place of what was reserved for it. `sent` tells whether a
    /// provider can have seen anything of it.
    pub(super) fn release(&mut self, record: &Record, sent: bool) {
        let Some(reservation) = self.reservation.take() else { return };
        let usage = &record.usage;
        let is_unknown = record.usage_source == UsageSource::Unknown || record.kind != Kind::Call;
        let actual = Actual {
            sent,
            // What is not known is taken as what was reserved, as the cost is.
            tokens: if is_unknown {
                reservation.bound.input.saturating_add(reservation.bound.output)
            } else {
                usage.total().saturating_sub(usage.cache_read)
            },
            cost: match record.billing {
                Billing::Subscription => Some(NanoUsd::default()),
                Billing::Metered | Billing::Unknown => record.cost,
            },
            failed: !matches!(
                record.outcome,
                Outcome::Ok | Outcome::ClientAbort | Outcome::Refused
            ),
        };
        let now = self.context.clock.now();
        let policies = &self.rules.policies;
        policies.outstanding.settle(record.call_id, &actual);
        let notices = policies.engine.lock().settle(reservation.ticket, &actual, now);
        for notice in notices {
            let call_id = notice.call_id.or(Some(record.call_id));
            self.context.sink.notice(Notice { call_id, ..notice });
        }
    }

    /// Notes that a policy ended the stream.
    pub(super) fn note_cut(&mut self, message: &str) {
        self.flag(Flag::StreamCut);
        self.note(|record| record.error = Some(message.to_owned()));
        let detail = "it ran past what was reserved for it, and there is no more".to_owned();
        self.decide("reserve", "cut".to_owned(), detail);
    }
}

/// What the tries that were made came to.
fn earlier(record: &Record) -> Tries {
    let mut tries = Tries::default();
    for attempt in &record.attempts {
        match attempt.cost {
            Some(cost) => tries.spent = tries.spent.saturating_add(cost),
            None => tries.unknown += 1,
        }
    }
    tries
}

fn output(usage: &Usage) -> u64 {
    usage.output.saturating_add(usage.reasoning).saturating_add(usage.audio_output)
}
