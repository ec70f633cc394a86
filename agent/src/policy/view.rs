//! How policies, limits, budgets and breakers stand, for those who ask.

use std::sync::Arc;
use std::time::SystemTime;

use super::Enforcement;
use super::call::{Amount, Figure};
use crate::llm::usage::NanoUsd;

/// A named policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyView {
    /// `rate_limits.batch-agent`, `budgets.code-reviewer`, `failover.gpt-4o`, `breaker.openai`.
    pub name: Arc<str>,
    /// How far it goes now.
    pub enforcement: Enforcement,
    /// How far the configuration says it goes.
    pub configured: Enforcement,
    /// Whom or what it is about, as the configuration writes it.
    pub about: String,
    /// What it says, in one line: `5 requests/min, 100 requests/h`.
    pub summary: String,
    /// Calls it let pass since the start.
    pub passed: u64,
    /// Calls it refused, delayed or changed since the start.
    pub acted: u64,
    /// Calls it would have acted on, were it not for its enforcement or the mode.
    pub shadowed: u64,
}

/// What is used of one limit by one subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageView {
    /// The policy.
    pub policy: Arc<str>,
    /// Whom it counts: `batch-agent`, `user:alice`.
    pub subject: Arc<str>,
    /// The user the figures belong to, where they are one user's.
    pub uid: Option<u32>,
    /// Used and limit.
    pub figure: Figure,
    /// What is left.
    pub remaining: Amount,
}

/// How one budget stands for one subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BudgetView {
    /// The policy.
    pub policy: Arc<str>,
    /// Whom it counts.
    pub subject: Arc<str>,
    /// The user it belongs to, where it is one's.
    pub uid: Option<u32>,
    /// `day`, `month`, `24h`, …
    pub period: Arc<str>,
    /// Spent in this period, settled calls only.
    pub spent: NanoUsd,
    /// Reserved by calls in flight.
    pub reserved: NanoUsd,
    /// The limit.
    pub limit: NanoUsd,
    /// When the period began; `None` for rolling ones.
    pub began_at: Option<SystemTime>,
    /// When the next period begins; for rolling ones, when the oldest spend leaves.
    pub resets_at: Option<SystemTime>,
    /// When it is spent at the present rate, if that is before the period ends.
    pub exhausted_at: Option<SystemTime>,
    /// Percentages at which people are told.
    pub alert_at: Vec<u8>,
    /// What happens when it is spent: `deny`, `downgrade`, `throttle`, `freeze`, `alert`.
    pub action: &'static str,
    /// How far the policy goes.
    pub enforcement: Enforcement,
}

/// A circuit breaker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BreakerView {
    /// `openai`, `openai/gpt-4o`.
    pub name: Arc<str>,
    /// Closed, open, or letting a few through to see.
    pub state: BreakerState,
    /// Why it is open.
    pub reason: Option<String>,
    /// Since when it is in this state.
    pub since: Option<SystemTime>,
    /// When it lets a probe through.
    pub until: Option<SystemTime>,
    /// Opened by hand.
    pub by_hand: bool,
    /// Failures in a row.
    pub failures: u32,
    /// Share of failures in its window, in percent, and the calls that rests on.
    pub failure_percent: u8,
    /// See `failure_percent`.
    pub calls: u64,
    /// Times it opened since the start.
    pub opened: u64,
}

/// What a breaker does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BreakerState {
    /// Lets calls through.
    Closed,
    /// Rejects them.
    Open,
    /// Lets a few through to see.
    HalfOpen,
}
