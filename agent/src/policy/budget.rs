//! What people are told of a budget: thresholds passed, when it will be spent, unusual hours.

use std::time::Duration;

use super::settings::{Over, Watch};

const HOUR: u64 = 3_600_000_000_000;

/// Hours with spending that a usual hour rests on, at least.
const FEWEST_HOURS: u32 = 6;

/// Hours over which the usual one is averaged.
const USUAL_HOURS: u32 = 24;

/// Watches one budget of one subject.
#[derive(Debug, Clone)]
pub(super) struct Watcher {
    /// Thresholds told of, as bits.
    told: u8,
    exceeded: bool,
    foretold: bool,
    /// For rolling budgets, whose "period" begins with the first thing told.
    since: Option<u64>,
    pace: Pace,
    usual: Usual,
}

/// How a budget stands, as a watcher is told.
#[derive(Debug, Clone, Copy)]
pub(super) struct Standing {
    pub(super) spent: u64,
    pub(super) limit: u64,
    pub(super) at: u64,
    /// The length of a rolling budget.
    pub(super) rolling: Option<Duration>,
    /// What is left of a calendar period.
    pub(super) left: Option<Duration>,
}

/// What there is to tell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct News {
    /// The highest threshold passed for the first time.
    pub(super) threshold: Option<u8>,
    /// It is spent, for the first time.
    pub(super) exceeded: bool,
    /// It will be spent after so long, before its period ends.
    pub(super) exhausted_in: Option<Duration>,
    /// This hour cost the first, the usual one the second.
    pub(super) spike: Option<(u64, u64)>,
}

impl Watcher {
    pub(super) fn new(over: Over) -> Self {
        let trail = u64::try_from(over.longest().as_nanos() / 24).unwrap_or(u64::MAX);
        Self {
            told: 0,
            exceeded: false,
            foretold: false,
            since: None,
            pace: Pace::new(trail.max(HOUR / 12)),
            usual: Usual::default(),
        }
    }

    /// A new period: everything may be told again.
    pub(super) fn begin_period(&mut self) {
        (self.told, self.exceeded, self.foretold, self.since) = (0, false, false, None);
    }

    /// So much was spent.
    pub(super) fn spend(&mut self, at: u64, amount: u64) {
        self.pace.add(at, amount);
        self.usual.add(at, amount);
    }

    /// What there is to tell now; each thing once per period.
    pub(super) fn news(&mut self, watch: &Watch, now: Standing) -> News {
        self.rearm(now);
        let mut news = News::default();
        for (bit, percent) in watch.alert_at.iter().take(8).enumerate() {
            if self.told & (1 << bit) == 0 && reaches(now.spent, *percent, now.limit) {
                self.told |= 1 << bit;
                news.threshold = Some(*percent).filter(|percent| *percent < 100);
            }
        }
        if now.spent >= now.limit {
            news.exceeded = self.exceed(now);
            // What is spent needs no forecast, and no lower threshold beside it.
            news.threshold = news.threshold.filter(|_| !news.exceeded);
        } else if watch.forecast && !self.foretold && reaches(now.spent, 10, now.limit) {
            news.exhausted_in = self.exhausted_in(now);
            self.foretold = news.exhausted_in.is_some();
        }
        if let Some(percent) = watch.spike_percent {
            news.spike = self.usual.spike(now.at, percent, now.limit);
        }
        if news != News::default() {
            self.since.get_or_insert(now.at);
        }
        news
    }

    /// A call did not fit; true where that is news.
    pub(super) fn exceed(&mut self, now: Standing) -> bool {
        self.rearm(now);
        self.since.get_or_insert(now.at);
        !std::mem::replace(&mut self.exceeded, true)
    }

    /// Takes what was passed before this start as told.
    pub(super) fn catch_up(&mut self, watch: &Watch, now: Standing) {
        for (bit, percent) in watch.alert_at.iter().take(8).enumerate() {
            if reaches(now.spent, *percent, now.limit) {
                self.told |= 1 << bit;
                self.since.get_or_insert(now.at);
            }
        }
        self.exceeded |= now.spent >= now.limit;
    }

