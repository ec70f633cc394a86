//! The error budget of one task of one workload.
//!
//! The budget is the share of calls that may fail. It is told of when most of it is used and when
//! all of it is, and never because of one failure: at least [`FEWEST_FAILURES`] of at least so many
//! calls as the rule says must be in the window. Once told, it is told again only after the window
//! has become good: less than half of the budget used.

use super::settings::Share;
use super::window::Outcomes;

/// One failure is none: it may be anything.
pub(super) const FEWEST_FAILURES: u32 = 2;
/// Percent of the budget from which on people are told.
const THRESHOLD: u32 = 80;
/// Percent of the budget below which all is well again.
const WELL: u32 = 50;

/// How a budget stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// All is well.
    #[default]
    Ok,
    /// Most of the budget is used.
    Warning,
    /// All of it is used.
    Breached,
}

impl Level {
    /// The level after one more call; `minimum` calls are needed to leave the first.
    pub(super) fn next(self, outcomes: &Outcomes, target: Share, minimum: u32) -> Self {
        let (failed, calls) = (outcomes.failed(), outcomes.calls());
        let is_used = |percent| target.is_used(percent, failed, calls);
        if calls == 0 || !is_used(WELL) {
            return Self::Ok;
        }
        let reached = if failed < FEWEST_FAILURES || calls < minimum {
            Self::Ok
        } else if is_used(100) {
            Self::Breached
        } else if is_used(THRESHOLD) {
            Self::Warning
        } else {
            Self::Ok
        };
        self.max(reached)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::record::FailureClass;
    use crate::watch::window::WINDOW;

    fn after(target: u32, ends: impl IntoIterator<Item = bool>) -> Vec<Level> {
        let target = Share::of_millionths(target).unwrap();
        let mut outcomes = Outcomes::default();
        let mut level = Level::Ok;
        let each = |failed: bool| {
            outcomes.push(failed.then_some(FailureClass::ServerError));
            level = level.next(&outcomes, target, 20);
            level
        };
        ends.into_iter().map(each).collect()
    }

    /// So many good calls, then one that fails.
    fn failing_each(good: usize, times: usize) -> Vec<bool> {
        (0..times).flat_map(|_| std::iter::repeat_n(false, good).chain([true])).collect()
    }

    #[test]
    fn four_in_a_hundred_use_most_of_five_percent_and_five_all_of_it() {
        let levels = after(50_000, failing_each(24, 4));
        assert_eq!(levels.last(), Some(&Level::Warning));
        assert!(levels[..99].iter().all(|level| *level <= Level::Warning));
        let levels = after(50_000, failing_each(19, 5));
        assert_eq!(levels.last(), Some(&Level::Breached));
    }

    #[test]
    fn one_failure_breaches_no_budget_however_small() {
        for ends in [failing_each(99, 1), failing_each(99, 4), vec![true], vec![true; 19]] {
            let levels = after(1_000, ends.clone());
            assert!(levels.iter().all(|level| *level == Level::Ok), "{ends:?}");
        }
        // Two are a matter of fact.
        assert_eq!(after(1_000, failing_each(49, 2)).last(), Some(&Level::Breached));
    }

    #[test]
    fn a_breach_is_over_only_when_it_is_well_over() {
        let mut ends = failing_each(19, 5);
        // 5 of 100 fail; each good call from here on may push one out.
        ends.extend(std::iter::repeat_n(false, 59));
        assert_eq!(after(50_000, ends.clone()).last(), Some(&Level::Breached), "3 of 100");
        ends.push(false);
        assert_eq!(after(50_000, ends).last(), Some(&Level::Ok), "2 of 100");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn never_on_a_single_failure_and_never_twice(
            ends in proptest::collection::vec(proptest::bool::weighted(0.15), 0..400),
            target in 1..=1_000_000_u32,
        ) {
            let levels = after(target, ends.iter().copied());
            let mut before = Level::Ok;
            for (at, level) in levels.iter().enumerate() {
                let window = &ends[(at + 1).saturating_sub(WINDOW)..=at];
                let failed = window.iter().filter(|failed| **failed).count();
                let number = |count: usize| f64::from(u32::try_from(count).unwrap());
                let used = number(failed) / number(window.len()) * 1e6 / f64::from(target);
                if *level > before {
                    prop_assert!(failed >= 2 && window.len() >= 20, "{} of {}", failed, window.len());
                    let least = if *level == Level::Breached { 1.0 } else { 0.8 };
                    prop_assert!(used >= least - 1e-9, "{}", used);
                }
                if *level < before {
                    prop_assert_eq!(*level, Level::Ok, "it gets better at once or not at all");
                    prop_assert!(used < 0.5 + 1e-9, "{}", used);
                }
                before = *level;
            }
        }
    }
}
