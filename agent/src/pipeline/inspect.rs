//! What a request asks for: its host, its operation and, for calls, its body.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Body as _;
use hyper::header::{self, HeaderValue};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Request};

use super::room::Claim;
use super::{Exchange, Reject, headers};
use crate::llm::call::{Ask, Kind, inject_usage};
use crate::record::{Flag, Via};
use crate::upstream::{BoxError, Outgoing};

/// Of a refused request's body, what is read, and for how long.
const DISCARDED: usize = 1 << 20;
const DISCARDING: Duration = Duration::from_secs(1);

/// Refuses a request for another host than its connection was opened to (RFC 9110 §15.5.20).
pub fn authority<B>(exchange: &Exchange, request: &Request<B>) -> Result<(), Reject> {
    let parties = &exchange.context.parties;
    if parties.via == Via::Gateway {
        // A base URL names the provider by its path; the authority is our own.
        return Ok(());
    }
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let named = match request.uri().authority() {
        Some(authority) => authority.host(),
        None => match (hosts.next(), hosts.next()) {
            (Some(host), None) => host_name(host).ok_or(Reject::BadHost)?,
            _ => return Err(Reject::BadHost),
        },
    };
    if named.trim_end_matches('.').eq_ignore_ascii_case(&parties.host) {
        Ok(())
    } else {
        let asked = named.chars().take(253).collect();
        Err(Reject::Misdirected { asked, host: parties.host.to_string() })
    }
}

/// Takes a refused request's body off the connection, as far as that is soon done: over HTTP/2
/// some clients take an answer that comes before the end of their request for a failure.
pub async fn discard(mut body: Outgoing) {
    let mut left = DISCARDED;
    let read = async {
        while let Some(Ok(frame)) = body.frame().await {
            left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
            if left == 0 {
                return;
            }
        }
    };
    drop(tokio::time::timeout(DISCARDING, read).await);
}

/// Reads the body of a call, and changes what must be changed for it to be metered. Bodies of
/// anything else, and those over the limit, pass through as they come.
pub async fn read(
    exchange: &mut Exchange,
    request: Request<Outgoing>,
) -> Result<Request<Outgoing>, Reject> {
    let (mut parts, body) = request.into_parts();
    let limit = exchange.rules.request_body;
    if exchange.route.kind != Kind::Call || is_encoded(&parts.headers) {
        if exchange.route.kind == Kind::Call {
            exchange.flag(Flag::BodyUnparsed);
        }
        headers::limit_codings(&mut parts.headers);
        return Ok(Request::from_parts(parts, pass(exchange, None, body)));
    }
    headers::limit_codings(&mut parts.headers);
    let declared = body.size_hint().lower();
    if usize::try_from(declared).map_or(true, |declared| declared > limit) {
        unread(exchange, format!("a body of {declared} bytes is over the limit of {limit}"));
        return Ok(Request::from_parts(parts, pass(exchange, None, body)));
    }
    // Held until the answer begins: the body may have to be sent again.
    let mut claim = exchange.rules.room.claim();
    if !claim.extend(usize::try_from(declared).unwrap_or(limit)) {
        unread(exchange, "there is no room for more request bodies".to_owned());
        return Ok(Request::from_parts(parts, pass(exchange, None, body)));
    }
    exchange.wait_begins();
    let read = collect(body, limit, &mut claim).await;
    exchange.claim = Some(claim);
    exchange.wait_ends();
    match read.map_err(|error| Reject::BodyUnreadable { message: error.to_string() })? {
        Collected::Whole(bytes) => {
            exchange.note(|record| record.bytes_in = bytes.len() as u64);
            let bytes = understand(exchange, &mut parts, bytes);
            Ok(Request::from_parts(parts, Outgoing::whole(bytes)))
        }
        Collected::Over { head, rest } => {
            unread(exchange, format!("the body is over the limit of {limit}, or there is no room"));
            Ok(Request::from_parts(parts, pass(exchange, Some(head), rest)))
        }
    }
}

enum Collected {
    Whole(Bytes),
    Over { head: Bytes, rest: Outgoing },
}

async fn collect(
    mut body: Outgoing,
    limit: usize,
    claim: &mut Claim,
) -> Result<Collected, BoxError> {
    let mut first: Option<Bytes> = None;
    let mut more = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        match &first {
            None => first = Some(data),
            Some(start) => {
                if more.is_empty() {
                    let expected = body.size_hint().lower();
                    let expected = usize::try_from(expected).unwrap_or(0).min(limit);
                    more.reserve(start.len() + data.len() + expected);
                    more.extend_from_slice(start);
                }
                more.extend_from_slice(&data);
            }
        }
        let length = more.len().max(first.as_ref().map_or(0, Bytes::len));
        if length > limit || !claim.extend(length) {
            let head = if more.is_empty() { first.unwrap_or_default() } else { more.freeze() };
            return Ok(Collected::Over { head, rest: body });
        }
    }
    // Most bodies arrive in one piece and are never copied.
    Ok(Collected::Whole(if more.is_empty() { first.unwrap_or_default() } else { more.freeze() }))
}

/// Takes the figures from a call's body; returns the body to send.
fn understand(exchange: &mut Exchange, parts: &mut Parts, body: Bytes) -> Bytes {
    let headers = &mut parts.headers;
    let ask = match Ask::parse(exchange.route, &body) {
        Ok(ask) => ask.at(parts.uri.path()),
        Err(unparsed) => {
            exchange.flag(Flag::BodyUnparsed);
            exchange.decide("classify", "unparsed".to_owned(), unparsed.to_string());
            return body;
        }
    };
    let wants_injection =
        exchange.context.parties.provider.inject_usage && ask.stream && !ask.usage_wanted;
    exchange.asked(ask);
    if !wants_injection {
        return body;
    }
    let Some(changed) = inject_usage(&body) else { return body };
    exchange.flag(Flag::UsageInjected);
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(changed.len()));
    // The chunk that this causes is removed from the answer, which must be legible for that.
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    changed
}

fn pass(exchange: &mut Exchange, head: Option<Bytes>, rest: Outgoing) -> Outgoing {
    let size = head.as_ref().map_or(0, |head| head.len() as u64) + rest.size_hint().lower();
    exchange.note(|record| record.bytes_in = size);
    match (head, rest) {
        (Some(head), Outgoing::Through { rest, .. }) => {
            Outgoing::Through { head: Some(head), rest }
        }
        (Some(head), _nothing_left) => Outgoing::whole(head),
        (None, rest) => rest,
    }
}

fn unread(exchange: &mut Exchange, why: String) {
    exchange.flag(Flag::BodyUnread);
    exchange.note(|record| record.kind = Kind::Opaque);
    exchange.decide("classify", "opaque".to_owned(), why);
}

fn is_encoded(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_ENCODING)
        .is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity"))
}

/// The name in a `Host` field, without its port.
fn host_name(host: &HeaderValue) -> Option<&str> {
    let host = host.to_str().ok()?;
    if host.contains('@') || host.contains('/') {
        return None;
    }
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => Some(name),
        Some(_) => None,
        None => Some(host),
    }
}
