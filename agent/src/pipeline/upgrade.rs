//! Connections that leave HTTP for WebSocket, by an upgrade (RFC 6455) or by an extended CONNECT
//! over HTTP/2 (RFC 8441).
//!
//! Those on which models are asked are metered call by call ([`super::websocket`]); all others are
//! relayed as they are, and recorded as one opaque call. The provider is always asked by an
//! upgrade, over HTTP/1.1: every provider that speaks WebSocket at all can do that.

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::ext::Protocol;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::upgrade::OnUpgrade;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;

use super::{Answer, Body, Exchange, Reject, admit, dispatch, headers, inspect, relay, websocket};
use crate::llm::call::Kind;
use crate::llm::live::Api;
use crate::record::Outcome;
use crate::upstream::{Link, Offer, Outgoing, Target};

const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");
/// What an upgrade carries beside `Upgrade`, and an extended CONNECT does not.
const HANDSHAKE: [HeaderName; 2] = [header::SEC_WEBSOCKET_KEY, header::SEC_WEBSOCKET_ACCEPT];

/// Whether the request asks for a WebSocket (RFC 6455 §4.1, RFC 8441 §5). Any other offer to leave
/// HTTP is left out, as RFC 9110 §7.8 allows: some clients offer `h2c` along with an ordinary call.
pub fn is_wanted<B>(request: &Request<B>) -> bool {
    is_connect(request) || is_upgrade(request)
}

fn is_connect<B>(request: &Request<B>) -> bool {
    let protocol = request.extensions().get::<Protocol>();
    let websocket = protocol.is_some_and(|it| it.as_str().eq_ignore_ascii_case("websocket"));
    request.method() == Method::CONNECT && websocket
}

fn is_upgrade<B>(request: &Request<B>) -> bool {
    let websocket = |protocol: &HeaderValue| protocol.as_bytes().eq_ignore_ascii_case(b"websocket");
    request.method() == Method::GET
        && request.headers().get(header::UPGRADE).is_some_and(websocket)
        && request
            .headers()
            .get_all(header::CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|token| token.trim().eq_ignore_ascii_case("upgrade"))
}

/// The API that is spoken on a socket, where it is one that is metered. A session that only
/// transcribes has no responses.
fn metered<B>(exchange: &Exchange, request: &Request<B>) -> Option<Api> {
    let api = Api::of(exchange.route.operation)?;
    let path = request.uri().path().trim_end_matches('/');
    let last = path.rsplit('/').next().unwrap_or_default();
    let query = request.uri().query().unwrap_or_default();
    let is_it = match api {
        Api::Responses => last == "responses",
        Api::Realtime => {
            last == "realtime" && !query.split('&').any(|pair| pair == "intent=transcription")
        }
    };
    is_it.then_some(api)
}

/// Takes a request for a WebSocket to its response; the connection that follows runs on by itself.
pub async fn handle(mut exchange: Exchange, mut request: Request<Outgoing>) -> Response<Body> {
    let api = metered(&exchange, &request);
    // A socket that is metered is no call by itself: those made on it are.
    exchange.route.kind = if api.is_some() { Kind::Request } else { Kind::Opaque };
    let kind = exchange.route.kind;
    exchange.note(|record| record.kind = kind);
    exchange.announce();
    let client = Client {
        upgrade: hyper::upgrade::on(&mut request),
        is_http2: is_connect(&request),
        api,
        head: head_of(&request),
    };
    match send(&mut exchange, request, &client).await {
        Err(reject) => relay::refuse(exchange, &reject).await,
        Ok(response) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
            switch(exchange, response, client)
        }
        Ok(response) => {
            let answer = Answer::plain(&exchange, response);
            relay::stream(exchange, answer).await
        }
    }
}

/// Who asks, and for what.
struct Client {
    upgrade: OnUpgrade,
    is_http2: bool,
    api: Option<Api>,
    /// The request as it came.
    head: Parts,
}

