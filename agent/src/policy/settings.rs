//! The rules as the configuration gives them: values that cannot be wrong.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;

use super::Enforcement;
use super::selector::{Pattern, Selector};
use crate::llm::usage::NanoUsd;
pub use crate::record::Quantity;

/// Limits, budgets, guardrails and loop protection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Who belongs to which team.
    pub teams: Vec<Team>,
    /// All rules, each with a name of its own.
    pub rules: Vec<Rule>,
    /// What happens to a call whose price is unknown.
    pub unknown_price: UnknownPrice,
    /// Where days and months begin, and what time of day it is.
    pub zone: TimeZone,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            teams: Vec::new(),
            rules: Vec::new(),
            unknown_price: UnknownPrice::AllowAndFlag,
            zone: TimeZone::UTC,
        }
    }
}

/// A team.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Team {
    /// Its name.
    pub name: Arc<str>,
    /// Workloads that belong to it, as rules name them.
    pub workloads: Vec<Arc<str>>,
    /// Users that belong to it, by name, beginning of a name (`ci-*`), or id.
    pub users: Vec<Arc<str>>,
}

/// A named rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// `rate_limits.batch-agent`.
    pub name: Arc<str>,
    /// Whom it is about, as the configuration writes it: `batch-agent`, `user:*`.
    pub about: Arc<str>,
    /// How far it goes.
    pub enforcement: Enforcement,
    /// The calls it is about.
    pub selector: Selector,
    /// Who shares a counter.
    pub per: Per,
    /// What it says.
    pub says: Says,
}

/// Who shares a counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Per {
    /// Everyone the rule selects.
    #[default]
    All,
    /// Each workload has its own.
    Workload,
    /// Each user has their own.
    User,
    /// Each team has its own; who is in none is not meant.
    Team,
}

/// What a rule says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Says {
    /// No more than so much.
    Limit(Limit),
    /// Not everything.
    Guard(Guard),
    /// Not at any price. The engine makes this rule itself, from [`Settings::unknown_price`].
    Price(UnknownPrice),
    /// Not the same again and again.
    Loops(Loops),
}

/// No more than so much.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// How much of what, in which time. At least one.
    pub caps: Vec<Cap>,
    /// What happens to a call that does not fit.
    pub on_breach: OnBreach,
    /// Whether a stream is cut once it has run past what was reserved for it and no more is left.
    pub cut_streams: bool,
    /// For budgets: what people are told of.
    pub watch: Option<Watch>,
}

/// So much of something in some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cap {
    /// The key of the configuration: `requests_per_minute`, `daily_limit_usd`, ….
    pub unit: &'static str,
    /// What is counted.
    pub of: Quantity,
    /// In which time.
    pub over: Over,
    /// How much: requests, tokens, or nano-dollars.
    pub limit: NonZeroU64,
}

/// The time a limit is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Over {
    /// Any stretch of this length.
    Sliding(Duration),
    /// A calendar day.
    Day,
    /// A calendar week, from Monday.
    Week,
    /// A calendar month.
    Month,
}

impl Over {
    /// Its length; at most, for calendar periods.
    pub fn longest(self) -> Duration {
        match self {
            Self::Sliding(length) => length,
            // A day with an hour put in.
            Self::Day => Duration::from_hours(25),
            Self::Week => Duration::from_hours(7 * 24 + 1),
            Self::Month => Duration::from_hours(31 * 24 + 1),
        }
    }
}

/// What happens to a call that does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OnBreach {
    /// It is refused.
    Deny,
    /// It is made with another model, or one of a tier (`tier:NAME`). It is made even so: a budget
    /// that must never be passed needs a rule that denies.
    Downgrade(Arc<str>),
    /// It waits, at most so long. Where a sliding limit would still not let it through by then it
    /// is refused; a calendar budget only slows calls down.
    Throttle(Duration),
    /// It is refused, and its workload frozen.
    Freeze,
    /// It is made, and people are told.
    Alert,
}

impl OnBreach {
    /// The word of the configuration.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Deny => "deny",
            Self::Downgrade(_) => "downgrade",
            Self::Throttle(_) => "throttle",
            Self::Freeze => "freeze",
            Self::Alert => "alert",
        }
    }
}

/// What people are told of a budget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watch {
    /// Percentages of the limit at which they are told, ascending; at most 8.
    pub alert_at: Vec<u8>,
    /// Whether they are told that it will be spent before its period ends.
    pub forecast: bool,
    /// Told when an hour costs more than this many percent of the usual one.
    pub spike_percent: Option<u32>,
}

/// What may be asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Guard {
    /// Models allowed; empty is all.
    pub allow_models: Vec<Pattern>,
    /// Models not allowed.
    pub deny_models: Vec<Pattern>,
    /// Hosts allowed; empty is all.
    pub allow_hosts: Vec<Pattern>,
    /// Hosts not allowed.
    pub deny_hosts: Vec<Pattern>,
    /// Paths allowed; empty is all.
    pub allow_paths: Vec<Pattern>,
    /// Paths not allowed.
    pub deny_paths: Vec<Pattern>,
    /// Most input tokens of a call.
    pub max_input_tokens: Option<u64>,
    /// Most output tokens of a call. A call that names no limit of its own is given this one.
    pub max_output_tokens: Option<u64>,
    /// Largest request body, in bytes.
    pub max_body_bytes: Option<u64>,
    /// What happens to a call that breaks it.
    pub on_breach: GuardAction,
}

/// What happens to a call that breaks a guardrail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum GuardAction {
    /// It is refused.
    #[default]
    Block,
    /// It is made, and people are told.
    Warn,
    /// It is made, and the decision kept with its record.
    Log,
}

impl GuardAction {
    /// The word of the configuration.
    pub fn word(self) -> &'static str {
        match self {
            Self::Block => "block",
            Self::Warn => "warn",
            Self::Log => "log",
        }
    }
}

/// Not the same again and again; each workload by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loops {
    /// Calls with the same prompt within a minute.
    pub identical: Option<NonZeroU64>,
    /// Calls that failed within a minute.
    pub errors: Option<NonZeroU64>,
    /// What happens to one more; [`OnBreach::Downgrade`] and [`OnBreach::Freeze`] count as
    /// [`OnBreach::Deny`] here.
    pub on_breach: OnBreach,
}

/// What happens to a call whose price is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownPrice {
    /// It is made; budgets cannot count it, and it is counted as unpriced.
    AllowAndFlag,
    /// It is refused.
    Deny,
    /// It is counted as if each of its tokens cost this much.
    AssumeMax {
        /// A million input tokens.
        input: NanoUsd,
        /// A million output tokens.
        output: NanoUsd,
    },
}
