//! Taking connections, up to a limit.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::drain::Drain;
use crate::pulse::{self, Beat};

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
    /// Until it is open, connections wait in their listeners' queues.
    pub gate: Gate,
}

/// Holds accept loops back until the agent may serve. Clones are one gate.
#[derive(Debug, Clone, Default)]
pub struct Gate(CancellationToken);

impl Gate {
    /// An open one.
    pub fn open() -> Self {
        let gate = Self::default();
        gate.lift();
        gate
    }

    /// Opens it, for good.
    pub fn lift(&self) {
        self.0.cancel();
    }
}

/// Counts as one connection for as long as any clone of it lives.
pub type Permit = Arc<Place>;

/// One of the places for connections, and one of its user's.
#[derive(Debug)]
pub struct Place {
    _place: OwnedSemaphorePermit,
    users: OnceLock<OwnedSemaphorePermit>,
}

/// The places that one user may take, so that none keeps the others out.
#[derive(Debug)]
pub struct Shares {
    each: usize,
    users: Mutex<HashMap<u32, Arc<Semaphore>>>,
}

impl Shares {
    /// Three of four of `places` for each user.
    pub fn of(places: usize) -> Self {
        Self { each: (places - places / 4).max(1), users: Mutex::default() }
    }

    /// Counts `permit` as one of the user's; false where the user has no more.
    pub fn take(&self, uid: u32, permit: &Place) -> bool {
        let mut users = self.users.lock();
        // Bounded by the users that are connected.
        users.retain(|_, room| room.available_permits() < self.each);
        let room = users.entry(uid).or_insert_with(|| Arc::new(Semaphore::new(self.each)));
        Arc::clone(room).try_acquire_owned().is_ok_and(|place| permit.users.set(place).is_ok())
    }
}

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
    let Limit { permits, pressure, gate } = limit;
    tokio::select! {
        () = gate.0.cancelled() => {}
        () = drain.signalled() => return,
    }
    let beat = drain.beat("accept");
    let mut idle = tokio::time::interval(pulse::EVERY);
    idle.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        beat.beat();
        let permit = match Arc::clone(&permits).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_full) => {
                pressure.full(true);
                let waited = acquire(&permits, (&beat, &mut idle)).await;
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
            _ = idle.tick() => continue,
        };
        match accepted {
            Ok((stream, client)) => {
                let place = Place { _place: permit, users: OnceLock::new() };
                drain.spawn(serve(stream, client, Arc::new(place)));
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

/// Waits for room, which is no standing still.
async fn acquire(
    permits: &Arc<Semaphore>,
    (beat, idle): (&Beat, &mut Interval),
) -> Result<OwnedSemaphorePermit, AcquireError> {
    let mut acquired = std::pin::pin!(Arc::clone(permits).acquire_owned());
    loop {
        tokio::select! {
            acquired = &mut acquired => return acquired,
            _ = idle.tick() => beat.beat(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_leaves_places_for_others() {
        let places = Arc::new(Semaphore::new(8));
        let shares = Shares::of(8);
        let enter = |uid| {
            let place = Arc::clone(&places).try_acquire_owned().unwrap();
            let place = Place { _place: place, users: OnceLock::new() };
            shares.take(uid, &place).then_some(place)
        };
        let mut held: Vec<_> = std::iter::from_fn(|| enter(7)).collect();
        assert_eq!(held.len(), 6);
        assert!(enter(8).is_some(), "there is room for another");
        held.pop();
        assert!(enter(7).is_some(), "what is given back can be taken again");
        drop(held);
        assert!(enter(8).is_some());
        assert_eq!(shares.users.lock().len(), 1, "who is gone is forgotten");
    }
}
