//! `/api/breakers`: how providers fare, and who may still be asked.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::usage::timestamp;
use crate::policy::view::{self, BreakerView};

/// All breakers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Breakers {
    /// Version of this shape.
    pub schema_version: u32,
    /// The breakers.
    pub rows: Vec<BreakerRow>,
}

/// What a breaker does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BreakerState {
    /// Lets calls through.
    Closed,
    /// Rejects them.
    Open,
    /// Lets a few through to see.
    HalfOpen,
}

impl BreakerState {
    /// The word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half-open",
        }
    }
}

impl From<view::BreakerState> for BreakerState {
    fn from(state: view::BreakerState) -> Self {
        match state {
            view::BreakerState::Closed => Self::Closed,
            view::BreakerState::Open => Self::Open,
            view::BreakerState::HalfOpen => Self::HalfOpen,
        }
    }
}

/// One breaker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BreakerRow {
    /// `openai`, `openai/gpt-4o`.
    pub name: String,
    /// What it does.
    pub state: BreakerState,
    /// Why it is open.
    pub reason: Option<String>,
    /// Since when it is in this state.
    pub since: Option<Timestamp>,
    /// When it lets a probe through; `null` for one opened by hand, which stays open.
    pub until: Option<Timestamp>,
    /// Opened by hand.
    pub by_hand: bool,
    /// Failures in a row.
    pub failures: u32,
    /// Share of failures in its window, in percent.
    pub failure_percent: u8,
    /// The calls that share rests on.
    pub calls: u64,
    /// Times it opened since the start.
    pub opened: u64,
}

impl BreakerRow {
    /// The breaker of a provider that nobody has asked yet.
    pub fn unmet(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            state: BreakerState::Closed,
            reason: None,
            since: None,
            until: None,
            by_hand: false,
            failures: 0,
            failure_percent: 0,
            calls: 0,
            opened: 0,
        }
    }
}

impl From<BreakerView> for BreakerRow {
    fn from(view: BreakerView) -> Self {
        Self {
            name: view.name.to_string(),
            state: view.state.into(),
            reason: view.reason,
            since: view.since.map(timestamp),
            until: view.until.map(timestamp),
            by_hand: view.by_hand,
            failures: view.failures,
            failure_percent: view.failure_percent,
            calls: view.calls,
            opened: view.opened,
        }
    }
}

/// `PUT /api/breakers/{name}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetBreaker {
    /// From now on.
    pub state: Hand,
}

/// What can be done to a breaker by hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Hand {
    /// Open it, until it is closed by hand.
    Open,
    /// Close it.
    Closed,
}
