//! What those who ask see of who is watched, and why calls failed.

use std::time::SystemTime;

use jiff::Timestamp;

use crate::admin::budgets::BudgetQuery;
use crate::admin::money::Usd;
use crate::admin::status::Warning;
use crate::admin::watch::{
    Availability, ErrorQuery, ErrorRow, Errors, ErrorsBy, ForecastRow, LatencyRow, ModelRow,
    SpikeRow, Watch, WatchRow, WatchState, Watching, WindowRow,
};
use crate::admin::{Control, Failure, SCHEMA_VERSION};
use crate::app::agent::Running;
use crate::app::rows::{milliseconds, share};
use crate::ledger;
use crate::policy::Enforcement;
use crate::watch::{self, Level, ModelView, Percentiles, SpikeView, TaskView};

/// Troubles that are named one by one in the warnings.
const NAMED: usize = 5;

impl Running {
    /// What the status says of who fails more, takes longer or spends more than they should.
    pub(in crate::app) fn watch_warnings(&self, uid: Option<u32>) -> Vec<Warning> {
        let watched = self.takers.watched();
        let own = |of: Option<u32>| uid.is_none() || uid == of;
        let tasks = watched.tasks().into_iter().filter(|task| own(task.uid));
        let models = watched.models().into_iter().filter(|model| own(model.uid));
        let spikes = watched.spikes().into_iter().filter(|spike| own(spike.uid));
        let mut warnings: Vec<Warning> = Vec::new();
        let mut warn = |troubles: Vec<String>, (what, fix): (&str, &str)| {
            let more = troubles.len().saturating_sub(NAMED);
            let more = (more > 0).then(|| format!("{more} more {what}"));
            let lines = troubles.into_iter().take(NAMED).chain(more);
            let fix = Some(fix.to_owned());
            warnings.extend(lines.map(|what| Warning { what, fix: fix.clone(), degrades: false }));
        };
        let errors = ("tasks fail too often", "weir errors --by workload");
        warn(tasks.filter_map(|task| task.trouble).collect(), errors);
        let slow = ("models are too slow", "weir calls --since 1h");
        warn(models.filter_map(|model| model.trouble()).collect(), slow);
        let dear = ("workloads spend far more than usual", "weir spend --since 1h");
        warn(spikes.map(|spike| spike.trouble()).collect(), dear);
        let forecast = self.forecast(uid).into_iter();
        let forecast = forecast.map(|row| {
            let whose = if row.budget.ends_with(&format!(".{}", row.subject)) {
                String::new()
            } else {
                format!(" of {}", row.subject)
            };
            let at = row.exhausted_at.strftime("%Y-%m-%d %H:%M UTC");
            format!(
                "{}{whose} per {} will be spent by {at} at the present rate",
                row.budget, row.period
            )
        });
        warn(forecast.collect(), ("budgets will not last", "weir budget list"));
        warnings
    }

    /// Budgets that will be spent before their period ends, the first one first.
    fn forecast(&self, uid: Option<u32>) -> Vec<ForecastRow> {
        let rows = self.budgets(&BudgetQuery { uid, ..BudgetQuery::default() }).into_iter();
        let rows =
            rows.filter(|row| row.enforcement.0 != Enforcement::Off && row.remaining_usd.0.0 > 0);
        let mut rows: Vec<_> = rows
            .filter_map(|row| {
                Some(ForecastRow {
                    exhausted_at: row.exhausted_at?,
                    budget: row.policy,
                    subject: row.subject,
                    period: row.period,
                })
            })
            .collect();
        rows.sort_by_key(|row| row.exhausted_at);
        rows
    }
}

