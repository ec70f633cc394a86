//! How fast a workload spends, and whether that is far more than it usually does.
//!
//! A spike begins when the last hour *and* the last ten minutes, reckoned by the hour, are as many
//! times the usual hour as configured: the hour alone would go on counting what is over, ten
//! minutes alone would call every hourly job one. It ends when the last ten minutes are below half
//! of that. A workload whose usual hour is not known has no spikes.

use std::time::{Duration, SystemTime};

use super::settings::Spikes;
use crate::llm::usage::NanoUsd;

/// Minutes of an hour.
const HOUR: u64 = 60;
/// As many are kept.
const KEPT: usize = 60;
/// Minutes that say how fast it goes now.
const LATELY: u64 = 10;

/// What a workload spends.
#[derive(Debug, Clone)]
pub(super) struct Pace {
    minutes: [u64; KEPT],
    /// The newest minute that is kept, since 1970.
    newest: u64,
    /// What an hour usually costs; `None` where that is not known.
    pub(super) usual: Option<NanoUsd>,
    pub(super) spike: Option<Spike>,
    /// Spent in the hour before this start, until the usual hour is known.
    before: u64,
}

/// Spending that is far from usual.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spike {
    /// When it began.
    pub since: SystemTime,
    /// Spent by the hour now, by what the last ten minutes cost.
    pub rate: NanoUsd,
    /// The usual hour, as it was known then.
    pub usual: NanoUsd,
}

/// What has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    Began(Spike),
    Ended(Spike),
}

impl Pace {
    pub(super) fn new(usual: Option<NanoUsd>) -> Self {
        Self { minutes: [0; KEPT], newest: 0, usual, spike: None, before: 0 }
    }

    /// So much was spent.
    pub(super) fn spend(&mut self, at: SystemTime, cost: NanoUsd) {
        let minute = minute(at);
        self.advance(minute);
        if minute + HOUR <= self.newest {
            // What comes later than an hour is part of none that is looked at.
            return;
        }
        let place = &mut self.minutes[place(minute)];
        *place = place.saturating_add(u64::try_from(cost.0).unwrap_or(0));
    }

    /// What has changed by now.
    pub(super) fn turn(&mut self, spikes: Option<&Spikes>, now: SystemTime) -> Option<Turn> {
        self.advance(minute(now));
        let (hour, rate) = (self.sum(HOUR), self.rate());
        let Some((spikes, usual)) = spikes.zip(self.usual) else {
            return self.spike.take().map(|spike| Turn::Ended(Spike { rate, ..spike }));
        };
        match &mut self.spike {
            None => {
                let much = threshold(spikes, usual);
                let is_one = hour >= much && rate.0.unsigned_abs() >= much;
                self.spike = is_one.then_some(Spike { since: now, rate, usual });
                let was_told = std::mem::take(&mut self.before) >= much;
                self.spike.filter(|_| !was_told).map(Turn::Began)
            }
            Some(spike) => {
                spike.rate = rate;
                // Held against what was usual when it began: a spike does not become usual.
                let is_over = rate.0.unsigned_abs() < threshold(spikes, spike.usual) / 2;
                is_over.then(|| self.spike.take().map(Turn::Ended)).flatten()
            }
        }
    }

    /// What was spent so far was told of before this start, if it was to be.
    pub(super) fn take_as_told(&mut self) {
        self.before = self.sum(HOUR);
    }

    /// Spent in the last ten minutes, by the hour.
    fn rate(&self) -> NanoUsd {
        let rate = self.sum(LATELY).saturating_mul(HOUR / LATELY);
        NanoUsd(i64::try_from(rate).unwrap_or(i64::MAX))
    }

    /// Whether nothing was spent within the hour before the latest turn.
    pub(super) fn is_idle(&self) -> bool {
        self.sum(HOUR) == 0
    }

    fn sum(&self, minutes: u64) -> u64 {
        let kept = self.newest.saturating_sub(minutes - 1)..=self.newest;
        kept.map(|minute| self.minutes[place(minute)]).fold(0, u64::saturating_add)
    }

    /// Empties the minutes that come after the newest one, up to this one.
    fn advance(&mut self, minute: u64) {
        for empty in (self.newest + 1..=minute).rev().take(KEPT) {
            self.minutes[place(empty)] = 0;
        }
        self.newest = self.newest.max(minute);
    }
}

/// From so much in an hour on it is a spike; at least a nano-dollar.
fn threshold(spikes: &Spikes, usual: NanoUsd) -> u64 {
    let times = u128::from(usual.0.unsigned_abs()) * u128::from(spikes.percent) / 100;
    let times = u64::try_from(times).unwrap_or(u64::MAX);
    times.max(spikes.floor.0.unsigned_abs()).max(1)
}

fn minute(at: SystemTime) -> u64 {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    since.as_secs() / Duration::from_mins(1).as_secs()
}

