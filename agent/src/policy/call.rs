//! A call as rules see it, and what they say of it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::llm::usage::NanoUsd;
use crate::record::{Billing, Decision, Notice};
use crate::subject::Subject;

/// A call that wants to be made.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// Who makes it.
    pub subject: &'a Subject,
    /// `X-Agent-Name`: refines within the workload.
    pub agent_name: Option<&'a str>,
    /// `environment` of the configuration.
    pub environment: &'a str,
    /// Provider's name.
    pub provider: &'a str,
    /// Host asked for.
    pub host: &'a str,
    /// Request path without the query.
    pub path: &'a str,
    /// Model asked for; `None` where the request names none, or could not be read.
    pub model: Option<&'a str>,
    /// Size of the request's body.
    pub body_bytes: u64,
    /// What it can come to at most.
    pub bound: Bound,
    /// How it is paid for. Under a flat plan its dollars are notional: no limit counts them.
    pub billing: Billing,
    /// A hash of the prompt, where the body could be read.
    pub prompt: Option<u64>,
}

impl Call<'_> {
    /// Whether nobody is charged by the token for it.
    pub(super) fn is_notional(&self) -> bool {
        self.billing == Billing::Subscription
    }
}

/// What a call can come to at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bound {
    /// Input tokens.
    pub input: u64,
    /// Output tokens: what the client allows, clamped to the model's maximum; that maximum where
    /// the client sets no limit.
    pub output: u64,
    /// Whether the client itself set a limit on the output.
    pub output_asked: bool,
    /// Whether the body could not be read: this is the most that can be asked for there, and no
    /// limit can be written into it.
    pub unread: bool,
    /// Price of `input`; `None` where the price is unknown.
    pub input_cost: Option<NanoUsd>,
    /// Price of both; `None` where the price is unknown.
    pub cost: Option<NanoUsd>,
}

/// What a call came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Actual {
    /// Whether anything was sent to a provider. A call that never left uses nothing up.
    pub sent: bool,
    /// Tokens of all kinds but those read from a cache.
    pub tokens: u64,
    /// What is owed for it: nothing under a flat plan; `None` where the price or the usage is
    /// unknown.
    pub cost: Option<NanoUsd>,
    /// Whether it ended in an error.
    pub failed: bool,
}

/// What was reserved for a call. It has to be settled, by [`super::Engine::settle`].
#[derive(Debug, Default)]
#[must_use = "what was reserved stays reserved until it is settled"]
pub struct Ticket {
    /// Where something was reserved.
    pub(super) holds: Vec<Hold>,
    /// What was reserved at first.
    pub(super) first: Reserved,
    /// By what it was raised since, and when.
    pub(super) more: Vec<(u64, Reserved)>,
    /// What limits hold that are about the models it was taken to only.
    pub(super) joined: Vec<Joined>,
}

impl Ticket {
    /// Whether no limit holds anything.
    pub fn is_empty(&self) -> bool {
        self.holds.is_empty()
    }
}

/// What was reserved on the way to another model, by limits that had not been about the call.
#[derive(Debug)]
pub(super) struct Joined {
    pub(super) ticket: Ticket,
    /// What the call had come to by then; `None` where that is not known.
    pub(super) before: Option<NanoUsd>,
}

/// What the earlier tries of a call came to, when another one is to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tries {
    /// Whether the next one asks another model or provider than the last.
    pub moved: bool,
    /// What those came to whose cost is known.
    pub spent: NanoUsd,
    /// How many there are whose cost is not known.
    pub unknown: u32,
}

impl Tries {
    /// What all of them came to.
    pub(super) fn known(&self) -> Option<NanoUsd> {
        (self.unknown == 0).then_some(self.spent)
    }

    /// A further try and all before it; of those whose cost is not known each is taken to cost
    /// what this one can.
    pub(super) fn and(&self, bound: &Bound) -> Bound {
        let cost = bound.cost.map(|cost| {
            let tries = i64::from(self.unknown) + 1;
            NanoUsd(cost.0.saturating_mul(tries)).saturating_add(self.spent)
        });
        Bound { cost, ..*bound }
    }
}

