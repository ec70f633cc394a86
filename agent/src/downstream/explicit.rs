//! The ways in that a client chooses itself: a forward proxy (`CONNECT` and absolute-form) and a
//! gateway behind base URLs (`/openai/v1/…`, `/v1/…`). All on one loopback port.

pub mod gateway;
pub mod guard;
mod model;

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::accept::{Permit, Shares};
use super::intercept::Accepted;
use super::outward::Watched;
use super::serve::Terms;
use super::session::{self, Arrival};
use super::{Front, serve};
use crate::capture::owner;
use crate::pipeline::{self, Body, body, headers};
use crate::record::Via;
use crate::subject::Subject;
use crate::upstream::{Link, Offer, Outgoing, SocketOptions, Target};

/// One client connection to the explicit port.
#[derive(Debug)]
struct Client {
    front: Arc<Front>,
    subject: Arc<Subject>,
    gateway: gateway::Links,
    /// What the connection counts as, also while it is a tunnel.
    permit: Permit,
}

/// Deals with one connection to the explicit port.
///
/// Only processes of this host are served, and only those whose socket the kernel attributes.
pub async fn serve(front: Arc<Front>, shares: Arc<Shares>, accepted: Accepted) {
    let Accepted { stream, client, permit } = accepted;
    let Ok(local) = stream.local_addr() else { return };
    let asked = front.runtime.drain.spawn_blocking(move || owner::socket(client, local)).await;
    let socket = match asked {
        Ok(Ok(Some(socket))) => socket,
        Ok(Ok(None)) => {
            tracing::warn!(%client, "reset: no process of this host owns the connection");
            front.sink.fault("proxy", "no_owner");
            return session::reset(stream);
        }
        Ok(Err(error)) => {
            tracing::warn!(%client, %error, "reset: cannot tell who owns the connection");
            front.sink.fault("proxy", "no_owner");
            return session::reset(stream);
        }
        Err(_stopping) => return,
    };
    // Before its process is looked for, or many connections at once would wait for one another's
    // search to be told that they are too many.
    if !shares.take(socket.uid, &permit) {
        front.sink.fault("proxy", "user_limit");
        return full(stream).await;
    }
    // Reads the open files of processes: tens of microseconds, or more where there are many.
    let asking = Arc::clone(&front);
    let asked = front
        .runtime
        .drain
        .spawn_blocking(move || asking.identities.of_owner(&asking.owners.owner(&socket)));
    let Ok(subject) = asked.await else { return };
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "the client is gone already");
        return;
    }
    let (drain, sink) = (front.runtime.drain.clone(), Arc::clone(&front.sink));
    let terms =
        Terms { listener: "proxy", patience: front.limits.patience, sink: &sink, drain: &drain };
    let client = Arc::new(Client { front, subject, gateway: gateway::Links::default(), permit });
    serve::http1(stream, &terms, |request| answer(Arc::clone(&client), request)).await;
}

/// Tells a user who has too many connections that this is one too many.
async fn full(mut stream: TcpStream) {
    const ANSWER: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\n\
        content-length: 0\r\nconnection: close\r\n\r\n";
    if let Err(error) = stream.write_all(ANSWER).await {
        tracing::debug!(%error, "the client is gone already");
    }
}

async fn answer(client: Arc<Client>, request: Request<Incoming>) -> Response<Body> {
    if request.method() == Method::CONNECT {
        connect(client, request).await
    } else if request.uri().authority().is_some() {
        forward(&client, request).await
    } else {
        gateway::answer(&client, request).await
    }
}

/// `CONNECT host:port`: a tunnel, which is looked into like a redirected connection.
async fn connect(client: Arc<Client>, mut request: Request<Incoming>) -> Response<Body> {
    let named = request.uri().authority().map(|authority| {
        (authority.host().to_ascii_lowercase(), authority.port_u16().unwrap_or(443))
    });
    let Some((host, port)) = named else {
        return refuse(StatusCode::BAD_REQUEST, "CONNECT needs host:port");
    };
    let destination = match guard::check(&client.front, &host, port).await {
        Ok(destination) => destination,
        Err(refusal) => return refuse(refusal.status(), &refusal.to_string()),
    };
    let upgrade = hyper::upgrade::on(&mut request);
    let front = Arc::clone(&client.front);
    let drain = front.runtime.drain.clone();
    drain.spawn(async move {
        let Ok(upgraded) = upgrade.await else { return };
        let Some((stream, read)) = take_back(upgraded) else { return };
        let arrival = Arrival {
            via: Via::Connect,
            subject: Arc::clone(&client.subject),
            destination,
            options: SocketOptions::default(),
            bystander: false,
            opened: front.runtime.clock.now(),
            permit: Arc::clone(&client.permit),
        };
        session::run(front, arrival, stream, read).await;
    });
    Response::new(Body::Own(None))
}

/// The socket under an upgraded connection, and what was read from it beyond the request.
fn take_back(upgraded: Upgraded) -> Option<(TcpStream, BytesMut)> {
    let parts = upgraded.downcast::<TokioIo<Watched<TcpStream>>>().ok()?;
    Some((parts.io.into_inner().into_inner(), BytesMut::from(&parts.read_buf[..])))
}

/// Absolute-form: plain HTTP through a proxy. A provider's host is metered, any other passed on.
async fn forward(client: &Arc<Client>, request: Request<Incoming>) -> Response<Body> {
    let named = request.uri().authority().map(|authority| {
        (authority.host().to_ascii_lowercase(), authority.port_u16().unwrap_or(80))
    });
    let Some((host, port)) = named else {
        return refuse(StatusCode::BAD_REQUEST, "an absolute request target needs a host");
    };
    if request.uri().scheme_str() != Some("http") {
        let hint = "use CONNECT for https; absolute-form requests are plain http";
        return refuse(StatusCode::BAD_REQUEST, hint);
    }
    let destination = match guard::check(&client.front, &host, port).await {
        Ok(destination) => destination,
        Err(refusal) => return refuse(refusal.status(), &refusal.to_string()),
    };
    let host: Arc<str> = Arc::from(host);
    let provider = client.front.rules.load().providers.by_host(&host).cloned();
    let target = Target {
        destination,
        host,
        tls: false,
        offer: Offer::Nothing,
        options: SocketOptions::default(),
    };
    if let Some(provider) = provider {
        let context = client.gateway.context(client, &provider, Via::Forward, target);
        return pipeline::handle(context, request.map(Outgoing::through)).await;
    }
    let link = Link::lazy(Arc::clone(&client.front.upstream.pool), target);
    let mut request = request.map(Outgoing::through);
    headers::strip_request(&mut request);
    match link.send(request).await {
        Ok(mut response) => {
            headers::strip_response(&mut response, None);
            response.map(Body::Through)
        }
        Err(failure) => refuse(StatusCode::BAD_GATEWAY, &failure.to_string()),
    }
}

/// A refusal that belongs to no provider's dialect.
fn refuse(status: StatusCode, message: &str) -> Response<Body> {
    let body = json!({ "error": { "type": "weir_proxy", "message": format!("weir: {message}") } });
    body::own(status, Bytes::from(body.to_string()))
}
