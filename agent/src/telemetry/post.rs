//! One post to a collector (OTLP 1.x over HTTP/1.1 with binary protobuf, section OTLP/HTTP of
//! <https://opentelemetry.io/docs/specs/otlp/>), and what its answer means.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use super::settings::{Settings, Signal};
use crate::secret::Secret;
use crate::upstream::{Connect, Destination, Offer, SocketOptions, Tls};

/// Of an answer's body, what is read.
const LONGEST: usize = 64 << 10;

/// A collector, and the way there.
#[derive(Debug, Clone)]
pub struct Target {
    /// Where to, and what.
    pub settings: Settings<Secret>,
    /// Dials. Its sockets are ours, so that nothing leads them back here.
    pub connect: Arc<dyn Connect>,
    /// Checks certificates, as strictly as those of providers.
    pub tls: Tls,
    /// `environment` of the configuration.
    pub environment: Arc<str>,
}

/// A message, ready to be posted.
#[derive(Debug, Clone)]
pub(super) struct Message {
    pub(super) signal: Signal,
    pub(super) body: Bytes,
    pub(super) compressed: bool,
    /// Spans, lines or points in it.
    pub(super) count: u64,
}

/// Why something did not arrive.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub(super) struct Failed {
    pub(super) what: String,
    pub(super) again: Again,
}

/// Whether it can be tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    Never,
    Later,
    /// Not before the collector says.
    After(Duration),
}

impl Failed {
    fn later(what: impl Into<String>) -> Self {
        Self { what: what.into(), again: Again::Later }
    }

    fn never(what: impl Into<String>) -> Self {
        Self { what: what.into(), again: Again::Never }
    }
}

impl Target {
    /// Posts a message; the answer's body where it was taken.
    pub(super) async fn post(&self, message: &Message) -> Result<Bytes, Failed> {
        let timeout = self.settings.timeout;
        match tokio::time::timeout(timeout, self.exchange(message)).await {
            Ok(answer) => judge(&answer?),
            Err(_elapsed) => Err(Failed::later(format!("no answer within {timeout:?}"))),
        }
    }

    async fn exchange(&self, message: &Message) -> Result<Response<Bytes>, Failed> {
        let endpoint = &self.settings.endpoint;
        let request = self.request(message)?;
        let to = Destination::Name(Arc::clone(&endpoint.host), endpoint.port);
        let connecting = self.connect.connect(&to, SocketOptions::default());
        let mut io = connecting
            .await
            .map_err(|error| Failed::later(format!("cannot connect to {to}: {error}")))?;
        if endpoint.tls {
            let secured = self.tls.handshake(&endpoint.host, Offer::Http1, io).await;
            let (secured, _protocol) =
                secured.map_err(|error| Failed::later(format!("TLS with {to} failed: {error}")))?;
            io = Box::new(secured);
        }
        let broken = |error: hyper::Error| Failed::later(format!("{to} did not answer: {error}"));
        let (mut sender, connection) = http1::handshake(TokioIo::new(io)).await.map_err(broken)?;
        let mut asking = pin!(async move {
            let (parts, body) = sender.send_request(request).await.map_err(broken)?.into_parts();
            // What is longer, or breaks off, is no answer to read; the status is one all the same.
            let body = Limited::new(body, LONGEST).collect().await;
            let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
            Ok::<_, Failed>(Response::from_parts(parts, body))
        });
        let mut connection = pin!(connection);
        tokio::select! {
            biased;
            answer = &mut asking => answer,
            // The answer may have come with the end; if not, it says why.
            _ended = &mut connection => asking.await,
        }
    }

    fn request(&self, message: &Message) -> Result<Request<Full<Bytes>>, Failed> {
        let Settings { endpoint, headers, .. } = &self.settings;
        let request = Request::post(endpoint.path(message.signal))
            .header(header::HOST, endpoint.authority())
            .header(header::CONTENT_TYPE, "application/x-protobuf")
            .header(header::USER_AGENT, concat!("weir/", env!("CARGO_PKG_VERSION")));
        let request = if message.compressed {
            request.header(header::CONTENT_ENCODING, "gzip")
        } else {
            request
        };
        let request = request.body(Full::new(message.body.clone()));
        let mut request = request.map_err(|error| Failed::never(error.to_string()))?;
        for (name, value) in headers {
            let mut value = HeaderValue::from_str(value.reveal()).map_err(|_| {
                Failed::never(format!("the secret for the header {name} is not fit for one"))
            })?;
            value.set_sensitive(true);
            request.headers_mut().insert(name, value);
        }
        Ok(request)
    }
}

/// What an answer means. An error's body is not looked at: it could repeat what it was sent.
fn judge(answer: &Response<Bytes>) -> Result<Bytes, Failed> {
    let status = answer.status();
    let what = format!("the collector answered {status}");
    match status {
        _ if status.is_success() => Ok(answer.body().clone()),
        // These and no others, says the specification.
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => Err(Failed { what, again: wait(answer.headers()) }),
        _ if status.is_redirection() => {
            Err(Failed::never(format!("{what}: redirects are not followed")))
        }
        _ => Err(Failed::never(what)),
    }
}

/// `Retry-After` in seconds; dates are rare here, and the usual wait serves as well.
fn wait(headers: &HeaderMap) -> Again {
    let seconds = headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
    let seconds = seconds.and_then(|seconds| seconds.trim().parse().ok());
    seconds.map_or(Again::Later, |seconds| Again::After(Duration::from_secs(seconds)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_specification_names_is_tried_again() {
        let again = |status: u16, after: Option<&str>| {
            let mut answer = Response::builder().status(status);
            if let Some(after) = after {
                answer = answer.header(header::RETRY_AFTER, after);
            }
            judge(&answer.body(Bytes::new()).unwrap()).err().map(|failed| failed.again)
        };
        for status in [200, 202] {
            assert_eq!(again(status, None), None, "{status}");
        }
        for status in [429, 502, 503, 504] {
            assert_eq!(again(status, None), Some(Again::Later), "{status}");
        }
        for status in [301, 400, 401, 404, 408, 413, 415, 500, 501] {
            assert_eq!(again(status, None), Some(Again::Never), "{status}");
        }
        assert_eq!(again(429, Some("7")), Some(Again::After(Duration::from_secs(7))));
        assert_eq!(again(503, Some("Wed, 21 Oct 2026 07:28:00 GMT")), Some(Again::Later));
        assert_eq!(again(400, Some("7")), Some(Again::Never));
    }
}
