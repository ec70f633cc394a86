//! What workloads spent in the hours before this one, and what is usual by that.
//!
//! Where at least [`WEEKS_NEEDED`] weeks are known, the usual hour is the median of this hour of
//! the week in the last [`WEEKS`]: also nothing, for who never works at this time. Else it is the
//! median of the hours of the last week, of the last day for who is known no longer, in which
//! anything was spent; with fewer than [`FEWEST_HOURS`] of them nothing is usual yet. Hours are
//! those of UTC, 168 of them to the week: a change to summer time moves a habit by one.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;

use crate::llm::usage::NanoUsd;

/// Hours of a week.
const WEEK: u64 = 7 * 24;
/// Hours of a day.
const DAY: u64 = 24;
/// Weeks looked back for the same hour.
const WEEKS: u64 = 4;
/// Weeks that must be known for it.
const WEEKS_NEEDED: usize = 3;
/// Hours with spending that a usual one rests on otherwise.
const FEWEST_HOURS: usize = 6;
/// Workloads whose hours are kept; those that spent least are left out.
const MOST: usize = 256;

/// What one workload spent in one hour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hourly {
    /// Its name.
    pub workload: Arc<str>,
    /// Hours since 1970.
    pub hour: u64,
    /// What is owed for it.
    pub cost: NanoUsd,
}

/// What is known of the past.
#[derive(Debug, Default)]
pub struct History {
    /// Of every workload, its hours with spending.
    known: HashMap<Arc<str>, Known>,
    /// Hours before this one have been read.
    read: u64,
}

#[derive(Debug, Default)]
struct Known {
    first: u64,
    hours: BTreeMap<u64, u64>,
    same: BTreeMap<u64, u64>,
}

impl History {
    /// The hours still to be read before `now`, oldest first: all of the last week at first, then
    /// what has passed since; and this hour of the weeks before.
    pub fn wanted(&self, now: u64) -> (Range<u64>, Vec<Range<u64>>) {
        let week = now.saturating_sub(WEEK).max(self.read)..now;
        (week, same(now).map(|hour| hour..hour + 1).collect())
    }

    /// Takes what was read for [`History::wanted`] at the same `now`, with the first hour in which
    /// each workload was there.
    pub fn take(
        &mut self,
        now: u64,
        (week, same): (Vec<Hourly>, Vec<Hourly>),
        first: &HashMap<Arc<str>, u64>,
    ) {
        let nanos = |hourly: &Hourly| u64::try_from(hourly.cost.0).unwrap_or(0);
        for hourly in &week {
            let known = self.known.entry(Arc::clone(&hourly.workload)).or_default();
            known.hours.insert(hourly.hour, nanos(hourly));
        }
        for known in self.known.values_mut() {
            known.same.clear();
            known.hours.retain(|hour, _| hour + WEEK >= now);
        }
        for hourly in &same {
            let known = self.known.entry(Arc::clone(&hourly.workload)).or_default();
            known.same.insert(hourly.hour, nanos(hourly));
        }
        self.read = now;
        self.known.retain(|_, known| !known.hours.is_empty() || !known.same.is_empty());
        for (workload, known) in &mut self.known {
            known.first = first.get(workload).copied().unwrap_or(now);
        }
        self.bound();
    }

    /// Every workload's usual hour, where one is known.
    pub fn usual(&self, now: u64) -> impl Iterator<Item = (&Arc<str>, NanoUsd)> {
        self.known.iter().filter_map(move |(workload, known)| {
            let usual = i64::try_from(known.usual(now)?).unwrap_or(i64::MAX);
            Some((workload, NanoUsd(usual)))
        })
    }

    /// Leaves out those that spent least.
    fn bound(&mut self) {
        if self.known.len() <= MOST {
            return;
        }
        let sum =
            |known: &Known| known.hours.values().fold(0, |sum: u64, it| sum.saturating_add(*it));
        let mut sums: Vec<_> =
            self.known.iter().map(|(name, known)| (sum(known), Arc::clone(name))).collect();
        sums.sort_unstable_by(|one, other| other.cmp(one));
        for (_, name) in sums.drain(MOST..) {
            self.known.remove(&name);
        }
    }
}

impl Known {
    fn usual(&self, now: u64) -> Option<u64> {
        let same: Vec<u64> = same(now)
            .filter(|hour| *hour >= self.first)
            .map(|hour| self.same.get(&hour).copied().unwrap_or(0))
            .collect();
        if same.len() >= WEEKS_NEEDED {
            return median(same);
        }
        let back = if self.first + WEEK <= now { WEEK } else { DAY };
        let hours = self.hours.range(now.saturating_sub(back)..now).map(|(_, spent)| *spent);
        let hours: Vec<u64> = hours.filter(|spent| *spent > 0).collect();
        if hours.len() < FEWEST_HOURS { None } else { median(hours) }
    }
}

