//! One try: sent, waited for, and looked at before it is given to the client.
//!
//! Where nothing could follow a failure, an answer is handed on with its head. Otherwise the body
//! of an error is read for what it says, and the beginning of a stream is held back until its
//! first content: an error in place of that is a failure like any other.

use std::time::{Duration, SystemTime};

use http::response;
use hyper::body::Incoming;
use hyper::{Request, Response};
use serde::Deserialize;
use tokio::time::{Instant, timeout, timeout_at};

use crate::llm::call::Route;
use crate::llm::meter::{Meter, MeterOptions};
use crate::llm::providers::Format;
use crate::llm::translate::{self, Wire};
use crate::pipeline::relay;
use crate::pipeline::source::Source;
use crate::policy::reliability::{Class, Failed, Failure, Timeouts, classify, retry};
use crate::record::Outcome;
use crate::upstream::{self, BoxError, Link, Outgoing};

/// Of an error's body, what is read for its code.
const MAX_ERROR: usize = 64 << 10;
/// How long an error's body is waited for.
const ERROR_WAIT: Duration = Duration::from_secs(5);
/// Of a stream, what is held back before its first content: bytes, events, and time.
const MAX_HELD: usize = 256 << 10;
/// See [`MAX_HELD`].
const MAX_EVENTS: usize = 64;
/// See [`MAX_HELD`]. Errors come at once; a model that thinks first must not make its client wait
/// for the response's head.
const HOLD: Duration = Duration::from_secs(5);
/// A whole answer that is translated is no larger than what is read for metering.
const MAX_WHOLE: usize = 16 << 20;

/// What is to be done with an answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Care {
    pub(super) timeouts: Timeouts,
    /// Something can follow a failure.
    pub(super) more: bool,
    /// From the provider's format to the client's: a whole body is read before its head is passed
    /// on.
    pub(super) wires: Option<(Wire, Wire)>,
    /// What the body is read as.
    pub(super) route: Route,
    pub(super) format: Format,
}

/// How a try ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// With an answer for the client.
    Good(Box<Reply>),
    /// With a failure.
    Bad(Bad),
}

/// An answer.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) parts: response::Parts,
    pub(super) source: Source,
    /// Whether it is known to have begun well.
    pub(super) begun: bool,
    /// The translated body, where it was read whole.
    pub(super) whole: Option<bytes::Bytes>,
}

/// A failure.
#[derive(Debug)]
pub(super) struct Bad {
    pub(super) class: Class,
    /// In a few words: `status 503`.
    pub(super) what: String,
    pub(super) outcome: Outcome,
    pub(super) retry_after: Option<Duration>,
    pub(super) left: Left,
    random: f64,
}

/// What the client gets if nothing else is tried.
#[derive(Debug)]
pub(super) enum Left {
    Reply(Box<Reply>),
    Failure(upstream::Failure),
}

impl Bad {
    fn new(failed: Failed<'_>, what: String, left: Left) -> Self {
        let outcome = match failed {
            Failed::Unreachable
            | Failed::ConnectTimeout
            | Failed::Handshake
            | Failed::Certificate => Outcome::ConnectError,
            Failed::Silent | Failed::Broken => Outcome::UpstreamCut,
            Failed::Status { status: 429, .. } => Outcome::RateLimited,
            Failed::Status { .. } => Outcome::UpstreamError,
            Failed::Event { .. } => Outcome::StreamError,
        };
        Self {
            class: classify(failed).unwrap_or(Class::Server),
            what,
            outcome,
            retry_after: None,
            left,
            random: fastrand::f64(),
        }
    }

    /// As policies see it.
    pub(super) fn failure(&self) -> Failure<'_> {
        Failure {
            class: self.class,
            retry_after: self.retry_after,
            what: &self.what,
            random: self.random,
        }
    }
}

/// Makes one try. `wall` is the time now, for dates in the answer.
pub(super) async fn run(
    link: &Link,
    request: Request<Outgoing>,
    care: &Care,
    wall: SystemTime,
) -> Ended {
    let end = care.timeouts.total.map(|total| Instant::now() + total);
    let response = match send(link, request, care, end).await {
        Ok(response) => response,
        Err(failure) => return Ended::Bad(unanswered(failure)),
    };
    let (parts, body) = response.into_parts();
    let mut reply = Reply { parts, source: Source::new(body), begun: false, whole: None };
    reply.source.limit(care.timeouts.idle, end);
    let sse = relay::is_event_stream(&reply.parts.headers);
    if reply.parts.status.as_u16() >= 400 {
        return Ended::Bad(refused(reply, care, wall).await);
    }
    if let Some((from, to)) = care.wires.filter(|_| !sse) {
        return whole(reply, from, to).await;
    }
    if sse && care.more {
        return held(reply, care).await;
    }
    reply.begun = !sse;
    Ended::Good(Box::new(reply))
}

async fn send(
    link: &Link,
    request: Request<Outgoing>,
    care: &Care,
    end: Option<Instant>,
) -> Result<Response<Incoming>, upstream::Failure> {
    let Timeouts { connect, first_byte, total, .. } = care.timeouts;
    let sent = link.send_within(request, connect);
    let limit = first_byte.map(|limit| Instant::now() + limit).into_iter().chain(end).min();
    let Some(limit) = limit else { return sent.await };
    timeout_at(limit, sent).await.unwrap_or_else(|_elapsed| {
        let waited = first_byte.into_iter().chain(total).min().unwrap_or_default();
        Err(upstream::Failure::Silent { host: link.target().host.to_string(), waited })
    })
}

