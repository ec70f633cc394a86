//! Lines of the log: one for each call, and the agent's own warnings.

use std::sync::Arc;
use std::time::SystemTime;

use opentelemetry_proto::tonic::logs::v1::SeverityNumber;

use super::attributes::{Attributes, Written, shown};
use super::wire::Wire;
use super::{nanos, semconv, span};
use crate::record::{Outcome, Record};

/// Fields of `LogRecord`, by OpenTelemetry's `logs.proto`.
mod field {
    pub(super) const TIME: u32 = 1;
    pub(super) const SEVERITY: u32 = 2;
    pub(super) const SEVERITY_TEXT: u32 = 3;
    pub(super) const BODY: u32 = 5;
    pub(super) const ATTRIBUTES: u32 = 6;
    pub(super) const FLAGS: u32 = 8;
    pub(super) const TRACE_ID: u32 = 9;
    pub(super) const SPAN_ID: u32 = 10;
    pub(super) const OBSERVED: u32 = 11;
    pub(super) const EVENT_NAME: u32 = 12;
}

/// What is to be told.
#[derive(Debug, Clone)]
pub(super) enum Entry {
    /// A call is over.
    Call(Arc<Record>),
    /// The agent said something.
    Said(Said),
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Somebody should look at it.
    Warn,
    /// Something failed.
    Error,
}

/// Something the agent said in its own log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// When.
    pub at: SystemTime,
    /// How bad it is.
    pub severity: Severity,
    /// The part that said it: `agent::ledger`.
    pub target: &'static str,
    /// The message.
    pub message: String,
    /// Its fields.
    pub fields: Vec<(&'static str, String)>,
}

/// The line for an entry. `now` is when it is sent.
pub(super) fn write(line: &mut Wire, entry: &Entry, now: SystemTime) {
    line.fixed64(field::OBSERVED, nanos(now));
    match entry {
        Entry::Call(record) => of_call(line, record),
        Entry::Said(said) => of_agent(line, said),
    }
}

fn of_call(line: &mut Wire, record: &Record) {
    line.fixed64(field::TIME, nanos(record.started_at + record.latency));
    severe(line, severity(record.outcome));
    let [operation, space, model] = &semconv::span_name(record);
    let word = semconv::outcome_word(record.outcome);
    let (colon, why) = match &record.error {
        Some(error) => (": ", shown(error)),
        None => ("", "".into()),
    };
    body(line, &[operation, space, model, ": ", word, colon, &why]);
    let mut attributes = Written { to: line, field: field::ATTRIBUTES };
    span::about(record, &mut attributes);
    let error = semconv::error_type(record.outcome, record.status);
    attributes.maybe(semconv::ERROR_TYPE, error.as_deref());
    line.text(field::EVENT_NAME, semconv::CALL_EVENT);
    if let Some(trace) = &record.trace {
        line.bytes(field::TRACE_ID, &trace.id.bytes());
        line.bytes(field::SPAN_ID, &trace.span.bytes());
        line.fixed32(field::FLAGS, 1);
    }
}

fn of_agent(line: &mut Wire, said: &Said) {
    line.fixed64(field::TIME, nanos(said.at));
    severe(
        line,
        match said.severity {
            Severity::Warn => SeverityNumber::Warn,
            Severity::Error => SeverityNumber::Error,
        },
    );
    body(line, &[&shown(&said.message)]);
    let mut attributes = Written { to: line, field: field::ATTRIBUTES };
    attributes.text(semconv::TARGET, said.target);
    for (key, value) in &said.fields {
        attributes.text(key, value);
    }
}

/// `AnyValue`: a text is field 1.
fn body(line: &mut Wire, parts: &[&str]) {
    line.within(field::BODY, |value| value.joined(1, parts));
}

fn severe(line: &mut Wire, severity: SeverityNumber) {
    let text = match severity {
        SeverityNumber::Error => "ERROR",
        SeverityNumber::Warn => "WARN",
        _ => "INFO",
    };
    line.int32(field::SEVERITY, severity.into());
    line.text(field::SEVERITY_TEXT, text);
}

/// What a client did or a policy wanted is worth a look; what failed is an error.
fn severity(outcome: Outcome) -> SeverityNumber {
    match outcome {
        Outcome::Ok => SeverityNumber::Info,
        Outcome::RateLimited | Outcome::ClientAbort | Outcome::Refused => SeverityNumber::Warn,
        Outcome::UpstreamError
        | Outcome::StreamError
        | Outcome::ConnectError
        | Outcome::UpstreamCut
        | Outcome::Internal
        | Outcome::Lost => SeverityNumber::Error,
    }
}
