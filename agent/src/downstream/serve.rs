//! HTTP towards the client: requests in, responses out, until either side is done.

use std::convert::Infallible;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::outward::{Outward, Watched};
use crate::drain::Drain;
use crate::pipeline::{self, Body, Context};
use crate::upstream::{Outgoing, Protocol};

/// Streams of one HTTP/2 connection that may be open at once.
const STREAMS: u32 = 256;
/// Largest list of header fields accepted over HTTP/2: agents send long ones.
const HEADER_LIST: u32 = 256 * 1024;

/// Serves one connection to one provider; returns how many requests it carried.
pub async fn connection<I>(io: I, protocol: Protocol, context: Arc<Context>) -> usize
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let drain = context.drain.clone();
    let served = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&served);
    let answer = move |request: Request<Incoming>| {
        count.fetch_add(1, Relaxed);
        pipeline::handle(Arc::clone(&context), request.map(Outgoing::through))
    };
    match protocol {
        Protocol::Http1 => http1(io, &drain, answer).await,
        Protocol::Http2 => http2(io, &drain, answer).await,
    }
    served.load(Relaxed)
}

/// Serves HTTP/1.1; connections may leave HTTP by an upgrade or `CONNECT`.
pub async fn http1<I, A, F>(io: I, drain: &Drain, answer: A)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    A: Fn(Request<Incoming>) -> F,
    F: Future<Output = Response<Body>>,
{
    let io = Watched::new(io);
    let outlet = io.outlet();
    let service = service_fn(|request| {
        let (answer, outlet) = (answer(request), Arc::clone(&outlet));
        async { Ok::<_, Infallible>(answer.await.map(|body| Outward::new(body, outlet))) }
    });
    let connection = http1::Builder::new()
        .preserve_header_case(true)
        .auto_date_header(false)
        .serve_connection(TokioIo::new(io), service)
        .with_upgrades();
    finish(pin!(connection), drain, http1::UpgradeableConnection::graceful_shutdown).await;
}

/// Serves HTTP/2.
pub async fn http2<I, A, F>(io: I, drain: &Drain, answer: A)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    A: Fn(Request<Incoming>) -> F,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let io = Watched::new(io);
    let outlet = io.outlet();
    let service = service_fn(|request| {
        let (answer, outlet) = (answer(request), Arc::clone(&outlet));
        async { Ok::<_, Infallible>(answer.await.map(|body| Outward::new(body, outlet))) }
    });
    let connection = http2::Builder::new(drain.clone())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEADER_LIST)
        // WebSockets over HTTP/2 (RFC 8441 §3): the provider is asked by an upgrade, whatever it
        // speaks here.
        .enable_connect_protocol()
        .auto_date_header(false)
        .serve_connection(TokioIo::new(io), service);
    finish(pin!(connection), drain, http2::Connection::graceful_shutdown).await;
}

/// Runs a connection to its end; when the drain is signalled, to the end of the request it is in.
async fn finish<C>(mut connection: Pin<&mut C>, drain: &Drain, stop: impl Fn(Pin<&mut C>))
where
    C: Future<Output = hyper::Result<()>>,
{
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = drain.signalled() => {
            stop(connection.as_mut());
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "client connection ended");
    }
}
