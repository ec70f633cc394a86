//! What is sent to a collector, and where that is. What the file does not say, the environment of
//! the daemon may say by OpenTelemetry's own variables.

use http::HeaderName;

use super::Check;
use crate::config::checked::Tracing;
use crate::config::problem::Trail;
use crate::config::raw::{RawCompression, RawTracing};
use crate::config::secret::SecretSource;
use crate::secret::Secret;
use crate::telemetry::settings::{Endpoint, SampleRate, Settings, Signals};

/// See <https://opentelemetry.io/docs/specs/otel/protocol/exporter/>.
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
/// See [`ENDPOINT`]: `name=value,name=value`, values percent-encoded.
const HEADERS: &str = "OTEL_EXPORTER_OTLP_HEADERS";
/// Headers that are ours, or HTTP's own.
const OURS: [&str; 7] = [
    "host",
    "content-type",
    "content-length",
    "content-encoding",
    "transfer-encoding",
    "connection",
    "user-agent",
];

type Headers = Vec<(HeaderName, SecretSource)>;

/// `None` where nothing is to be sent; what is written is checked all the same.
pub(super) fn settings(
    check: &mut Check<'_>,
    raw: &RawTracing,
    variable: impl Fn(&str) -> Option<String>,
) -> Option<Tracing> {
    let trail = Trail::default().key("tracing");
    let variable = |name: &str| variable(name).filter(|value| raw.enabled && !value.is_empty());
    let endpoint = match (&raw.endpoint, variable(ENDPOINT)) {
        (Some(text), _) => check.endpoint(text, "", &trail.key("endpoint")),
        (None, Some(text)) => check.endpoint(&text, ENDPOINT, &trail.key("endpoint")),
        (None, None) => Endpoint::default(),
    };
    let written = check.headers(raw, &trail.key("headers"));
    let headers = match variable(HEADERS) {
        Some(text) if raw.headers.is_empty() => check.pairs(&text, &trail.key("headers")),
        _ => written,
    };
    if !headers.is_empty() && !endpoint.tls && !endpoint.is_local() {
        let what = format!("these are sent in clear to {}: use https", endpoint.host);
        check.warning(&trail.key("headers"), what);
    }
    let ca_file = raw.ca_file.as_ref().map(|file| check.file(file, &trail.key("ca_file")));
    if ca_file.is_some() && !endpoint.tls {
        let what = "has no effect: the endpoint is plain http";
        check.warning(&trail.key("ca_file"), what.to_owned());
    }
    let signals = Signals { traces: raw.traces, metrics: raw.metrics, logs: raw.logs };
    if raw.enabled && signals == (Signals { traces: false, metrics: false, logs: false }) {
        let what = "nothing is sent: traces, metrics and logs are all false";
        check.warning(&trail.key("enabled"), what.to_owned());
    }
    // To a collector on this host compressing costs more than it saves.
    let compress = match raw.compression {
        Some(compression) => compression == RawCompression::Gzip,
        None => !endpoint.is_local(),
    };
    let settings = Settings {
        endpoint,
        headers,
        signals,
        timeout: check.positive(raw.timeout, &trail.key("timeout")),
        metrics_interval: check.positive(raw.metrics_interval, &trail.key("metrics_interval")),
        compress,
    };
    let sample_rate = SampleRate::millionths(raw.sample_rate.0);
    raw.enabled.then_some(Tracing { settings, sample_rate, ca_file })
}

impl Check<'_> {
    /// `variable` is where it stands, where that is not the file.
    fn endpoint(&mut self, text: &str, variable: &str, trail: &Trail) -> Endpoint {
        text.parse::<Endpoint>().unwrap_or_else(|fault| {
            let from = if variable.is_empty() { "" } else { "of the environment " };
            let place = if variable.is_empty() { String::new() } else { format!("{variable}: ") };
            self.problem(trail, format!("{place}`{text}` {from}{fault}"));
            Endpoint::default()
        })
    }

    fn headers(&mut self, raw: &RawTracing, trail: &Trail) -> Headers {
        let mut headers = Vec::new();
        for (name, value) in &raw.headers {
            let at = trail.key(name);
            let value = self.secret(value, &at);
            headers.extend(self.header(name, &at).map(|name| (name, value)));
        }
        headers
    }

    fn header(&mut self, name: &str, trail: &Trail) -> Option<HeaderName> {
        match HeaderName::try_from(name) {
            Ok(name) if OURS.contains(&name.as_str()) => {
                self.problem(trail, format!("the header `{name}` is set by weir"));
                None
            }
            Ok(name) => Some(name),
            Err(_) => {
                self.problem(trail, format!("`{name}` is not a header's name"));
                None
            }
        }
    }

    /// The headers of a variable. Their values are not repeated: they are secrets.
    fn pairs(&mut self, text: &str, trail: &Trail) -> Headers {
        let mut headers = Vec::new();
        for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
            let value = pair.split_once('=').and_then(|(name, value)| {
                Some((name.trim(), decoded(value.trim()).filter(|value| !value.is_empty())?))
            });
            let Some((name, value)) = value else {
                let what =
                    format!("{HEADERS}: write NAME=VALUE,NAME=VALUE, values percent-encoded");
                self.problem(trail, what);
                return Vec::new();
            };
            let name = self.header(name, trail);
            let value = SecretSource::Literal(Secret::new(value));
            headers.extend(name.map(|name| (name, value)));
        }
        headers
    }
}