    /// When it is spent at the present rate, where that is before its period ends.
    pub(super) fn exhausted_in(&self, now: Standing) -> Option<Duration> {
        let (sum, time) = self.pace.rate(now.at)?;
        let left = now.limit.saturating_sub(now.spent);
        let nanos = u128::from(left) * u128::from(time) / u128::from(sum);
        let wait = Duration::from_nanos(u64::try_from(nanos).ok()?);
        let is_early = match (now.rolling, now.left) {
            // A rolling budget empties at its other end: it is spent only where a whole length at
            // this rate is more than the limit.
            (Some(length), _) => {
                u128::from(sum) * length.as_nanos() > u128::from(now.limit) * u128::from(time)
            }
            (None, Some(left)) => wait < left,
            (None, None) => false,
        };
        is_early.then_some(wait)
    }

    fn rearm(&mut self, now: Standing) {
        if let (Some(length), Some(since)) = (now.rolling, self.since)
            && Duration::from_nanos(now.at.saturating_sub(since)) >= length
        {
            self.begin_period();
        }
    }
}

fn reaches(spent: u64, percent: u8, limit: u64) -> bool {
    u128::from(spent) * 100 >= u128::from(limit) * u128::from(percent)
}

/// What was spent lately.
#[derive(Debug, Clone)]
struct Pace {
    step: u64,
    slots: [u64; 12],
    newest: u64,
    first: Option<u64>,
}

impl Pace {
    fn new(trail: u64) -> Self {
        Self { step: (trail / 12).max(1), slots: [0; 12], newest: 0, first: None }
    }

    fn add(&mut self, at: u64, amount: u64) {
        let step = at / self.step;
        if step + 12 <= self.newest {
            return;
        }
        for skipped in (self.newest + 1..=step).rev().take(12) {
            self.slots[place(skipped)] = 0;
        }
        self.newest = self.newest.max(step);
        self.slots[place(step)] = self.slots[place(step)].saturating_add(amount);
        let first = self.first.get_or_insert(at);
        *first = (*first).min(at);
    }

    /// An amount and the time it was spent in, in nanoseconds.
    fn rate(&self, at: u64) -> Option<(u64, u64)> {
        let step = at / self.step;
        let known = (step.saturating_sub(11)..=step.min(self.newest))
            .filter(|step| step + 12 > self.newest);
        let sum = known.map(|step| self.slots[place(step)]).fold(0, u64::saturating_add);
        let trail = self.step * 12;
        // The first minutes say little: they count as a quarter of the time looked at.
        let time = at.saturating_sub(self.first?).clamp(trail / 4, trail);
        (sum > 0).then_some((sum, time))
    }
}

fn place(step: u64) -> usize {
    usize::try_from(step % 12).unwrap_or(0)
}

/// What an hour usually costs: the mean of hours in which anything was spent.
#[derive(Debug, Clone, Default)]
struct Usual {
    hour: u64,
    sum: u64,
    mean: u64,
    hours: u32,
    told: Option<u64>,
}

impl Usual {
    fn add(&mut self, at: u64, amount: u64) {
        let hour = at / HOUR;
        if hour < self.hour {
            // What comes late must not pass for spent now.
            return;
        }
        if hour > self.hour {
            if self.sum > 0 {
                self.hours = (self.hours + 1).min(USUAL_HOURS);
                let hours = u64::from(self.hours);
                self.mean = self.mean - self.mean / hours + self.sum / hours;
            }
            (self.hour, self.sum) = (hour, 0);
        }
        self.sum = self.sum.saturating_add(amount);
    }

