//! From a record to what is sent.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, SeverityNumber};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ScopeSpans, Span};
use prost::Message as _;
use serde_json::{Value as Json, json};

use super::super::log::{self, Entry, Said, Severity};
use super::super::meter::Meter;
use super::super::sample::{PARENT, began, record};
use super::super::wire::Wire;
use super::super::{nanos, pack, semconv, span};
use crate::llm::usage::NanoUsd;
use crate::record::{Billing, Kind, Outcome, Record, UsageSource};

fn said(attributes: &[KeyValue]) -> BTreeMap<&str, Json> {
    let value = |one: &KeyValue| match one.value.clone().unwrap().value.unwrap() {
        Value::StringValue(text) => json!(text),
        Value::BoolValue(flag) => json!(flag),
        Value::IntValue(number) => json!(number),
        Value::DoubleValue(number) => json!(number),
        other => panic!("{other:?}"),
    };
    let all: BTreeMap<_, _> = attributes.iter().map(|one| (&*one.key, value(one))).collect();
    assert_eq!(all.len(), attributes.len(), "no key twice: {attributes:?}");
    all
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

fn spans(record: &Record) -> Vec<Span> {
    let mut wire = Wire::default();
    span::write(&mut wire, pack::ITEMS, record, record.trace.as_ref().unwrap());
    ScopeSpans::decode(&*wire.done()).unwrap().spans
}

fn line(entry: &Entry, now: SystemTime) -> LogRecord {
    let mut wire = Wire::default();
    log::write(&mut wire, entry, now);
    LogRecord::decode(&*wire.done()).unwrap()
}

#[test]
fn a_call_is_a_span_below_its_clients_and_above_its_tries() {
    let spans = spans(&record());
    let [call, first, second] = &spans[..] else { panic!("{spans:#?}") };
    assert_eq!(hex(&call.trace_id), PARENT[3..35]);
    assert_eq!(hex(&call.parent_span_id), PARENT[36..52]);
    assert_eq!(call.trace_state, "vendor=1");
    assert_eq!((call.name.as_str(), call.kind), ("chat gpt-4o", SpanKind::Client.into()));
    assert_eq!(call.start_time_unix_nano, nanos(began()));
    assert_eq!(call.end_time_unix_nano, nanos(began() + Duration::from_millis(70)));
    assert_eq!((call.flags, first.flags), (0x301, 0x101), "the client's is elsewhere");
    assert_eq!(call.status, None);
    for one in [first, second] {
        assert_eq!((&one.trace_id, &one.parent_span_id), (&call.trace_id, &call.span_id));
        assert!(one.start_time_unix_nano >= call.start_time_unix_nano);
        assert!(one.end_time_unix_nano <= call.end_time_unix_nano);
    }
    assert_ne!(first.span_id, second.span_id);
    let trace = record().trace.unwrap();
    assert_eq!(second.span_id, trace.attempt(2).bytes(), "as the provider was told");
    assert_eq!((&*first.name, &*second.name), ("attempt openai", "attempt gcp.gemini"));
    assert_eq!(first.status.as_ref().unwrap().code, StatusCode::Error as i32);
    let expected = json!({
        "gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-4o",
        "weir.outcome": "upstream_error", "http.request.resend_count": 0, "error.type": "503",
        "server.address": "eu.api.openai.com", "http.response.status_code": 503,
        "weir.cost_usd": 0.0,
    });
    assert_eq!(json!(said(&first.attributes)), expected);
    let second = said(&second.attributes);
    assert_eq!(second["http.request.resend_count"], 1);
    assert!(!second.contains_key("server.address"), "it is another's: {second:?}");
}

#[test]
fn a_calls_span_says_what_the_conventions_ask_for() {
    let call = spans(&record()).swap_remove(0);
    let expected = json!({
        "gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o", "gen_ai.response.model": "gpt-4o-2024-08-06",
        "gen_ai.request.stream": true, "gen_ai.response.time_to_first_chunk": 0.03,
        "gen_ai.usage.input_tokens": 1_000, "gen_ai.usage.output_tokens": 250,
        "gen_ai.usage.cache_read.input_tokens": 900,
        "gen_ai.usage.reasoning.output_tokens": 50,
        "server.address": "eu.api.openai.com", "http.response.status_code": 200,
        "weir.call_id": record().call_id.to_string(), "weir.kind": "call",
        "weir.outcome": "ok", "weir.workload": "exe:python3:agent.py", "weir.team": "search",
        "weir.usage_source": "reported", "weir.billing": "metered", "weir.cost_usd": 0.0145,
        "process.pid": 4711, "process.executable.path": "/usr/bin/python3",
        "process.owner": "anna", "process.real_user.id": 1000,
    });
    assert_eq!(json!(said(&call.attributes)), expected);
    let events: Vec<_> = call.events.iter().map(|event| &*event.name).collect();
    assert_eq!(events, ["weir.first_token", "weir.decision"]);
    assert_eq!(call.events[0].time_unix_nano, nanos(began() + Duration::from_millis(30)));
    let decision = json!({"weir.policy": "budgets.search", "weir.action": "pass"});
    assert_eq!(json!(said(&call.events[1].attributes)), decision);
}

#[test]
fn nothing_of_a_command_line_is_sent() {
    let record = record();
    let mut sent: Vec<_> = spans(&record).iter().flat_map(Span::encode_to_vec).collect();
    sent.extend(line(&Entry::Call(record.into()), began()).encode_to_vec());
    let text = String::from_utf8_lossy(&sent);
    assert!(text.contains("agent.py") && !text.contains("do-not-send-this"), "{text}");
}

#[test]
fn how_a_call_ended_is_its_status() {
    for (outcome, status, error_type, severity) in [
        (Outcome::Ok, Some(200), None, SeverityNumber::Info),
        (Outcome::RateLimited, Some(429), Some("429"), SeverityNumber::Warn),
        (Outcome::Refused, Some(403), Some("refused"), SeverityNumber::Warn),
        (Outcome::ClientAbort, Some(200), Some("client_abort"), SeverityNumber::Warn),
        (Outcome::UpstreamError, Some(500), Some("500"), SeverityNumber::Error),
        (Outcome::StreamError, Some(200), Some("stream_error"), SeverityNumber::Error),
        (Outcome::ConnectError, None, Some("connect_error"), SeverityNumber::Error),
        (Outcome::UpstreamCut, Some(200), Some("upstream_cut"), SeverityNumber::Error),
    ] {
        let error = (outcome != Outcome::Ok).then(|| "it broke".to_owned());
        let record = Record { status, outcome, error, ..record() };
        let call = spans(&record).swap_remove(0);
        let found = said(&call.attributes).remove("error.type");
        assert_eq!(found, error_type.map(|word| json!(word)), "{outcome:?}");
        let message = call.status.map(|status| (status.code, status.message));
        let expected = error_type.map(|_| (StatusCode::Error as i32, "it broke".to_owned()));
        assert_eq!(message, expected, "{outcome:?}");
        let line = line(&Entry::Call(record.into()), began());
        assert_eq!(line.severity_number, i32::from(severity), "{outcome:?}");
    }
}

#[test]
fn what_is_not_known_is_not_said() {
    let record = Record {
        model: None,
        model_served: None,
        usage_source: UsageSource::Unknown,
        cost: None,
        ttft: None,
        attempts: Vec::new(),
        ..record()
    };
    let spans = spans(&record);
    assert_eq!((spans.len(), &*spans[0].name), (1, "chat"));
    let said = said(&spans[0].attributes);
    for key in ["gen_ai.request.model", "gen_ai.usage.input_tokens", "weir.cost_usd"] {
        assert!(!said.contains_key(key), "{key}");
    }
}

#[test]
fn names_and_numbers_of_events_are_bounded() {
    let mut record = Record { model: Some("x".repeat(100_000).into()), ..record() };
    record.decisions = vec![record.decisions[0].clone(); 1_000];
    let call = spans(&record).swap_remove(0);
    assert!(call.name.len() < 300 && call.encoded_len() < 10_000, "{}", call.encoded_len());
    assert_eq!((call.events.len(), call.dropped_events_count), (65, 936));
}

#[test]
fn the_line_of_a_call_is_of_its_trace() {
    let record = Record { outcome: Outcome::UpstreamCut, error: Some("cut".into()), ..record() };
    let call = spans(&record).swap_remove(0);
    let line = line(&Entry::Call(record.into()), began() + Duration::from_secs(9));
    assert_eq!((line.trace_id, line.span_id), (call.trace_id, call.span_id));
    assert_eq!(line.time_unix_nano, call.end_time_unix_nano);
    assert_eq!(line.observed_time_unix_nano, nanos(began() + Duration::from_secs(9)));
    let body = Value::StringValue("chat gpt-4o: upstream_cut: cut".to_owned());
    assert_eq!(line.body.unwrap().value, Some(body));
    assert_eq!((&*line.event_name, &*line.severity_text), ("weir.call", "ERROR"));
    assert_eq!(said(&line.attributes)["weir.cost_usd"], 0.0145);
}

#[test]
fn what_the_agent_says_keeps_its_fields() {
    let entry = Entry::Said(Said {
        at: began(),
        severity: Severity::Warn,
        target: "agent::ledger",
        message: "the disk is full".to_owned(),
        fields: vec![("left", "7".to_owned())],
    });
    let line = line(&entry, began());
    assert_eq!((line.severity_number, &*line.severity_text), (13, "WARN"));
    assert!(line.trace_id.is_empty());
    let expected = json!({"weir.target": "agent::ledger", "left": "7"});
    assert_eq!(json!(said(&line.attributes)), expected);
}

#[test]
fn sums_are_cumulative_and_in_the_conventions_buckets() {
    let mut meter = Meter::default();
    assert!(meter.is_empty());
    meter.add(&record());
    meter.add(&Record { billing: Billing::Subscription, ..record() });
    meter.add(&Record { outcome: Outcome::UpstreamError, status: Some(500), ..record() });
    meter.add(&Record { kind: Kind::Opaque, ..record() });
    meter.add(&Record { usage_source: UsageSource::Unknown, cost: None, ..record() });
    let now = began() + Duration::from_mins(1);
    let metrics = meter.metrics(began(), now);
    let histogram = |name: &str| {
        let metric = metrics.iter().find(|metric| metric.name == name).unwrap();
        match &metric.data {
            Some(Data::Histogram(histogram)) => {
                assert_eq!(histogram.aggregation_temporality, 2, "cumulative");
                histogram.data_points.clone()
            }
            other => panic!("{other:?}"),
        }
    };
    let tokens = histogram("gen_ai.client.token.usage");
    assert_eq!(tokens.len(), 2);
    for point in &tokens {
        let (sum, bucket) = match said(&point.attributes)["gen_ai.token.type"].as_str() {
            // 1,000 is above 256 and not above 1,024; 250 is not above 256.
            Some("input") => (3_000.0, 5),
            Some("output") => (750.0, 4),
            other => panic!("{other:?}"),
        };
        assert_eq!((point.count, point.sum), (3, Some(sum)));
        assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
        assert_eq!(point.bucket_counts[bucket], 3);
        assert_eq!(
            (point.start_time_unix_nano, point.time_unix_nano),
            (nanos(began()), nanos(now))
        );
    }
    let durations = histogram("gen_ai.client.operation.duration");
    let counts: BTreeMap<_, _> = durations
        .iter()
        .map(|point| {
            assert_eq!(point.explicit_bounds, semconv::SECOND_BOUNDS);
            (said(&point.attributes).remove("error.type").map(|it| it.to_string()), point.count)
        })
        .collect();
    assert_eq!(counts, BTreeMap::from([(None, 3), (Some("\"500\"".to_owned()), 1)]));
    let cost = metrics.iter().find(|metric| metric.name == "weir.cost").unwrap();
    let Some(Data::Sum(sum)) = &cost.data else { panic!("{cost:?}") };
    assert!(sum.is_monotonic && sum.aggregation_temporality == 2);
    let dollars: BTreeMap<_, _> = sum
        .data_points
        .iter()
        .map(|point| {
            let Some(number_data_point::Value::AsDouble(value)) = point.value else { panic!() };
            (said(&point.attributes)["weir.billing"].to_string(), value)
        })
        .collect();
    let expected = [("\"metered\"".to_owned(), 0.029), ("\"subscription\"".to_owned(), 0.0145)];
    assert_eq!(dollars, BTreeMap::from(expected));
    assert_eq!(meter.points(), 6);
}

#[test]
fn what_is_one_for_the_conventions_is_one_series() {
    let mut meter = Meter::default();
    for operation in ["responses", "messages", "chat"] {
        meter.add(&Record { operation: operation.into(), ..record() });
    }
    assert_eq!(meter.points(), 4);
}

#[test]
fn too_many_series_are_one_that_says_so() {
    let mut meter = Meter::default();
    for number in 0..5_000 {
        let model = Some(format!("model-{number}").into());
        meter.add(&Record { model, cost: Some(NanoUsd(1_000_000_000)), ..record() });
    }
    assert_eq!(meter.points(), 8_000);
    let metrics = meter.metrics(began(), began());
    let Some(Data::Sum(sum)) = &metrics[2].data else { panic!() };
    let rest = sum
        .data_points
        .iter()
        .find(|point| said(&point.attributes).get("otel.metric.overflow") == Some(&json!(true)));
    let value = number_data_point::Value::AsDouble(3_001.0);
    assert_eq!(rest.unwrap().value, Some(value));
}
