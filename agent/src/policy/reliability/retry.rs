//! Trying again: how long to wait first, what the provider says about that, and how much of it the
//! whole host may do.

use std::time::{Duration, Instant, SystemTime};

use http::HeaderMap;

/// How a failed call is tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Tries of one call in all, at least 1: the first one, retries, and other models.
    pub attempts: u32,
    /// How the wait grows.
    pub strategy: Growth,
    /// The first wait.
    pub base: Duration,
    /// The longest wait.
    pub max: Duration,
    /// Whether waits are spread, so that calls that failed together do not come back together.
    pub jitter: bool,
    /// Time from a call's beginning after which no further try begins.
    pub total_timeout: Duration,
    /// Retries of the whole host, in percent of its calls.
    pub budget_percent: u8,
}

/// How waits grow from one retry to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Growth {
    /// Doubling: 0.5 s, 1 s, 2 s, …
    Exponential,
    /// By the same step: 0.5 s, 1 s, 1.5 s, …
    Linear,
    /// Not at all.
    Fixed,
}

impl Growth {
    /// Its name in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exponential => "exponential",
            Self::Linear => "linear",
            Self::Fixed => "fixed",
        }
    }
}

impl Settings {
    /// The wait before the retry of this number (the first is 0). `random`, from 0 to 1, takes up
    /// to half of it away where there is jitter.
    pub fn delay(&self, number: u32, random: f64) -> Duration {
        let grown = match self.strategy {
            Growth::Exponential => self.base.saturating_mul(1_u32 << number.min(31)),
            Growth::Linear => self.base.saturating_mul(number.saturating_add(1)),
            Growth::Fixed => self.base,
        };
        let wait = grown.min(self.max);
        if self.jitter { wait.mul_f64(1.0 - random.clamp(0.0, 1.0) / 2.0) } else { wait }
    }
}

/// How long the provider asks to wait. `wall` is the time now, for dates.
///
/// `retry-after-ms` (`OpenAI`, Azure) is finer than `retry-after` (RFC 9110 §10.2.3), which is
/// seconds or a date. Without either, the reset of whichever limit is used up counts
/// (`x-ratelimit-reset-*` at `OpenAI` and those like it, `anthropic-ratelimit-*-reset`).
pub fn retry_after(headers: &HeaderMap, wall: SystemTime) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let millis = text("retry-after-ms").and_then(|text| seconds(text, 1000.0));
    let plain =
        || text("retry-after").and_then(|text| seconds(text, 1.0).or_else(|| date(text, wall)));
    millis.or_else(plain).or_else(|| resets(&text, wall))
}

/// The latest reset of the limits that are used up.
fn resets<'h>(text: &dyn Fn(&str) -> Option<&'h str>, wall: SystemTime) -> Option<Duration> {
    const PAIRS: [(&str, &str); 7] = [
        ("x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"),
        ("x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"),
        ("x-ratelimit-remaining", "x-ratelimit-reset"),
        ("anthropic-ratelimit-requests-remaining", "anthropic-ratelimit-requests-reset"),
        ("anthropic-ratelimit-tokens-remaining", "anthropic-ratelimit-tokens-reset"),
        ("anthropic-ratelimit-input-tokens-remaining", "anthropic-ratelimit-input-tokens-reset"),
        ("anthropic-ratelimit-output-tokens-remaining", "anthropic-ratelimit-output-tokens-reset"),
    ];
    let spent = PAIRS.iter().filter(|(remaining, _)| text(remaining) == Some("0"));
    spent.filter_map(|(_, reset)| reset_in(text(reset)?, wall)).max()
}

/// A reset as providers write it: `6m0s`, `1.5s`, `12ms`, seconds, a Unix time, or a date.
fn reset_in(text: &str, wall: SystemTime) -> Option<Duration> {
    if let Ok(number) = text.parse::<f64>() {
        // What is larger than any wait is a point in time: seconds, or milliseconds, since 1970.
        let at = match number {
            _ if !number.is_finite() || number < 0.0 => return None,
            ..1e9 => return Duration::try_from_secs_f64(number).ok(),
            ..1e11 => Duration::try_from_secs_f64(number),
            _ => Duration::try_from_secs_f64(number / 1000.0),
        };
        let at = SystemTime::UNIX_EPOCH.checked_add(at.ok()?)?;
        return Some(at.duration_since(wall).unwrap_or_default());
    }
    go_duration(text).or_else(|| date(text, wall))
}

