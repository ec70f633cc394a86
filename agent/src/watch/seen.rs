//! A call that is over, as far as watching it needs to know.

use std::hash::Hash;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::llm::usage::NanoUsd;
use crate::policy::{Bound, Call};
use crate::record::{Billing, CallId, FailureClass, Kind, Record};
use crate::subject::Subject;

/// A call that is over.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// Identifies it.
    pub call_id: CallId,
    /// Who made it.
    pub subject: &'a Subject,
    /// `X-Agent-Name` as sent.
    pub agent_name: Option<&'a str>,
    /// The team it belongs to.
    pub team: Option<&'a str>,
    /// Environment then.
    pub environment: &'a str,
    /// Provider that answered, or was to.
    pub provider: &'a str,
    /// Host asked for.
    pub host: &'a str,
    /// Request path without the query.
    pub path: &'a str,
    /// Operation.
    pub operation: &'a Arc<str>,
    /// Model asked for; the one that answered where none was named.
    pub model: Option<&'a Arc<str>>,
    /// When it ended.
    pub ended_at: SystemTime,
    /// From its head to its last byte.
    pub latency: Duration,
    /// Why it failed, where it did.
    pub class: Option<FailureClass>,
    /// What is owed for it: nothing under a flat plan, `None` where that is not known.
    pub cost: Option<NanoUsd>,
}

impl<'a> Seen<'a> {
    /// A call; `None` for a request that is none.
    pub fn of(record: &'a Record) -> Option<Self> {
        (record.kind == Kind::Call).then(|| Self {
            call_id: record.call_id,
            subject: &record.subject,
            agent_name: record.agent_name.as_deref(),
            team: record.team.as_deref(),
            environment: &record.environment,
            provider: &record.provider,
            host: &record.host,
            path: &record.path,
            operation: &record.operation,
            model: record.model.as_ref().or(record.model_served.as_ref()),
            ended_at: record.started_at + record.latency,
            latency: record.latency,
            class: FailureClass::of(record.outcome, record.status, record.error.as_deref()),
            cost: record.cost.filter(|_| record.billing != Billing::Subscription),
        })
    }

    /// Its workload's name.
    pub(super) fn workload(&self) -> &'a Arc<str> {
        &self.subject.workload.name
    }

    /// Whether it says how long calls take: one that failed at once does not, and one that was
    /// given up because it took too long does.
    pub(super) fn is_timed(&self) -> bool {
        matches!(self.class, None | Some(FailureClass::Timeout))
    }

    /// As selectors ask about calls.
    pub(super) fn call(&self) -> Call<'a> {
        Call {
            subject: self.subject,
            agent_name: self.agent_name,
            environment: self.environment,
            provider: self.provider,
            host: self.host,
            path: self.path,
            model: self.model.map(|model| &**model),
            body_bytes: 0,
            bound: Bound::default(),
            billing: Billing::Unknown,
            prompt: None,
        }
    }

    /// Everything that a rule can ask for.
    pub(super) fn facts(&self) -> impl Hash {
        let (workload, process) = (&self.subject.workload, &self.subject.process);
        (
            (&*workload.name, workload.unit.as_deref(), workload.container.as_deref()),
            (&*process.exe, process.uid, process.user.as_deref()),
            (self.agent_name, self.team, self.environment),
            (self.provider, self.path, &**self.operation, self.model.map(|model| &**model)),
        )
    }
}
