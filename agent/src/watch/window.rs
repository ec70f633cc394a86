//! The last calls of somebody: how they ended, and how long they took.
//!
//! Both windows are of a fixed size, so that they take the same room however much is called, and
//! what is asked for with every call is counted as calls come and go.

use std::time::Duration;

use crate::record::FailureClass;

/// Calls that are looked back on.
pub const WINDOW: usize = 100;

/// A ring of the last calls.
#[derive(Debug, Clone)]
struct Ring<T> {
    kept: [T; WINDOW],
    next: u8,
    len: u8,
}

impl<T: Copy + Default> Ring<T> {
    /// Keeps a value, and returns the one that makes room for it.
    fn push(&mut self, value: T) -> Option<T> {
        let place = &mut self.kept[usize::from(self.next)];
        let gone = (usize::from(self.len) == WINDOW).then_some(*place);
        *place = value;
        self.next = if usize::from(self.next) + 1 == WINDOW { 0 } else { self.next + 1 };
        self.len += u8::from(gone.is_none());
        gone
    }

    /// What is kept, in no order.
    fn all(&self) -> &[T] {
        &self.kept[..usize::from(self.len)]
    }
}

impl<T: Copy + Default> Default for Ring<T> {
    fn default() -> Self {
        Self { kept: [T::default(); WINDOW], next: 0, len: 0 }
    }
}

/// How the last calls ended.
#[derive(Debug, Clone, Default)]
pub(super) struct Outcomes {
    ring: Ring<Option<FailureClass>>,
    failed: u32,
}

impl Outcomes {
    pub(super) fn push(&mut self, class: Option<FailureClass>) {
        self.failed += u32::from(class.is_some());
        if let Some(Some(_)) = self.ring.push(class) {
            self.failed -= 1;
        }
    }

    pub(super) fn calls(&self) -> u32 {
        u32::from(self.ring.len)
    }

    pub(super) fn failed(&self) -> u32 {
        self.failed
    }

    /// The class of most of those that failed.
    pub(super) fn mostly(&self) -> Option<FailureClass> {
        let count = |class: FailureClass| {
            self.ring.all().iter().filter(|kept| **kept == Some(class)).count()
        };
        // Of several the first: the order of the classes is that of the table for people.
        let counted = FailureClass::ALL.into_iter().rev().map(|class| (count(class), class));
        counted.max_by_key(|(count, _)| *count).filter(|(count, _)| *count > 0).map(|it| it.1)
    }
}

/// How long the last calls took.
#[derive(Debug, Clone, Default)]
pub(super) struct Latencies {
    /// In microseconds; more than an hour is an hour and 11 minutes.
    ring: Ring<u32>,
    limit: Option<Limit>,
}

/// Calls of the window above a limit, and above a little less than it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Limit {
    micros: u32,
    over: u32,
    near: u32,
}

impl Limit {
    fn count(&mut self, micros: u32, by: impl Fn(u32) -> u32) {
        if micros > self.micros {
            self.over = by(self.over);
        }
        if micros > self.near_micros() {
            self.near = by(self.near);
        }
    }

    /// Nine tenths of it: what passes it once is not let go before it is well below.
    fn near_micros(self) -> u32 {
        self.micros / 10 * 9
    }
}

/// Percentiles by nearest rank: each is the time some call really took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Percentiles {
    /// Half of the calls took no longer.
    pub p50: Duration,
    /// 95 of 100 took no longer.
    pub p95: Duration,
    /// 99 of 100 took no longer.
    pub p99: Duration,
    /// How many calls that rests on.
    pub samples: u32,
}

impl Latencies {
    pub(super) fn push(&mut self, latency: Duration) {
        let micros = micros(latency);
        let gone = self.ring.push(micros);
        if let Some(limit) = &mut self.limit {
            limit.count(micros, |count| count + 1);
            if let Some(gone) = gone {
                limit.count(gone, |count| count - 1);
            }
        }
    }

    /// Holds the 95th percentile against another limit, or none.
    pub(super) fn hold_against(&mut self, limit: Option<Duration>) {
        let wanted = limit.map(micros);
        if wanted == self.limit.map(|limit| limit.micros) {
            return;
        }
        self.limit = wanted.map(|micros| {
            let mut limit = Limit { micros, over: 0, near: 0 };
            for kept in self.ring.all() {
                limit.count(*kept, |count| count + 1);
            }
            limit
        });
    }

