//! Figures over days, as the admin server asks for them.

use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime};

use jiff::civil::Date;
use jiff::{Timestamp, ToSpan as _, Zoned};
use parking_lot::Mutex;

use super::agent::{Running, unavailable};
use super::rows;
use crate::admin::analytics::{
    ConnectionRow, ErrorRow, Kpi, Kpis, Point, PolicyHits, Quantiles, Span, SpendSummary, Summary,
    WorkloadReport,
};
use crate::admin::calls::{CallQuery, CallRow};
use crate::admin::money::Usd;
use crate::admin::spend::{Bucket, Dimension, SpendQuery, SpendRow};
use crate::admin::{Analytics, Failure, SCHEMA_VERSION};
use crate::events::Bus;
use crate::ledger::{self, CallFigures};
use crate::llm::price::Query;
use crate::llm::usage::NanoUsd;

/// Calls of a workload that are shown with it.
const LATEST: usize = 50;
/// Days remembered.
const DAYS: usize = 4096;
/// From this age on a day's figures stay as they are: its calls have ended.
const SETTLED: Duration = Duration::from_hours(24);
/// How long days are remembered: the ledger forgets, too.
const REMEMBERED: Duration = Duration::from_hours(1);

/// Figures of days that are over, so that a page that is looked at all day does not read the same
/// months again and again.
#[derive(Debug, Default)]
pub(super) struct Remembered(Mutex<(Option<Instant>, HashMap<Asked, Totals>)>);

/// Whose, from when, until when.
type Asked = (Option<u32>, SystemTime, SystemTime);

/// A stretch of time that is one day of the calendar, or what there is of it yet.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Day {
    name: String,
    since: Timestamp,
    until: Timestamp,
    /// Whether it ends where the next one begins, and not when it is asked for.
    whole: bool,
}

/// What the calls of a stretch of time came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Totals {
    figures: CallFigures,
    saved: NanoUsd,
    escalated: u64,
}

impl Day {
    /// Whether its figures stay as they are, and somebody may ask for the same ones again.
    fn is_settled(&self, now: SystemTime) -> bool {
        self.whole && now.duration_since(self.until.into()).is_ok_and(|age| age > SETTLED)
    }
}

impl Remembered {
    fn find(&self, asked: &Asked, now: Instant) -> Option<Totals> {
        let mut held = self.0.lock();
        let since = *held.0.get_or_insert(now);
        if now.saturating_duration_since(since) > REMEMBERED {
            *held = (Some(now), HashMap::new());
        }
        held.1.get(asked).cloned()
    }

    fn keep(&self, asked: Asked, totals: Totals) {
        let mut held = self.0.lock();
        if held.1.len() >= DAYS && !held.1.contains_key(&asked) {
            held.1.clear();
        }
        held.1.insert(asked, totals);
    }
}

impl Analytics for Running {
    fn summary(&self, span: &Span) -> Result<Summary, Failure> {
        let now = self.zoned_now(span);
        let before = now.checked_sub(span.days.get().days()).map_err(|_| beyond())?;
        let days = days(&now, span.days.get())?;
        let present = self.totals(&days, span.uid)?;
        let previous = self.totals(&self::days(&before, span.days.get())?, span.uid)?;
        let since = days.first().map_or_else(|| now.timestamp(), |first| first.since);
        let coverage = self.ledger.reader().coverage(Some(since.into()), span.uid);
        Ok(Summary {
            schema_version: SCHEMA_VERSION,
            since,
            until: now.timestamp(),
            days: span.days,
            kpis: kpis(&days, &present, &Totals::sum(&previous)),
            spend: self.spend_summary(&now, span.uid)?,
            coverage: rows::coverage(&coverage.map_err(|error| unavailable(&error))?),
        })
    }

