//! Made-up failures, and someone who is watched.

use agent::admin::watch::{
    Availability, ErrorQuery, ErrorRow, Errors, ErrorsBy, ForecastRow, LatencyRow, SpikeRow, Watch,
    WatchRow, WatchState, Watching, WindowRow,
};
use agent::admin::{Failure, SCHEMA_VERSION};
use agent::llm::usage::NanoUsd;
use agent::record::FailureClass;

use super::{Fake, HOSTILE, NOBODY, Usd, at, visible};

impl Watching for Fake {
    fn errors(&self, query: &ErrorQuery) -> Result<Errors, Failure> {
        if !visible(query.uid, 0) {
            return Ok(Errors::none(query));
        }
        let row = |key: &str, class, count, percent, calls| ErrorRow {
            key: query.by.map(|by| if by == ErrorsBy::Workload { key } else { "x" }.to_owned()),
            class,
            count,
            percent,
            calls,
        };
        Ok(Errors {
            calls: 1_412,
            errors: 9,
            rows: vec![
                row(HOSTILE, FailureClass::ServerError, 6, 75.0, 40),
                row(HOSTILE, FailureClass::Timeout, 2, 25.0, 40),
                row("exe:curl", FailureClass::Refused, 1, 100.0, 1_372),
            ],
            availability: vec![Availability {
                provider: "openai".to_owned(),
                calls: 1_411,
                failed: 8,
                availability: 0.9943,
            }],
            ..Errors::none(query)
        })
    }

    fn watch(&self, uid: Option<u32>) -> Watch {
        let row = |workload: &str, errors, state| WatchRow {
            workload: workload.to_owned(),
            task: "chat".to_owned(),
            window: WindowRow { calls: 40, errors, rate: Some(f64::from(errors) / 40.0) },
            target: Some(0.05),
            budget_used: Some(f64::from(errors) / 2.0),
            latency: LatencyRow { p95_ms: Some(830.0), samples: 40, ..LatencyRow::default() },
            sla_ms: Some(10_000.0),
            state,
        };
        let all = [
            (0, row(HOSTILE, 6, WatchState::Breached)),
            (NOBODY, row("unit:etl.service", 0, WatchState::Ok)),
        ];
        let mine = all.into_iter().filter(|(owner, _)| visible(uid, *owner));
        let usd = |dollars: i64| Usd(NanoUsd(dollars * NanoUsd::DOLLAR.0));
        let spike = SpikeRow {
            workload: HOSTILE.to_owned(),
            rate_usd_per_hour: usd(12),
            baseline_usd_per_hour: usd(1),
            factor: Some(12.0),
            since: at("2020-01-02T09:42:03Z"),
        };
        let forecast = ForecastRow {
            budget: "budgets.nightly".to_owned(),
            subject: "nightly".to_owned(),
            period: "day".to_owned(),
            exhausted_at: at("2099-01-01T12:00:00Z"),
        };
        Watch {
            schema_version: SCHEMA_VERSION,
            workloads: mine.map(|(_, row)| row).collect(),
            models: Vec::new(),
            spike: visible(uid, 0).then_some(spike).into_iter().collect(),
            forecast: visible(uid, 0).then_some(forecast).into_iter().collect(),
        }
    }
}
