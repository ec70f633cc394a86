//! HTTP towards the client: requests in, responses out, until either side is done.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::Poll;
use std::time::Duration;

use futures_util::FutureExt as _;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::outward::{Outward, Watched};
use super::patience::{Patience, Stage, Turn, Wait, Waited};
use crate::drain::Drain;
use crate::pipeline::{self, Body, Context};
use crate::record::Sink;
use crate::upstream::{Outgoing, Protocol};

/// Streams of one HTTP/2 connection that may be open at once.
const STREAMS: u32 = 256;
/// Largest list of header fields accepted over HTTP/2: agents send long ones.
const HEADER_LIST: u32 = 256 * 1024;
/// Streams that were reset before anyone looked at them: beyond it the connection is a flood
/// (CVE-2023-44487) and is closed.
const RESETS: usize = 20;
/// Streams that we reset ourselves for what the client did wrong, before the connection is closed.
const ERRORS: usize = 256;
/// Bytes of one answer that wait for the client's window: a client that opens many streams and
/// reads none of them holds no more.
const UNSENT: usize = 64 * 1024;
/// How long a connection that is told to end may take to say so.
const GOODBYE: Duration = Duration::from_secs(1);

/// How long a connection that is to end waits for a request that can be told so.
pub const LINGER: Duration = Duration::from_millis(500);

/// The same where nothing has come at all yet: who has only just connected means to ask.
const FIRST: Duration = Duration::from_secs(5);

/// How connections of one listener are served.
#[derive(Debug)]
pub struct Terms<'a> {
    /// The listener, in one word for metrics.
    pub listener: &'static str,
    /// How long clients may take.
    pub patience: Patience,
    /// Who counts the clients that behave badly.
    pub sink: &'a Arc<dyn Sink>,
    /// Ends it all.
    pub drain: &'a Drain,
}

/// Serves one connection to one provider; returns how many requests it carried.
pub async fn connection<I>(
    io: I,
    protocol: Protocol,
    context: Arc<Context>,
    patience: Patience,
) -> usize
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (drain, sink) = (context.drain.clone(), Arc::clone(&context.sink));
    let listener = context.parties.via.listener();
    let terms = Terms { listener, patience, sink: &sink, drain: &drain };
    let served = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&served);
    let answer = move |request: Request<Incoming>| {
        count.fetch_add(1, Relaxed);
        pipeline::handle(Arc::clone(&context), request.map(Outgoing::through))
    };
    match protocol {
        Protocol::Http1 => http1(io, &terms, answer).await,
        Protocol::Http2 => http2(io, &terms, answer).await,
    }
    served.load(Relaxed)
}

/// Serves HTTP/1.1; connections may leave HTTP by an upgrade or `CONNECT`.
pub async fn http1<I, A, F>(io: I, terms: &Terms<'_>, answer: A)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    A: Fn(Request<Incoming>) -> F,
    F: Future<Output = Response<Body>>,
{
    let io = Watched::new(io);
    let (outlet, turn) = (io.outlet(), io.turn());
    let service = service_fn(|request| {
        let (busy, outlet) = (turn.begin(), Arc::clone(&outlet));
        let turn = Arc::clone(&turn);
        // Not a block that awaits it: that would be twice its size, and hyper moves it.
        answer(request).map(move |answer| {
            turn.tell();
            Ok::<_, Infallible>(answer.map(|body| Outward::new(body, outlet, busy)))
        })
    });
    // The case of a request's fields is not recorded, which would be a second map of them for each
    // call: names have none (RFC 9110 §5.1). An answer's comes with it from the provider.
    let connection = http1::Builder::new()
        .auto_date_header(false)
        // A head's bounds are hyper's own: 400 KiB and 100 fields, beyond which it answers 431. For any
        // other number of fields it clears room anew for every request, a fiftieth of what a call
        // costs; and a smaller buffer would hold less of an answer for a client that is slow to read.
        .serve_connection(TokioIo::new(io), service)
        .with_upgrades();
    let wait = Wait::new(Arc::clone(&turn), terms.patience, true);
    let stop = http1::UpgradeableConnection::graceful_shutdown;
    finish(pin!(connection), terms, (wait, Some(&turn)), stop).await;
}

/// Serves HTTP/2.
pub async fn http2<I, A, F>(io: I, terms: &Terms<'_>, answer: A)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    A: Fn(Request<Incoming>) -> F,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let io = Watched::new(io);
    let (outlet, turn) = (io.outlet(), io.turn());
    let service = service_fn(|request| {
        let (busy, outlet) = (turn.begin(), Arc::clone(&outlet));
        answer(request)
            .map(|answer| Ok::<_, Infallible>(answer.map(|body| Outward::new(body, outlet, busy))))
    });
    let connection = http2::Builder::new(terms.drain.clone())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEADER_LIST)
        .max_pending_accept_reset_streams(RESETS)
        .max_local_error_reset_streams(ERRORS)
        .max_send_buf_size(UNSENT)
        // WebSockets over HTTP/2 (RFC 8441 §3): the provider is asked by an upgrade, whatever it
        // speaks here.
        .enable_connect_protocol()
        .auto_date_header(false)
        .serve_connection(TokioIo::new(io), service);
    let wait = Wait::new(Arc::clone(&turn), terms.patience, false);
    finish(pin!(connection), terms, (wait, None), http2::Connection::graceful_shutdown).await;
}