    fn workload(&self, name: &str, span: &Span) -> Result<Option<WorkloadReport>, Failure> {
        let failed = |error| unavailable(&error);
        let now = self.zoned_now(span);
        let (since, _) = self.ends(span)?;
        let reader = self.ledger.reader();
        let found = reader.workload(name, since.into(), span.uid).map_err(failed)?;
        let Some(figures) = found else { return Ok(None) };
        let spend = |by: &[Dimension], bucket| -> Result<Vec<SpendRow>, Failure> {
            let by = by.to_vec();
            let (zone, uid) = (span.zone.clone(), span.uid);
            let query = SpendQuery { since: Some(since), until: None, by, bucket, zone, uid };
            let workload = Some(name.to_owned());
            let asked = ledger::SpendQuery { workload, ..rows::spend_query(&query) };
            let found = reader.spend(&asked).map_err(failed)?;
            Ok(found.into_iter().map(|row| rows::spend(row, &query)).collect())
        };
        let newest = ledger::CallQuery {
            since: Some(since.into()),
            last: Some(LATEST),
            workload: Some(name.to_owned()),
            uid: span.uid,
            ..ledger::CallQuery::default()
        };
        let calls = reader.calls(&newest).map_err(failed)?;
        let percent = |count: u64| (rows::share(count, figures.calls) * 1e4).round() / 1e2;
        let errors = figures.errors.iter().map(|(class, count)| ErrorRow {
            class: *class,
            count: *count,
            percent: percent(*count),
        });
        Ok(Some(WorkloadReport {
            schema_version: SCHEMA_VERSION,
            workload: name.to_owned(),
            since,
            until: now.timestamp(),
            total: spend(&[], None)?.pop().unwrap_or_default(),
            models: spend(&[Dimension::Model], None)?,
            days: spend(&[], Some(Bucket::Day))?,
            latency: quantiles(figures.latency),
            ttft: quantiles(figures.ttft),
            errors: errors.collect(),
            connections: figures.connections.into_iter().map(connection).collect(),
            policies: figures.policies.into_iter().map(hits).collect(),
            calls: calls.into_iter().rev().map(rows::call).collect(),
        }))
    }

    fn page(&self, query: &CallQuery) -> Result<Vec<CallRow>, Failure> {
        let limit = query.limit.unwrap_or(u32::MAX) as usize;
        let found = self.ledger.reader().page(&rows::call_query(query), limit);
        Ok(found.map_err(|error| unavailable(&error))?.into_iter().map(rows::call).collect())
    }

    fn events(&self) -> &Bus {
        &self.teller.bus
    }

    fn ends(&self, span: &Span) -> Result<(Timestamp, Timestamp), Failure> {
        let now = self.zoned_now(span);
        let days = days(&now, span.days.get())?;
        let first = days.first().ok_or_else(beyond)?;
        Ok((first.since, now.timestamp()))
    }
}

impl Running {
    fn zoned_now(&self, span: &Span) -> Zoned {
        let now = self.front.runtime.clock.now().wall;
        Timestamp::try_from(now).unwrap_or_default().to_zoned(span.zone.clone())
    }

    /// What calls came to, day by day.
    fn totals(&self, days: &[Day], uid: Option<u32>) -> Result<Vec<Totals>, Failure> {
        let now = self.front.runtime.clock.now();
        let asked = |day: &Day| (uid, SystemTime::from(day.since), SystemTime::from(day.until));
        let known: Vec<_> =
            days.iter().map(|day| self.remembered.find(&asked(day), now.mono)).collect();
        let missing: Vec<_> = days
            .iter()
            .zip(&known)
            .filter(|(_, known)| known.is_none())
            .map(|(day, _)| day)
            .collect();
        let mut read = self.read(&missing, uid)?.into_iter();
        let mut totals = Vec::with_capacity(days.len());
        for (day, known) in days.iter().zip(known) {
            let of_day = known.unwrap_or_else(|| {
                let read = read.next().unwrap_or_default();
                if day.is_settled(now.wall) {
                    self.remembered.keep(asked(day), read.clone());
                }
                read
            });
            totals.push(of_day);
        }
        // Escalations are in no ledger: their list says when each began.
        for escalation in self.alerts.escalations(uid) {
            let at = Timestamp::try_from(escalation.at).unwrap_or_default();
            let day = days.iter().position(|day| day.since <= at && at < day.until);
            if let Some(totals) = day.and_then(|day| totals.get_mut(day)) {
                totals.escalated += escalation.count;
            }
        }
        Ok(totals)
    }

