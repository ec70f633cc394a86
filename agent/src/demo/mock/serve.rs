//! One connection of the mock: TLS, the HTTP version the client chose, and each request's answer.

use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use http::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HOST, HeaderName, HeaderValue, RETRY_AFTER,
};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::ask::{Ask, Dialect, Endpoint};
use super::control::{Control, Seen};
use super::script::{Ending, Script};
use super::transcript::{self, Answer, Body, Cut};
use super::{anthropic, gemini, openai, socket};
use crate::drain::Drain;

/// Longest body kept; the rest of a longer one is read and dropped.
const KEPT: usize = 8 * 1024 * 1024;

/// Serves one accepted connection to its end.
pub(super) async fn connection(
    stream: TcpStream,
    tls: TlsAcceptor,
    control: Control,
    drain: Drain,
) {
    // Without it a small last segment waits for the peer's delayed ACK: 40 ms.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let peer = stream.peer_addr().ok();
    let Ok(stream) = tls.accept(stream).await else {
        control.handshake_failed();
        return;
    };
    let speaks_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let tasks = drain.clone();
    let service = service_fn(|request| answer(request, peer, (control.clone(), tasks.clone())));
    let io = TokioIo::new(stream);
    // An error here is the client's leaving or a scripted cut: nothing to report.
    drop(if speaks_h2 {
        http2::Builder::new(drain).timer(TokioTimer::new()).serve_connection(io, service).await
    } else {
        let http = http1::Builder::new().timer(TokioTimer::new()).serve_connection(io, service);
        http.with_upgrades().await
    });
}

/// Reads a request and plays what the script says. `Err` makes hyper close the connection
/// without a head.
async fn answer(
    request: Request<Incoming>,
    peer: Option<SocketAddr>,
    (control, tasks): (Control, Drain),
) -> Result<Response<Body>, Cut> {
    let (head, body) = request.into_parts();
    if socket::is_wanted(&head) {
        return Ok(socket::open(Request::from_parts(head, body), peer, (control, &tasks)));
    }
    let body = read(body).await?;
    let ask = Ask::of(&head.method, head.uri.path(), &head.headers, &body);
    let named = head.headers.get(HOST).and_then(|host| host.to_str().ok());
    let host = head.uri.host().or(named).unwrap_or_default();
    let host = host.split(':').next().unwrap_or_default();
    let scripted = script(&ask, (host, head.headers.get("x-mock")), &control);
    let accepts_gzip = head
        .headers
        .get(ACCEPT_ENCODING)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.contains("gzip"));
    let path = head.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str).to_owned();
    let serial = control.requested(Seen {
        method: head.method,
        path,
        headers: head.headers,
        body,
        version: head.version,
        peer,
    });

    let mut script = match scripted {
        Ok(script) => script,
        Err(code) => return Ok(refusal(&ask, code, None)),
    };
    script.gzip &= accepts_gzip;
    if !script.delay.is_zero() {
        tokio::time::sleep(script.delay).await;
    }
    match script.ending {
        Ending::Hangup => return Err(Cut),
        Ending::Hang => return std::future::pending().await,
        Ending::Status { code, retry_after } => return Ok(refusal(&ask, code, retry_after)),
        Ending::Whole | Ending::ErrorEvent { .. } | Ending::Cut { .. } => {}
    }
    if ask.endpoint.is_inference() {
        control.bill(script.tokens);
    }
    let answer = match ask.dialect {
        Dialect::OpenAi => openai::answer(&ask, script.tokens, serial),
        Dialect::Anthropic => anthropic::answer(&ask, script.tokens, serial),
        Dialect::Gemini => gemini::answer(&ask, script.tokens, serial),
    };
    let mut response = delivered(answer, &script, serial);
    response.headers_mut().extend(limits(ask.dialect));
    Ok(response)
}

/// What is left of the account's limits, as each provider says it.
fn limits(dialect: Dialect) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
    let fields: &[(&'static str, &'static str)] = match dialect {
        Dialect::OpenAi => &[
            ("x-ratelimit-limit-requests", "10000"),
            ("x-ratelimit-remaining-requests", "7500"),
            ("x-ratelimit-reset-requests", "6ms"),
            ("x-ratelimit-limit-tokens", "2000000"),
            ("x-ratelimit-remaining-tokens", "1900000"),
            ("x-ratelimit-reset-tokens", "3s"),
        ],
        Dialect::Anthropic => &[
            ("anthropic-ratelimit-requests-limit", "4000"),
            ("anthropic-ratelimit-requests-remaining", "3000"),
            ("anthropic-ratelimit-input-tokens-limit", "400000"),
            ("anthropic-ratelimit-input-tokens-remaining", "100000"),
        ],
        Dialect::Gemini => &[],
    };
    fields
        .iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
}

/// Which script applies, or the status of a request that gets none.
fn script(
    ask: &Ask,
    (host, header): (&str, Option<&HeaderValue>),
    control: &Control,
) -> Result<Script, u16> {
    if !ask.authorised {
        return Err(401);
    }
    if ask.endpoint == Endpoint::Unknown {
        return Err(404);
    }
    // Model lists and token counts must not eat a script queued for an inference.
    if !ask.endpoint.is_inference() {
        return Ok(Script::default());
    }
    let (script, queued) = control.next_script(host);
    if queued {
        return Ok(script);
    }
    let text = header.and_then(|value| value.to_str().ok());
    match text.or_else(|| ask.model.strip_prefix("mock:")) {
        Some(text) => script.amended(text).map_err(|_unknown| 400),
        None => Ok(script),
    }
}

fn delivered(answer: Answer, script: &Script, serial: u64) -> Response<Body> {
    let (kind, body) = match answer {
        Answer::Unary(value) => {
            ("application/json", transcript::whole(value.to_string().into(), script))
        }
        Answer::Stream(events) => {
            ("text/event-stream; charset=utf-8", transcript::played(events, script))
        }
    };
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert("x-request-id", HeaderValue::from(serial));
    if script.gzip {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

fn refusal(ask: &Ask, code: u16, retry_after: Option<u64>) -> Response<Body> {
    let body: Value = match ask.dialect {
        Dialect::OpenAi => openai::error(code),
        Dialect::Anthropic => anthropic::error(code),
        Dialect::Gemini => gemini::error(code),
    };
    let mut response = delivered(Answer::Unary(body), &Script::default(), 0);
    *response.status_mut() =
        StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if let Some(seconds) = retry_after {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

async fn read(mut body: Incoming) -> Result<Bytes, Cut> {
    let mut kept = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_gone| Cut)?.into_data() else { continue };
        let room = KEPT - kept.len();
        kept.extend_from_slice(&data[..data.len().min(room)]);
    }
    Ok(kept.freeze())
}