/// Without the percent-encoding; `None` where it is not valid.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, more @ ..] = rest {
        rest = more;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, after) = more.split_at_checked(2)?;
        let digits = std::str::from_utf8(digits).ok()?;
        let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        bytes.push(u8::from_str_radix(digits, 16).ok().filter(|_| is_hex)?);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

/// A variable of this process.
pub(super) fn of_environment(name: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "config reads the environment")]
    let value = std::env::var(name);
    value.ok()
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::config::tree::Node;

    /// What is made of a section that is on, in this environment: the settings and what is said.
    fn checked(raw: RawTracing, environment: &[(&str, &str)]) -> (Tracing, Vec<String>) {
        let file: Arc<Path> = Arc::from(Path::new("weir.yaml"));
        let (tree, mut problems) = (Node::empty(&file), Vec::new());
        let mut check =
            Check { tree: &tree, kept: &tree, problems: &mut problems, warnings: Vec::new() };
        let raw = RawTracing { enabled: true, ..raw };
        let found = settings(&mut check, &raw, |name| {
            let found = environment.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        });
        let warnings = std::mem::take(&mut check.warnings);
        let said =
            problems.into_iter().chain(warnings).map(|it| format!("{}: {}", it.path, it.what));
        (found.unwrap(), said.collect())
    }

    fn headers(found: &Tracing) -> Vec<(String, String)> {
        let read = |(name, source): &(HeaderName, SecretSource)| {
            (name.to_string(), source.read().unwrap().reveal().to_owned())
        };
        found.settings.headers.iter().map(read).collect()
    }

    #[test]
    fn the_file_comes_before_the_environment_and_that_before_the_default() {
        let environment = [
            (ENDPOINT, "https://env.example"),
            (HEADERS, "x-a=b%20c, authorization=Basic%20dTpw,"),
        ];
        let (found, said) = checked(RawTracing::default(), &environment);
        assert_eq!(found.settings.endpoint.to_string(), "https://env.example");
        let expected = [("x-a", "b c"), ("authorization", "Basic dTpw")];
        assert_eq!(headers(&found), expected.map(|(name, value)| (name.into(), value.into())));
        assert!(said.is_empty(), "{said:?}");

        let own = SecretSource::Literal(Secret::new("mine"));
        let raw = RawTracing {
            endpoint: Some("https://file.example:4318".to_owned()),
            headers: [("x-own".to_owned(), own)].into(),
            ..RawTracing::default()
        };
        let (found, _) = checked(raw, &environment);
        assert_eq!(found.settings.endpoint.to_string(), "https://file.example:4318");
        assert_eq!(headers(&found), [("x-own".to_owned(), "mine".to_owned())]);

        let (found, _) = checked(RawTracing::default(), &[(ENDPOINT, "")]);
        assert_eq!(found.settings.endpoint, Endpoint::default());
        assert!(found.settings.headers.is_empty());
    }

    #[test]
    fn what_leaves_this_host_is_compressed_unless_the_file_says_otherwise() {
        let compressed = |endpoint: &str, compression| {
            let endpoint = Some(endpoint.to_owned());
            let raw = RawTracing { endpoint, compression, ..RawTracing::default() };
            checked(raw, &[]).0.settings.compress
        };
        assert!(!compressed("http://127.0.0.1:4318", None));
        assert!(!compressed("http://localhost:4318", None));
        assert!(compressed("https://collector.example", None));
        assert!(compressed("http://[::1]:4318", Some(RawCompression::Gzip)));
        assert!(!compressed("https://collector.example", Some(RawCompression::None)));
    }

    #[test]
    fn what_is_wrong_in_the_environment_is_told_without_secrets() {
        for (environment, expected) in [
            (
                (ENDPOINT, "collector:4318"),
                "tracing.endpoint: OTEL_EXPORTER_OTLP_ENDPOINT: `collector:4318` of the \
                 environment is not a base URL",
            ),
            ((HEADERS, "hunter2"), "tracing.headers: OTEL_EXPORTER_OTLP_HEADERS: write NAME=VALUE"),
            ((HEADERS, "a=%zzhunter2"), "tracing.headers: OTEL_EXPORTER_OTLP_HEADERS: write"),
            ((HEADERS, "a="), "tracing.headers: OTEL_EXPORTER_OTLP_HEADERS: write"),
            ((HEADERS, "host=hunter2"), "tracing.headers: the header `host` is set by weir"),
        ] {
            let (_, said) = checked(RawTracing::default(), &[environment]);
            assert!(said[0].starts_with(expected), "{said:?}");
            assert!(!said[0].contains("hunter2"), "{said:?}");
        }
    }

    #[test]
    fn secrets_in_clear_are_warned_of() {
        let headers = [(HEADERS, "a=b")];
        let far = [(ENDPOINT, "http://collector.example:4318"), headers[0]];
        let (_, said) = checked(RawTracing::default(), &far);
        let expected = "tracing.headers: these are sent in clear to collector.example: use https";
        assert_eq!(said, [expected]);
        assert!(checked(RawTracing::default(), &headers).1.is_empty(), "on this host");
    }

    #[test]
    fn percent_encoding() {
        for (text, expected) in [
            ("a%20b", Some("a b")),
            ("%C3%A9", Some("é")),
            ("", Some("")),
            ("%", None),
            ("%2", None),
            ("%+1", None),
            ("%ff", None),
        ] {
            assert_eq!(decoded(text).as_deref(), expected, "{text}");
        }
    }
}
