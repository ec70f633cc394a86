//! Connections that leave HTTP (WebSocket): relayed as they are, and recorded as one opaque call.

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;

use super::{Answer, Body, Exchange, Reject, admit, dispatch, headers, inspect, relay};
use crate::llm::call::Kind;
use crate::record::Outcome;
use crate::upstream::Outgoing;

/// Whether the request asks for a WebSocket (RFC 6455 §4.1). Any other offer to leave HTTP is
/// left out, as RFC 9110 §7.8 allows: some clients offer `h2c` along with an ordinary call.
pub fn is_wanted<B>(request: &Request<B>) -> bool {
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

/// Takes an upgrade request to its response; the connection that follows runs on by itself.
pub async fn handle(mut exchange: Exchange, mut request: Request<Outgoing>) -> Response<Body> {
    exchange.note(|record| record.kind = Kind::Opaque);
    exchange.announce();
    let client = hyper::upgrade::on(&mut request);
    match send(&mut exchange, request).await {
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

async fn send(
    exchange: &mut Exchange,
    mut request: Request<Outgoing>,
) -> Result<Response<Incoming>, Reject> {
    inspect::authority(exchange, &request)?;
    let protocol = request.headers().get(header::UPGRADE).cloned();
    headers::strip_request(&mut request);
    if let Some(protocol) = protocol {
        restore(request.headers_mut(), protocol);
    }
    let request = admit::admit(exchange, request.map(|_no_body| Outgoing::Empty)).await?;
    dispatch::once(exchange, request).await
}

fn switch(
    mut exchange: Exchange,
    mut response: Response<Incoming>,
    client: OnUpgrade,
) -> Response<Body> {
    let provider = hyper::upgrade::on(&mut response);
    let protocol = response.headers().get(header::UPGRADE).cloned();
    let call = exchange.call_id();
    let drain = exchange.context.drain.clone();
    drain.spawn(async move {
        let outcome = match run(&mut exchange, client, provider).await {
            Ok(()) => Outcome::Ok,
            Err(error) => {
                exchange.note(|record| record.error = Some(error.to_string()));
                Outcome::UpstreamCut
            }
        };
        drop(exchange.settle(outcome, None));
    });
    headers::strip_response(&mut response, call);
    if let Some(protocol) = protocol {
        restore(response.headers_mut(), protocol);
    }
    response.map(|_no_body| Body::Own(None))
}

async fn run(
    exchange: &mut Exchange,
    client: OnUpgrade,
    provider: OnUpgrade,
) -> std::io::Result<()> {
    let (client, provider) = tokio::try_join!(client, provider).map_err(std::io::Error::other)?;
    let drain = Arc::clone(&exchange.context).drain.clone();
    let (mut client, mut provider) = (TokioIo::new(client), TokioIo::new(provider));
    let copied = tokio::select! {
        copied = tokio::io::copy_bidirectional(&mut client, &mut provider) => copied,
        () = drain.hurried() => Err(std::io::Error::other("the agent is stopping")),
    };
    let (up, down) = copied?;
    exchange.note(|record| {
        record.bytes_in += up;
        record.bytes_out += down;
    });
    Ok(())
}

fn restore(headers: &mut http::HeaderMap, protocol: HeaderValue) {
    headers.insert(header::UPGRADE, protocol);
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
}
