//! What tests of policies are made of.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use super::selector::{Pattern, Selector};
use super::settings::{Cap, Limit, OnBreach, Over, Per, Quantity, Rule, Says};
use super::{Bound, Call, Enforcement};
use crate::llm::usage::NanoUsd;
use crate::record::Billing;
use crate::subject::{Process, Subject, Workload};

pub(super) const MINUTE: Duration = Duration::from_mins(1);
pub(super) const HOUR: Duration = Duration::from_hours(1);

pub(super) fn subject(workload: &str, uid: u32, user: &str) -> Subject {
    let unit = workload.strip_prefix("unit:").map(Arc::from);
    let exe = workload.strip_prefix("exe:").and_then(|exe| exe.split(':').next());
    Subject {
        process: Process {
            pid: 1,
            start_ticks: 1,
            exe: exe.map_or_else(|| "/usr/bin/x".into(), |exe| format!("/usr/bin/{exe}").into()),
            command: "".into(),
            uid,
            user: Some(user.into()),
            verified: true,
        },
        workload: Workload {
            name: workload.into(),
            unit,
            container: workload.strip_prefix("container:").map(Arc::from),
            pod: None,
            app: None,
        },
    }
}

pub(super) fn call(subject: &Subject) -> Call<'_> {
    Call {
        subject,
        agent_name: None,
        environment: "prod",
        provider: "openai",
        host: "api.openai.com",
        path: "/v1/chat/completions",
        model: Some("gpt-4o"),
        body_bytes: 100,
        bound: bound(100, 900, 100_000_000),
        billing: Billing::Metered,
        prompt: None,
    }
}

/// Input, output, both tokens' price in nano-dollars (a tenth of it for the input).
pub(super) fn bound(input: u64, output: u64, cost: i64) -> Bound {
    Bound {
        input,
        output,
        output_asked: true,
        unread: false,
        input_cost: Some(NanoUsd(cost / 10)),
        cost: Some(NanoUsd(cost)),
    }
}

pub(super) fn cap(unit: &'static str, of: Quantity, over: Over, limit: u64) -> Cap {
    Cap { unit, of, over, limit: NonZeroU64::new(limit).unwrap() }
}

pub(super) fn per_minute(limit: u64) -> Cap {
    cap("requests_per_minute", Quantity::Requests, Over::Sliding(MINUTE), limit)
}

pub(super) fn daily_usd(dollars: u64) -> Cap {
    cap("daily_limit_usd", Quantity::Usd, Over::Day, dollars * 1_000_000_000)
}

pub(super) fn limit(caps: &[Cap]) -> Limit {
    Limit { caps: caps.to_vec(), on_breach: OnBreach::Deny, cut_streams: false, watch: None }
}

/// A rule for a bare name.
pub(super) fn rule(section: &str, name: &str, says: Says) -> Rule {
    let pattern = Pattern::new(name);
    Rule {
        name: format!("{section}.{name}").into(),
        about: name.into(),
        enforcement: Enforcement::Enforce,
        selector: match name {
            "*" => Selector::default(),
            _ => Selector { workload: vec![pattern], or_agent_name: true, ..Selector::default() },
        },
        per: Per::All,
        says,
    }
}
