//! A call as spans: one for the call, and one below it for each try. Nothing of what was asked or
//! answered is in them.

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;

use super::attributes::{Attributes, Written, dollars, shown};
use super::wire::Wire;
use super::{nanos, semconv};
use crate::record::trace::{SpanId, Trace};
use crate::record::{Attempt, Billing, Decision, Kind, Outcome, Record, UsageSource};

/// Decisions told of one call.
const EVENTS: usize = 64;
/// Whether a span's parent is elsewhere is known (`SpanFlags`).
const HAS_IS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;
const SAMPLED: u32 = 1;

/// Fields of `Span`, by OpenTelemetry's `trace.proto`.
mod field {
    pub(super) const TRACE_ID: u32 = 1;
    pub(super) const SPAN_ID: u32 = 2;
    pub(super) const TRACE_STATE: u32 = 3;
    pub(super) const PARENT_SPAN_ID: u32 = 4;
    pub(super) const NAME: u32 = 5;
    pub(super) const KIND: u32 = 6;
    pub(super) const START: u32 = 7;
    pub(super) const END: u32 = 8;
    pub(super) const ATTRIBUTES: u32 = 9;
    pub(super) const EVENTS: u32 = 11;
    pub(super) const DROPPED_EVENTS: u32 = 12;
    pub(super) const STATUS: u32 = 15;
    pub(super) const FLAGS: u32 = 16;
}

/// The spans of a call, which is kept in `trace`, each into this field of a message.
pub(super) fn write(wire: &mut Wire, field: u32, record: &Record, trace: &Trace) {
    wire.within(field, |span| call(span, record, trace));
    for (attempt, number) in record.attempts.iter().zip(1..) {
        wire.within(field, |span| of_attempt(span, record, trace, (attempt, number)));
    }
}

fn call(span: &mut Wire, record: &Record, trace: &Trace) {
    let remote = if trace.parent.is_some() { IS_REMOTE } else { 0 };
    place(span, trace, trace.span, trace.parent);
    span.fixed32(field::FLAGS, SAMPLED | HAS_IS_REMOTE | remote);
    span.joined(field::NAME, &semconv::span_name(record).each_ref().map(|part| &**part));
    times(span, nanos(record.started_at), nanos(record.started_at + record.latency));
    let mut attributes = Written { to: span, field: field::ATTRIBUTES };
    about(record, &mut attributes);
    attributes.maybe(semconv::ERROR_TYPE, error(record.outcome, record.status).as_deref());
    if let Some(ttft) = record.ttft {
        event(span, semconv::FIRST_TOKEN_EVENT, nanos(record.started_at + ttft), None);
    }
    let told = record.decisions.len().min(EVENTS);
    for decision in &record.decisions[..told] {
        let at = nanos(record.started_at + decision.at);
        event(span, semconv::DECISION_EVENT, at, Some(decision));
    }
    let untold = u32::try_from(record.decisions.len() - told).unwrap_or(u32::MAX);
    span.uint32(field::DROPPED_EVENTS, untold);
    status(span, record.outcome, record.error.as_deref());
}

fn of_attempt(
    span: &mut Wire,
    record: &Record,
    trace: &Trace,
    (attempt, number): (&Attempt, usize),
) {
    let provider = semconv::provider(&attempt.provider);
    place(span, trace, trace.attempt(number), Some(trace.span));
    span.fixed32(field::FLAGS, SAMPLED | HAS_IS_REMOTE);
    span.joined(field::NAME, &["attempt ", provider]);
    // The wall clock may have been stepped in between.
    let end = (attempt.started_at + attempt.upstream).min(record.started_at + record.latency);
    times(span, nanos(attempt.started_at), nanos(end.max(attempt.started_at)));
    let mut attributes = Written { to: span, field: field::ATTRIBUTES };
    attributes
        .text(semconv::PROVIDER, provider)
        .maybe(semconv::REQUEST_MODEL, attempt.model.as_deref())
        .text(semconv::OUTCOME, semconv::outcome_word(attempt.outcome))
        .int(semconv::RESEND_COUNT, number as u64 - 1)
        .maybe(semconv::ERROR_TYPE, error(attempt.outcome, attempt.status).as_deref());
    if attempt.provider == record.provider {
        attributes.text(semconv::SERVER_ADDRESS, &record.host);
    }
    if let Some(status) = attempt.status {
        attributes.int(semconv::STATUS_CODE, status.into());
    }
    if let Some(cost) = attempt.cost {
        attributes.float(semconv::COST_USD, dollars(cost));
    }
    status(span, attempt.outcome, None);
}