    pub(super) fn samples(&self) -> u32 {
        u32::from(self.ring.len)
    }

    /// Whether the 95th percentile is above the limit.
    pub(super) fn is_over(&self) -> bool {
        self.limit.is_some_and(|limit| self.is_p95_above(limit.over))
    }

    /// Whether it is above a little less than the limit.
    pub(super) fn is_near(&self) -> bool {
        self.limit.is_some_and(|limit| self.is_p95_above(limit.near))
    }

    /// The 95th percentile is above a limit where fewer calls than its rank are not.
    fn is_p95_above(&self, over: u32) -> bool {
        self.samples() - over < rank(self.samples(), 95)
    }

    pub(super) fn percentiles(&self) -> Option<Percentiles> {
        let mut sorted = self.ring.kept;
        let sorted = &mut sorted[..usize::from(self.ring.len)];
        sorted.sort_unstable();
        let at = |percent| {
            let place = rank(self.samples(), percent).checked_sub(1)?;
            let micros = sorted.get(usize::try_from(place).ok()?)?;
            Some(Duration::from_micros(u64::from(*micros)))
        };
        Some(Percentiles { p50: at(50)?, p95: at(95)?, p99: at(99)?, samples: self.samples() })
    }
}

/// The rank of a percentile among so many, from 1 on.
fn rank(samples: u32, percent: u32) -> u32 {
    (samples * percent).div_ceil(100)
}

fn micros(latency: Duration) -> u32 {
    u32::try_from(latency.as_micros()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn percentiles_are_calls_of_the_window_and_no_averages() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.percentiles(), None);
        for ms in 1..=100 {
            latencies.push(Duration::from_millis(ms));
        }
        let ms = Duration::from_millis;
        let found = latencies.percentiles().unwrap();
        assert_eq!((found.p50, found.p95, found.p99), (ms(50), ms(95), ms(99)));
        // One call that takes forever changes no percentile of a hundred but the last.
        latencies.push(Duration::from_hours(100));
        let found = latencies.percentiles().unwrap();
        assert_eq!((found.p50, found.p95, found.p99), (ms(51), ms(96), ms(100)));
        assert_eq!(found.samples, 100);
    }

    #[test]
    fn the_class_of_most_is_told() {
        let mut outcomes = Outcomes::default();
        assert_eq!(outcomes.mostly(), None);
        for class in [FailureClass::Timeout, FailureClass::Auth, FailureClass::Auth] {
            outcomes.push(Some(class));
            outcomes.push(None);
        }
        assert_eq!(outcomes.mostly(), Some(FailureClass::Auth));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn what_is_counted_is_what_is_in_the_window(
            ends in proptest::collection::vec(0..12_usize, 0..350),
        ) {
            let mut outcomes = Outcomes::default();
            let ends: Vec<_> =
                ends.into_iter().map(|end| FailureClass::ALL.get(end).copied()).collect();
            for (at, end) in ends.iter().enumerate() {
                outcomes.push(*end);
                let window = &ends[(at + 1).saturating_sub(WINDOW)..=at];
                prop_assert_eq!(outcomes.calls() as usize, window.len());
                let failed = window.iter().flatten().count();
                prop_assert_eq!(outcomes.failed() as usize, failed);
            }
        }

        #[test]
        fn the_count_above_a_limit_says_what_the_percentile_does(
            times in proptest::collection::vec(0..2_000_u64, 1..250),
            limits in proptest::collection::vec(1..2_000_u64, 1..4),
        ) {
            let mut latencies = Latencies::default();
            for (at, time) in times.iter().enumerate() {
                // Limits come and go with the configuration.
                let limit = Duration::from_micros(limits[at * limits.len() / times.len()]);
                latencies.hold_against(Some(limit));
                latencies.push(Duration::from_micros(*time));
                let p95 = latencies.percentiles().unwrap().p95;
                prop_assert_eq!(latencies.is_over(), p95 > limit, "{:?} {:?}", p95, limit);
                let window = &times[(at + 1).saturating_sub(WINDOW)..=at];
                let mut sorted = window.to_vec();
                sorted.sort_unstable();
                let place = (sorted.len() * 95).div_ceil(100) - 1;
                prop_assert_eq!(p95, Duration::from_micros(sorted[place]));
            }
        }
    }
}