fn place(minute: u64) -> usize {
    usize::try_from(minute % HOUR).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DOLLAR: i64 = NanoUsd::DOLLAR.0;

    fn spikes() -> Spikes {
        Spikes { percent: 300, floor: NanoUsd(DOLLAR), whom: None }
    }

    fn at(minutes: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_hours(500_000) + Duration::from_mins(minutes)
    }

    fn pace(usual: i64) -> Pace {
        Pace::new(Some(NanoUsd(usual)))
    }

    /// Spends, and says what changed.
    fn spend(pace: &mut Pace, minutes: u64, cost: i64) -> Option<Turn> {
        pace.spend(at(minutes), NanoUsd(cost));
        pace.turn(Some(&spikes()), at(minutes))
    }

    #[test]
    fn three_times_the_usual_hour_is_a_spike_and_told_once() {
        let mut pace = pace(DOLLAR);
        assert_eq!(spend(&mut pace, 0, 2 * DOLLAR), None);
        let began = spend(&mut pace, 1, DOLLAR);
        let spike = Spike { since: at(1), rate: NanoUsd(18 * DOLLAR), usual: NanoUsd(DOLLAR) };
        assert_eq!(began, Some(Turn::Began(spike)));
        for minute in 2..30 {
            assert_eq!(spend(&mut pace, minute, DOLLAR), None, "it goes on");
        }
        // Less than half of $3 an hour: less than 25 cents in ten minutes.
        let mut ended = None;
        for minute in 30..50 {
            ended = ended.or_else(|| spend(&mut pace, minute, DOLLAR / 100));
        }
        assert!(matches!(ended, Some(Turn::Ended(_))), "{ended:?}");
        // The hour still holds what the spike cost: that begins no other one.
        assert_eq!(spend(&mut pace, 50, DOLLAR / 100), None);
        assert!(matches!(spend(&mut pace, 51, 4 * DOLLAR), Some(Turn::Began(_))));
    }

    #[test]
    fn an_hourly_job_and_small_change_are_usual() {
        let mut hourly = pace(DOLLAR);
        for hour in 0..5 {
            assert_eq!(spend(&mut hourly, hour * 60, DOLLAR), None);
        }
        let mut cheap = pace(DOLLAR / 1000);
        assert_eq!(spend(&mut cheap, 0, DOLLAR - 1), None, "below the floor");
        let mut new = Pace::new(None);
        assert_eq!(spend(&mut new, 0, 1000 * DOLLAR), None, "no baseline, no spike");
        // Where nothing is usual, the floor is what counts.
        assert!(matches!(spend(&mut pace(0), 0, DOLLAR), Some(Turn::Began(_))));
    }

    #[test]
    fn a_restart_tells_no_spike_twice() {
        let mut known = Pace::new(None);
        spend(&mut known, 0, 9 * DOLLAR);
        known.take_as_told();
        known.usual = Some(NanoUsd(DOLLAR));
        assert_eq!(spend(&mut known, 1, DOLLAR), None);
        assert!(known.spike.is_some(), "it goes on");
        // What was no spike then is one now.
        let mut new = Pace::new(None);
        spend(&mut new, 0, DOLLAR);
        new.take_as_told();
        new.usual = Some(NanoUsd(DOLLAR));
        assert!(matches!(spend(&mut new, 1, 2 * DOLLAR), Some(Turn::Began(_))));
    }

    #[test]
    fn it_ends_by_itself_and_when_nobody_wants_to_know() {
        let mut one = pace(DOLLAR);
        spend(&mut one, 0, 9 * DOLLAR).unwrap();
        assert_eq!(one.turn(Some(&spikes()), at(9)), None);
        assert!(matches!(one.turn(Some(&spikes()), at(10)), Some(Turn::Ended(_))));
        assert!(!one.is_idle());
        assert_eq!(one.turn(Some(&spikes()), at(60)), None);
        assert!(one.is_idle());
        spend(&mut one, 200, 9 * DOLLAR).unwrap();
        assert!(matches!(one.turn(None, at(200)), Some(Turn::Ended(_))));
        // A clock that was set back, or a call that took for ever, spends nothing now.
        let mut late = pace(DOLLAR);
        assert_eq!(spend(&mut late, 200, DOLLAR), None);
        assert_eq!(spend(&mut late, 100, 9 * DOLLAR), None);
    }

    proptest! {
        #[test]
        fn the_hour_is_what_was_spent_in_it(
            spent in proptest::collection::vec((0..300_u64, 0..1_000_i64), 0..100),
        ) {
            let mut pace = pace(DOLLAR);
            for so_far in 1..=spent.len() {
                let (minutes, cost) = spent[so_far - 1];
                pace.spend(at(minutes), NanoUsd(cost));
                // Whatever comes in which order: an hour back from the newest there is.
                let newest = spent[..so_far].iter().map(|(minutes, _)| *minutes).max().unwrap();
                let within = spent[..so_far].iter().filter(|(minutes, _)| minutes + 60 > newest);
                let sum: i64 = within.map(|(_, cost)| cost).sum();
                prop_assert_eq!(pace.sum(60), sum.unsigned_abs());
            }
        }
    }
}
