//! One call in progress: what is known of it so far, and its settlement.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use hyper::{HeaderMap, Request};
use tokio::sync::oneshot;
use ulid::Ulid;

use super::billing::billing;
use super::bound::prompt_hash;
use super::dispatch::Downgrade;
use super::reservation::Reservation;
use super::room::Claim;
use super::tries::{self, Serving};
use super::{Context, Parties, Rules, trace};
use crate::llm::call::{Ask, Kind, Route, classify};
use crate::llm::meter::Reading;
use crate::llm::price::{Priced, Query, Unpriced};
use crate::llm::usage::{NanoUsd, Usage};
use crate::record::{
    Billing, CallId, Decision, Durability, Flag, Opened, Outcome, Record, UsageSource,
};

/// A call from its request's head to its settlement, which happens once.
///
/// Dropped without having been settled, it settles itself: as aborted by the client, whose
/// departure is what drops it, or as our own failure while panicking.
#[derive(Debug)]
pub struct Exchange {
    pub(super) context: Arc<Context>,
    pub(super) rules: Arc<Rules>,
    pub(super) route: Route,
    pub(super) ask: Option<Ask>,
    /// Held while the request's body is in memory.
    pub(super) claim: Option<Claim>,
    /// What the policies reserved for the call; `None` before, and once it is settled.
    pub(super) reservation: Option<Reservation>,
    /// What to ask instead, until *dispatch* has found the way.
    pub(super) downgrade: Option<Downgrade>,
    /// Who answers in the place of the one that was asked.
    pub(super) serving: Option<Serving>,
    /// See [`Exchange::prompt`].
    prompt: OnceLock<u64>,
    opened: Instant,
    /// Where the current stretch of waiting for somebody else began.
    waiting_since: Option<Instant>,
    /// `None` once settled.
    pub(super) record: Option<Box<Record>>,
}

impl Exchange {
    /// Begins a call.
    pub fn open<B>(context: Arc<Context>, request: &Request<B>) -> Self {
        let format = context.parties.provider.format;
        let route = classify(format, request.method(), request.uri().path());
        Self::open_as(context, request, route)
    }

    /// Begins a call of which it is known what is asked.
    pub(super) fn open_as<B>(context: Arc<Context>, request: &Request<B>, route: Route) -> Self {
        let now = context.clock.now();
        let rules = context.rules.load_full();
        let parties = &context.parties;
        let verified = parties.subject.process.verified;
        let record = Record {
            call_id: CallId(Ulid::from_datetime(now.wall)),
            started_at: now.wall,
            kind: route.kind,
            via: parties.via,
            subject: Arc::clone(&parties.subject),
            environment: Arc::clone(&rules.environment),
            team: rules.policies.engine.lock().team_of(&parties.subject),
            account: rules.policies.accounts.name(request.headers(), &context.account),
            agent_name: agent_name(request.headers()),
            provider: Arc::clone(&parties.provider.name),
            host: Arc::clone(&parties.host),
            operation: Arc::from(route.operation.as_str()),
            method: Arc::from(request.method().as_str()),
            path: Arc::from(request.uri().path()),
            model: None,
            model_served: None,
            stream: false,
            status: None,
            outcome: Outcome::Internal,
            error: None,
            usage: Usage::default(),
            usage_source: UsageSource::None,
            cost: None,
            billing: billing_of(&rules, request.headers(), parties),
            price_version: None,
            attempts: Vec::new(),
            retry_of: None,
            ttft: None,
            latency: Duration::ZERO,
            upstream: Duration::ZERO,
            bytes_in: 0,
            bytes_out: 0,
            flags: if verified { Vec::new() } else { vec![Flag::Unverified] },
            decisions: Vec::new(),
            trace: trace::begun(&rules, route.kind, request.headers()),
        };
        Self {
            rules,
            route,
            ask: None,
            claim: None,
            reservation: None,
            downgrade: None,
            serving: None,
            prompt: OnceLock::new(),
            opened: now.mono,
            waiting_since: None,
            record: Some(Box::new(record)),
            context,
        }
    }

    /// The call's id.
    pub fn call_id(&self) -> Option<CallId> {
        self.record.as_ref().map(|record| record.call_id)
    }

