//! Metrics of calls. The handles of one kind of call are looked up once and kept together: a
//! labelled look-up costs several times what counting does.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use foldhash::HashMap;
use parking_lot::RwLock;
use prometheus::{
    Counter, CounterVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts,
    Registry,
};

use super::names::Names;
use super::series::{Bound, Family, Series};
use crate::llm::usage::Usage;
use crate::record::{Billing, Kind, Outcome, Record};

#[derive(Debug)]
pub(super) struct Calls {
    names: Arc<Names>,
    total: Series<IntCounterVec>,
    latency: Series<HistogramVec>,
    first_token: Series<HistogramVec>,
    tokens: Series<IntCounterVec>,
    cost: Series<CounterVec>,
    unpriced: Series<IntCounterVec>,
    requests: Series<IntCounterVec>,
    /// Held while a call is counted: no series of its goes in between.
    known: RwLock<HashMap<Key, Handles>>,
}

/// Kinds of call whose handles are kept; beyond it all are looked up anew.
const KNOWN: usize = 4096;

/// What the handles of a call depend on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    model: Arc<str>,
    workload: Arc<str>,
    provider: Arc<str>,
    operation: Arc<str>,
    environment: Arc<str>,
    status: &'static str,
    billing: Billing,
}

#[derive(Debug)]
struct Handles {
    calls: IntCounter,
    latency: Histogram,
    first_token: Histogram,
    tokens: [IntCounter; 5],
    cost: Counter,
}

/// Kinds of token, as `llm_tokens_total` tells them apart: disjoint.
const TYPES: [&str; 5] = ["input", "cache_read", "cache_write", "output", "reasoning"];

impl Calls {
    pub(super) fn new(
        registry: &Registry,
        names: Arc<Names>,
        overflow: &IntCounterVec,
    ) -> prometheus::Result<Self> {
        let total = IntCounterVec::new(
            Opts::new("llm_calls_total", "LLM calls."),
            &["model", "task_type", "workload", "provider", "status", "environment"],
        )?;
        let latency = HistogramVec::new(
            HistogramOpts::new("llm_latency_seconds", "From a call's request to its last byte.")
                .buckets(vec![0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0]),
            &["model", "provider"],
        )?;
        let first_token = HistogramVec::new(
            HistogramOpts::new(
                "llm_time_to_first_token_seconds",
                "From a streamed call's request to its first content.",
            )
            .buckets(vec![0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0]),
            &["model", "provider"],
        )?;
        let tokens = IntCounterVec::new(
            Opts::new("llm_tokens_total", "Tokens by kind; the kinds are disjoint."),
            &["workload", "provider", "model", "type"],
        )?;
        let cost = CounterVec::new(
            Opts::new(
                "llm_cost_usd_total",
                "Dollars at list prices; those of calls without a known price are missing here.",
            ),
            &["workload", "provider", "model", "billing", "environment"],
        )?;
        let unpriced = IntCounterVec::new(
            Opts::new("llm_unpriced_calls_total", "Calls whose cost is unknown."),
            &["provider", "model"],
        )?;
        let requests = IntCounterVec::new(
            Opts::new(
                "weir_requests_total",
                "Requests on LLM hosts that are no calls, and those that were not understood.",
            ),
            &["workload", "provider", "kind", "status"],
        )?;
        let bound = |most, open| Bound { most, open };
        let of_call = bound(1000, &["model", "task_type", "workload", "environment"]);
        let of_model = bound(60, &["model"]);
        let of_tokens = bound(1500, &["workload", "model"]);
        let of_cost = bound(700, &["workload", "model", "environment"]);
        Ok(Self {
            names,
            total: Series::new(registry, total, of_call, overflow)?,
            latency: Series::new(registry, latency, of_model, overflow)?,
            first_token: Series::new(registry, first_token, of_model, overflow)?,
            tokens: Series::new(registry, tokens, of_tokens, overflow)?,
            cost: Series::new(registry, cost, of_cost, overflow)?,
            unpriced: Series::new(registry, unpriced, bound(100, &["model"]), overflow)?,
            requests: Series::new(registry, requests, bound(300, &["workload"]), overflow)?,
            known: RwLock::default(),
        })
    }

    fn families(&self) -> [&dyn Family; 7] {
        [
            &self.total,
            &self.latency,
            &self.first_token,
            &self.tokens,
            &self.cost,
            &self.unpriced,
            &self.requests,
        ]
    }

