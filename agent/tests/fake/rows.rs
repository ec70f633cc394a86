//! Rows that the made-up agent answers with.

use agent::admin::calls::CallRow;
use agent::admin::money::{Coverage, Reason, Tokens, Usd};
use agent::admin::spend::SpendRow;
use agent::llm::usage::NanoUsd;
use agent::record::{Billing, CallId, Flag, Kind, Outcome, Treatment, UsageSource, Via};
use jiff::Timestamp;

pub(crate) fn id(number: u64) -> CallId {
    CallId(ulid::Ulid::from_parts(1_577_958_123_000, u128::from(number) << 8))
}

pub(crate) fn call(number: u64, uid: u32, workload: &str) -> CallRow {
    CallRow {
        call_id: id(number),
        started_at: at("2020-01-02T09:42:03.5Z"),
        kind: Kind::Call,
        via: Via::Intercept,
        workload: workload.to_owned(),
        app: None,
        unit: None,
        container: None,
        pid: 4711,
        exe: "/usr/bin/python3".to_owned(),
        command: "python3 agent.py --key [redacted]".to_owned(),
        uid,
        user: if uid == 0 { "root".to_owned() } else { "nobody".to_owned() },
        team: None,
        account: None,
        agent_name: None,
        environment: "prod".to_owned(),
        provider: "openai".to_owned(),
        host: "api.openai.com".to_owned(),
        operation: "chat".to_owned(),
        method: "POST".to_owned(),
        path: "/v1/chat/completions".to_owned(),
        model: Some("gpt-5".to_owned()),
        model_served: Some("gpt-5-2025-08-07".to_owned()),
        stream: true,
        status: Some(200),
        outcome: Some(Outcome::Ok),
        error: None,
        tokens: tokens(),
        usage_source: UsageSource::Reported,
        cost_usd: Some(Usd(NanoUsd(14_500_000))),
        billing: Billing::Metered,
        price_version: Some("2026-11-01".to_owned()),
        attempts: 1,
        retry_of: None,
        ttft_ms: Some(211.0),
        latency_ms: Some(1830.25),
        upstream_ms: Some(1829.9),
        bytes_in: 1200,
        bytes_out: 42_000,
        flags: vec![Flag::UsageInjected],
    }
}

fn tokens() -> Tokens {
    Tokens {
        input_tokens: 1200,
        cache_read_tokens: 148_000,
        output_tokens: 780,
        reasoning_tokens: 50,
        ..Tokens::default()
    }
}

pub(super) fn at(time: &str) -> Timestamp {
    time.parse().unwrap()
}

pub(super) fn spent(workload: &str, calls: u64, nanos: i64) -> SpendRow {
    SpendRow {
        workload: Some(workload.to_owned()),
        calls,
        requests: 3,
        tokens: tokens(),
        cost_usd: Usd(NanoUsd(nanos)),
        coverage: Some(0.999),
        ..SpendRow::default()
    }
}

pub(super) fn coverage() -> Coverage {
    let untrusted =
        Reason { treatment: Treatment::Opaque, reason: "untrusted".to_owned(), count: 2 };
    Coverage { metered: 31, total: 33, reasons: vec![untrusted] }
}