    fn read(&self, days: &[&Day], uid: Option<u32>) -> Result<Vec<Totals>, Failure> {
        if days.is_empty() {
            return Ok(Vec::new());
        }
        let failed = |error| unavailable(&error);
        let spans: Vec<(SystemTime, SystemTime)> =
            days.iter().map(|day| (day.since.into(), day.until.into())).collect();
        let reader = self.ledger.reader();
        let figures = reader.figures(&spans, uid).map_err(failed)?;
        let rules = self.front.rules.load();
        let mut totals = Vec::with_capacity(days.len());
        for (figures, span) in figures.into_iter().zip(spans) {
            let mut saved = NanoUsd(0);
            // Where no policy did anything there is no need to look.
            if figures.enforced.is_some_and(|enforced| enforced > 0) {
                let tell = |moved: ledger::Moved| {
                    let Some(provider) = rules.providers.by_name(&moved.provider) else { return };
                    let (at, usage) = (moved.at, &moved.usage);
                    let query = Query { provider, model: &moved.model, at, tier: None, usage };
                    if let Ok(asked) = rules.prices.cost(&query) {
                        let less = asked.cost.0.saturating_sub(moved.cost.0);
                        saved = saved.saturating_add(NanoUsd(less));
                    }
                };
                reader.moved(span, uid, tell).map_err(failed)?;
            }
            totals.push(Totals { figures, saved, escalated: 0 });
        }
        Ok(totals)
    }

    fn spend_summary(&self, now: &Zoned, uid: Option<u32>) -> Result<SpendSummary, Failure> {
        let today = now.start_of_day().map_err(|_| beyond())?.timestamp();
        let first = now.date().first_of_month();
        let begin = start(first, now)?;
        let end = start(first.checked_add(1.month()).map_err(|_| beyond())?, now)?;
        let spent = |since: Timestamp| {
            let since = Some(since.into());
            let query = ledger::SpendQuery { since, uid, ..ledger::SpendQuery::default() };
            let rows = self.ledger.reader().spend(&query).map_err(|error| unavailable(&error))?;
            Ok(rows.first().map_or(NanoUsd(0), |row| row.cost_usd))
        };
        let month = spent(begin)?;
        Ok(SpendSummary {
            today_usd: Usd(spent(today)?),
            month_usd: Usd(month),
            projected_month_usd: Usd(projected(month, (begin, now.timestamp(), end))),
        })
    }
}

impl Totals {
    fn sum(all: &[Self]) -> Self {
        let mut sum = Self::default();
        for one in all {
            let (into, of) = (&mut sum.figures, &one.figures);
            into.calls += of.calls;
            into.ok += of.ok;
            into.timed += of.timed;
            into.took = into.took.saturating_add(of.took);
            into.tokens = into.tokens.saturating_add(of.tokens);
            into.users.extend(&of.users);
            if let Some(enforced) = of.enforced {
                let known = into.enforced.get_or_insert(0);
                *known = known.saturating_add(enforced);
            }
            sum.saved = sum.saved.saturating_add(one.saved);
            sum.escalated += one.escalated;
        }
        sum
    }

    /// Not known where there were calls, and what was done to them was not kept.
    fn enforced(&self) -> Option<u64> {
        if self.figures.calls == 0 { Some(0) } else { self.figures.enforced }
    }

    /// A share of the calls; none where there were none.
    fn of_calls(&self, count: u64) -> Option<f64> {
        let calls = self.figures.calls;
        (calls > 0).then(|| rows::share(count, calls).min(1.0))
    }

    fn average_ms(&self) -> Option<f64> {
        #[expect(clippy::cast_precision_loss, reason = "an average, shown to the microsecond")]
        let average = self.figures.took.as_micros() as f64 / self.figures.timed as f64;
        (self.figures.timed > 0).then(|| average.round() / 1e3)
    }
}