    /// Tells the ledger that a call has begun, so that a crash cannot make it unknown.
    pub(super) fn announce(&self) {
        let Some(record) = &self.record else { return };
        if record.kind == Kind::Request {
            return;
        }
        self.context.sink.open(Opened {
            call_id: record.call_id,
            started_at: record.started_at,
            kind: record.kind,
            via: record.via,
            subject: Arc::clone(&record.subject),
            environment: Arc::clone(&record.environment),
            team: record.team.clone(),
            account: record.account.clone(),
            agent_name: record.agent_name.clone(),
            provider: Arc::clone(&record.provider),
            host: Arc::clone(&record.host),
            operation: Arc::clone(&record.operation),
            method: Arc::clone(&record.method),
            path: Arc::clone(&record.path),
            model: record.model.clone(),
        });
    }

    /// Changes the record; without effect once settled.
    pub(super) fn note(&mut self, change: impl FnOnce(&mut Record)) {
        if let Some(record) = &mut self.record {
            change(record);
        }
    }

    /// The record; `None` once settled.
    pub(super) fn record(&self) -> Option<&Record> {
        self.record.as_deref()
    }

    /// Looks at the record; `None` once settled.
    pub(super) fn peek<T>(&self, look: impl FnOnce(&Record) -> T) -> Option<T> {
        self.record.as_deref().map(look)
    }

    /// By what the request's body is known again in this run of the agent.
    pub(super) fn prompt(&self, body: &[u8]) -> u64 {
        *self.prompt.get_or_init(|| prompt_hash(&self.rules.policies.prompts, body))
    }

    /// Adds a flag, once.
    pub(super) fn flag(&mut self, flag: Flag) {
        self.note(|record| {
            if !record.flags.contains(&flag) {
                record.flags.push(flag);
            }
        });
    }

    /// Notes the model and what else the body says.
    pub(super) fn asked(&mut self, ask: Ask) {
        self.note(|record| {
            record.model.clone_from(&ask.model);
            record.stream = ask.stream;
        });
        self.ask = Some(ask);
    }

    /// From here on the call waits for somebody else.
    pub(super) fn wait_begins(&mut self) {
        self.waiting_since = Some(self.context.clock.mono());
    }

    /// The wait is over.
    pub(super) fn wait_ends(&mut self) {
        let now = self.context.clock.mono();
        if let Some(since) = self.waiting_since.take() {
            self.note(|record| record.upstream += now.saturating_duration_since(since));
        }
    }

    /// The first content reached us now.
    pub(super) fn content_began(&mut self) {
        let since = self.since_open();
        self.note(|record| {
            record.ttft.get_or_insert(since);
        });
    }

    /// Whether the call has been settled.
    pub(super) fn is_settled(&self) -> bool {
        self.record.is_none()
    }

    /// Ends the call. Returns the ledger's answer to wait for; `None` where it was settled before.
    pub(super) fn settle(
        &mut self,
        outcome: Outcome,
        reading: Option<&Reading>,
    ) -> Option<oneshot::Receiver<Durability>> {
        self.wait_ends();
        let latency = self.since_open();
        let mut record = self.record.take()?;
        let unsent = Outcome::ConnectError;
        let sent = record.attempts.iter().any(|attempt| attempt.outcome != unsent);
        record.latency = latency;
        record.outcome = outcome;
        match reading {
            Some(reading) => self.read_usage(&mut record, reading),
            None => self.guess_usage(&mut record),
        }
        self.price(&mut record, reading);
        tries::close(&mut record, self.context.clock.now().wall);
        // Before the client learns that its call is over: the next one sees what is left.
        self.release(&record, sent);
        Some(self.context.sink.settle(Arc::new(*record)))
    }

    fn since_open(&self) -> Duration {
        self.context.clock.mono().saturating_duration_since(self.opened)
    }

    /// Takes over what the response said of itself.
    fn read_usage(&self, record: &mut Record, reading: &Reading) {
        if reading.model.is_some() {
            record.model_served.clone_from(&reading.model);
        }
        if let Some(error) = &reading.error
            && record.outcome == Outcome::Ok
        {
            record.outcome = Outcome::StreamError;
            record.error = Some(error.message.clone());
        }
        if record.kind != Kind::Call {
            return;
        }
        let answered = record.status.is_some_and(|status| (200..300).contains(&status));
        match reading.usage {
            Some(usage) => {
                record.usage = usage;
                record.usage_source = UsageSource::Reported;
            }
            None if answered => {
                if record.outcome == Outcome::Ok {
                    record.flags.push(Flag::UsageMissing);
                }
                record.usage = reading.estimate;
                if record.usage.total() == reading.estimate.output {
                    // The provider has not said what it read.
                    record.usage.input = self.wanted().input();
                }
                record.usage_source = match record.usage.total() {
                    0 => UsageSource::Unknown,
                    _ => UsageSource::Estimated,
                };
            }
            // Answered with an error: nothing was generated.
            None => {}
        }
    }

