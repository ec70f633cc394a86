//! Days, weeks and months of a time zone, kept safe from a clock that is set.

use std::time::{Duration, SystemTime};

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _, Zoned};

use super::settings::Over;

/// The period that is being counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Period {
    /// When it began, by the calendar.
    pub(super) begins: SystemTime,
    /// When the next one begins.
    pub(super) ends: SystemTime,
    /// Where on the engine's line it was entered.
    pub(super) entered: u64,
}

impl Period {
    /// The period `wall` lies in.
    pub(super) fn of(over: Over, wall: SystemTime, (at, zone): (u64, &TimeZone)) -> Self {
        let (begins, ends) = bounds(over, wall, zone).unwrap_or_else(|| {
            // Beyond the years a calendar knows (-9999 to 9999) a period is as long as it can be.
            (wall, wall + over.longest())
        });
        Self { begins, ends, entered: at }
    }

    /// Goes on to the period `wall` lies in; true where that is another one.
    ///
    /// A clock set back leaves the period as it is: it must not begin anew. It is left early only
    /// where it has in truth lasted as long as it should have, so that a clock that was wrong for
    /// a moment, far ahead, does not keep a period alive until that date.
    pub(super) fn advance(
        &mut self,
        over: Over,
        wall: SystemTime,
        (at, zone): (u64, &TimeZone),
    ) -> bool {
        if !self.is_over(wall, at) {
            return false;
        }
        *self = Self::of(over, wall, (at, zone));
        true
    }

    pub(super) fn is_over(&self, wall: SystemTime, at: u64) -> bool {
        if wall >= self.begins {
            return wall >= self.ends;
        }
        let length = self.ends.duration_since(self.begins).unwrap_or_default();
        Duration::from_nanos(at.saturating_sub(self.entered)) >= length
    }
}

fn bounds(over: Over, wall: SystemTime, zone: &TimeZone) -> Option<(SystemTime, SystemTime)> {
    let day = |at: &Zoned| at.start_of_day().ok();
    let now = Timestamp::try_from(wall).ok()?.to_zoned(zone.clone());
    let (begins, ends) = match over {
        Over::Sliding(length) => return Some((wall, wall + length)),
        Over::Day => (day(&now)?, day(&now.tomorrow().ok()?)?),
        Over::Week => {
            let since = i64::from(now.weekday().to_monday_zero_offset());
            let monday = day(&now.checked_sub(since.days()).ok()?)?;
            let next = day(&monday.checked_add(7.days()).ok()?)?;
            (monday, next)
        }
        Over::Month => {
            let first = day(&now.first_of_month().ok()?)?;
            let next = day(&first.checked_add(1.month()).ok()?)?;
            (first, next)
        }
    };
    Some((begins.timestamp().into(), ends.timestamp().into()))
}

/// Minutes since midnight.
pub(super) fn minute_of_day(wall: SystemTime, zone: &TimeZone) -> u16 {
    let Ok(at) = Timestamp::try_from(wall) else { return 0 };
    let time = zone.to_datetime(at).time();
    u16::try_from(i32::from(time.hour()) * 60 + i32::from(time.minute())).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wall(text: &str) -> SystemTime {
        text.parse::<Timestamp>().unwrap().into()
    }

    fn berlin() -> TimeZone {
        TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap()
    }

    fn shown(over: Over, at: &str) -> String {
        let zone = berlin();
        let period = Period::of(over, wall(at), (0, &zone));
        let show = |at: SystemTime| Timestamp::try_from(at).unwrap().to_string();
        format!("{} {}", show(period.begins), show(period.ends))
    }

    #[test]
    fn periods_follow_the_zone_and_its_changes() {
        assert_eq!(
            shown(Over::Day, "2026-11-22T04:00:00Z"),
            "2026-11-21T23:00:00Z 2026-11-22T23:00:00Z"
        );
        // Summer time ends: a day of 25 hours.
        assert_eq!(
            shown(Over::Day, "2026-10-25T12:00:00Z"),
            "2026-10-24T22:00:00Z 2026-10-25T23:00:00Z"
        );
        assert_eq!(
            shown(Over::Week, "2026-11-22T04:00:00Z"),
            "2026-11-15T23:00:00Z 2026-11-22T23:00:00Z"
        );
        assert_eq!(
            shown(Over::Month, "2026-10-31T23:30:00Z"),
            "2026-10-31T23:00:00Z 2026-11-30T23:00:00Z"
        );
        assert_eq!(
            shown(Over::Month, "2026-10-31T22:30:00Z"),
            "2026-09-30T22:00:00Z 2026-10-31T23:00:00Z"
        );
    }

    #[test]
    fn a_clock_set_back_begins_no_period_anew() {
        let zone = TimeZone::UTC;
        let hour = 3_600_000_000_000;
        let mut period = Period::of(Over::Day, wall("2026-11-22T12:00:00Z"), (0, &zone));
        let first = period;
        for back in ["2026-11-21T23:00:00Z", "2026-11-01T00:00:00Z", "2026-11-22T12:00:00Z"] {
            assert!(!period.advance(Over::Day, wall(back), (hour, &zone)), "{back}");
        }
        assert_eq!(period, first);
        // Forward, back and forward again: one step.
        assert!(period.advance(Over::Day, wall("2026-11-23T00:00:00Z"), (hour, &zone)));
        assert!(!period.advance(Over::Day, wall("2026-11-22T23:59:00Z"), (hour, &zone)));
        assert!(!period.advance(Over::Day, wall("2026-11-23T00:00:00Z"), (hour, &zone)));
    }

    #[test]
    fn a_clock_that_was_far_ahead_keeps_no_period_for_good() {
        let zone = TimeZone::UTC;
        let hour = 3_600_000_000_000;
        let mut period = Period::of(Over::Day, wall("2030-01-01T12:00:00Z"), (0, &zone));
        let right = wall("2026-11-22T12:00:00Z");
        assert!(!period.advance(Over::Day, right, (23 * hour, &zone)));
        assert!(period.advance(Over::Day, right, (24 * hour, &zone)));
        assert_eq!(period.begins, wall("2026-11-22T00:00:00Z"));
    }

    #[test]
    fn minutes_of_the_day() {
        assert_eq!(minute_of_day(wall("2026-11-22T23:30:00Z"), &berlin()), 30);
        assert_eq!(minute_of_day(wall("2026-11-22T23:30:00Z"), &TimeZone::UTC), 23 * 60 + 30);
    }
}