fn kpis(days: &[Day], present: &[Totals], previous: &Totals) -> Kpis {
    fn kpi<T>(
        (days, present, sums): (&[Day], &[Totals], [&Totals; 2]),
        figure: impl Fn(&Totals) -> Option<T>,
    ) -> Kpi<T> {
        let point = |(day, totals): (&Day, &Totals)| Point {
            period: day.name.clone(),
            value: figure(totals),
        };
        let [value, previous] = sums.map(&figure);
        Kpi { value, previous, trend: days.iter().zip(present).map(point).collect() }
    }
    let sum = Totals::sum(present);
    let all = (days, present, [&sum, previous]);
    let users = |it: &Totals| u64::try_from(it.figures.users.len()).unwrap_or(u64::MAX);
    Kpis {
        total_requests: kpi(all, |it| Some(it.figures.calls)),
        escalation_rate: kpi(all, |it| it.of_calls(it.escalated)),
        guardrails_enforced: kpi(all, Totals::enforced),
        cost_savings_usd: kpi(all, |it| it.enforced().map(|_| Usd(it.saved))),
        unique_users: kpi(all, |it| Some(users(it))),
        average_response_ms: kpi(all, Totals::average_ms),
        success_rate: kpi(all, |it| it.of_calls(it.figures.ok)),
        total_tokens: kpi(all, |it| Some(it.figures.tokens)),
    }
}

/// So many calendar days, the last one as far as it has come.
fn days(now: &Zoned, count: i64) -> Result<Vec<Day>, Failure> {
    let mut days = Vec::new();
    for back in (0..count).rev() {
        let date = now.date().checked_sub(back.days()).map_err(|_| beyond())?;
        let next = date.tomorrow().map_err(|_| beyond())?;
        let whole = back > 0;
        let until = if whole { start(next, now)? } else { now.timestamp() };
        days.push(Day { name: date.to_string(), since: start(date, now)?, until, whole });
    }
    Ok(days)
}

fn start(date: Date, now: &Zoned) -> Result<Timestamp, Failure> {
    let begin = date.to_zoned(now.time_zone().clone()).map_err(|_| beyond())?;
    Ok(begin.timestamp())
}

/// Only a clock that is thousands of years off comes to this.
fn beyond() -> Failure {
    Failure::Unavailable("this machine's clock is beyond the calendar".to_owned())
}

/// What a month comes to at the rate of what has passed of it.
fn projected(spent: NanoUsd, (begin, now, end): (Timestamp, Timestamp, Timestamp)) -> NanoUsd {
    let micros = |from: Timestamp, to: Timestamp| {
        i128::from(to.as_microsecond()) - i128::from(from.as_microsecond())
    };
    let passed = micros(begin, now).max(1);
    let whole = i128::from(spent.0) * micros(begin, end) / passed;
    NanoUsd(i64::try_from(whole).unwrap_or(i64::MAX))
}

fn quantiles(of: ledger::Quantiles) -> Quantiles {
    let [p50_ms, p95_ms, p99_ms] =
        of.at.map_or([None; 3], |at| at.map(|time| Some(rows::milliseconds(time))));
    Quantiles { p50_ms, p95_ms, p99_ms, samples: of.samples }
}

fn connection(from: ledger::Connected) -> ConnectionRow {
    ConnectionRow { mode: from.treatment, reason: from.reason, count: from.count }
}