fn seconds(text: &str, per_second: f64) -> Option<Duration> {
    let number = text.parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0)?;
    Duration::try_from_secs_f64(number / per_second).ok()
}

/// `1h2m3.5s`, `250ms`: durations as Go prints them.
fn go_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut sum = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, unit) = rest.split_at(digits);
        let letters = unit.find(|c: char| c.is_ascii_digit()).unwrap_or(unit.len());
        let (unit, after) = unit.split_at(letters);
        let scale = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        let part = Duration::try_from_secs_f64(number.parse::<f64>().ok()? * scale).ok()?;
        sum = sum.checked_add(part)?;
        rest = after;
    }
    (!text.is_empty()).then_some(sum)
}

/// A date, as HTTP writes it (`Sun, 06 Nov 1994 08:49:37 GMT`) or as RFC 3339 does.
fn date(text: &str, wall: SystemTime) -> Option<Duration> {
    let at = match text.parse::<jiff::Timestamp>() {
        Ok(at) => at,
        Err(_not_rfc_3339) => jiff::fmt::rfc2822::parse(text).ok()?.timestamp(),
    };
    Some(SystemTime::from(at).duration_since(wall).unwrap_or_default())
}

/// What the whole host may still try again: a share of its calls, and a little in any case.
///
/// Only retries of the same model at the same provider are drawn from it: those are what makes an
/// outage worse. Going to another model is bounded per call.
#[derive(Debug, Clone)]
pub struct Budget {
    /// Thousandths of a retry.
    level: u64,
    filled: Instant,
}

impl Budget {
    /// Retries that are there at the beginning, and come back one a second when nothing is left.
    pub const FLOOR: u64 = 10;
    /// Retries that can be saved up.
    pub const MOST: u64 = 100;
    const ONE: u64 = 1000;

    /// A full floor.
    pub fn new(now: Instant) -> Self {
        Self { level: Self::FLOOR * Self::ONE, filled: now }
    }

    /// A call earns its share of a retry.
    pub fn earn(&mut self, percent: u8) {
        self.level =
            (self.level + u64::from(percent) * Self::ONE / 100).min(Self::MOST * Self::ONE);
    }

    /// Takes one retry; false where there is none left.
    pub fn take(&mut self, now: Instant) -> bool {
        self.fill(now);
        let Some(rest) = self.level.checked_sub(Self::ONE) else { return false };
        self.level = rest;
        true
    }

    /// Retries left.
    pub fn left(&self) -> u64 {
        self.level / Self::ONE
    }

    fn fill(&mut self, now: Instant) {
        let floor = Self::FLOOR * Self::ONE;
        let millis = now.saturating_duration_since(self.filled).as_millis();
        self.filled = self.filled.max(now);
        if self.level < floor {
            let came = u64::try_from(millis).unwrap_or(floor);
            self.level = self.level.saturating_add(came).min(floor);
        }
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    use super::*;
    use crate::clock::{Clock as _, System};

    fn settings(strategy: Growth) -> Settings {
        Settings {
            attempts: 3,
            strategy,
            base: Duration::from_millis(500),
            max: Duration::from_secs(30),
            jitter: false,
            total_timeout: Duration::from_mins(1),
            budget_percent: 10,
        }
    }

    #[test]
    fn waits_grow_as_their_strategy_says() {
        let waits = |strategy| {
            let settings = settings(strategy);
            [0, 1, 2, 20, 200].map(|number| settings.delay(number, 0.5).as_millis())
        };
        assert_eq!(waits(Growth::Exponential), [500, 1000, 2000, 30_000, 30_000]);
        assert_eq!(waits(Growth::Linear), [500, 1000, 1500, 10_500, 30_000]);
        assert_eq!(waits(Growth::Fixed), [500; 5]);
    }

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        map
    }

