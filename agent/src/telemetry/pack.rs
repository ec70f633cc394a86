//! Messages as they are posted: with the resource and the scope around them, encoded, and
//! compressed where that is wanted. And what a collector says that it did not take.

use std::io::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceResponse;
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::metrics::v1::{Metric, ResourceMetrics, ScopeMetrics};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;

use super::attributes::{Attributes, shown};
use super::semconv;
use super::settings::Signal;
use super::wire::Wire;

/// Whom it is about: this agent on this host.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The host's name.
    pub host: Arc<str>,
    /// Tells one run of the agent from another.
    pub instance: Arc<str>,
}

/// The field of spans and of log lines in the message around them.
pub(super) const ITEMS: u32 = 2;

/// Spans or log lines as they are posted, with room for so many bytes. What is around them has the
/// same fields for both: `ExportTraceServiceRequest`, `ResourceSpans` and `ScopeSpans`, or
/// `ExportLogsServiceRequest`, `ResourceLogs` and `ScopeLogs`.
pub(super) fn items(
    (origin, environment): (&Origin, &str),
    room: usize,
    write: impl FnOnce(&mut Wire),
) -> Vec<u8> {
    let mut wire = Wire::with_capacity(room);
    wire.within(1, |of_resource| {
        of_resource.message(1, &resource(origin, environment));
        of_resource.within(2, |of_scope| {
            of_scope.message(1, &scope());
            write(of_scope);
        });
    });
    wire.done()
}

/// Sums as they are posted.
pub(super) fn metrics(metrics: Vec<Metric>, (origin, environment): (&Origin, &str)) -> Vec<u8> {
    let scope_metrics =
        vec![ScopeMetrics { scope: Some(scope()), metrics, ..ScopeMetrics::default() }];
    let resource = Some(resource(origin, environment));
    let resource_metrics =
        vec![ResourceMetrics { resource, scope_metrics, ..ResourceMetrics::default() }];
    ExportMetricsServiceRequest { resource_metrics }.encode_to_vec()
}

fn scope() -> InstrumentationScope {
    let mut attributes = Vec::new();
    attributes.text(semconv::CONVENTIONS, semconv::VERSION);
    InstrumentationScope {
        name: "weir".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        attributes,
        ..InstrumentationScope::default()
    }
}

fn resource(origin: &Origin, environment: &str) -> Resource {
    let mut attributes = Vec::new();
    attributes
        .text(semconv::SERVICE_NAME, "weir")
        .text(semconv::SERVICE_VERSION, env!("CARGO_PKG_VERSION"))
        .text(semconv::SERVICE_INSTANCE, &origin.instance)
        .text(semconv::HOST_NAME, &origin.host)
        .text(semconv::ENVIRONMENT, environment);
    Resource { attributes, ..Resource::default() }
}

/// The body to send.
pub(super) fn body(message: Vec<u8>, compress: bool) -> Bytes {
    if !compress {
        return message.into();
    }
    let mut encoder = GzEncoder::new(Vec::with_capacity(message.len() / 4), Compression::fast());
    // Writing to memory does not fail.
    let packed = encoder.write_all(&message).and_then(|()| encoder.finish());
    packed.unwrap_or_default().into()
}

/// What a collector that took a message did not take of it, and why; `None` where all of it, or
/// where its answer cannot be read: it has said that it took it.
pub(super) fn rejected(signal: Signal, answer: &[u8]) -> Option<(u64, String)> {
    let (rejected, message) = match signal {
        Signal::Traces => {
            let said = ExportTraceServiceResponse::decode(answer).ok()?.partial_success?;
            (said.rejected_spans, said.error_message)
        }
        Signal::Metrics => {
            let said = ExportMetricsServiceResponse::decode(answer).ok()?.partial_success?;
            (said.rejected_data_points, said.error_message)
        }
        Signal::Logs => {
            let said = ExportLogsServiceResponse::decode(answer).ok()?.partial_success?;
            (said.rejected_log_records, said.error_message)
        }
    };
    let rejected = u64::try_from(rejected).unwrap_or_default();
    // Without any it is a word of advice, or nothing at all.
    (rejected > 0 || !message.is_empty()).then(|| (rejected, shown(&message).into_owned()))
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use opentelemetry_proto::tonic::collector::trace::v1::ExportTracePartialSuccess;

    use super::*;

    #[test]
    fn what_was_not_taken_is_told() {
        let of = |rejected_spans, message: &str| {
            let error_message = message.to_owned();
            let partial_success = Some(ExportTracePartialSuccess { rejected_spans, error_message });
            let answer = ExportTraceServiceResponse { partial_success }.encode_to_vec();
            rejected(Signal::Traces, &answer)
        };
        assert_eq!(of(3, "too old"), Some((3, "too old".to_owned())));
        assert_eq!(of(0, "soon full\n"), Some((0, "soon full\\u{a}".to_owned())));
        assert_eq!(of(0, ""), None);
        assert_eq!(of(-1, ""), None);
        assert_eq!(rejected(Signal::Traces, b""), None);
        assert_eq!(rejected(Signal::Metrics, b"<html>not protobuf</html>"), None);
    }

    #[test]
    fn what_is_compressed_is_the_message() {
        let message = b"a message ".repeat(100);
        let packed = body(message.clone(), true);
        assert!(packed.len() < message.len() / 4);
        let mut unpacked = Vec::new();
        flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut unpacked).unwrap();
        assert_eq!(unpacked, message);
        assert_eq!(body(message.clone(), false), message);
    }
}
