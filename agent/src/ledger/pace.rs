//! How long the journal thread lets settlements gather. Waking up for each costs more than
//! everything else about it, once there are thousands a second; below that, nobody should wait.

use std::time::{Duration, Instant};

/// Settlements per second from which on they are gathered: twice the load at which the added
/// latency is promised.
const FROM: f64 = 2_000.0;

/// Batch worth waiting for.
const BATCH: f64 = 8.0;

/// Longest wait.
const LONGEST: Duration = Duration::from_micros(400);

/// Time over which the rate is taken.
const WINDOW: Duration = Duration::from_millis(10);

/// The rate of settlements.
pub(super) struct Pace {
    since: Instant,
    count: u32,
    /// Per second, over the last whole window.
    rate: f64,
}

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Self { since: now, count: 0, rate: 0.0 }
    }

    /// Takes note of settlements, and says how long to let the next ones gather.
    pub(super) fn gather(&mut self, now: Instant, settled: u32) -> Option<Duration> {
        self.count = self.count.saturating_add(settled);
        let over = now.saturating_duration_since(self.since);
        if over >= WINDOW {
            self.rate = f64::from(self.count) / over.as_secs_f64();
            self.since = now;
            self.count = 0;
        }
        (self.rate >= FROM).then(|| Duration::from_secs_f64(BATCH / self.rate).min(LONGEST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock as _, System};

    /// What is advised after a second of settlements at this rate.
    fn after_a_second_at(rate: u32) -> (Pace, Instant, Option<Duration>) {
        let mut now = System.now().mono;
        let mut pace = Pace::new(now);
        let mut advice = None;
        for _ in 0..rate {
            now += Duration::from_secs(1) / rate;
            advice = pace.gather(now, 1);
        }
        (pace, now, advice)
    }

    #[test]
    fn only_many_are_gathered_and_the_more_the_shorter() {
        assert_eq!(after_a_second_at(1_000).2, None);
        assert_eq!(after_a_second_at(5_000).2, Some(LONGEST));
        let fast = after_a_second_at(50_000).2.unwrap();
        assert!(fast > Duration::from_micros(150) && fast < Duration::from_micros(170), "{fast:?}");
    }

    #[test]
    fn a_pause_ends_it() {
        let (mut pace, now, advice) = after_a_second_at(10_000);
        assert!(advice.is_some());
        assert_eq!(pace.gather(now + Duration::from_millis(100), 1), None);
    }
}
