//! Records for tests.

use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ulid::Ulid;

use crate::llm::usage::{NanoUsd, Usage};
use crate::record::{
    Attempt, Billing, CallId, Connection, Decision, Detail, Figures, Kind, Limits, More, Opened,
    Outcome, Quantity, Record, Treatment, UsageSource, Via,
};
use crate::subject::{Process, Subject, Workload};

/// A subject by name: `exe:NAME` run by `uid`.
pub(super) fn subject(name: &str, pid: u32, uid: u32) -> Arc<Subject> {
    Arc::new(Subject {
        process: Process {
            pid,
            start_ticks: 1_000 + u64::from(pid),
            exe: "/usr/bin/python3".into(),
            command: format!("python3 {name}").into(),
            uid,
            user: Some(format!("user{uid}").into()),
            verified: true,
        },
        workload: Workload {
            name: format!("exe:{name}").into(),
            unit: None,
            container: None,
            pod: None,
            app: None,
        },
    })
}

/// The id of the `n`th call of a moment.
pub(super) fn id(n: u64, at: SystemTime) -> CallId {
    let ms = at.duration_since(UNIX_EPOCH).unwrap().as_millis();
    CallId(Ulid::from_parts(u64::try_from(ms).unwrap(), u128::from(n)))
}

/// An ordinary call that cost $0.0145.
pub(super) fn record(n: u64, at: SystemTime) -> Record {
    let cost = Some(NanoUsd(14_500_000));
    Record {
        call_id: id(n, at),
        started_at: at,
        kind: Kind::Call,
        via: Via::Intercept,
        subject: subject("agent.py", 7, 1000),
        environment: "prod".into(),
        team: None,
        account: None,
        agent_name: None,
        provider: "openai".into(),
        host: "api.openai.com".into(),
        operation: "chat".into(),
        method: "POST".into(),
        path: "/v1/chat/completions".into(),
        model: Some("gpt-4o-mini".into()),
        model_served: Some("gpt-4o-mini-2024-07-18".into()),
        stream: false,
        status: Some(200),
        outcome: Outcome::Ok,
        error: None,
        usage: Usage { input: 1_200, output: 300, ..Usage::default() },
        usage_source: UsageSource::Reported,
        cost,
        billing: Billing::Metered,
        price_version: Some("2026-10-01".into()),
        attempts: vec![Attempt {
            provider: "openai".into(),
            model: Some("gpt-4o-mini".into()),
            started_at: at + Duration::from_micros(130),
            status: Some(200),
            outcome: Outcome::Ok,
            upstream: Duration::from_micros(900),
            cost,
        }],
        retry_of: None,
        ttft: None,
        latency: Duration::from_micros(1_234),
        upstream: Duration::from_micros(1_001),
        bytes_in: 2_300,
        bytes_out: 1_800,
        flags: Vec::new(),
        decisions: vec![
            Decision {
                at: Duration::from_micros(12),
                rule: "route".into(),
                action: "provider openai".into(),
                detail: "host api.openai.com".into(),
            },
            asked(),
            Decision {
                at: Duration::from_micros(1_200),
                rule: "price".into(),
                action: "$0.0145".into(),
                detail: "1200 in at 0.15, 300 out at 0.60".into(),
            },
        ],
        trace: None,
    }
}

/// Shared, as those of a policy are.
static LIMITS: LazyLock<Arc<Limits>> = LazyLock::new(|| {
    let of = vec![
        ("requests_per_minute".into(), Quantity::Requests, 5),
        ("daily_limit_usd".into(), Quantity::Usd, 10_000_000_000),
    ];
    Arc::new(Limits { policy: "rate_limits.agent".into(), of })
});

/// What a policy with two limits decided.
fn asked() -> Decision {
    let limits = Arc::clone(&LIMITS);
    Decision {
        at: Duration::from_micros(20),
        rule: Arc::clone(&limits.policy),
        action: "pass".into(),
        detail: Detail::Figures(Box::new(Figures {
            limits,
            used: Box::new([2, 1_500_000_000]),
            more: Some(More { tokens: 1_500, usd: Some(14_500_000) }),
            remark: None,
        })),
    }
}

/// The opening of [`record`].
pub(super) fn opened(n: u64, at: SystemTime) -> Opened {
    let record = record(n, at);
    Opened {
        call_id: record.call_id,
        started_at: record.started_at,
        kind: record.kind,
        via: record.via,
        subject: record.subject,
        environment: record.environment,
        team: record.team,
        account: record.account,
        agent_name: record.agent_name,
        provider: record.provider,
        host: record.host,
        operation: record.operation,
        method: record.method,
        path: record.path,
        model: record.model,
    }
}

/// A connection of one second.
pub(super) fn connection(treatment: Treatment, reason: &str, at: SystemTime) -> Connection {
    Connection {
        opened_at: at,
        duration: Duration::from_secs(1),
        subject: subject("agent.py", 7, 1000),
        provider: "openai".into(),
        host: "api.openai.com".into(),
        treatment,
        reason: reason.into(),
        bytes_up: 100,
        bytes_down: 1_000,
        failed: false,
    }
}
