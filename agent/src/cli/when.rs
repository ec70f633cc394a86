//! Points and spans of time as people write them: `2h`, `7d`, `2026-11-01`, RFC 3339.

use std::str::FromStr;
use std::time::Duration;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, ToSpan};

/// A point in time, still relative to when the command was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    /// So long ago.
    Ago(Duration),
    /// The beginning of a day.
    Day(Date),
    /// Exactly then.
    At(Timestamp),
    /// The beginning of the day so many days ago.
    DaysAgo(u8),
}

/// The text is no point in time.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a time: write how long ago (2h, 7d), a day (2026-11-01, today) or RFC 3339")]
pub(super) struct NotATime(String);

impl FromStr for When {
    type Err = NotATime;

    fn from_str(text: &str) -> Result<Self, NotATime> {
        match text {
            "today" => return Ok(Self::DaysAgo(0)),
            "yesterday" => return Ok(Self::DaysAgo(1)),
            _ => {}
        }
        if let Ok(at) = text.parse() {
            return Ok(Self::At(at));
        }
        // Exactly a date: jiff reads one from the beginning of longer texts, too.
        if text.len() == 10
            && let Ok(day) = text.parse()
        {
            return Ok(Self::Day(day));
        }
        match humantime::parse_duration(text) {
            Ok(ago) if text.contains(char::is_alphabetic) => Ok(Self::Ago(ago)),
            _ => Err(NotATime(text.to_owned())),
        }
    }
}

impl When {
    /// The point in time meant at `now` in `zone`.
    pub(super) fn at(self, now: Timestamp, zone: &TimeZone) -> anyhow::Result<Timestamp> {
        Ok(match self {
            Self::Ago(ago) => now.checked_sub(ago)?,
            Self::Day(day) => day.to_zoned(zone.clone())?.timestamp(),
            Self::At(at) => at,
            Self::DaysAgo(days) => midnight(now, zone, i64::from(days).days())?,
        })
    }
}

/// A span: `10m`, `2h 30m`; whole seconds, and at least one.
pub(super) fn span(text: &str) -> Result<Duration, String> {
    let span = humantime::parse_duration(text).ok();
    span.filter(|span| text.contains(char::is_alphabetic) && *span >= Duration::from_secs(1))
        .map(|span| Duration::from_secs(span.as_secs()))
        .ok_or_else(|| "write a number with s, m, h or d, from a second on (10m, 2h)".to_owned())
}

/// The beginning of the day that was `before` now.
pub(super) fn midnight(now: Timestamp, zone: &TimeZone, before: Span) -> anyhow::Result<Timestamp> {
    let day = now.to_zoned(zone.clone()).checked_sub(before)?;
    Ok(day.start_of_day()?.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_people_write() {
        assert_eq!(span("10m"), Ok(Duration::from_mins(10)));
        assert_eq!(span("2h 30m"), Ok(Duration::from_mins(150)));
        assert_eq!(span("1500ms"), Ok(Duration::from_secs(1)));
        for text in ["", "10", "soon", "-2h", "0s", "900ms", "99999999999999y"] {
            assert!(span(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_people_write() {
        let now: Timestamp = "2026-11-22T09:12:00Z".parse().unwrap();
        let zone = TimeZone::fixed(jiff::tz::offset(-8));
        let at = |text: &str| text.parse::<When>().unwrap().at(now, &zone).unwrap().to_string();
        assert_eq!(at("2h"), "2026-11-22T07:12:00Z");
        assert_eq!(at("1h30m"), "2026-11-22T07:42:00Z");
        assert_eq!(at("7d"), "2026-11-15T09:12:00Z");
        assert_eq!(at("2026-11-01"), "2026-11-01T08:00:00Z");
        assert_eq!(at("2026-11-01T10:00:00+02:00"), "2026-11-01T08:00:00Z");
        assert_eq!(at("today"), "2026-11-22T08:00:00Z");
        assert_eq!(at("yesterday"), "2026-11-21T08:00:00Z");
        for text in ["", "7", "soon", "2026-13-01", "2026-11-01x", "-2h"] {
            assert!(text.parse::<When>().is_err(), "{text}");
        }
    }
}
