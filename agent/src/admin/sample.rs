//! A call for tests.

use jiff::Timestamp;

use super::calls::CallRow;
use super::money::Tokens;
use crate::record::{Billing, CallId, Flag, Kind, Outcome, UsageSource, Via};

/// A call.
pub(super) fn sample() -> CallRow {
    CallRow {
        call_id: CallId(ulid::Ulid::from_parts(1, 1)),
        started_at: Timestamp::UNIX_EPOCH,
        kind: Kind::Call,
        via: Via::Intercept,
        workload: "exe:curl".to_owned(),
        app: None,
        unit: None,
        container: None,
        pid: 7,
        exe: "/usr/bin/curl".to_owned(),
        command: "curl".to_owned(),
        uid: 1000,
        user: "al".to_owned(),
        agent_name: None,
        environment: "prod".to_owned(),
        team: None,
        account: None,
        provider: "openai".to_owned(),
        host: "api.openai.com".to_owned(),
        operation: "chat".to_owned(),
        method: "POST".to_owned(),
        path: "/v1/chat/completions".to_owned(),
        model: Some("gpt-4o-mini".to_owned()),
        model_served: None,
        stream: false,
        status: Some(200),
        outcome: Some(Outcome::Ok),
        error: None,
        tokens: Tokens::default(),
        usage_source: UsageSource::Reported,
        cost_usd: "0.0145".parse().ok(),
        billing: Billing::Metered,
        price_version: None,
        attempts: 1,
        retry_of: None,
        ttft_ms: None,
        latency_ms: Some(12.5),
        upstream_ms: Some(11.0),
        bytes_in: 1,
        bytes_out: 2,
        flags: vec![Flag::UsageInjected, Flag::Unverified],
    }
}