    /// This hour and the usual one, where it costs so much more; once a day. Hours below 1 % of
    /// the budget are never unusual.
    fn spike(&mut self, at: u64, percent: u32, limit: u64) -> Option<(u64, u64)> {
        let hour = at / HOUR;
        let is_unusual = hour == self.hour
            && self.hours >= FEWEST_HOURS
            && u128::from(self.sum) * 100 > u128::from(self.mean) * u128::from(percent)
            && self.sum >= limit / 100;
        let is_news = self.told.is_none_or(|told| hour >= told + 24);
        (is_unusual && is_news).then(|| {
            self.told = Some(hour);
            (self.sum, self.mean)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_hours(24);
    const START: u64 = 10_000 * HOUR;

    fn watch(alert_at: &[u8]) -> Watch {
        Watch { alert_at: alert_at.to_vec(), forecast: true, spike_percent: Some(300) }
    }

    fn standing(spent: u64, at: u64) -> Standing {
        Standing { spent, limit: 1000, at, rolling: None, left: Some(DAY) }
    }

    #[test]
    fn each_threshold_is_told_once_per_period() {
        let mut watcher = Watcher::new(Over::Day);
        let mut told = |spent| watcher.news(&watch(&[50, 80, 100]), standing(spent, START));
        assert_eq!(told(499), News::default());
        assert_eq!(told(500).threshold, Some(50));
        assert_eq!(told(700), News::default());
        // Several at once: the highest says it all.
        assert_eq!(told(1000), News { exceeded: true, ..News::default() });
        assert_eq!(told(1200), News::default());
        watcher.begin_period();
        assert_eq!(watcher.news(&watch(&[50, 80]), standing(900, START)).threshold, Some(80));
    }

    #[test]
    fn a_rolling_budget_tells_again_after_its_length() {
        let mut watcher = Watcher::new(Over::Sliding(DAY));
        let at = |at| Standing { rolling: Some(DAY), left: None, ..standing(900, at) };
        assert_eq!(watcher.news(&watch(&[80]), at(START)).threshold, Some(80));
        assert_eq!(watcher.news(&watch(&[80]), at(START + 23 * HOUR)).threshold, None);
        assert_eq!(watcher.news(&watch(&[80]), at(START + 24 * HOUR)).threshold, Some(80));
    }

    #[test]
    fn a_restart_tells_nothing_twice() {
        let mut watcher = Watcher::new(Over::Day);
        watcher.catch_up(&watch(&[80]), standing(1000, START));
        assert_eq!(watcher.news(&watch(&[80]), standing(1001, START)), News::default());
    }

    #[test]
    fn the_forecast_goes_by_the_present_rate() {
        let mut watcher = Watcher::new(Over::Day);
        // 100 in an hour, 500 left: five hours.
        for minute in 0..60 {
            watcher.spend(START + minute * HOUR / 60, 100_000 / 60);
        }
        let now = Standing { spent: 500_000, limit: 1_000_000, ..standing(0, START + HOUR) };
        let wait = watcher.exhausted_in(now).unwrap();
        assert!((4.5..5.8).contains(&(wait.as_secs_f64() / 3600.0)), "{wait:?}");
        assert_eq!(watcher.exhausted_in(Standing { left: Some(wait / 2), ..now }), None);
        let quiet = Standing { at: START + 3 * HOUR, ..now };
        assert_eq!(watcher.exhausted_in(quiet), None);
        assert!(watcher.news(&watch(&[]), now).exhausted_in.is_some());
        assert_eq!(watcher.news(&watch(&[]), now).exhausted_in, None, "once");
    }

    #[test]
    fn an_hour_far_dearer_than_usual_is_told_once_a_day() {
        let mut watcher = Watcher::new(Over::Day);
        let watch = Watch { forecast: false, ..watch(&[]) };
        for hour in 0..10 {
            watcher.spend(START + hour * HOUR, 20);
        }
        let at = START + 10 * HOUR;
        watcher.spend(at, 59);
        assert_eq!(watcher.news(&watch, standing(0, at)).spike, None);
        watcher.spend(at, 40);
        assert!(watcher.news(&watch, standing(0, at)).spike.is_some());
        watcher.spend(at, 40);
        assert_eq!(watcher.news(&watch, standing(0, at)).spike, None);
        // What an hour long past cost, found in the ledger, is nothing this one costs.
        let mut restored = Watcher::new(Over::Day);
        for hour in 0..7 {
            restored.spend(START + hour * HOUR, 20);
        }
        restored.spend(START, 1000);
        assert_eq!(restored.news(&watch, standing(0, START + 6 * HOUR)).spike, None);
        let mut new = Watcher::new(Over::Day);
        new.spend(at, 1000);
        assert_eq!(new.news(&watch, standing(0, at)).spike, None, "no baseline, no spike");
    }
}