    #[test]
    fn p10_what_the_provider_says_about_waiting_is_understood() {
        // 1994-11-06T08:49:07Z
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_747);
        for (fields, millis) in [
            (&[("retry-after", "2")][..], Some(2000)),
            (&[("retry-after", "0.25")], Some(250)),
            (&[("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT")], Some(30_000)),
            (&[("retry-after", "Sun, 06 Nov 1994 08:49:00 GMT")], Some(0)),
            (&[("retry-after-ms", "1500"), ("retry-after", "2")], Some(1500)),
            (&[("retry-after-ms", "x"), ("retry-after", "2")], Some(2000)),
            (
                &[("x-ratelimit-remaining-requests", "0"), ("x-ratelimit-reset-requests", "6m0s")],
                Some(360_000),
            ),
            (
                &[
                    ("x-ratelimit-remaining-requests", "7"),
                    ("x-ratelimit-reset-requests", "6m0s"),
                    ("x-ratelimit-remaining-tokens", "0"),
                    ("x-ratelimit-reset-tokens", "120ms"),
                ],
                Some(120),
            ),
            (&[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "784111752000")], Some(5000)),
            (
                &[
                    ("anthropic-ratelimit-tokens-remaining", "0"),
                    ("anthropic-ratelimit-tokens-reset", "1994-11-06T08:49:10Z"),
                ],
                Some(3000),
            ),
            (&[("retry-after", "-1")], None),
            (&[("retry-after", "NaN")], None),
            (&[("retry-after", "soon")], None),
            (&[("x-ratelimit-reset-requests", "1s")], None),
            (&[], None),
        ] {
            let expected = millis.map(Duration::from_millis);
            assert_eq!(retry_after(&headers(fields), wall), expected, "{fields:?}");
        }
    }

    #[test]
    fn p11_an_outage_cannot_turn_every_call_into_several() {
        let now = System.now().mono;
        let mut budget = Budget::new(now);
        let mut retried = 0;
        for _call in 0..10_000 {
            budget.earn(10);
            for _try in 0..2 {
                retried += u32::from(budget.take(now));
            }
        }
        assert!(retried <= 1000 + 10, "{retried}");
        assert!(!budget.take(now));
        assert!(budget.take(now + Duration::from_secs(1)), "a little is there in any case");
    }

    proptest! {
        #[test]
        fn no_wait_is_longer_than_the_longest_nor_shorter_than_half(
            number in 0_u32..100, random in 0.0_f64..1.0, base in 1_u64..5000, max in 1_u64..60_000,
        ) {
            for strategy in [Growth::Exponential, Growth::Linear, Growth::Fixed] {
                let base = Duration::from_millis(base);
                let settings = Settings {
                    base, max: Duration::from_millis(max), jitter: true, ..settings(strategy)
                };
                let wait = settings.delay(number, random);
                prop_assert!(wait <= settings.max);
                prop_assert!(wait + Duration::from_nanos(1) >= base.min(settings.max) / 2);
            }
        }

        #[test]
        fn whatever_stands_in_the_headers_is_survived(text in "[0-9a-zA-Z.: +-]{0,30}") {
            let mut map = HeaderMap::new();
            for name in ["retry-after", "retry-after-ms", "x-ratelimit-reset"] {
                map.insert(name, text.parse().unwrap());
            }
            map.insert("x-ratelimit-remaining", HeaderValue::from_static("0"));
            let _ = retry_after(&map, SystemTime::UNIX_EPOCH);
        }

        #[test]
        fn retries_never_exceed_their_share_and_the_floor(
            steps in prop::collection::vec((0_u64..2000, prop::bool::ANY), 1..500),
        ) {
            let start = System.now().mono;
            let (mut now, mut budget) = (start, Budget::new(start));
            let (mut calls, mut retries) = (0_u64, 0_u64);
            for (millis, fails) in steps {
                now += Duration::from_millis(millis);
                budget.earn(10);
                calls += 1;
                retries += u64::from(fails && budget.take(now));
            }
            let seconds = (now - start).as_secs() + 1;
            prop_assert!(retries <= Budget::FLOOR + calls.div_ceil(10) + seconds);
        }
    }
}
