//! When a price of the catalogue is in force: from a day on, or between two times of day (UTC).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Deserialize;

const DAY: u64 = 86_400;

/// A condition on the time of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub(super) enum Constraint {
    /// From midnight UTC of a day on.
    From(SystemTime),
    /// Between two times of day; past midnight where the end is the smaller one.
    Daily { start: Duration, end: Duration },
}

#[derive(Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum Written {
    From { start_date: String },
    Daily { start_time: String, end_time: String },
}

#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("neither a date (2026-01-31) nor two times of day (23:59:59Z)")]
pub(super) struct NotATime;

impl TryFrom<Written> for Constraint {
    type Error = NotATime;

    fn try_from(written: Written) -> Result<Self, NotATime> {
        match written {
            Written::From { start_date } => day(&start_date).map(Self::From),
            Written::Daily { start_time, end_time } => {
                let (start, end) = (time_of_day(&start_time), time_of_day(&end_time));
                start.zip(end).map(|(start, end)| Self::Daily { start, end })
            }
        }
        .ok_or(NotATime)
    }
}

impl Constraint {
    /// Whether a price with this constraint, or with none, is in force at `at`.
    pub(super) fn in_force(constraint: Option<&Self>, at: SystemTime) -> bool {
        match constraint {
            None => true,
            Some(Self::From(start)) => at >= *start,
            Some(Self::Daily { start, end }) => {
                let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
                let now = Duration::new(since.as_secs() % DAY, since.subsec_nanos());
                if end < start { now >= *start || now < *end } else { now >= *start && now < *end }
            }
        }
    }
}

/// Midnight UTC of a day from 1970 on, written `2026-01-31`.
fn day(text: &str) -> Option<SystemTime> {
    let mut parts = text.splitn(3, '-').map(|part| part.parse::<u32>().ok());
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Days from the civil calendar, counting years from March so that the leap day comes last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    let since_epoch = days.checked_sub(719_468)?;
    Some(UNIX_EPOCH + Duration::from_secs(u64::from(since_epoch) * DAY))
}

/// Time since midnight UTC, written `23:59:59Z`.
fn time_of_day(text: &str) -> Option<Duration> {
    let mut parts = text.strip_suffix('Z')?.splitn(3, ':').map(|part| part.parse::<u64>().ok());
    let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next()??);
    let valid = hour < 24 && minute < 60 && second < 60;
    valid.then(|| Duration::from_secs(hour * 3600 + minute * 60 + second))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn read(text: &str) -> Constraint {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn days_are_midnights() {
        assert_eq!(day("1970-01-01"), Some(at(0)));
        assert_eq!(day("2024-02-29"), Some(at(1_709_164_800)));
        assert_eq!(day("2026-01-01"), Some(at(1_767_225_600)));
        for text in ["1969-12-31", "2026-13-01", "2026-01", "x", "2026-01-01-01"] {
            assert_eq!(day(text), None, "{text}");
        }
    }

    #[test]
    fn a_start_date_holds_from_its_midnight_on() {
        let from = read(r#"{"start_date": "2026-01-01"}"#);
        assert!(!Constraint::in_force(Some(&from), at(1_767_225_599)));
        assert!(Constraint::in_force(Some(&from), at(1_767_225_600)));
    }

    #[test]
    fn times_of_day_hold_daily_and_past_midnight() {
        let day = read(r#"{"start_time": "00:30:00Z", "end_time": "16:30:00Z"}"#);
        assert!(Constraint::in_force(Some(&day), at(3 * DAY + 1800)));
        assert!(!Constraint::in_force(Some(&day), at(3 * DAY + 59_400)));
        let night = read(r#"{"start_time": "16:30:00Z", "end_time": "00:30:00Z"}"#);
        assert!(Constraint::in_force(Some(&night), at(DAY + 60_000)));
        assert!(Constraint::in_force(Some(&night), at(DAY + 60)));
        assert!(!Constraint::in_force(Some(&night), at(DAY + 1800)));
    }

    #[test]
    fn other_constraints_are_refused() {
        for text in [r#"{"start_date": "soon"}"#, r#"{"end_date": "2026-01-01"}"#, "{}"] {
            assert!(serde_json::from_str::<Constraint>(text).is_err(), "{text}");
        }
    }
}
