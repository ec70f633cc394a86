//! HTTP/2 towards providers: streams that they refuse, and answers that nobody reads.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use bytes::{Buf, Bytes, BytesMut};
use futures_util::stream;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper::client::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::RootCertStore;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::*;
use crate::clock::System;
use crate::drain::Drain;
use crate::upstream::connect::BoxFuture;
use crate::upstream::{Connect, Destination, Io, Offer, SocketOptions, Tls};

/// Dialled again, the provider answers by HTTP/1.1.
#[derive(Debug)]
struct Again;

impl Connect for Again {
    fn connect<'a>(
        &'a self,
        _to: &'a Destination,
        _options: SocketOptions,
    ) -> BoxFuture<'a, io::Result<Io>> {
        let (near, far) = duplex(64 * 1024);
        Drain::new().spawn(async move {
            let service = service_fn(async |request: Request<Incoming>| {
                let body = request.into_body().collect().await?.to_bytes();
                Ok::<_, hyper::Error>(Response::new(Full::new(body)))
            });
            let http = hyper::server::conn::http1::Builder::new();
            drop(http.serve_connection(TokioIo::new(far), service).await);
        });
        Box::pin(async move { Ok(Box::new(near) as Io) })
    }
}

/// A link with an HTTP/2 connection at hand.
async fn link_on(near: DuplexStream) -> Link {
    let drain = Drain::new();
    let (sender, connection) = http2::handshake(drain.clone(), TokioIo::new(near)).await.unwrap();
    drain.spawn(connection);
    let target = Target {
        destination: Destination::Name(Arc::from("api.openai.com"), 443),
        host: Arc::from("api.openai.com"),
        tls: false,
        offer: Offer::Http2,
        options: SocketOptions::default(),
    };
    let tls = Tls::new(RootCertStore::empty(), []).unwrap();
    let pool = Arc::new(Pool::new(Arc::new(Again), tls, Arc::new(System), drain));
    Link { pool, target, slot: Mutex::new(Some(Sender::Http2(sender))) }
}

/// A provider that answers the head of every request with one frame.
async fn answered_with(mut far: DuplexStream, frame: impl Fn([u8; 4]) -> Vec<u8>) {
    const PREFACE: usize = 24;
    const HEADERS: u8 = 1;
    let mut came = BytesMut::new();
    far.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
    while came.len() < PREFACE {
        far.read_buf(&mut came).await.unwrap();
    }
    came.advance(PREFACE);
    loop {
        while came.len() >= 9 {
            let length = usize::from(came[1]) << 8 | usize::from(came[2]);
            if came.len() < 9 + length {
                break;
            }
            let (kind, id) = (came[3], [came[5], came[6], came[7], came[8]]);
            came.advance(9 + length);
            if kind == HEADERS {
                far.write_all(&frame(id)).await.unwrap();
            }
        }
        if far.read_buf(&mut came).await.unwrap_or(0) == 0 {
            // The client is done with this connection; its answer comes over another.
            return std::future::pending().await;
        }
    }
}

fn reset(id: [u8; 4], code: u8) -> Vec<u8> {
    [&[0, 0, 4, 3, 0][..], &id, &[0, 0, 0, code]].concat()
}

fn ask() -> Request<Outgoing> {
    Request::post("/v1/responses").body(Outgoing::whole(Bytes::from_static(b"asked"))).unwrap()
}

#[tokio::test]
async fn what_was_not_processed_is_sent_again() {
    let refused = |id| reset(id, 7);
    let went_away = |_id| [&[0, 0, 8, 7][..], &[0; 13]].concat();
    for (frame, what) in [
        (&refused as &(dyn Fn([u8; 4]) -> Vec<u8> + Send + Sync), "RST_STREAM, REFUSED_STREAM"),
        (&went_away, "GOAWAY, nothing processed"),
    ] {
        let (near, far) = duplex(64 * 1024);
        let link = link_on(near).await;
        let answer = async {
            let response = link.send(ask()).await.unwrap_or_else(|error| panic!("{what}: {error}"));
            response.into_body().collect().await.unwrap().to_bytes()
        };
        let body = tokio::select! {
            body = answer => body,
            () = answered_with(far, frame) => panic!("{what}: the connection ended first"),
        };
        assert_eq!(body, "asked", "{what}");
    }
}

#[tokio::test]
async fn what_may_have_been_processed_is_not() {
    const INTERNAL_ERROR: u8 = 2;
    let (near, far) = duplex(64 * 1024);
    let link = link_on(near).await;
    let failure = tokio::select! {
        answer = link.send(ask()) => answer.expect_err("a reset is no answer"),
        () = answered_with(far, |id| reset(id, INTERNAL_ERROR)) => panic!("it ended first"),
    };
    assert_eq!((failure.class(), failure.is_unsent()), ("broken", false));
}

/// The windows bound what is taken from a provider for a client that does not read.
#[tokio::test]
async fn an_answer_that_nobody_reads_is_not_taken() {
    const CHUNK: usize = 64 * 1024;
    const ALL: usize = 100 << 20;
    let (near, far) = duplex(64 * 1024);
    let given = Arc::new(AtomicUsize::new(0));
    let (count, drain) = (Arc::clone(&given), Drain::new());
    let serving = drain.clone();
    drain.spawn(async move {
        let service = service_fn(move |_request: Request<Incoming>| {
            let count = Arc::clone(&count);
            let chunks = stream::unfold(0, move |sent| {
                count.store(sent, Relaxed);
                let chunk = Frame::data(Bytes::from(vec![b'x'; CHUNK]));
                let next = (sent < ALL).then(|| (Ok::<_, io::Error>(chunk), sent + CHUNK));
                std::future::ready(next)
            });
            std::future::ready(Ok::<_, io::Error>(Response::new(StreamBody::new(chunks))))
        });
        let http = hyper::server::conn::http2::Builder::new(serving);
        drop(http.serve_connection(TokioIo::new(far), service).await);
    });
    let link = link_on(near).await;
    let response = link.send(ask()).await.unwrap();
    let mut last = usize::MAX;
    // Until nothing more is taken.
    while last != given.load(Relaxed) {
        last = given.load(Relaxed);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!((CHUNK..8 << 20).contains(&last), "{last} bytes were taken");
    drop(response);
}