fn hits(from: ledger::Hits) -> PolicyHits {
    PolicyHits { policy: from.policy, action: from.action, count: from.count }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;

    fn at(text: &str, zone: &TimeZone) -> Zoned {
        text.parse::<Timestamp>().unwrap().to_zoned(zone.clone())
    }

    #[test]
    fn days_follow_the_calendar_and_end_now() {
        let berlin = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        let now = at("2026-03-30T12:00:00Z", &berlin);
        let days = days(&now, 3).unwrap();
        let names: Vec<_> = days.iter().map(|day| &*day.name).collect();
        assert_eq!(names, ["2026-03-28", "2026-03-29", "2026-03-30"]);
        assert!(days.windows(2).all(|pair| pair[0].until == pair[1].since), "no gap, no overlap");
        let hours = days[1].until.duration_since(days[1].since).as_hours();
        assert_eq!(hours, 23, "the clock went forward");
        assert_eq!(days[2].until, now.timestamp());
    }

    #[test]
    fn days_are_settled_once_they_are_over_but_for_the_one_that_ends_as_asked() {
        let now = at("2026-03-30T12:00:00Z", &TimeZone::UTC);
        let settled = |time: &str| {
            let time = SystemTime::from(time.parse::<Timestamp>().unwrap());
            let days = days(&now, 4).unwrap();
            days.iter().map(|day| day.is_settled(time)).collect::<Vec<_>>()
        };
        assert_eq!(settled("2026-03-30T12:00:00Z"), [true, true, false, false]);
        assert_eq!(settled("2026-03-29T00:00:00Z"), [false; 4], "ended just a day ago, or not yet");
        // Of the span before, the last day is long over, and is asked for once all the same.
        assert_eq!(settled("2026-04-29T12:00:00Z"), [true, true, true, false]);
    }

    #[test]
    fn a_month_is_projected_by_what_has_passed_of_it() {
        let (begin, end) = ("2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z");
        let time = |text: &str| text.parse::<Timestamp>().unwrap();
        let dollars = |now: &str, nanos| {
            let months = (time(begin), time(now), time(end));
            projected(NanoUsd(nanos), months).to_string()
        };
        assert_eq!(dollars("2026-11-11T00:00:00Z", 5_000_000_000), "15.00");
        assert_eq!(dollars("2026-12-01T00:00:00Z", 5_000_000_000), "5.00");
        assert_eq!(dollars("2026-11-16T00:00:00Z", 0), "0.00");
        // The first instant of a month says nothing, and nothing breaks over it.
        assert_eq!(projected(NanoUsd(i64::MAX), (time(begin), time(begin), time(end))).0, i64::MAX);
    }

    #[test]
    fn figures_without_calls_are_unknown_or_nothing() {
        let nothing = Totals::sum(&[]);
        let kpis = kpis(&[], &[], &nothing);
        assert_eq!((kpis.total_requests.value, kpis.unique_users.value), (Some(0), Some(0)));
        assert_eq!((kpis.success_rate.value, kpis.average_response_ms.value), (None, None));
        assert_eq!(kpis.guardrails_enforced.value, Some(0));
        assert_eq!(
            kpis.cost_savings_usd.previous.map(|it| it.to_string()),
            Some("0.00".to_owned())
        );
        let figures = CallFigures { calls: 3, ..CallFigures::default() };
        let old = Totals { figures, ..Totals::default() };
        assert_eq!(old.enforced(), None, "what was not kept is not nothing");
    }

    #[test]
    fn days_add_up_and_users_are_counted_once() {
        let day = |users: &[u32], escalated, enforced| Totals {
            figures: CallFigures {
                calls: 4,
                ok: 3,
                timed: 2,
                took: Duration::from_millis(30),
                tokens: 10,
                users: users.iter().copied().collect(),
                enforced,
            },
            saved: NanoUsd(7),
            escalated,
        };
        let sum = Totals::sum(&[day(&[1, 2], 1, Some(2)), day(&[2, 3], 0, None)]);
        assert_eq!((sum.figures.calls, sum.figures.users.len(), sum.saved.0), (8, 3, 14));
        assert_eq!(sum.enforced(), Some(2));
        assert_eq!(sum.of_calls(sum.figures.ok), Some(0.75));
        assert_eq!(sum.of_calls(sum.escalated), Some(0.125));
        assert_eq!(sum.average_ms(), Some(15.0));
    }

    #[test]
    fn days_are_remembered_for_an_hour() {
        use crate::clock::{Clock, System};
        let (kept, now) = (Remembered::default(), System.now());
        let asked = (None, now.wall, now.wall);
        assert_eq!(kept.find(&asked, now.mono), None);
        kept.keep(asked, Totals { escalated: 1, ..Totals::default() });
        assert_eq!(kept.find(&asked, now.mono).map(|it| it.escalated), Some(1));
        assert_eq!(kept.find(&(Some(7), now.wall, now.wall), now.mono), None, "another's");
        assert_eq!(kept.find(&asked, now.mono + REMEMBERED + Duration::from_secs(1)), None);
    }

    #[test]
    fn a_day_that_is_known_makes_no_other_forgotten() {
        use crate::clock::{Clock, System};
        let (kept, now) = (Remembered::default(), System.now());
        let asked = |n: usize| (u32::try_from(n).ok(), now.wall, now.wall);
        (0..DAYS).for_each(|n| kept.keep(asked(n), Totals::default()));
        kept.keep(asked(0), Totals { escalated: 1, ..Totals::default() });
        assert_eq!(kept.find(&asked(0), now.mono).map(|it| it.escalated), Some(1));
        assert!(kept.find(&asked(DAYS - 1), now.mono).is_some());
        kept.keep(asked(DAYS), Totals::default());
        assert!(kept.find(&asked(1), now.mono).is_none(), "no more than so many");
    }
}
