//! Calls added up: histograms of tokens and durations, and dollars. Everything counts from the
//! start of the agent (cumulative temporality), so that what did not arrive is in what is sent next.
//!
//! Bounded: what is too many is counted in one series that says so.

use std::borrow::Cow;
use std::hash::Hash;
use std::sync::Arc;
use std::time::SystemTime;

use foldhash::HashMap;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Histogram, HistogramDataPoint, Metric, NumberDataPoint, Sum,
};

use super::attributes::{Attributes, dollars};
use super::{nanos, semconv, span};
use crate::llm::usage::NanoUsd;
use crate::record::{Billing, Kind, Record, UsageSource};

/// Series of one metric; the specification's own limit.
const MOST: usize = 2_000;
/// The bounds' buckets, and one above them.
const BUCKETS: usize = 15;

/// All sums.
#[derive(Debug, Default, Clone)]
pub(super) struct Meter {
    tokens: Table<Asked, Tokens>,
    durations: Table<(Asked, Option<Cow<'static, str>>), Spread>,
    costs: Table<(Asked, Billing), NanoUsd>,
}

/// What calls are told apart by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Asked {
    workload: Arc<str>,
    provider: Arc<str>,
    host: Arc<str>,
    operation: &'static str,
    model: Option<Arc<str>>,
    served: Option<Arc<str>>,
}

#[derive(Debug, Clone, Default)]
struct Tokens {
    input: Spread,
    output: Spread,
}

/// A histogram.
#[derive(Debug, Clone, Default, PartialEq)]
struct Spread {
    buckets: [u64; BUCKETS],
    count: u64,
    sum: f64,
    least: f64,
    most: f64,
}

impl Spread {
    fn add(&mut self, value: f64, bounds: &[f64; 14]) {
        // A bucket has its upper bound in it.
        self.buckets[bounds.partition_point(|bound| *bound < value)] += 1;
        self.least = if self.count == 0 { value } else { self.least.min(value) };
        self.most = self.most.max(value);
        self.count += 1;
        self.sum += value;
    }
}

/// A bounded map; `None` stands for everything that is too many.
#[derive(Debug, Clone)]
struct Table<K, V>(HashMap<Option<K>, V>);

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self(HashMap::default())
    }
}

impl<K: Hash + Eq, V: Default> Table<K, V> {
    fn at(&mut self, key: K) -> &mut V {
        let mut key = Some(key);
        if self.0.len() >= MOST - 1 && !self.0.contains_key(&key) {
            key = None;
        }
        self.0.entry(key).or_default()
    }
}

impl Meter {
    /// Whether there is nothing to tell.
    pub(super) fn is_empty(&self) -> bool {
        self.durations.0.is_empty()
    }

    /// Points that all of it comes to.
    pub(super) fn points(&self) -> u64 {
        (2 * self.tokens.0.len() + self.durations.0.len() + self.costs.0.len()) as u64
    }

    /// Adds a call that is over.
    pub(super) fn add(&mut self, record: &Record) {
        if record.kind != Kind::Call {
            return;
        }
        let asked = Asked {
            workload: Arc::clone(&record.subject.workload.name),
            provider: Arc::clone(&record.provider),
            host: Arc::clone(&record.host),
            // As it is told: two that are one there are one series.
            operation: semconv::operation(&record.operation),
            model: record.model.clone(),
            served: record.model_served.clone(),
        };
        if matches!(record.usage_source, UsageSource::Reported | UsageSource::Estimated) {
            let tokens = self.tokens.at(asked.clone());
            for (spread, count) in [
                (&mut tokens.input, semconv::input(&record.usage)),
                (&mut tokens.output, semconv::output(&record.usage)),
            ] {
                #[expect(clippy::cast_precision_loss, reason = "a histogram needs no more")]
                spread.add(count as f64, &semconv::TOKEN_BOUNDS);
            }
        }
        if let Some(cost) = record.cost {
            let sum = self.costs.at((asked.clone(), record.billing));
            *sum = sum.saturating_add(cost);
        }
        let error = semconv::error_type(record.outcome, record.status);
        let seconds = record.latency.as_secs_f64();
        self.durations.at((asked, error)).add(seconds, &semconv::SECOND_BOUNDS);
    }

    /// All of it, from `since` until `now`.
    pub(super) fn metrics(&self, since: SystemTime, now: SystemTime) -> Vec<Metric> {
        let point =
            |spread: &Spread, bounds: &[f64; 14], attributes: Vec<KeyValue>| HistogramDataPoint {
                attributes,
                start_time_unix_nano: nanos(since),
                time_unix_nano: nanos(now),
                count: spread.count,
                sum: Some(spread.sum),
                bucket_counts: spread.buckets.to_vec(),
                explicit_bounds: bounds.to_vec(),
                min: Some(spread.least),
                max: Some(spread.most),
                ..HistogramDataPoint::default()
            };
        let tokens = self.tokens.0.iter().flat_map(|(asked, tokens)| {
            [("input", &tokens.input), ("output", &tokens.output)].map(|(word, spread)| {
                let mut said = about(asked.as_ref());
                said.text(semconv::TOKEN_TYPE, word);
                point(spread, &semconv::TOKEN_BOUNDS, said)
            })
        });
        let durations = self.durations.0.iter().map(|(key, spread)| {
            let mut said = about(key.as_ref().map(|(asked, _)| asked));
            let error = key.as_ref().and_then(|(_, error)| error.as_deref());
            said.maybe(semconv::ERROR_TYPE, error);
            point(spread, &semconv::SECOND_BOUNDS, said)
        });
        let costs = self.costs.0.iter().map(|(key, cost)| {
            let mut said = about(key.as_ref().map(|(asked, _)| asked));
            if let Some((_, billing)) = key {
                said.text(semconv::BILLING, span::billing(*billing));
            }
            NumberDataPoint {
                attributes: said,
                start_time_unix_nano: nanos(since),
                time_unix_nano: nanos(now),
                value: Some(Value::AsDouble(dollars(*cost))),
                ..NumberDataPoint::default()
            }
        });
        let cumulative = AggregationTemporality::Cumulative.into();
        let histogram = |data_points| {
            Data::Histogram(Histogram { data_points, aggregation_temporality: cumulative })
        };
        let cost = Data::Sum(Sum {
            data_points: costs.collect(),
            aggregation_temporality: cumulative,
            is_monotonic: true,
        });
        [
            (semconv::TOKEN_USAGE, "Tokens of a call.", "{token}", histogram(tokens.collect())),
            (semconv::DURATION, "How long a call took.", "s", histogram(durations.collect())),
            (semconv::COST, "What calls cost.", "USD", cost),
        ]
        .map(|(name, description, unit, data)| Metric {
            name: name.to_owned(),
            description: description.to_owned(),
            unit: unit.to_owned(),
            data: Some(data),
            ..Metric::default()
        })
        .into()
    }
}

fn about(asked: Option<&Asked>) -> Vec<KeyValue> {
    let mut said = Vec::new();
    match asked {
        Some(asked) => said
            .text(semconv::OPERATION, asked.operation)
            .text(semconv::PROVIDER, semconv::provider(&asked.provider))
            .maybe(semconv::REQUEST_MODEL, asked.model.as_deref())
            .maybe(semconv::RESPONSE_MODEL, asked.served.as_deref())
            .text(semconv::SERVER_ADDRESS, &asked.host)
            .text(semconv::WORKLOAD, &asked.workload),
        None => said.flag(semconv::OVERFLOW, true),
    };
    said
}
