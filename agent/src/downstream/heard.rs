//! Whether a client has said anything under our certificate. One that has trusts us; one that ends
//! the connection before may not, and how it ended tells.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A TLS stream that listens for the first thing the client says.
pub(super) struct Heard<I, F> {
    inner: I,
    /// What to do then; nothing once it is done.
    first: Option<F>,
    ear: Arc<Ear>,
}

/// What was heard.
#[derive(Debug, Default)]
pub(super) struct Ear(Mutex<Said>);

#[derive(Debug, Default)]
enum Said {
    #[default]
    Nothing,
    Something,
    /// The end came first, by this error.
    End(io::Error),
}

impl<I, F: FnOnce()> Heard<I, F> {
    /// Calls `first` once application data has come.
    pub(super) fn new(inner: I, first: F) -> Self {
        Self { inner, first: Some(first), ear: Arc::default() }
    }

    /// What tells of it afterwards.
    pub(super) fn ear(&self) -> Arc<Ear> {
        Arc::clone(&self.ear)
    }
}

impl Ear {
    /// Whether application data came.
    pub(super) fn heard(&self) -> bool {
        matches!(*self.0.lock(), Said::Something)
    }

    /// The error that ended the stream before any did, for once; `None` for a plain end.
    pub(super) fn error(&self) -> Option<io::Error> {
        match std::mem::take(&mut *self.0.lock()) {
            Said::End(error) => Some(error),
            Said::Nothing | Said::Something => None,
        }
    }
}

impl<I: AsyncRead + Unpin, F: FnOnce() + Unpin> AsyncRead for Heard<I, F> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = ready!(Pin::new(&mut self.inner).poll_read(cx, buffer));
        if self.first.is_some() {
            match &read {
                Ok(()) if buffer.filled().len() > before => {
                    *self.ear.0.lock() = Said::Something;
                    if let Some(first) = self.first.take() {
                        first();
                    }
                }
                Ok(()) => {}
                Err(error) => *self.ear.0.lock() = Said::End(again(error)),
            }
        }
        Poll::Ready(read)
    }
}

impl<I: AsyncWrite + Unpin, F: Unpin> AsyncWrite for Heard<I, F> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

/// The same error once more: errors of I/O cannot be cloned, those of TLS can.
fn again(error: &io::Error) -> io::Error {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(tls) => io::Error::new(error.kind(), tls.clone()),
        None => error.kind().into(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use rustls::AlertDescription;
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn the_first_words_are_told_once() {
        let told = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&told);
        let io = io::Cursor::new(b"PRI * HTTP");
        let mut heard = Heard::new(io, move || {
            counted.fetch_add(1, Relaxed);
        });
        let ear = heard.ear();
        assert!(!ear.heard());
        heard.read_to_end(&mut Vec::new()).await.unwrap();
        assert!(ear.heard());
        assert_eq!(told.load(Relaxed), 1);
    }

    /// Ends with an error.
    struct Ends(Option<io::Error>);

    impl AsyncRead for Ends {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _cx: &mut Context<'_>,
            _buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Poll::Ready(self.0.take().map_or(Ok(()), Err))
        }
    }

    #[tokio::test]
    async fn an_alert_instead_of_words_is_kept() {
        let alert = rustls::Error::AlertReceived(AlertDescription::UnknownCA);
        let alert = io::Error::new(io::ErrorKind::InvalidData, alert);
        let mut heard = Heard::new(Ends(Some(alert)), || panic!("nothing was said"));
        let ear = heard.ear();
        heard.read_u8().await.unwrap_err();
        assert!(!ear.heard());
        let kept = ear.error().unwrap();
        assert!(kept.get_ref().unwrap().is::<rustls::Error>());
    }
}