impl Watching for Running {
    fn errors(&self, query: &ErrorQuery) -> Result<Errors, Failure> {
        let asked = ledger::ErrorQuery {
            since: query.since.map(SystemTime::from),
            until: query.until.map(SystemTime::from),
            by: query.by.map(|by| match by {
                ErrorsBy::Workload => ledger::ErrorsBy::Workload,
                ErrorsBy::Provider => ledger::ErrorsBy::Provider,
                ErrorsBy::Model => ledger::ErrorsBy::Model,
            }),
            uid: query.uid,
        };
        let found = self.ledger.reader().errors(&asked);
        let found = found.map_err(|error| Failure::Unavailable(error.to_string()))?;
        let row = |row: ledger::ErrorRow| ErrorRow {
            percent: share(row.count, row.errors) * 100.0,
            key: row.key,
            class: row.class,
            count: row.count,
            calls: row.calls,
        };
        let available = |row: ledger::Availability| Availability {
            availability: share(row.calls - row.failed, row.calls),
            provider: row.provider,
            calls: row.calls,
            failed: row.failed,
        };
        Ok(Errors {
            calls: found.calls,
            errors: found.errors,
            rows: found.rows.into_iter().map(row).collect(),
            availability: found.availability.into_iter().map(available).collect(),
            ..Errors::none(query)
        })
    }

    fn watch(&self, uid: Option<u32>) -> Watch {
        let watched = self.takers.watched();
        let own = |of: Option<u32>| uid.is_none() || uid == of;
        let models = watched.models().into_iter().filter(|model| own(model.uid));
        let models: Vec<_> = models.map(|it| model(&it)).collect();
        let tasks = watched.tasks().into_iter().filter(|task| own(task.uid));
        let mut workloads: Vec<_> = tasks.map(|it| task(&it, &models)).collect();
        workloads.sort_by(|one, other| {
            (other.state, &one.workload, &one.task).cmp(&(one.state, &other.workload, &other.task))
        });
        let spikes = watched.spikes().into_iter().filter(|spike| own(spike.uid));
        Watch {
            schema_version: SCHEMA_VERSION,
            workloads,
            models,
            spike: spikes.map(|it| spike(&it)).collect(),
            forecast: self.forecast(uid),
        }
    }
}

fn task(view: &TaskView, models: &[ModelRow]) -> WatchRow {
    let own = || models.iter().filter(|model| *model.workload == *view.workload);
    let level = match view.level {
        Level::Ok => WatchState::Ok,
        Level::Warning => WatchState::Warning,
        Level::Breached => WatchState::Breached,
    };
    let (calls, errors) = (view.calls, view.failed);
    let rate = (calls > 0).then(|| share(errors.into(), calls.into()));
    WatchRow {
        workload: view.workload.to_string(),
        task: view.task.to_string(),
        window: WindowRow { calls, errors, rate },
        target: view.target.map(watch::settings::Share::ratio),
        budget_used: view.used,
        latency: latency(view.latency()),
        sla_ms: own().filter_map(|model| model.sla_ms).min_by(f64::total_cmp),
        state: own().map(|model| model.state).fold(level, WatchState::max),
    }
}

fn model(view: &ModelView) -> ModelRow {
    ModelRow {
        latency: latency(view.latency()),
        sla_ms: view.sla.map(milliseconds),
        state: if view.breached { WatchState::Breached } else { WatchState::Ok },
        workload: view.workload.to_string(),
        model: view.model.to_string(),
    }
}

fn spike(view: &SpikeView) -> SpikeRow {
    SpikeRow {
        workload: view.workload.to_string(),
        rate_usd_per_hour: Usd(view.spike.rate),
        baseline_usd_per_hour: Usd(view.spike.usual),
        factor: view.factor(),
        since: Timestamp::try_from(view.since()).unwrap_or_default(),
    }
}

fn latency(found: Option<Percentiles>) -> LatencyRow {
    found.map_or_else(LatencyRow::default, |found| LatencyRow {
        p50_ms: Some(milliseconds(found.p50)),
        p95_ms: Some(milliseconds(found.p95)),
        p99_ms: Some(milliseconds(found.p99)),
        samples: found.samples,
    })
}
