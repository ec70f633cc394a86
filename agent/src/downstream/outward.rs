//! An answer's way out: when it breaks, what came before the break still reaches the client.
//!
//! When a body fails, hyper closes the connection (HTTP/1.1) or resets the stream (HTTP/2), and
//! drops whatever it and TLS have taken and not yet written: with a slow client, or a provider that
//! cuts right after a large chunk, that is part of the answer. So the failure is held back as long
//! as the connection has something to write that the client does not take. hyper asks a body for
//! more only when what it gave before fits the client's window, so nothing waits for that.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::patience::{Busy, Turn};
use crate::pipeline::Body;
use crate::upstream::BoxError;

/// How often a broken answer's connection is looked at, and how often in a row it must have nothing
/// left to write: over HTTP/2 another task writes, and between two frames a look may deceive.
const LOOK_EVERY: Duration = Duration::from_millis(2);
const LOOKS: u32 = 4;
/// How long a failure waits for a client that does not read.
const PATIENCE: Duration = Duration::from_secs(30);

/// Whether a connection has something to write that the client does not take at the moment.
#[derive(Debug, Default)]
pub(super) struct Outlet {
    stuck: AtomicBool,
}

impl Outlet {
    fn wrote<T>(&self, wrote: &Poll<io::Result<T>>) {
        // After an error nothing will ever be written.
        if !matches!(wrote, Poll::Ready(Ok(_))) {
            self.stuck.store(wrote.is_pending(), Relaxed);
        }
    }

    fn flushed(&self, flushed: &Poll<io::Result<()>>) {
        self.stuck.store(flushed.is_pending(), Relaxed);
    }
}

/// A connection whose writing side is watched, and of whose reading side is known when bytes came.
#[derive(Debug)]
pub(super) struct Watched<I> {
    io: I,
    outlet: Arc<Outlet>,
    turn: Arc<Turn>,
}

impl<I> Watched<I> {
    pub(super) fn new(io: I) -> Self {
        Self { io, outlet: Arc::default(), turn: Turn::new() }
    }

    /// Whose turn it is to speak.
    pub(super) fn turn(&self) -> Arc<Turn> {
        Arc::clone(&self.turn)
    }

    pub(super) fn outlet(&self) -> Arc<Outlet> {
        Arc::clone(&self.outlet)
    }

    pub(super) fn into_inner(self) -> I {
        self.io
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Watched<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.turn.read();
        }
        read
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Watched<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.io).poll_write(cx, data);
        self.outlet.wrote(&wrote);
        wrote
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.io).poll_write_vectored(cx, data);
        self.outlet.wrote(&wrote);
        wrote
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        self.outlet.flushed(&flushed);
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// A response's body on its way to a watched connection.
#[derive(Debug)]
pub(super) struct Outward {
    body: Body,
    outlet: Arc<Outlet>,
    broken: Option<Broken>,
    /// Until it is over, its request is being answered.
    _busy: Busy,
}

/// What is left to say when everything before it has been written.
#[derive(Debug)]
struct Broken {
    error: BoxError,
    /// Looks since the connection had something left to write.
    looks: u32,
    next_look: Pin<Box<Sleep>>,
    patience: Pin<Box<Sleep>>,
}

impl Outward {
    pub(super) fn new(body: Body, outlet: Arc<Outlet>, busy: Busy) -> Self {
        Self { body, outlet, broken: None, _busy: busy }
    }
}

impl Broken {
    fn new(error: BoxError) -> Self {
        Self {
            error,
            looks: 0,
            next_look: Box::pin(sleep(LOOK_EVERY)),
            patience: Box::pin(sleep(PATIENCE)),
        }
    }

    /// Ready when what came before it has been written, or never will be.
    fn poll(&mut self, outlet: &Outlet, cx: &mut Context<'_>) -> Poll<()> {
        while self.next_look.as_mut().poll(cx).is_ready() {
            self.looks = if outlet.stuck.load(Relaxed) { 0 } else { self.looks + 1 };
            if self.looks == LOOKS {
                return Poll::Ready(());
            }
            self.next_look = Box::pin(sleep(LOOK_EVERY));
        }
        self.patience.as_mut().poll(cx)
    }
}

