//! A call for tests.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::HeaderMap;
use ulid::Ulid;

use crate::llm::usage::{NanoUsd, Usage};
use crate::record::trace::{SampleRate, Trace};
use crate::record::{Attempt, Billing, CallId, Decision, Kind, Outcome, Record, UsageSource, Via};
use crate::subject::{Process, Subject, Workload};

pub(super) const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// When it began.
pub(super) fn began() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_700_000_000)
}

/// A place below a client's span.
pub(super) fn trace() -> Trace {
    let mut headers = HeaderMap::new();
    headers.insert("traceparent", PARENT.parse().unwrap());
    headers.insert("tracestate", "vendor=1".parse().unwrap());
    let mut last = 40;
    let random = || {
        last += 1;
        last
    };
    Trace::of(&headers, SampleRate::millionths(0), random).unwrap()
}

/// A call that failed at one provider and went well at the next, with nothing of its content.
pub(super) fn record() -> Record {
    let attempt = |provider: &str, status, outcome, cost| Attempt {
        provider: provider.into(),
        model: Some("gpt-4o".into()),
        started_at: began() + Duration::from_millis(10),
        status,
        outcome,
        upstream: Duration::from_millis(50),
        cost,
    };
    let cost = Some(NanoUsd(14_500_000));
    Record {
        call_id: CallId(Ulid::from_parts(1_700_000_000_000, 7)),
        started_at: began(),
        kind: Kind::Call,
        via: Via::Intercept,
        subject: Arc::new(Subject {
            process: Process {
                pid: 4711,
                start_ticks: 1,
                exe: "/usr/bin/python3".into(),
                command: "python3 agent.py --prompt do-not-send-this".into(),
                uid: 1000,
                user: Some("anna".into()),
                verified: true,
            },
            workload: Workload {
                name: "exe:python3:agent.py".into(),
                unit: None,
                container: None,
                pod: None,
                app: None,
            },
        }),
        environment: "prod".into(),
        team: Some("search".into()),
        account: None,
        agent_name: None,
        provider: "openai-eu".into(),
        host: "eu.api.openai.com".into(),
        operation: "responses".into(),
        method: "POST".into(),
        path: "/v1/responses".into(),
        model: Some("gpt-4o".into()),
        model_served: Some("gpt-4o-2024-08-06".into()),
        stream: true,
        status: Some(200),
        outcome: Outcome::Ok,
        error: None,
        usage: Usage {
            input: 100,
            cache_read: 900,
            output: 200,
            reasoning: 50,
            ..Usage::default()
        },
        usage_source: UsageSource::Reported,
        cost,
        billing: Billing::Metered,
        price_version: Some("2026-10-01".into()),
        attempts: vec![
            attempt("openai-eu", Some(503), Outcome::UpstreamError, Some(NanoUsd(0))),
            attempt("gemini", Some(200), Outcome::Ok, cost),
        ],
        retry_of: None,
        ttft: Some(Duration::from_millis(30)),
        latency: Duration::from_millis(70),
        upstream: Duration::from_millis(60),
        bytes_in: 1,
        bytes_out: 2,
        flags: Vec::new(),
        decisions: vec![Decision {
            at: Duration::from_millis(1),
            rule: "budgets.search".into(),
            action: "pass".into(),
            detail: "figures".into(),
        }],
        trace: Some(Box::new(trace())),
    }
}
