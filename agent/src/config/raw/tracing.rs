//! What is sent to an OpenTelemetry collector, as written.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::secret::SecretSource;
use crate::config::value::{Share, Span};

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Tracing")]
#[expect(clippy::struct_excessive_bools, reason = "each is a key of the file")]
pub(in crate::config) struct RawTracing {
    /// Whether to send anything to a collector.
    pub(in crate::config) enabled: bool,
    /// Share of the calls that are traced, from 0 to 1. A call that its client already traces is
    /// traced, one that its client has decided not to trace is not.
    pub(in crate::config) sample_rate: Share,
    /// Base URL of a collector that takes OTLP over HTTP (`https://collector.example:4318`); where
    /// it is not said, that of `OTEL_EXPORTER_OTLP_ENDPOINT` in the daemon's environment, or
    /// `http://127.0.0.1:4318`.
    pub(in crate::config) endpoint: Option<String>,
    /// Headers to send along; their values are secrets. Where there are none, those of
    /// `OTEL_EXPORTER_OTLP_HEADERS` in the daemon's environment.
    pub(in crate::config) headers: BTreeMap<String, SecretSource>,
    /// Send a span for each call and each try.
    pub(in crate::config) traces: bool,
    /// Send calls, tokens and dollars added up.
    pub(in crate::config) metrics: bool,
    /// Send a log line for each call, and the agent's own warnings.
    pub(in crate::config) logs: bool,
    /// How often metrics are sent.
    pub(in crate::config) metrics_interval: Span,
    /// How long the collector is waited for, each time.
    pub(in crate::config) timeout: Span,
    /// Whether what is sent is compressed. Without a word, what leaves this host is.
    pub(in crate::config) compression: Option<RawCompression>,
    /// Certificates (PEM) that vouch for the collector, instead of the system's.
    pub(in crate::config) ca_file: Option<PathBuf>,
}

impl Default for RawTracing {
    fn default() -> Self {
        Self {
            enabled: false,
            sample_rate: Share::default(),
            endpoint: None,
            headers: BTreeMap::new(),
            traces: true,
            metrics: true,
            logs: true,
            metrics_interval: Span(Duration::from_mins(1)),
            timeout: Span(Duration::from_secs(10)),
            compression: None,
            ca_file: None,
        }
    }
}

/// How what is sent is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum RawCompression {
    /// By gzip.
    Gzip,
    /// Not at all.
    None,
}