impl HttpBody for Outward {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        if this.broken.is_none() {
            match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                Some(Err(error)) => this.broken = Some(Broken::new(error)),
                other => return Poll::Ready(other),
            }
        }
        if let Some(broken) = &mut this.broken {
            ready!(broken.poll(&this.outlet, cx));
        }
        Poll::Ready(this.broken.take().map(|broken| Err(broken.error)))
    }

    fn is_end_stream(&self) -> bool {
        self.broken.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, Empty};
    use hyper::Request;
    use hyper::client::conn::{http1, http2};
    use hyper_util::rt::TokioIo;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::sync::oneshot;

    use super::super::patience::Patience;
    use super::super::serve;
    use super::*;
    use crate::drain::Drain;
    use crate::record::{Connection, Durability, Opened, Record, Sink};

    const LONG: Duration = Duration::from_hours(1);

    #[derive(Debug)]
    struct Nobody;

    impl Sink for Nobody {
        fn open(&self, _: Opened) {}

        fn settle(&self, _: Arc<Record>) -> oneshot::Receiver<Durability> {
            oneshot::channel().1
        }

        fn connection(&self, _: Connection) {}
    }

    /// Bytes of the answer that come before it is cut: fewer than hyper holds, which asks for no more
    /// before.
    const SENT: usize = 300_000;
    /// What a client's side of the connection holds that it has not read.
    const HELD: usize = 4096;
    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n";

    /// An answer that is cut after [`SENT`] bytes.
    async fn cut_answer(drain: Drain) -> hyper::Response<Body> {
        let (near, mut far) = duplex(2 * SENT);
        drain.spawn(async move {
            far.read_u8().await.unwrap();
            far.write_all(ANSWER).await.unwrap();
            far.write_all(&vec![b'x'; SENT]).await.unwrap();
        });
        let near = TokioIo::new(near);
        let (mut sender, connection) = http1::handshake(near).await.unwrap();
        drain.spawn(connection);
        let asked = sender.send_request(Request::new(Empty::<Bytes>::new())).await.unwrap();
        asked.map(Body::Through)
    }

    /// A client's end of a connection to a server that gives that answer.
    fn client(http2: bool) -> (DuplexStream, Drain) {
        let (near, far) = duplex(HELD);
        let (drain, serving) = (Drain::new(), Drain::new());
        let answering = drain.clone();
        drain.spawn(async move {
            let answer = move |_request| cut_answer(answering.clone());
            let nobody: Arc<dyn Sink> = Arc::new(Nobody);
            let terms = serve::Terms {
                listener: "test",
                patience: Patience { first: LONG, head: LONG, idle: LONG },
                sink: &nobody,
                drain: &serving,
            };
            if http2 {
                serve::http2(far, &terms, answer).await;
            } else {
                serve::http1(far, &terms, answer).await;
            }
        });
        (near, drain)
    }

    /// The time that a slow client takes before it reads on.
    async fn dawdle() {
        sleep(Duration::from_secs(10)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_client_gets_all_that_came_before_a_cut() {
        let (mut client, _drain) = client(false);
        client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let mut head = vec![0; 16];
        client.read_exact(&mut head).await.unwrap();
        dawdle().await;
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.unwrap();
        let end = rest.iter().rev().take_while(|byte| **byte == b'x').count();
        assert_eq!(end, SENT);
    }

    #[tokio::test(start_paused = true)]
    async fn over_http2_too() {
        let (client, drain) = client(true);
        let io = TokioIo::new(client);
        let (mut sender, mut connection) = http2::handshake(drain, io).await.unwrap();
        let request = Request::get("http://x/").body(Empty::<Bytes>::new()).unwrap();
        let response = tokio::select! {
            response = sender.send_request(request) => response.unwrap(),
            ended = &mut connection => panic!("{ended:?}"),
        };
        // Nothing is read while nobody polls the connection.
        dawdle().await;
        let mut body = response.into_body();
        let mut came = 0;
        let error = loop {
            let frame = tokio::select! {
                frame = body.frame() => frame.expect("no end but the cut"),
                ended = &mut connection => panic!("{ended:?}"),
            };
            match frame {
                Ok(frame) => came += frame.into_data().map_or(0, |data| data.len()),
                Err(error) => break error,
            }
        };
        assert_eq!(came, SENT, "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_never_reads_is_waited_for_only_so_long() {
        let (mut client, drain) = client(false);
        client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let begun = tokio::time::Instant::now();
        assert_eq!(drain.finish(Duration::from_mins(5)).await, 0);
        let took = begun.elapsed();
        assert!(took >= PATIENCE && took < 2 * PATIENCE, "{took:?}");
    }
}
