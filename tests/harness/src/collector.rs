//! An OpenTelemetry collector: takes OTLP over HTTP, decodes it by the official messages, and keeps
//! what it was sent. It can be told to be of no use.

use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::net::SocketAddr;
use std::sync::Arc;

use agent::drain::Drain;
use bytes::Bytes;
use flate2::read::GzDecoder;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::trace::v1::Span;
use parking_lot::Mutex;
use prost::Message as _;
use serde_json::json;
use tokio::net::TcpListener;

/// How a collector behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Temper {
    /// Takes what it is sent.
    Willing,
    /// Answers everything with this status.
    Refusing(u16),
    /// Says nothing.
    Silent,
}

/// A collector that runs until it is dropped.
#[derive(Debug)]
pub struct Collector {
    kept: Arc<Mutex<Kept>>,
    drain: Drain,
}

#[derive(Debug)]
struct Kept {
    temper: Temper,
    asked: u64,
    spans: Vec<Span>,
    lines: Vec<LogRecord>,
    metrics: Vec<Metric>,
    resource: Vec<KeyValue>,
}

impl Collector {
    /// Listens where a collector is looked for by default: a stage's namespace is its own.
    pub async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 4318))).await?;
        let kept = Arc::new(Mutex::new(Kept {
            temper: Temper::Willing,
            asked: 0,
            spans: Vec::new(),
            lines: Vec::new(),
            metrics: Vec::new(),
            resource: Vec::new(),
        }));
        let (drain, shared) = (Drain::new(), Arc::clone(&kept));
        let (end, tasks) = (drain.clone(), drain.clone());
        drain.spawn(async move {
            loop {
                let accepted = tokio::select! {
                    accepted = listener.accept() => accepted,
                    () = end.signalled() => return,
                };
                let Ok((stream, _agent)) = accepted else { return };
                let (end, shared) = (end.clone(), Arc::clone(&shared));
                tasks.spawn(async move {
                    let service = service_fn(move |request| take(request, Arc::clone(&shared)));
                    let serving =
                        http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                    tokio::select! {
                        // The agent's leaving is how every connection ends.
                        ended = serving => drop(ended),
                        () = end.signalled() => {}
                    }
                });
            }
        });
        Ok(Self { kept, drain })
    }

    /// Behaves differently from now on.
    pub fn be(&self, temper: Temper) {
        self.kept.lock().temper = temper;
    }

    /// How often it was asked to take spans.
    pub fn asked(&self) -> u64 {
        self.kept.lock().asked
    }

    /// All spans it has taken.
    pub fn spans(&self) -> Vec<Span> {
        self.kept.lock().spans.clone()
    }

    /// All log lines it has taken.
    pub fn lines(&self) -> Vec<LogRecord> {
        self.kept.lock().lines.clone()
    }

    /// The metrics it took last.
    pub fn metrics(&self) -> Vec<Metric> {
        self.kept.lock().metrics.clone()
    }

    /// Whom it heard of last.
    pub fn resource(&self) -> BTreeMap<String, serde_json::Value> {
        said(&self.kept.lock().resource)
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.drain.signal();
    }
}

/// Attributes by their keys.
pub fn said(attributes: &[KeyValue]) -> BTreeMap<String, serde_json::Value> {
    let value = |one: &KeyValue| match one.value.as_ref().and_then(|it| it.value.clone()) {
        Some(Value::StringValue(text)) => json!(text),
        Some(Value::BoolValue(flag)) => json!(flag),
        Some(Value::IntValue(number)) => json!(number),
        Some(Value::DoubleValue(number)) => json!(number),
        other => json!(format!("{other:?}")),
    };
    attributes.iter().map(|one| (one.key.clone(), value(one))).collect()
}

async fn take(
    request: Request<Incoming>,
    kept: Arc<Mutex<Kept>>,
) -> io::Result<Response<Full<Bytes>>> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let temper = {
        let mut kept = kept.lock();
        kept.asked += u64::from(parts.uri.path() == "/v1/traces");
        kept.temper
    };
    let status = match temper {
        Temper::Silent => std::future::pending().await,
        Temper::Refusing(status) => status,
        Temper::Willing => {
            let mut message = Vec::new();
            let is_packed = parts.headers.get("content-encoding").is_some_and(|it| it == "gzip");
            if is_packed {
                GzDecoder::new(&body[..]).read_to_end(&mut message)?;
            } else {
                message.extend_from_slice(&body);
            }
            match keep(parts.uri.path(), &message, &mut kept.lock()) {
                Some(()) => 200,
                None => 400,
            }
        }
    };
    let answer = Response::builder().status(status).body(Full::default());
    answer.map_err(io::Error::other)
}

/// Decodes a message of this path; `None` where it is none.
fn keep(path: &str, message: &[u8], kept: &mut Kept) -> Option<()> {
    match path {
        "/v1/traces" => {
            for one in ExportTraceServiceRequest::decode(message).ok()?.resource_spans {
                kept.resource = one.resource?.attributes;
                kept.spans.extend(one.scope_spans.into_iter().flat_map(|scope| scope.spans));
            }
        }
        "/v1/logs" => {
            for one in ExportLogsServiceRequest::decode(message).ok()?.resource_logs {
                kept.resource = one.resource?.attributes;
                kept.lines.extend(one.scope_logs.into_iter().flat_map(|scope| scope.log_records));
            }
        }
        "/v1/metrics" => {
            for one in ExportMetricsServiceRequest::decode(message).ok()?.resource_metrics {
                kept.resource = one.resource?.attributes;
                kept.metrics = one.scope_metrics.into_iter().flat_map(|it| it.metrics).collect();
            }
        }
        _ => return None,
    }
    Some(())
}
