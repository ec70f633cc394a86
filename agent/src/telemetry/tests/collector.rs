//! A collector that answers as it is told, over in-memory connections.

use std::collections::VecDeque;
use std::io::{self, Read as _};
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

use crate::drain::Drain;
use crate::upstream::connect::BoxFuture;
use crate::upstream::{Connect, Destination, Io, SocketOptions};

/// What a collector does when it is connected to.
#[derive(Debug, Clone)]
pub(super) enum Does {
    /// Answers with a status, and `Retry-After`.
    Status(u16, Option<u64>),
    /// Takes it, and says this.
    Takes(Bytes),
    /// Says nothing, ever.
    Hangs,
    /// Is not there.
    Refuses,
    /// Says this, which is no HTTP.
    Babbles(&'static [u8]),
}

/// What it was sent.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) at: Instant,
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

/// Does what the script says, then what comes last.
#[derive(Debug)]
pub(super) struct Collector {
    script: Mutex<VecDeque<Does>>,
    last: Does,
    seen: Arc<Mutex<Vec<Seen>>>,
    connected: Mutex<Vec<Instant>>,
    drain: Drain,
}

impl Collector {
    pub(super) fn new(script: impl IntoIterator<Item = Does>, last: Does) -> Arc<Self> {
        Arc::new(Self {
            script: Mutex::new(script.into_iter().collect()),
            last,
            seen: Arc::default(),
            connected: Mutex::default(),
            drain: Drain::new(),
        })
    }

    /// Takes everything.
    pub(super) fn willing() -> Arc<Self> {
        Self::new([], Does::Takes(Bytes::new()))
    }

    /// What it was sent since it was asked the last time.
    pub(super) fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.seen.lock())
    }

    /// When it was connected to.
    pub(super) fn connected(&self) -> Vec<Instant> {
        self.connected.lock().clone()
    }
}

impl Connect for Collector {
    fn connect<'a>(
        &'a self,
        to: &'a Destination,
        options: SocketOptions,
    ) -> BoxFuture<'a, io::Result<Io>> {
        assert_eq!(to.to_string(), "collector.test:4318");
        assert_eq!(options, SocketOptions::default());
        self.connected.lock().push(Instant::now());
        let does = self.script.lock().pop_front().unwrap_or_else(|| self.last.clone());
        if matches!(does, Does::Refuses) {
            return Box::pin(async { Err(io::ErrorKind::ConnectionRefused.into()) });
        }
        let (near, mut far) = tokio::io::duplex(1 << 20);
        let seen = Arc::clone(&self.seen);
        self.drain.spawn(async move {
            if let Does::Babbles(words) = does {
                // Whoever listens may have left.
                drop(far.write_all(words).await);
                return;
            }
            let service =
                service_fn(move |request| answer(request, does.clone(), Arc::clone(&seen)));
            let http = hyper::server::conn::http1::Builder::new();
            drop(http.serve_connection(TokioIo::new(far), service).await);
        });
        Box::pin(async move { Ok(Box::new(near) as Io) })
    }
}

async fn answer(
    request: Request<Incoming>,
    does: Does,
    seen: Arc<Mutex<Vec<Seen>>>,
) -> io::Result<Response<Full<Bytes>>> {
    let (parts, body) = request.into_parts();
    let mut body = body.collect().await.map_err(io::Error::other)?.to_bytes().to_vec();
    if parts.headers.get("content-encoding").is_some_and(|coding| coding == "gzip") {
        let packed = std::mem::take(&mut body);
        flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut body)?;
    }
    let path = parts.uri.path().to_owned();
    seen.lock().push(Seen { at: Instant::now(), path, headers: parts.headers, body });
    let mut answer = Response::builder();
    let body = match does {
        Does::Status(status, after) => {
            answer = answer.status(status);
            if let Some(after) = after {
                answer = answer.header("retry-after", after);
            }
            Bytes::from_static(b"an error, in words")
        }
        Does::Takes(body) => body,
        _ => std::future::pending().await,
    };
    answer.body(Full::new(body)).map_err(io::Error::other)
}
