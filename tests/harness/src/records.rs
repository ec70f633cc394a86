//! Calls that were made before, for a ledger that an agent finds at its start.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use agent::clock::System;
use agent::ledger::{Ledger, Settings};
use agent::llm::usage::{NanoUsd, Usage};
use agent::record::{
    Billing, CallId, Durability, Kind, Outcome, Record, Sink as _, UsageSource, Via,
};
use agent::subject::{Process, Subject, Workload};
use anyhow::{Context, ensure};

/// Who called: a process of `uid` in a workload of this name.
pub fn subject(workload: &str, uid: u32) -> Arc<Subject> {
    Arc::new(Subject {
        process: Process {
            pid: 7,
            start_ticks: 7,
            exe: "/usr/bin/curl".into(),
            command: "curl".into(),
            uid,
            user: None,
            verified: true,
        },
        workload: Workload {
            name: workload.into(),
            unit: None,
            container: None,
            pod: None,
            app: None,
        },
    })
}

/// A call of gpt-4o-mini that went well: the `number`th of those that began `at` this time.
pub fn call(number: u32, at: SystemTime, subject: &Arc<Subject>, cost: NanoUsd) -> Record {
    let ms = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
    Record {
        call_id: CallId(ulid::Ulid::from_parts(u64::try_from(ms).unwrap_or(0), number.into())),
        started_at: at,
        kind: Kind::Call,
        via: Via::Intercept,
        subject: Arc::clone(subject),
        environment: "default".into(),
        team: None,
        account: None,
        agent_name: None,
        provider: "openai".into(),
        host: "api.openai.com".into(),
        operation: "chat".into(),
        method: "POST".into(),
        path: "/v1/chat/completions".into(),
        model: Some("gpt-4o-mini".into()),
        model_served: None,
        stream: false,
        status: Some(200),
        outcome: Outcome::Ok,
        error: None,
        usage: Usage { input: 10, output: 2, ..Usage::default() },
        usage_source: UsageSource::Reported,
        cost: Some(cost),
        billing: Billing::Metered,
        price_version: None,
        attempts: Vec::new(),
        retry_of: None,
        ttft: None,
        latency: Duration::from_millis(5),
        upstream: Duration::from_millis(4),
        bytes_in: 100,
        bytes_out: 200,
        flags: Vec::new(),
        decisions: Vec::new(),
        trace: None,
    }
}

/// Keeps them in the ledger of this state directory.
pub fn keep(state: &Path, records: impl IntoIterator<Item = Record>) -> anyhow::Result<()> {
    std::fs::create_dir_all(state)?;
    let ledger = Ledger::open(state, Settings::default(), Arc::new(System))?;
    let last = records.into_iter().map(|record| ledger.settle(Arc::new(record))).last();
    ledger.close();
    // They are kept in order, and all answered by now.
    let kept = last.context("no record")?.try_recv()?;
    ensure!(kept == Durability::Kept, "{kept:?}");
    Ok(())
}