/// Runs a connection to its end; when the drain is signalled, to the end of the request it is in;
/// where the client takes too long, no further. A connection of HTTP/1.1 comes with whose `turn` it
/// is: HTTP/2 can tell clients to ask nothing more at any time.
async fn finish<C>(
    mut connection: Pin<&mut C>,
    terms: &Terms<'_>,
    (wait, turn): (Wait, Option<&Turn>),
    stop: impl Fn(Pin<&mut C>),
) where
    C: Future<Output = hyper::Result<()>>,
{
    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => ended,
        () = terms.drain.signalled() => {
            let early = match turn {
                Some(turn) => linger(connection.as_mut(), turn, terms.drain).await,
                None => None,
            };
            match (early, turn.map(Turn::stage)) {
                (Some(ended), _) => ended,
                // hyper would wait for a first request for ever.
                (None, Some(Stage::Untouched)) => return,
                (None, _) => {
                    stop(connection.as_mut());
                    connection.await
                }
            }
        }
        waited = wait => {
            terms.sink.fault(terms.listener, waited.as_str());
            if waited != Waited::Next {
                return;
            }
            stop(connection.as_mut());
            // It rests, so there is nothing to wait for but its taking note.
            tokio::time::timeout(GOODBYE, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "client connection ended");
        if let Some(fault) = fault(&error) {
            terms.sink.fault(terms.listener, fault);
        }
    }
}

/// Runs a connection of HTTP/1.1 to where it can be ended without a client's noticing: to a request
/// whose answer can still say that it is the last, or to a rest in which none has come for a while. A
/// client that was told nothing may ask again in the very moment in which the connection is closed.
async fn linger<C>(
    mut connection: Pin<&mut C>,
    turn: &Turn,
    drain: &Drain,
) -> Option<hyper::Result<()>>
where
    C: Future<Output = hyper::Result<()>>,
{
    let begun = Instant::now();
    let mut rest = pin!(tokio::time::sleep_until(begun + LINGER));
    let mut resting = true;
    let quiet = poll_fn(|cx| {
        if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
            return Poll::Ready(Some(ended));
        }
        match turn.stage() {
            Stage::Asked => return Poll::Ready(None),
            Stage::Answered => {
                resting = false;
                return Poll::Pending;
            }
            Stage::Resting if !resting => {
                resting = true;
                rest.as_mut().reset(Instant::now() + LINGER);
            }
            Stage::Resting => {}
            Stage::Untouched => rest.as_mut().reset(begun + FIRST),
        }
        rest.as_mut().poll(cx).map(|()| None)
    });
    tokio::select! {
        ended = quiet => ended,
        () = drain.hurried() => None,
    }
}

/// What the client did wrong, in one word; `None` where it only left.
fn fault(error: &hyper::Error) -> Option<&'static str> {
    if error.is_parse_too_large() {
        return Some("too_large");
    }
    if error.is_parse() {
        return Some("malformed");
    }
    // Of the HTTP/2 library only the words are at hand: RFC 9113 §7 names the codes.
    let cause = std::error::Error::source(error)?.to_string();
    if cause.contains("excessive load") {
        Some("flood")
    } else if cause.contains("protocol error") || cause.contains("frame with invalid size") {
        Some("malformed")
    } else {
        None
    }
}
