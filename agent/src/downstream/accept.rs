//! Taking connections, up to a limit.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::drain::Drain;

/// Told when the limit is reached (`true`) and when there is room again.
///
/// An agent that is full must not take connections that it would let wait: the kernel half is
/// disarmed, and they go where they were going.
pub trait Pressure: Send + Sync {
    /// The limit has been reached, or is no longer.
    fn full(&self, full: bool);
}

/// How many connections there may be, and who is told when there are so many.
#[derive(Clone)]
pub struct Limit {
    /// One for each connection.
    pub permits: Arc<Semaphore>,
    /// Told when they run out.
    pub pressure: Arc<dyn Pressure>,
}

/// Counts as one connection for as long as any clone of it lives.
pub type Permit = Arc<OwnedSemaphorePermit>;

/// Accepts until the drain is signalled, and then whatever is in the queue; each connection is a
/// task that holds one permit, and may hand it on to what outlives the task.
///
/// Returns before the drain is signalled only where there is nothing to accept from any more.
pub async fn run<F>(
    listener: TcpListener,
    limit: Limit,
    drain: Drain,
    serve: impl Fn(TcpStream, SocketAddr, Permit) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let Limit { permits, pressure } = limit;
    loop {
        let permit = match Arc::clone(&permits).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_full) => {
                pressure.full(true);
                let waited = Arc::clone(&permits).acquire_owned().await;
                pressure.full(false);
                match waited {
                    Ok(permit) => permit,
                    Err(_closed) => return,
                }
            }
        };
        // Whoever is in the queue was led here, and must not be turned away: first the queue.
        let accepted = tokio::select! {
            biased;
            accepted = listener.accept() => accepted,
            () = drain.signalled() => return,
        };
        match accepted {
            Ok((stream, client)) => {
                drain.spawn(serve(stream, client, Arc::new(permit)));
            }
            Err(error) => {
                if is_exhausted(&error) {
                    // Whoever is led here now would wait: better not to be.
                    pressure.full(true);
                    tracing::warn!(%error, "cannot accept connections; trying again");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    pressure.full(false);
                } else if is_closed(&error) {
                    tracing::error!(%error, "a listener was closed: nothing can be accepted");
                    return;
                }
            }
        }
    }
}

/// Most accept errors concern one connection that is already gone (accept(2)); out of file
/// descriptors or memory, trying again at once would spin.
fn is_exhausted(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM))
}

/// The socket does not listen, and will not again.
fn is_closed(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EBADF | libc::ENOTSOCK))
}