/// All that is said of a further try of a call.
#[derive(Debug)]
pub struct Further {
    /// Whether it may be made; nothing more is reserved where it may not.
    pub verdict: Result<Granted, Barred>,
    /// What rules said, but for those that let it pass; `at` is left zero.
    pub decisions: Vec<Decision>,
    /// What people may want to be told of.
    pub notices: Vec<Notice>,
}

/// A further try that may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Granted {
    /// What is reserved by now, for it and all tries before it.
    pub bound: Bound,
    /// The most output it may be given, where that is less than its bound; to be written into the
    /// request.
    pub max_output: Option<u64>,
}

/// Why a further try may not be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Barred {
    /// This limit does not cover it beside what the call has reserved already.
    Uncovered(Arc<str>),
    /// A policy is against this model or provider. Its decision is among those of [`Further`].
    Forbidden {
        /// The policy.
        policy: Arc<str>,
        /// One sentence.
        message: String,
    },
}

/// One reservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hold {
    /// The rule: its place when the reservation was made, and what tells it apart.
    pub(super) rule: (usize, u64),
    /// The counter: its slot, and what tells it apart.
    pub(super) counter: (u32, u32),
    /// When it was made. In a calendar it counts there and then.
    pub(super) since: u64,
    /// From when on it counts in a sliding window: later, where the call has to wait.
    pub(super) at: u64,
    /// Whether the rule acted on the call.
    pub(super) acts: bool,
    /// Whether the call would have been refused, had it acted.
    pub(super) is_surplus: bool,
}

/// Tokens and nano-dollars.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Reserved {
    pub(super) tokens: u64,
    pub(super) cost: u64,
}

/// All that is said of a call before it is made.
#[derive(Debug)]
pub struct Admission {
    /// Whether it may be made.
    pub verdict: Verdict,
    /// What each rule said, in the order in which they were asked; for `weir explain`. `at` is
    /// left zero, for the caller to fill in.
    pub decisions: Vec<Decision>,
    /// What people may want to be told of.
    pub notices: Vec<Notice>,
}

/// Whether a call may be made.
#[derive(Debug)]
pub enum Verdict {
    /// It may.
    Pass {
        /// What was reserved for it.
        ticket: Ticket,
        /// It must wait that long first.
        delay: Duration,
        /// The most output it may be given, where that is less than its bound: the client set no
        /// limit, and the budget buys no more. To be written into the request.
        max_output: Option<u64>,
        /// The model or tier (`tier:NAME`) to ask instead.
        downgrade: Option<Arc<str>>,
    },
    /// It may not. Nothing was used up.
    Refuse(Box<Denied>),
    /// It may not, and its workload is to be frozen.
    Freeze(Box<Denied>),
}

/// Why a call may not be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denied {
    /// The policy that says so: `rate_limits.batch-agent`.
    pub policy: Arc<str>,
    /// Whom the rule counts: `batch-agent`, `user:alice`, `team:payments`.
    pub subject: Arc<str>,
    /// What it is about.
    pub reason: Reason,
    /// One sentence: `Rate limit exceeded for agent: batch-agent (5 req/min)`.
    pub message: String,
    /// Everything the rule limits, for `current_usage` and `limits` in the refusal.
    pub figures: Vec<Figure>,
    /// A call like this one may be made then; at least a second. `None` where waiting is no use.
    pub retry_after: Option<Duration>,
}

/// What a refusal is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Too many requests.
    Requests,
    /// Too many tokens.
    Tokens,
    /// Too much money.
    Budget,
    /// Not allowed at all.
    Guardrail,
    /// Its price is unknown, and the configuration says `deny`.
    UnknownPrice,
    /// The same thing again and again.
    Loop,
}

/// One limit and how much of it is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Figure {
    /// `requests_per_minute`, `tokens_per_day`, `usd_per_hour`, `daily_limit_usd`, …: the key of
    /// the configuration.
    pub unit: &'static str,
    /// Used, reservations included.
    pub used: Amount,
    /// The limit.
    pub limit: Amount,
    /// When it is (next) empty again; for sliding windows, when the oldest use leaves.
    pub resets_at: Option<SystemTime>,
}

/// A count or money.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Amount {
    /// Requests or tokens.
    Count(u64),
    /// Money.
    Usd(NanoUsd),
}
