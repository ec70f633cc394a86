//! Stretches of time, and the ids and calendar that go with them.

use std::time::SystemTime;

use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _, Zoned};
use rusqlite::{Connection, OptionalExtension as _};
use ulid::Ulid;

use crate::ledger::entry::micros;
use crate::ledger::store::{self, QUARTER};

use super::query::Bucket;

/// From a time up to, but not including, another, in microseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) from: i64,
    pub(super) to: i64,
}

/// The ids calls of a range can have: the table is in the order of ids, which makes this the way
/// to find them.
#[derive(Debug)]
pub(super) struct Ids {
    pub(super) from: String,
    pub(super) to: String,
}

impl Range {
    pub(super) fn new(since: Option<SystemTime>, until: Option<SystemTime>) -> Self {
        Self { from: since.map_or(0, micros), to: until.map_or(i64::MAX, micros) }
    }

    pub(super) fn ids(self, connection: &Connection) -> rusqlite::Result<Ids> {
        let skew = store::id_skew(connection)?;
        let id = |at: i64, random| {
            let ms = u64::try_from(at.max(0) / 1_000).unwrap_or(0);
            Ulid::from_parts(ms.min((1 << Ulid::TIME_BITS) - 1), random).to_string()
        };
        let highest = (1 << Ulid::RAND_BITS) - 1;
        Ok(Ids {
            from: id(self.from.saturating_sub(skew), 0),
            to: id(self.to.saturating_add(skew), highest),
        })
    }

    /// Cut at the calendar's borders, each part with the begin of its bucket. Without buckets, the
    /// whole range.
    pub(super) fn buckets(
        self,
        bucket: Option<Bucket>,
        zone: &TimeZone,
        connection: &Connection,
    ) -> rusqlite::Result<Vec<(Option<Timestamp>, Self)>> {
        let Some(bucket) = bucket else { return Ok(vec![(None, self)]) };
        let Some(held) = self.held(connection)? else { return Ok(Vec::new()) };
        Ok(cut(held, bucket, zone))
    }

    /// The part of the range in which there are calls.
    pub(super) fn held(self, connection: &Connection) -> rusqlite::Result<Option<Self>> {
        let skew = store::id_skew(connection)?;
        let started_at = |sql| connection.query_row(sql, [], |row| row.get::<_, i64>(0)).optional();
        let first = started_at("SELECT started_at FROM call ORDER BY call_id LIMIT 1")?;
        let last = started_at("SELECT started_at FROM call ORDER BY call_id DESC LIMIT 1")?;
        let (Some(first), Some(last)) = (first, last) else { return Ok(None) };
        // Order by id is order by time but for the skew, on both ends of a comparison.
        let held = Self {
            from: self.from.max(first.saturating_sub(2 * skew)).max(0),
            to: self.to.min(last.saturating_add(2 * skew).saturating_add(1)),
        };
        Ok((held.from < held.to).then_some(held))
    }
}

/// The first quarter of an hour since 1970 that begins no earlier than a time.
pub(super) fn ceil(at: i64) -> i64 {
    at.div_euclid(QUARTER) + i64::from(at.rem_euclid(QUARTER) > 0)
}

fn cut(range: Range, bucket: Bucket, zone: &TimeZone) -> Vec<(Option<Timestamp>, Range)> {
    let mut parts = Vec::new();
    let Some(mut start) = begin(range.from, bucket, zone) else { return parts };
    loop {
        let Some(next) = next(&start, bucket) else { return parts };
        let (from, to) = (start.timestamp().as_microsecond(), next.timestamp().as_microsecond());
        if from >= range.to || to <= from {
            return parts;
        }
        let part = Range { from: from.max(range.from), to: to.min(range.to) };
        parts.push((Some(start.timestamp()), part));
        start = next;
    }
}

/// Begin of the bucket a time lies in.
fn begin(at: i64, bucket: Bucket, zone: &TimeZone) -> Option<Zoned> {
    let date = Timestamp::from_microsecond(at).ok()?.to_zoned(zone.clone()).date();
    let first = match bucket {
        Bucket::Day => date,
        Bucket::Week => date.checked_sub(date.weekday().since(Weekday::Monday).days()).ok()?,
        Bucket::Month => date.first_of_month(),
    };
    first.to_zoned(zone.clone()).ok()
}

/// Begin of the bucket after one; reckoned by date, since days differ in length.
fn next(start: &Zoned, bucket: Bucket) -> Option<Zoned> {
    let span = match bucket {
        Bucket::Day => 1.day(),
        Bucket::Week => 1.week(),
        Bucket::Month => 1.month(),
    };
    start.date().checked_add(span).ok()?.to_zoned(start.time_zone().clone()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn starts(from: &str, to: &str, bucket: Bucket, zone: &str) -> Vec<String> {
        let at = |text: &str| text.parse::<Timestamp>().unwrap().as_microsecond();
        let zone = TimeZone::posix(zone).unwrap();
        let parts = cut(Range { from: at(from), to: at(to) }, bucket, &zone);
        assert_eq!(parts.first().unwrap().1.from, at(from));
        assert_eq!(parts.last().unwrap().1.to, at(to));
        assert!(parts.windows(2).all(|pair| pair[0].1.to == pair[1].1.from), "no gap, no overlap");
        parts.iter().map(|(start, _)| start.unwrap().to_string()).collect()
    }

    #[test]
    fn a_day_is_as_long_as_the_calendar_says() {
        let berlin = "CET-1CEST,M3.5.0,M10.5.0/3";
        let days = starts("2026-03-28T12:00:00Z", "2026-03-30T12:00:00Z", Bucket::Day, berlin);
        assert_eq!(days, ["2026-03-27T23:00:00Z", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"]);
    }

    #[test]
    fn weeks_begin_on_monday_and_months_on_the_first() {
        let weeks = starts("2026-10-01T00:00:00Z", "2026-10-06T00:00:00Z", Bucket::Week, "UTC0");
        assert_eq!(weeks, ["2026-09-28T00:00:00Z", "2026-10-05T00:00:00Z"]);
        let months = starts("2026-01-31T00:00:00Z", "2026-03-01T00:00:01Z", Bucket::Month, "UTC0");
        assert_eq!(
            months,
            ["2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z"]
        );
    }
}
