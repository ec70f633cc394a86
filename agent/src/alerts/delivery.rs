//! One notice on its way to one channel, and the failures it can meet.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use ulid::Ulid;

use super::journal::Entry;
use super::settings::word;
use crate::record::Notice;

/// What has become of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It waits for its first or next attempt.
    Queued,
    /// The receiver took it.
    Delivered,
    /// It was given up: the dead letters are these.
    Dead,
}

impl Status {
    /// As metrics and the API write it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
        }
    }
}

/// One notice on its way to one channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// Identifies it, also to the receiver: the same for every attempt.
    pub id: Ulid,
    /// When it was filed.
    pub at: SystemTime,
    /// The channel's name.
    pub channel: Arc<str>,
    /// What is told.
    pub notice: Notice,
    /// Whether somebody only wants to see whether it arrives.
    pub test: bool,
    /// What has become of it.
    pub status: Status,
    /// Attempts made.
    pub attempts: u32,
    /// Why the last failed attempt did; without secrets or addresses of URLs.
    pub error: Option<String>,
    /// When it was delivered or given up.
    pub ended_at: Option<SystemTime>,
}

impl Delivery {
    /// A delivery that waits.
    pub(super) fn new(id: Ulid, at: SystemTime, channel: &Arc<str>, notice: Notice) -> Self {
        Self {
            id,
            at,
            channel: Arc::clone(channel),
            notice,
            test: false,
            status: Status::Queued,
            attempts: 0,
            error: None,
            ended_at: None,
        }
    }

    /// What it is about, in a word.
    pub fn topic(&self) -> &'static str {
        if self.test { "test" } else { word(self.notice.topic) }
    }
}

impl Entry for Delivery {
    fn id(&self) -> Ulid {
        self.id
    }

    fn is_over(&self) -> bool {
        self.status != Status::Queued
    }
}

/// An attempt that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub(crate) struct Failed {
    /// Why, in one line.
    pub(crate) what: String,
    /// Whether to try again.
    pub(crate) again: Again,
}

/// Whether to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Again {
    /// It would fail again.
    Never,
    /// After the usual wait.
    Later,
    /// After this long, as the receiver asked.
    After(Duration),
}

impl Failed {
    pub(crate) fn never(what: impl Into<String>) -> Self {
        Self { what: what.into(), again: Again::Never }
    }

    pub(crate) fn later(what: impl Into<String>) -> Self {
        Self { what: what.into(), again: Again::Later }
    }
}

/// How often and how fast deliveries are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Attempts before a delivery is given up.
    pub attempts: u32,
    /// Wait after the first failure; it doubles with each.
    pub first: Duration,
    /// The longest wait, also where the receiver asks for more.
    pub longest: Duration,
    /// For one attempt.
    pub timeout: Duration,
}

/// Eight attempts over about five minutes.
impl Default for Pace {
    fn default() -> Self {
        Self {
            attempts: 8,
            first: Duration::from_secs(2),
            longest: Duration::from_mins(2),
            timeout: Duration::from_secs(15),
        }
    }
}

impl Pace {
    /// The wait after attempt `number` (from 1): `chance` (0 to 1) takes up to half of it away, so
    /// that many senders do not come back together.
    pub(crate) fn wait(&self, number: u32, again: Again, chance: f64) -> Duration {
        let doubled = self.first.saturating_mul(1 << number.saturating_sub(1).min(16));
        let usual = doubled.min(self.longest).mul_f64(1.0 - chance.clamp(0.0, 1.0) / 2.0);
        match again {
            Again::After(asked) => asked.clamp(usual, self.longest.max(usual)),
            Again::Later | Again::Never => usual,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_are_bounded_and_spread() {
        let pace = Pace::default();
        let wait = |number, again, chance| pace.wait(number, again, chance).as_millis();
        assert_eq!([1, 2, 3].map(|number| wait(number, Again::Later, 0.0)), [2000, 4000, 8000]);
        assert_eq!(wait(1, Again::Later, 1.0), 1000);
        assert_eq!(wait(u32::MAX, Again::Later, 0.0), 120_000);
        assert_eq!(wait(1, Again::After(Duration::from_secs(30)), 0.0), 30_000);
        assert_eq!(wait(1, Again::After(Duration::from_hours(9)), 0.0), 120_000);
        assert_eq!(wait(3, Again::After(Duration::ZERO), 0.0), 8000);
    }
}
