//! Lines of the log: one for each call, and the agent's own warnings.

use std::sync::Arc;
use std::time::SystemTime;

use opentelemetry_proto::tonic::logs::v1::{LogRecord, SeverityNumber};

use super::attributes::{Attributes, body, shown};
use super::{nanos, semconv, span};
use crate::record::{Outcome, Record};

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
pub(super) fn line(entry: &Entry, now: SystemTime) -> LogRecord {
    match entry {
        Entry::Call(record) => of_call(record, now),
        Entry::Said(said) => of_agent(said, now),
    }
}

fn of_call(record: &Record, now: SystemTime) -> LogRecord {
    let word = semconv::outcome_word(record.outcome);
    let error = semconv::error_type(record.outcome, record.status);
    let mut attributes = span::about(record);
    attributes.maybe(semconv::ERROR_TYPE, error.as_deref());
    let what = match &record.error {
        Some(error) => format!("{}: {word}: {}", semconv::span_name(record), shown(error)),
        None => format!("{}: {word}", semconv::span_name(record)),
    };
    let line = severe(severity(record.outcome), now);
    let mut line = LogRecord {
        time_unix_nano: nanos(record.started_at + record.latency),
        body: Some(body(what)),
        attributes: attributes.0,
        event_name: semconv::CALL_EVENT.to_owned(),
        ..line
    };
    if let Some(trace) = &record.trace {
        line.trace_id = trace.id.bytes().to_vec();
        line.span_id = trace.span.bytes().to_vec();
        line.flags = 1;
    }
    line
}

fn of_agent(said: &Said, now: SystemTime) -> LogRecord {
    let mut attributes = Attributes::default();
    attributes.text(semconv::TARGET, said.target);
    for (key, value) in &said.fields {
        attributes.text(key, value);
    }
    let severity = match said.severity {
        Severity::Warn => SeverityNumber::Warn,
        Severity::Error => SeverityNumber::Error,
    };
    LogRecord {
        time_unix_nano: nanos(said.at),
        body: Some(body(shown(&said.message))),
        attributes: attributes.0,
        ..severe(severity, now)
    }
}

fn severe(severity: SeverityNumber, now: SystemTime) -> LogRecord {
    let text = match severity {
        SeverityNumber::Error => "ERROR",
        SeverityNumber::Warn => "WARN",
        _ => "INFO",
    };
    LogRecord {
        observed_time_unix_nano: nanos(now),
        severity_number: severity.into(),
        severity_text: text.to_owned(),
        ..LogRecord::default()
    }
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
