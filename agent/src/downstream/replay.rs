//! A byte stream whose first bytes have been read already, counting what passes.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that passed a stream, readable while it is in use.
#[derive(Debug, Default)]
pub struct Passed {
    read: AtomicU64,
    written: AtomicU64,
}

impl Passed {
    /// Bytes read from the stream, including those read before it was wrapped.
    pub fn read(&self) -> u64 {
        self.read.load(Relaxed)
    }

    /// Bytes written to the stream.
    pub fn written(&self) -> u64 {
        self.written.load(Relaxed)
    }
}

/// Gives back `before`, then what the stream itself has.
#[derive(Debug)]
pub struct Replay<S> {
    before: Bytes,
    stream: S,
    passed: Arc<Passed>,
}

impl<S> Replay<S> {
    /// Wraps a stream from which `before` was read.
    pub fn new(stream: S, before: Bytes) -> Self {
        Self { before, stream, passed: Arc::default() }
    }

    /// The counters.
    pub fn passed(&self) -> Arc<Passed> {
        Arc::clone(&self.passed)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Replay<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let filled = buf.filled().len();
        if self.before.is_empty() {
            ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        } else {
            let take = self.before.len().min(buf.remaining());
            buf.put_slice(&self.before[..take]);
            self.before.advance(take);
        }
        self.passed.read.fetch_add((buf.filled().len() - filled) as u64, Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Replay<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, data))?;
        self.passed.written.fetch_add(written as u64, Relaxed);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, data))?;
        self.passed.written.fetch_add(written as u64, Relaxed);
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn what_was_read_before_comes_first_and_everything_is_counted() {
        let (near, mut far) = tokio::io::duplex(64);
        let mut replay = Replay::new(near, Bytes::from_static(b"hello "));
        far.write_all(b"world").await.unwrap();
        let mut read = [0; 11];
        replay.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"hello world");
        replay.write_all(b"bye").await.unwrap();
        assert_eq!((replay.passed().read(), replay.passed().written()), (11, 3));
    }
}