fn head_of<B>(request: &Request<B>) -> Parts {
    let mut head = Request::new(());
    head.method_mut().clone_from(request.method());
    head.uri_mut().clone_from(request.uri());
    head.headers_mut().clone_from(request.headers());
    head.into_parts().0
}

async fn send(
    exchange: &mut Exchange,
    mut request: Request<Outgoing>,
    client: &Client,
) -> Result<Response<Incoming>, Reject> {
    inspect::authority(exchange, &request)?;
    headers::strip_request(&mut request);
    restore(request.headers_mut());
    if client.is_http2 {
        translate(&mut request);
    }
    if client.api.is_some() {
        // Compressed messages (RFC 7692) could not be read without being decompressed here: an
        // extension that is not asked for is not agreed on, and the client is told so.
        request.headers_mut().remove(header::SEC_WEBSOCKET_EXTENSIONS);
    }
    let request = admit::admit(exchange, request.map(|_no_body| Outgoing::Empty)).await?;
    let link = &exchange.context.link;
    match link.target().offer {
        Offer::Nothing | Offer::Http1 => dispatch::once(exchange, request, None).await,
        // A connection on which HTTP/2 may be chosen can't be upgraded.
        Offer::Http2 | Offer::Http2First | Offer::Http1First => {
            let target = Target { offer: Offer::Http1, ..link.target().clone() };
            let own = Link::lazy(Arc::clone(link.pool()), target);
            dispatch::once(exchange, request, Some(&own)).await
        }
    }
}

/// An extended CONNECT as the upgrade that means the same (RFC 8441 §5).
fn translate(request: &mut Request<Outgoing>) {
    *request.method_mut() = Method::GET;
    request.extensions_mut().remove::<Protocol>();
    let fields = request.headers_mut();
    if let Ok(key) = HeaderValue::from_str(&generate_key()) {
        fields.insert(header::SEC_WEBSOCKET_KEY, key);
    }
    fields.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
}

fn switch(
    mut exchange: Exchange,
    mut response: Response<Incoming>,
    client: Client,
) -> Response<Body> {
    let provider = hyper::upgrade::on(&mut response);
    let call = exchange.call_id();
    let drain = exchange.context.drain.clone();
    let Client { upgrade, is_http2, api, head } = client;
    drain.spawn(async move {
        let ends = match tokio::try_join!(upgrade, provider) {
            Ok((client, provider)) => (TokioIo::new(client), TokioIo::new(provider)),
            Err(error) => {
                exchange.note(|record| record.error = Some(error.to_string()));
                drop(exchange.settle(Outcome::UpstreamCut, None));
                return;
            }
        };
        exchange.wait_ends();
        match api {
            Some(api) => websocket::run(exchange, api, head, ends).await,
            None => opaque(exchange, ends).await,
        }
    });
    headers::strip_response(&mut response, call);
    if is_http2 {
        *response.status_mut() = StatusCode::OK;
        for name in &HANDSHAKE {
            response.headers_mut().remove(name);
        }
    } else {
        restore(response.headers_mut());
    }
    response.map(|_no_body| Body::Own(None))
}

/// Relays what is not understood.
async fn opaque<I>(mut exchange: Exchange, (mut client, mut provider): (I, I))
where
    I: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let drain = exchange.context.drain.clone();
    let copied = tokio::select! {
        copied = tokio::io::copy_bidirectional(&mut client, &mut provider) => copied,
        () = drain.hurried() => Err(std::io::Error::other("the agent is stopping")),
    };
    let outcome = match copied {
        Ok((up, down)) => {
            exchange.note(|record| {
                record.bytes_in += up;
                record.bytes_out += down;
            });
            Outcome::Ok
        }
        Err(error) => {
            exchange.note(|record| record.error = Some(error.to_string()));
            Outcome::UpstreamCut
        }
    };
    drop(exchange.settle(outcome, None));
}

fn restore(fields: &mut HeaderMap) {
    fields.insert(header::UPGRADE, WEBSOCKET);
    fields.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
}
