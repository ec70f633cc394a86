//! What is watched and what is too much: values that cannot be wrong.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use crate::llm::usage::NanoUsd;
use crate::policy::selector::Selector;

pub use super::window::WINDOW;

/// Calls that a window must hold before a task can fail too often, unless its rule says otherwise.
pub const MINIMUM_CALLS: u32 = 20;

/// Error budgets, latencies, spikes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settings {
    /// How much may fail; each rule is a task.
    pub budgets: Vec<ErrorBudget>,
    /// How long calls may take.
    pub sla: Vec<Sla>,
    /// When spending is unusual; `None` where nobody wants to know.
    pub spikes: Option<Spikes>,
}

/// Which calls a rule is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whom {
    /// Those that no other rule of its section is about.
    Rest,
    /// Those of this operation (`chat`).
    Operation(Arc<str>),
    /// Those that a selector means; it never asks for the time of day.
    Selected(Box<Selector>),
}

/// How much of a task may fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorBudget {
    /// `error_budgets.payment`.
    pub policy: Arc<str>,
    /// The task's name; `None` where each operation is a task of its own.
    pub task: Option<Arc<str>>,
    /// Its calls.
    pub whom: Whom,
    /// How much of them may fail.
    pub target: Share,
    /// Fewer calls than this say nothing.
    pub minimum_calls: NonZeroU32,
}

/// A share of calls: more than none, at most all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(u32);

impl Share {
    const WHOLE: u32 = 1_000_000;

    /// So many millionths; `None` where that is nothing, or more than everything.
    pub fn of_millionths(millionths: u32) -> Option<Self> {
        (1..=Self::WHOLE).contains(&millionths).then_some(Self(millionths))
    }

    /// As a number from 0 to 1.
    pub fn ratio(self) -> f64 {
        f64::from(self.0) / f64::from(Self::WHOLE)
    }

    /// Whether `failed` of `calls` are at least so many percent of this share.
    pub(super) fn is_used(self, percent: u32, failed: u32, calls: u32) -> bool {
        let used = u64::from(failed) * u64::from(Self::WHOLE) * 100;
        used >= u64::from(self.0) * u64::from(percent) * u64::from(calls)
    }

    /// The part of it that `failed` of `calls` use up; 1 is all of it.
    pub(super) fn used(self, failed: u32, calls: u32) -> f64 {
        if calls == 0 {
            return 0.0;
        }
        f64::from(failed) / f64::from(calls) / self.ratio()
    }
}

/// In percent, without zeros at the end: `0.1%`.
impl std::fmt::Display for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (whole, rest) = (self.0 / 10_000, self.0 % 10_000);
        if rest == 0 {
            return write!(f, "{whole}%");
        }
        write!(f, "{whole}.{}%", format!("{rest:04}").trim_end_matches('0'))
    }
}

/// How long calls may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sla {
    /// `sla.code-reviewer`.
    pub policy: Arc<str>,
    /// Its calls.
    pub whom: Whom,
    /// Of 20 calls of a workload and model, 19 take no longer than this.
    pub p95: Duration,
}

/// When spending is unusual.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spikes {
    /// How many times the usual spending of an hour, in percent; over 100.
    pub percent: u32,
    /// Spending below this in an hour is never unusual.
    pub floor: NanoUsd,
    /// Whose; `None` is everyone's.
    pub whom: Option<Box<Selector>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_print_as_written_and_compare_exactly() {
        for (millionths, text) in [
            (1_000, "0.1%"),
            (50_000, "5%"),
            (125_000, "12.5%"),
            (1, "0.0001%"),
            (1_000_000, "100%"),
        ] {
            assert_eq!(Share::of_millionths(millionths).unwrap().to_string(), text);
        }
        assert_eq!(Share::of_millionths(0), None);
        assert_eq!(Share::of_millionths(1_000_001), None);
        let five = Share::of_millionths(50_000).unwrap();
        // 4 of 100 are exactly 80 % of 5 %.
        assert!(five.is_used(80, 4, 100) && !five.is_used(81, 4, 100));
        assert!(five.is_used(100, 5, 100) && !five.is_used(100, 4, 100));
        assert!((five.used(4, 100) - 0.8).abs() < 1e-9);
        assert!(five.used(0, 0).abs() < f64::EPSILON);
    }
}
