//! A call as spans: one for the call, and one below it for each try. Nothing of what was asked or
//! answered is in them.

use opentelemetry_proto::tonic::trace::v1::span::{Event, SpanKind};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{Span, Status};

use super::attributes::{Attributes, dollars, shown};
use super::{nanos, semconv};
use crate::record::trace::{SpanId, Trace};
use crate::record::{Attempt, Billing, Decision, Kind, Outcome, Record, UsageSource};

/// Decisions told of one call.
const EVENTS: usize = 64;
/// Whether a span's parent is elsewhere is known (`SpanFlags`).
const HAS_IS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;
const SAMPLED: u32 = 1;

/// The spans of a call, which is kept in `trace`.
pub(super) fn spans(record: &Record, trace: &Trace) -> Vec<Span> {
    let tries = record.attempts.iter().zip(1..);
    let mut spans = Vec::with_capacity(1 + record.attempts.len());
    spans.push(call(record, trace));
    spans.extend(tries.map(|(attempt, number)| of_attempt(record, trace, (attempt, number))));
    spans
}

fn call(record: &Record, trace: &Trace) -> Span {
    let mut events = Vec::new();
    if let Some(ttft) = record.ttft {
        events.push(event(semconv::FIRST_TOKEN_EVENT, record, ttft, Attributes::default()));
    }
    let told = record.decisions.len().min(EVENTS);
    events.extend(record.decisions[..told].iter().map(|decision| decided(record, decision)));
    let dropped_events_count = u32::try_from(record.decisions.len() - told).unwrap_or(u32::MAX);
    let mut attributes = about(record);
    attributes.maybe(semconv::ERROR_TYPE, error(record.outcome, record.status).as_deref());
    let remote = if trace.parent.is_some() { IS_REMOTE } else { 0 };
    Span {
        name: semconv::span_name(record),
        kind: SpanKind::Client.into(),
        start_time_unix_nano: nanos(record.started_at),
        end_time_unix_nano: nanos(record.started_at + record.latency),
        attributes: attributes.0,
        events,
        dropped_events_count,
        status: status(record.outcome, record.error.as_deref()),
        flags: SAMPLED | HAS_IS_REMOTE | remote,
        ..place(trace, trace.span, trace.parent)
    }
}

fn of_attempt(record: &Record, trace: &Trace, (attempt, number): (&Attempt, usize)) -> Span {
    let provider = semconv::provider(&attempt.provider);
    let mut attributes = Attributes::default();
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
    // The wall clock may have been stepped in between.
    let end = (attempt.started_at + attempt.upstream).min(record.started_at + record.latency);
    Span {
        name: format!("attempt {provider}"),
        kind: SpanKind::Client.into(),
        start_time_unix_nano: nanos(attempt.started_at),
        end_time_unix_nano: nanos(end.max(attempt.started_at)),
        attributes: attributes.0,
        status: status(attempt.outcome, None),
        flags: SAMPLED | HAS_IS_REMOTE,
        ..place(trace, trace.attempt(number), Some(trace.span))
    }
}

fn place(trace: &Trace, span: SpanId, parent: Option<SpanId>) -> Span {
    Span {
        trace_id: trace.id.bytes().to_vec(),
        span_id: span.bytes().to_vec(),
        parent_span_id: parent.map(|parent| parent.bytes().to_vec()).unwrap_or_default(),
        trace_state: trace.state.as_deref().unwrap_or_default().to_owned(),
        ..Span::default()
    }
}

/// What is known of a call, for its span and for its line in the log.
pub(super) fn about(record: &Record) -> Attributes {
    // As many as there usually are.
    let mut all = Attributes(Vec::with_capacity(32));
    all.text(semconv::OPERATION, semconv::operation(&record.operation))
        .text(semconv::PROVIDER, semconv::provider(&record.provider))
        .maybe(semconv::REQUEST_MODEL, record.model.as_deref())
        .maybe(semconv::RESPONSE_MODEL, record.model_served.as_deref())
        .text(semconv::SERVER_ADDRESS, &record.host)
        .flag(semconv::STREAM, record.stream)
        .text(semconv::CALL_ID, &record.call_id.to_string())
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
        all.text(semconv::RETRY_OF, &first.to_string());
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
    all
}

fn decided(record: &Record, decision: &Decision) -> Event {
    let mut said = Attributes::default();
    said.text(semconv::POLICY, &decision.rule).text(semconv::ACTION, &decision.action);
    event(semconv::DECISION_EVENT, record, decision.at, said)
}

fn event(name: &str, record: &Record, at: std::time::Duration, said: Attributes) -> Event {
    Event {
        time_unix_nano: nanos(record.started_at + at),
        name: name.to_owned(),
        attributes: said.0,
        ..Event::default()
    }
}

/// Unset where all went well, as the conventions want it.
fn status(outcome: Outcome, message: Option<&str>) -> Option<Status> {
    let message = message.map(shown).unwrap_or_default();
    (outcome != Outcome::Ok).then(|| Status { code: StatusCode::Error.into(), message })
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