    /// A call that was sent and never answered may be charged for all the same: at least what it
    /// asked to be read.
    fn guess_usage(&self, record: &mut Record) {
        let sent = record.attempts.last().is_some_and(|attempt| {
            attempt.status.is_none() && attempt.outcome != Outcome::ConnectError
        });
        if record.kind != Kind::Call || !sent {
            return;
        }
        record.usage.input = self.wanted().input();
        record.usage_source = match record.usage.input {
            0 => UsageSource::Unknown,
            _ => UsageSource::Estimated,
        };
    }

    /// Puts a price on the usage. A call whose price is unknown costs `None`, never zero.
    fn price(&self, record: &mut Record, reading: Option<&Reading>) {
        if record.kind != Kind::Call {
            return;
        }
        let why = match record.usage_source {
            UsageSource::None => {
                // Refused, or answered with an error: providers charge nothing for these.
                record.cost = Some(NanoUsd::default());
                return;
            }
            UsageSource::Unknown => "nothing is known of its usage".to_owned(),
            UsageSource::Reported | UsageSource::Estimated => match self.cost(record, reading) {
                Ok(priced) => {
                    record.cost = Some(priced.cost);
                    record.price_version = Some(priced.version);
                    return;
                }
                Err(unpriced) => unpriced.to_string(),
            },
        };
        record.decisions.push(Decision {
            at: record.latency,
            rule: Arc::from("price"),
            action: Arc::from("unknown"),
            detail: why.into(),
        });
    }

    pub(super) fn cost(
        &self,
        record: &Record,
        reading: Option<&Reading>,
    ) -> Result<Priced, Unpriced> {
        let served = record.model_served.as_deref();
        let serving = self.serving.as_ref();
        let named = serving.map(|serving| &*serving.model).or(record.model.as_deref());
        let asked = named.or(served).ok_or(Unpriced::UnknownModel)?;
        let served_tier = reading.and_then(|reading| reading.service_tier.as_deref());
        let asked_tier = self.ask.as_ref().and_then(|ask| ask.service_tier.as_deref());
        let query = Query {
            provider: serving.map_or(&self.context.parties.provider, |serving| &serving.provider),
            model: asked,
            at: record.started_at,
            tier: served_tier.or(asked_tier),
            usage: &record.usage,
        };
        let prices = &self.rules.prices;
        let mut answer = prices.cost_served(&query, served)?;
        let searches = reading.map_or(0, |reading| reading.web_searches);
        answer.cost = answer.cost.saturating_add(prices.web_search_cost(&query, searches)?);
        Ok(answer)
    }

    /// Notes a decision, for `weir explain`.
    pub(super) fn decide(&mut self, rule: &str, action: String, detail: String) {
        let at = self.since_open();
        self.note(|record| {
            record.decisions.push(Decision {
                at,
                rule: Arc::from(rule),
                action: Arc::from(action),
                detail: detail.into(),
            });
        });
    }

    /// Notes what policies decided, all of it now.
    pub(super) fn decided(&mut self, mut decisions: Vec<Decision>) {
        let at = self.since_open();
        for decision in &mut decisions {
            decision.at = at;
        }
        self.note(|record| record.decisions.append(&mut decisions));
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if self.is_settled() {
            return;
        }
        // A bug of ours must not look like a client that hung up.
        let outcome =
            if std::thread::panicking() { Outcome::Internal } else { Outcome::ClientAbort };
        drop(self.settle(outcome, None));
    }
}

/// How a call is billed. Where one of our keys may be what pays, it counts as if it were.
fn billing_of(rules: &Rules, headers: &HeaderMap, parties: &Parties) -> Billing {
    let ours = rules.endpoints.stand_alone(&parties.provider.name);
    if ours && rules.policies.is_acting() {
        return Billing::Metered;
    }
    billing(headers, &parties.host)
}

/// `X-Agent-Name`: refines within a workload, bounded and printable.
fn agent_name(headers: &HeaderMap) -> Option<Arc<str>> {
    let name = headers.get("x-agent-name")?.to_str().ok()?.trim();
    (!name.is_empty() && name.len() <= 128).then(|| Arc::from(name))
}