/// No answer came.
fn unanswered(failure: upstream::Failure) -> Bad {
    let failed = match failure.class() {
        "connect" => Failed::Unreachable,
        "timeout" => Failed::ConnectTimeout,
        "tls" => Failed::Handshake,
        "certificate" => Failed::Certificate,
        "silent" => Failed::Silent,
        _ => Failed::Broken,
    };
    Bad::new(failed, failure.to_string(), Left::Failure(failure))
}

/// The answer is an error.
async fn refused(mut reply: Reply, care: &Care, wall: SystemTime) -> Bad {
    if care.more || care.wires.is_some() {
        // Where its end does not come, the status has to do.
        drop(timeout(ERROR_WAIT, read_ahead(&mut reply.source, MAX_ERROR)).await);
    }
    let status = reply.parts.status.as_u16();
    let body = reply.source.bytes_ahead();
    let code = code_of(&body);
    let retry_after = retry::retry_after(&reply.parts.headers, wall);
    let what = match &code {
        Some(code) => format!("status {status}, {code}"),
        None => format!("status {status}"),
    };
    let failed = Failed::Status { status, code: code.as_deref() };
    Bad { retry_after, ..Bad::new(failed, what, Left::Reply(Box::new(reply))) }
}

/// The code or type of an error, as all three formats have it below `error`. Only words are taken:
/// a provider's sentences can repeat a prompt.
fn code_of(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Body {
        error: Error,
    }
    #[derive(Deserialize)]
    struct Error {
        code: Option<serde_json::Value>,
        status: Option<serde_json::Value>,
        r#type: Option<serde_json::Value>,
    }
    let Body { error } = serde_json::from_slice(body).ok()?;
    let word = |value: Option<serde_json::Value>| {
        let text = value?.as_str()?.to_owned();
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
        ((1..=64).contains(&text.len()) && text.bytes().all(plain)).then_some(text)
    };
    word(error.code).or_else(|| word(error.status)).or_else(|| word(error.r#type))
}

/// Reads a whole answer, and translates it.
async fn whole(mut reply: Reply, from: Wire, to: Wire) -> Ended {
    let read = read_ahead(&mut reply.source, MAX_WHOLE).await;
    if let Err(error) = read {
        let what = format!("the answer broke off: {error}");
        reply.source.put_back_error(error);
        return Ended::Bad(Bad::new(Failed::Broken, what, Left::Reply(Box::new(reply))));
    }
    let body = reply.source.bytes_ahead();
    match translate::response(from, to, &body) {
        Ok(translated) => {
            reply.whole = Some(translated);
            reply.begun = true;
            Ended::Good(Box::new(reply))
        }
        Err(refused) => {
            let failed = Failed::Status { status: 502, code: None };
            let what = format!("the answer can't be translated: {refused}");
            reply.parts.status = hyper::StatusCode::BAD_GATEWAY;
            Ended::Bad(Bad::new(failed, what, Left::Reply(Box::new(reply))))
        }
    }
}

/// Reads what there is, up to so many bytes.
async fn read_ahead(source: &mut Source, most: usize) -> Result<(), BoxError> {
    let mut read = 0;
    while read < most {
        let Some(frame) = std::future::poll_fn(|cx| source.poll_rest(cx)).await else {
            return Ok(());
        };
        let frame = frame?;
        read += frame.data_ref().map_or(0, bytes::Bytes::len);
        source.put_back(frame);
    }
    Ok(())
}

/// Holds a stream back until its first content.
async fn held(mut reply: Reply, care: &Care) -> Ended {
    let mut meter = Meter::new(MeterOptions {
        route: care.route,
        format: care.format,
        sse: true,
        encoding: relay::encoding(&reply.parts.headers),
        hide_usage: false,
        status: reply.parts.status.as_u16(),
    });
    let deadline = Instant::now() + HOLD;
    let (mut bytes, mut events) = (0, 0);
    loop {
        let next = std::future::poll_fn(|cx| reply.source.poll_rest(cx));
        let Ok(next) = timeout_at(deadline, next).await else {
            return Ended::Good(Box::new(reply));
        };
        let broke = match next {
            Some(Ok(frame)) => {
                let Some(data) = frame.data_ref().cloned() else {
                    reply.source.put_back(frame);
                    return Ended::Good(Box::new(reply));
                };
                reply.source.put_back(frame);
                bytes += data.len();
                events += memchr::memmem::find_iter(&data, b"data:").count();
                let fed = meter.feed(data);
                let reading = meter.reading();
                if let Some(error) = reading.error.filter(|_| !fed.content) {
                    let failed = Failed::Event { code: &error.code };
                    let what = format!("{} in the stream", error.message);
                    return Ended::Bad(Bad::new(failed, what, Left::Reply(Box::new(reply))));
                }
                if fed.content || reading.terminal {
                    reply.begun = true;
                    return Ended::Good(Box::new(reply));
                }
                if bytes > MAX_HELD || events > MAX_EVENTS || reading.unread.is_some() {
                    return Ended::Good(Box::new(reply));
                }
                continue;
            }
            Some(Err(error)) => {
                let what = format!("the stream broke off: {error}");
                reply.source.put_back_error(error);
                what
            }
            None => "the stream ended before it began".to_owned(),
        };
        return Ended::Bad(Bad::new(Failed::Broken, broke, Left::Reply(Box::new(reply))));
    }
}