/// This hour in the weeks before.
fn same(now: u64) -> impl Iterator<Item = u64> {
    (1..=WEEKS).filter_map(move |weeks| now.checked_sub(weeks * WEEK))
}

/// The middle one; of an even number, the mean of both.
fn median(mut values: Vec<u64>) -> Option<u64> {
    values.sort_unstable();
    let upper = *values.get(values.len() / 2)?;
    let lower = *values.get(values.len().checked_sub(1)? / 2)?;
    Some(lower + (upper - lower) / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 500_000;

    fn hourly(workload: &str, ago: u64, cost: i64) -> Hourly {
        Hourly { workload: workload.into(), hour: NOW - ago, cost: NanoUsd(cost) }
    }

    /// The usual hour of workload `a`, known for so many hours.
    fn usual(known_for: u64, hours: &[Hourly]) -> Option<i64> {
        let mut history = History::default();
        let (week, same) = history.wanted(NOW);
        let within = |range: &Range<u64>| {
            hours.iter().filter(|it| range.contains(&it.hour)).cloned().collect::<Vec<_>>()
        };
        let same = same.iter().flat_map(within).collect();
        let first = HashMap::from([(Arc::from("a"), NOW - known_for)]);
        history.take(NOW, (within(&week), same), &first);
        history.usual(NOW).find(|(name, _)| &***name == "a").map(|(_, usual)| usual.0)
    }

    #[test]
    fn the_same_hour_of_the_week_counts_most() {
        let weekly =
            [(1, 10), (2, 30), (3, 20)].map(|(weeks, cost)| hourly("a", weeks * WEEK, cost));
        assert_eq!(usual(3 * WEEK, &weekly), Some(20));
        // Known for four weeks, one of them without: 0, 10, 20, 30.
        assert_eq!(usual(4 * WEEK, &weekly), Some(15));
        // Who works at other times only: nothing is usual now.
        assert_eq!(usual(4 * WEEK, &[hourly("a", 3, 1000)]), Some(0));
    }

    #[test]
    fn otherwise_the_median_of_the_hours_in_which_anything_was_spent() {
        let recent: Vec<_> = (1..=6).map(|ago| hourly("a", ago, 100)).collect();
        assert_eq!(usual(2 * WEEK, &recent), Some(100));
        assert_eq!(usual(2 * WEEK, &recent[1..]), None, "too few");
        let mut days: Vec<_> = (1..=6).map(|ago| hourly("a", 20 * ago, 100)).collect();
        assert_eq!(usual(2 * WEEK, &days), Some(100));
        assert_eq!(usual(WEEK - 1, &days), None, "known for less than a week: the last day");
        // One wild hour moves a mean, and no median.
        days.push(hourly("a", 50, 1_000_000));
        assert_eq!(usual(2 * WEEK, &days), Some(100));
        assert_eq!(usual(2 * WEEK, &[]), None);
    }

    #[test]
    fn hours_are_read_once_and_forgotten_after_a_week() {
        let mut history = History::default();
        assert_eq!(history.wanted(NOW).0, NOW - WEEK..NOW);
        let hours: Vec<_> = (1..=WEEK).map(|ago| hourly("a", ago, 7)).collect();
        let first = HashMap::from([(Arc::from("a"), NOW - WEEK)]);
        history.take(NOW, (hours, Vec::new()), &first);
        assert_eq!(history.wanted(NOW + 2).0, NOW..NOW + 2);
        assert_eq!(history.usual(NOW).count(), 1);
        history.take(NOW + 2, (Vec::new(), Vec::new()), &first);
        assert_eq!(history.known["a"].hours.len(), usize::try_from(WEEK - 2).unwrap());
        history.take(NOW + WEEK + 1, (Vec::new(), Vec::new()), &first);
        assert_eq!(history.known.len(), 0);
        // A clock that was set back wants nothing twice.
        assert_eq!(history.wanted(NOW).0.count(), 0);
    }

    #[test]
    fn those_who_spend_least_are_left_out() {
        let mut history = History::default();
        let many = (0..1000).map(|n| hourly(&format!("w{n}"), 1, n)).collect();
        history.take(NOW, (many, Vec::new()), &HashMap::new());
        assert_eq!(history.known.len(), MOST);
        assert!(history.known.contains_key("w999") && !history.known.contains_key("w0"));
    }
}
