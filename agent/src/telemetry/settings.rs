//! Where telemetry goes, and what of it: values that cannot be wrong.
//!
//! What stands in a place for a secret is a parameter, as it is for alerts.

use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;

pub use crate::record::trace::SampleRate;

/// Everything about the way to a collector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings<S> {
    /// The collector.
    pub endpoint: Endpoint,
    /// Headers sent along, besides our own.
    pub headers: Vec<(HeaderName, S)>,
    /// What is sent.
    pub signals: Signals,
    /// How long the collector is waited for, each time.
    pub timeout: Duration,
    /// How often metrics are sent.
    pub metrics_interval: Duration,
    /// Whether what is sent is compressed (gzip).
    pub compress: bool,
}

impl<S> Settings<S> {
    /// The same with every secret read.
    pub fn read<T, E>(&self, mut read: impl FnMut(&S) -> Result<T, E>) -> Result<Settings<T>, E> {
        let headers = self.headers.iter().map(|(name, value)| Ok((name.clone(), read(value)?)));
        Ok(Settings {
            endpoint: self.endpoint.clone(),
            headers: headers.collect::<Result<_, E>>()?,
            signals: self.signals,
            timeout: self.timeout,
            metrics_interval: self.metrics_interval,
            compress: self.compress,
        })
    }
}

/// What is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signals {
    /// A span for each call and each try.
    pub traces: bool,
    /// Calls, tokens and dollars added up.
    pub metrics: bool,
    /// A line for each call, and the agent's own warnings.
    pub logs: bool,
}

impl Signals {
    /// Whether this one is sent.
    pub fn has(self, signal: Signal) -> bool {
        match signal {
            Signal::Traces => self.traces,
            Signal::Metrics => self.metrics,
            Signal::Logs => self.logs,
        }
    }
}

/// One kind of telemetry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Spans.
    Traces,
    /// Sums.
    Metrics,
    /// Lines.
    Logs,
}

impl Signal {
    /// Every signal.
    pub const ALL: [Self; 3] = [Self::Traces, Self::Metrics, Self::Logs];

    /// Its word, which is also the end of the path it is posted to.
    pub fn word(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Metrics => "metrics",
            Self::Logs => "logs",
        }
    }
}

/// The base URL of a collector that takes OTLP over HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Whether it is `https`.
    pub tls: bool,
    /// Host name or address literal (without brackets).
    pub host: Arc<str>,
    /// Port.
    pub port: u16,
    /// What stands before `/v1/traces`; without a slash at its end.
    pub prefix: Arc<str>,
}

impl Default for Endpoint {
    /// A collector on this host, on the protocol's own port.
    fn default() -> Self {
        Self { tls: false, host: "127.0.0.1".into(), port: 4318, prefix: "".into() }
    }
}

impl Endpoint {
    /// Whether it is on this host.
    pub fn is_local(&self) -> bool {
        let address: Option<IpAddr> = self.host.parse().ok();
        &*self.host == "localhost" || address.is_some_and(|address| address.is_loopback())
    }

    /// Host and port as a `Host` header has them.
    pub(super) fn authority(&self) -> String {
        let Self { host, port, .. } = self;
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_string() };
        let usual = if self.tls { 443 } else { 80 };
        if *port == usual { host } else { format!("{host}:{port}") }
    }

    /// Where a signal is posted to.
    pub(super) fn path(&self, signal: Signal) -> String {
        format!("{}/v1/{}", self.prefix, signal.word())
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.prefix)
    }
}

/// Why a text is no base URL of a collector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAnEndpoint {
    /// It is none at all.
    #[error("is not a base URL: write http://HOST:4318 or https://HOST[:PORT][/PATH]")]
    NotAUrl,
    /// It is where one signal goes.
    #[error("is where one signal goes: leave out /v1/…, which is added for each")]
    OneSignal,
    /// It is where gRPC is spoken.
    #[error("is the port for gRPC: OTLP over HTTP is spoken on port 4318")]
    Grpc,
}

impl FromStr for Endpoint {
    type Err = NotAnEndpoint;

    fn from_str(text: &str) -> Result<Self, NotAnEndpoint> {
        let uri: http::Uri = text.parse().map_err(|_| NotAnEndpoint::NotAUrl)?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(NotAnEndpoint::NotAUrl),
        };
        let authority = uri.authority().ok_or(NotAnEndpoint::NotAUrl)?;
        let host = authority.host().trim_matches(['[', ']']);
        let port = match authority.port() {
            Some(port) => port.as_str().parse().map_err(|_| NotAnEndpoint::NotAUrl)?,
            // A port that is none is not seen as one.
            None if authority.as_str() != authority.host() => return Err(NotAnEndpoint::NotAUrl),
            None if tls => 443,
            None => 80,
        };
        let extras = text.contains(['#', '?']) || authority.as_str().contains('@');
        if host.is_empty() || port == 0 || extras {
            return Err(NotAnEndpoint::NotAUrl);
        }
        let prefix = uri.path().trim_end_matches('/');
        if Signal::ALL.iter().any(|signal| prefix.ends_with(&format!("/v1/{}", signal.word()))) {
            return Err(NotAnEndpoint::OneSignal);
        }
        if port == 4317 {
            return Err(NotAnEndpoint::Grpc);
        }
        Ok(Self { tls, host: host.to_ascii_lowercase().into(), port, prefix: prefix.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_print_as_they_read() {
        for (text, shown, traces) in [
            ("http://127.0.0.1:4318", "http://127.0.0.1:4318", "/v1/traces"),
            ("https://Collector.example/", "https://collector.example", "/v1/traces"),
            ("https://h:8443/otlp/", "https://h:8443/otlp", "/otlp/v1/traces"),
            ("http://[::1]:80", "http://[::1]", "/v1/traces"),
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!(endpoint.to_string(), shown);
            assert_eq!(endpoint.path(Signal::Traces), traces);
        }
        assert_eq!(Endpoint::default().to_string(), "http://127.0.0.1:4318");
    }

    #[test]
    fn what_is_no_endpoint_is_told_why() {
        for (text, why) in [
            ("", NotAnEndpoint::NotAUrl),
            ("collector:4318", NotAnEndpoint::NotAUrl),
            ("grpc://collector:4318", NotAnEndpoint::NotAUrl),
            ("http://u:p@collector:4318", NotAnEndpoint::NotAUrl),
            ("http://collector:0", NotAnEndpoint::NotAUrl),
            ("http://collector:99999", NotAnEndpoint::NotAUrl),
            ("http://collector:4318/?a=b", NotAnEndpoint::NotAUrl),
            ("http://collector:4318/v1/traces", NotAnEndpoint::OneSignal),
            ("http://collector:4317", NotAnEndpoint::Grpc),
        ] {
            assert_eq!(text.parse::<Endpoint>(), Err(why), "{text}");
        }
    }

    #[test]
    fn what_is_on_this_host_is_known() {
        let is_local = |text: &str| text.parse::<Endpoint>().unwrap().is_local();
        for text in ["http://127.0.0.1:4318", "http://localhost:4318", "http://[::1]:4318"] {
            assert!(is_local(text), "{text}");
        }
        assert!(!is_local("http://192.0.2.1:4318") && !is_local("https://collector.example"));
    }
}