    /// Takes away series that have not grown for `ttl`; how many.
    pub(super) fn sweep(&self, now: Instant, ttl: Duration) -> u64 {
        let idle = self.families().map(|family| (family, family.idle(now, ttl)));
        if idle.iter().all(|(_, idle)| idle.is_empty()) {
            return 0;
        }
        let mut known = self.known.write();
        known.clear();
        idle.iter().map(|(family, idle)| family.remove(idle)).sum()
    }

    /// The values that a label takes.
    pub(super) fn values(&self, label: &str, into: &mut HashSet<String>) {
        for family in self.families() {
            family.values(label, into);
        }
    }

    pub(super) fn count(&self, record: &Record) {
        let workload = self.names.workload(&record.subject.workload.name);
        let status = status(record);
        let kind = match record.kind {
            Kind::Call => return self.count_call(record, workload, status),
            Kind::Request => "request",
            Kind::Opaque => "opaque",
        };
        let labels = [&*workload, &*record.provider, kind, status];
        self.requests.add(&labels, IntCounter::inc);
    }

    fn count_call(&self, record: &Record, workload: Arc<str>, status: &'static str) {
        // A name that no provider answered to is no model: it may be anything a client wrote.
        let answered = record.outcome == Outcome::Ok || record.model_served.is_some();
        let model = match record.model_served.as_ref().or(record.model.as_ref()) {
            Some(_) if !answered => Arc::from("other"),
            name => self.names.model(name),
        };
        let key = Key {
            model,
            workload,
            provider: Arc::clone(&record.provider),
            operation: Arc::clone(&record.operation),
            environment: Arc::clone(&record.environment),
            status,
            billing: record.billing,
        };
        if record.cost.is_none() {
            self.unpriced.add(&[&*key.provider, &*key.model], IntCounter::inc);
        }
        if let Some(handles) = self.known.read().get(&key) {
            return handles.count(record);
        }
        let mut known = self.known.write();
        if known.len() >= KNOWN {
            known.clear();
        }
        let handles = self.handles(&key);
        known.entry(key).or_insert(handles).count(record);
    }

    fn handles(&self, key: &Key) -> Handles {
        let Key { model, workload, provider, operation, environment, status, billing } = key;
        let billing = match billing {
            Billing::Metered => "metered",
            Billing::Subscription => "subscription",
            Billing::Unknown => "unknown",
        };
        let tokens = |kind| self.tokens.handle(&[&**workload, &**provider, &**model, kind]);
        let of_model = [&**model, &**provider];
        let call = [&**model, &**operation, &**workload, &**provider, status, &**environment];
        let cost = [&**workload, &**provider, &**model, billing, &**environment];
        Handles {
            calls: self.total.handle(&call),
            latency: self.latency.handle(&of_model),
            first_token: self.first_token.handle(&of_model),
            tokens: TYPES.map(tokens),
            cost: self.cost.handle(&cost),
        }
    }
}

impl Handles {
    fn count(&self, record: &Record) {
        self.calls.inc();
        self.latency.observe(record.latency.as_secs_f64());
        if let Some(first) = record.ttft {
            self.first_token.observe(first.as_secs_f64());
        }
        for (counter, count) in self.tokens.iter().zip(by_type(&record.usage)) {
            if count > 0 {
                counter.inc_by(count);
            }
        }
        match record.cost {
            #[expect(clippy::cast_precision_loss, reason = "the exact figure is in the ledger")]
            Some(cost) if cost.0 > 0 => self.cost.inc_by(cost.0 as f64 / 1e9),
            _ => {}
        }
    }
}

/// Audio is input or output like any other here; the ledger tells it apart.
fn by_type(usage: &Usage) -> [u64; 5] {
    [
        usage.input.saturating_add(usage.audio_input),
        usage.cache_read,
        usage.cache_write_5m.saturating_add(usage.cache_write_1h),
        usage.output.saturating_add(usage.audio_output),
        usage.reasoning,
    ]
}

/// How a call ended, in few words.
fn status(record: &Record) -> &'static str {
    match (record.outcome, record.status) {
        (Outcome::Ok, _) => "2xx",
        (Outcome::RateLimited, _) => "429",
        (Outcome::UpstreamError, Some(500..)) => "5xx",
        (Outcome::UpstreamError, _) => "4xx",
        (Outcome::StreamError, _) => "stream_error",
        (Outcome::ConnectError, _) => "connect_error",
        (Outcome::UpstreamCut, _) => "cut",
        (Outcome::ClientAbort, _) => "aborted",
        (Outcome::Refused, _) => "blocked",
        (Outcome::Internal | Outcome::Lost, _) => "internal",
    }
}
