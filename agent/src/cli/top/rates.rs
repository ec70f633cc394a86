//! How fast calls, tokens and dollars come: the growth of today's figures over the last minute.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::admin::money::Usd;
use crate::admin::spend::SpendRow;
use crate::llm::usage::NanoUsd;

/// How far back rates look.
const WINDOW: Duration = Duration::from_mins(1);
/// Readings kept, however often there are any.
const MOST: usize = 240;

/// One reading of today's figures.
#[derive(Debug, Clone, Copy)]
struct Reading {
    at: Instant,
    calls: u64,
    tokens: u64,
    nanos: i64,
}

/// Readings of the last minute.
#[derive(Debug, Default)]
pub(super) struct Rates {
    readings: VecDeque<Reading>,
}

/// Growth over the window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rate {
    /// Calls a second.
    pub(super) calls: f64,
    /// Tokens a second, sent and received.
    pub(super) tokens: f64,
    /// What an hour like this would cost.
    pub(super) hourly: Usd,
}

impl Rates {
    /// Takes today's figures as they were at a time. Figures that have become less are those of
    /// another day or of another agent: nothing is known about their growth.
    pub(super) fn read(&mut self, at: Instant, today: &SpendRow) {
        let reading = Reading {
            at,
            calls: today.calls,
            tokens: today.tokens.sent().saturating_add(today.tokens.received()),
            nanos: today.cost_usd.0.0,
        };
        let less = |last: &Reading| reading.calls < last.calls || reading.tokens < last.tokens;
        if self.readings.back().is_some_and(less) {
            self.readings.clear();
        }
        self.readings.push_back(reading);
        // The last reading before the window stays: growth since then is growth in the window.
        while self.readings.len() > MOST
            || self
                .readings
                .get(1)
                .is_some_and(|next| at.saturating_duration_since(next.at) >= WINDOW)
        {
            self.readings.pop_front();
        }
    }

    /// Forgets everything: there was a time without readings.
    pub(super) fn forget(&mut self) {
        self.readings.clear();
    }

    /// `None` until there are two readings.
    pub(super) fn now(&self) -> Option<Rate> {
        let (first, last) = (self.readings.front()?, self.readings.back()?);
        let span = last.at.saturating_duration_since(first.at).as_secs_f64();
        if span <= 0.0 {
            return None;
        }
        #[expect(clippy::cast_precision_loss, reason = "a rate is shown with two digits")]
        let a_second = |grown: u64| grown as f64 / span;
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            reason = "a rate is shown with two digits, and casts saturate"
        )]
        let hourly = (last.nanos.saturating_sub(first.nanos) as f64 / span * 3600.0) as i64;
        Some(Rate {
            calls: a_second(last.calls - first.calls),
            tokens: a_second(last.tokens - first.tokens),
            hourly: Usd(NanoUsd(hourly.max(0))),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::money::Tokens;
    use crate::clock::{Clock, System};

    fn today(calls: u64) -> SpendRow {
        let tokens = Tokens { input_tokens: calls * 10, output_tokens: calls, ..Tokens::default() };
        let cost_usd = Usd(NanoUsd(i64::try_from(calls).unwrap() * 1_000_000));
        SpendRow { calls, tokens, cost_usd, ..SpendRow::default() }
    }

    #[test]
    fn growth_of_the_last_minute_is_what_counts() {
        let begin = System.mono();
        let after = |seconds| begin + Duration::from_secs(seconds);
        let mut rates = Rates::default();
        assert_eq!(rates.now(), None);
        rates.read(begin, &today(100));
        assert_eq!(rates.now(), None, "one reading is no growth");
        rates.read(after(10), &today(120));
        let rate = rates.now().unwrap();
        assert!((rate.calls - 2.0).abs() < 1e-9 && (rate.tokens - 22.0).abs() < 1e-9, "{rate:?}");
        assert_eq!(rate.hourly.to_string(), "7.20");
        // What came more than a minute ago no longer counts.
        for second in 11..=80 {
            rates.read(after(second), &today(120));
        }
        assert!(rates.now().unwrap().calls.abs() < 1e-9);
    }

    #[test]
    fn another_day_begins_anew() {
        let begin = System.mono();
        let mut rates = Rates::default();
        rates.read(begin, &today(100));
        rates.read(begin + Duration::from_secs(1), &today(3));
        assert_eq!(rates.now(), None);
        rates.read(begin + Duration::from_secs(2), &today(4));
        assert!((rates.now().unwrap().calls - 1.0).abs() < 1e-9);
    }

    #[test]
    fn readings_are_bounded() {
        let begin = System.mono();
        let mut rates = Rates::default();
        for at in 0..10_000 {
            rates.read(begin + Duration::from_millis(at), &today(at));
        }
        assert!(rates.readings.len() <= MOST);
    }
}