fn place(span: &mut Wire, trace: &Trace, id: SpanId, parent: Option<SpanId>) {
    span.bytes(field::TRACE_ID, &trace.id.bytes());
    span.bytes(field::SPAN_ID, &id.bytes());
    if let Some(parent) = parent {
        span.bytes(field::PARENT_SPAN_ID, &parent.bytes());
    }
    if let Some(state) = &trace.state {
        span.text(field::TRACE_STATE, state);
    }
    span.int32(field::KIND, SpanKind::Client.into());
}

fn times(span: &mut Wire, start: u64, end: u64) {
    span.fixed64(field::START, start);
    span.fixed64(field::END, end);
}

/// What is known of a call, for its span and for its line in the log.
pub(super) fn about(record: &Record, all: &mut impl Attributes) {
    let mut id = [0; ulid::ULID_LEN];
    all.text(semconv::OPERATION, semconv::operation(&record.operation))
        .text(semconv::PROVIDER, semconv::provider(&record.provider))
        .maybe(semconv::REQUEST_MODEL, record.model.as_deref())
        .maybe(semconv::RESPONSE_MODEL, record.model_served.as_deref())
        .text(semconv::SERVER_ADDRESS, &record.host)
        .flag(semconv::STREAM, record.stream)
        .text(semconv::CALL_ID, record.call_id.0.array_to_str(&mut id))
        .text(semconv::KIND, kind(record.kind))
        .text(semconv::OUTCOME, semconv::outcome_word(record.outcome))
        .text(semconv::WORKLOAD, &record.subject.workload.name)
        .maybe(semconv::TEAM, record.team.as_deref())
        .maybe(semconv::AGENT_NAME, record.agent_name.as_deref())
        .text(semconv::USAGE_SOURCE, source(record.usage_source))
        .text(semconv::BILLING, billing(record.billing));
    if let Some(status) = record.status {
        all.int(semconv::STATUS_CODE, status.into());
    }
    if let Some(ttft) = record.ttft {
        all.float(semconv::FIRST_CHUNK, ttft.as_secs_f64());
    }
    if let Some(first) = record.retry_of {
        all.text(semconv::RETRY_OF, first.0.array_to_str(&mut id));
    }
    if let Some(cost) = record.cost {
        all.float(semconv::COST_USD, dollars(cost));
    }
    if matches!(record.usage_source, UsageSource::Reported | UsageSource::Estimated) {
        // The whole always, parts of it where there are any.
        for (number, (key, count)) in semconv::tokens(&record.usage).into_iter().enumerate() {
            if number < 2 || count > 0 {
                all.int(key, count);
            }
        }
    }
    let process = &record.subject.process;
    if process.pid != 0 {
        all.int(semconv::PID, process.pid.into());
    }
    if !process.exe.is_empty() {
        all.text(semconv::EXECUTABLE, &process.exe);
    }
    all.maybe(semconv::OWNER, process.user.as_deref()).int(semconv::USER_ID, process.uid.into());
}

/// `Event`: its time is field 1, its name 2, its attributes are 3.
fn event(span: &mut Wire, name: &str, at: u64, decision: Option<&Decision>) {
    span.within(field::EVENTS, |event| {
        event.fixed64(1, at);
        event.text(2, name);
        if let Some(Decision { rule, action, .. }) = decision {
            let mut said = Written { to: event, field: 3 };
            said.text(semconv::POLICY, rule).text(semconv::ACTION, action);
        }
    });
}

/// `Status`: its message is field 2, its code 3. Unset where all went well, as the conventions want
/// it.
fn status(span: &mut Wire, outcome: Outcome, message: Option<&str>) {
    if outcome == Outcome::Ok {
        return;
    }
    span.within(field::STATUS, |status| {
        if let Some(message) = message {
            status.text(2, &shown(message));
        }
        status.int32(3, StatusCode::Error.into());
    });
}

fn error(outcome: Outcome, status: Option<u16>) -> Option<std::borrow::Cow<'static, str>> {
    semconv::error_type(outcome, status)
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Call => "call",
        Kind::Request => "request",
        Kind::Opaque => "opaque",
    }
}

fn source(source: UsageSource) -> &'static str {
    match source {
        UsageSource::Reported => "reported",
        UsageSource::Estimated => "estimated",
        UsageSource::Unknown => "unknown",
        UsageSource::None => "none",
    }
}

pub(super) fn billing(billing: Billing) -> &'static str {
    match billing {
        Billing::Metered => "metered",
        Billing::Subscription => "subscription",
        Billing::Unknown => "unknown",
    }
}
