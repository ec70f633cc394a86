//! Accepting connections and telling the routes who is at the other end.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::response::IntoResponse;
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::access::{self, Caller, Denied, Shown};
use super::agent::Agent;
use super::crowd::{Crowd, Membership};
use super::peer::Peer;
use super::routes::Refusal;
use super::sessions::{Session, Sessions};
use crate::clock::Clock;
use crate::drain::Drain;

/// Connections over TCP at a time: for more, those that ask for nothing give way.
const TCP_CONNECTIONS: usize = 64;
/// Connections of one user at a time: more are closed, so that no user keeps others out.
const USER_CONNECTIONS: usize = 16;
/// For a request's head, also on a connection kept open.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest head of a request with its target; a larger one is answered with 431.
const HEAD: usize = 64 * 1024;
/// How often room is asked for while everybody is being answered.
const ROOM_PAUSE: Duration = Duration::from_millis(10);
/// Wait after a failed accept: out of file descriptors, it would fail again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Wrong tokens that are answered as if there were none, in [`GUESSING`]; what is more is refused
/// at once. Right ones always count: nobody keeps others out by guessing.
const GUESSES: u32 = 30;
const GUESSING: Duration = Duration::from_mins(1);

/// The user at the other end of the unix socket, or behind a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Who(pub(super) u32);

/// How a request came in.
#[derive(Debug, Clone, Copy)]
pub(super) enum Door {
    /// Over the unix socket.
    Socket,
    /// Over TCP, perhaps with a session.
    Http(Option<Session>),
}

/// Who asks, and how.
#[derive(Debug, Clone, Copy)]
struct Asker {
    caller: Caller,
    who: Option<Who>,
    door: Door,
}

/// Serves the unix socket until drained; the kernel says who asks.
pub(super) async fn unix(
    listener: UnixListener,
    (router, agent): (Router, Arc<dyn Agent>),
    (group, own): (Option<u32>, u32),
    drain: Drain,
) {
    let mut users = Users::default();
    loop {
        let accepted = tokio::select! {
            biased;
            () = drain.signalled() => return,
            accepted = listener.accept() => accepted,
        };
        let peer = accepted.and_then(|(stream, _)| Ok((Peer::of(&stream)?, stream)));
        let Ok((peer, stream)) = peer else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let caller = Caller::of(&peer, group, own);
        let place = match caller {
            Caller::User(uid) => {
                let Some(place) = users.place(uid) else {
                    agent.fault("socket", "user_limit");
                    continue;
                };
                Some(place)
            }
            Caller::Administrator | Caller::Http { .. } => None,
        };
        let asker = Asker { caller, who: Some(Who(peer.uid)), door: Door::Socket };
        let at =
            At { listener: "socket", agent: Arc::clone(&agent), member: Crowd::default().join() };
        let router = router.clone();
        let connection = serve(stream, router, move |_| Ok(asker), (at, drain.clone()));
        drop(drain.spawn(async move {
            connection.await;
            drop(place);
        }));
    }
}

/// The connections of each user that is not an administrator.
#[derive(Debug, Default)]
struct Users(HashMap<u32, Arc<Semaphore>>);

impl Users {
    fn place(&mut self, uid: u32) -> Option<OwnedSemaphorePermit> {
        // Bounded by the users that are connected.
        self.0.retain(|_, room| room.available_permits() < USER_CONNECTIONS);
        let room = self.0.entry(uid).or_insert_with(|| Arc::new(Semaphore::new(USER_CONNECTIONS)));
        Arc::clone(room).try_acquire_owned().ok()
    }
}

/// Serves the TCP listener until drained.
pub(super) async fn tcp(
    listener: TcpListener,
    (router, agent): (Router, Arc<dyn Agent>),
    keys: Keys,
    drain: Drain,
) {
    let keys = Arc::new(keys);
    let room = Arc::new(Semaphore::new(TCP_CONNECTIONS));
    let crowd = Crowd::default();
    loop {
        let next = async {
            let accepted = listener.accept().await;
            (place(&room, &crowd, &*agent).await, accepted)
        };
        let (place, accepted) = tokio::select! {
            biased;
            () = drain.signalled() => return,
            next = next => next,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let (keys, told) = (Arc::clone(&keys), Arc::clone(&agent));
        let who = move |request: &hyper::Request<Incoming>| {
            keys.asker(request.headers(), &*told).map_err(Refusal::Denied)
        };
        let at = At { listener: "admin", agent: Arc::clone(&agent), member: crowd.join() };
        let connection = serve(stream, router.clone(), who, (at, drain.clone()));
        drop(drain.spawn(async move {
            connection.await;
            drop(place);
        }));
    }
}

/// By what those who come over TCP are known.
#[derive(Debug)]
pub(super) struct Keys {
    /// The token of metrics.
    token: Option<Arc<str>>,
    sessions: Arc<Sessions>,
    guesses: Guesses,
}

impl Keys {
    pub(super) fn new(
        token: Option<Arc<str>>,
        sessions: Arc<Sessions>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { token, sessions, guesses: Guesses { clock, lately: Mutex::default() } }
    }

    fn asker(&self, headers: &http::HeaderMap, agent: &dyn Agent) -> Result<Asker, Denied> {
        let shown = access::over_http(headers, self.token.as_deref(), &self.sessions)?;
        let nobody =
            |token| Asker { caller: Caller::Http { token }, who: None, door: Door::Http(None) };
        match shown {
            Shown::Session(session) => {
                let Session { caller, who, .. } = session;
                Ok(Asker { caller, who: Some(who), door: Door::Http(Some(session)) })
            }
            Shown::Metrics => Ok(nobody(true)),
            Shown::Nothing => Ok(nobody(false)),
            Shown::Wrong => {
                agent.fault("admin", "wrong_token");
                if self.guesses.one_more() { Ok(nobody(false)) } else { Err(Denied::TooManyTokens) }
            }
        }
    }
}

/// Tokens that were none, lately: when that began, and how many.
#[derive(Debug)]
struct Guesses {
    clock: Arc<dyn Clock>,
    lately: Mutex<Option<(Instant, u32)>>,
}

impl Guesses {
    /// Whether there are few enough of them, with this one.
    fn one_more(&self) -> bool {
        let (now, mut lately) = (self.clock.mono(), self.lately.lock());
        let known = lately.filter(|(since, _)| now.saturating_duration_since(*since) < GUESSING);
        let (since, count) = known.unwrap_or((now, 0));
        *lately = Some((since, count.saturating_add(1)));
        count < GUESSES
    }
}

/// Waits for a place, which somebody has to give up where there is none.
async fn place(
    room: &Arc<Semaphore>,
    crowd: &Crowd,
    agent: &dyn Agent,
) -> Option<OwnedSemaphorePermit> {
    loop {
        if let Ok(place) = Arc::clone(room).try_acquire_owned() {
            return Some(place);
        }
        if crowd.make_room() {
            agent.fault("admin", "crowded_out");
            return Arc::clone(room).acquire_owned().await.ok();
        }
        tokio::time::sleep(ROOM_PAUSE).await;
    }
}

/// Where a connection came in, and as whom.
struct At {
    listener: &'static str,
    agent: Arc<dyn Agent>,
    member: Membership,
}

async fn serve<S, W>(stream: S, router: Router, who: W, (at, drain): (At, Drain))
where
    S: AsyncRead + AsyncWrite + Unpin,
    W: Fn(&hyper::Request<Incoming>) -> Result<Asker, Refusal>,
{
    let answers = TowerToHyperService::new(router);
    let service = service_fn(|mut request: hyper::Request<Incoming>| {
        let answer = who(&request).map(|asker| {
            let extensions = request.extensions_mut();
            extensions.insert(asker.caller);
            extensions.insert(asker.door);
            if let Some(who) = asker.who {
                extensions.insert(who);
            }
            answers.call(request)
        });
        let asking = at.member.asks();
        async {
            let _asking = asking;
            match answer {
                Ok(answer) => answer.await,
                Err(refusal) => Ok(refusal.into_response()),
            }
        }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = at.member.has_to_leave() => return,
        () = drain.signalled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(fault) = ended {
        tracing::debug!(%fault, "admin connection");
        if let Some(word) = fault_of(&fault) {
            at.agent.fault(at.listener, word);
        }
    }
}

/// What the client did wrong, in one word; `None` where it only left, or rested too long.
fn fault_of(error: &hyper::Error) -> Option<&'static str> {
    if error.is_parse_too_large() {
        Some("too_large")
    } else if error.is_parse() {
        Some("malformed")
    } else if error.is_timeout() {
        Some("header_timeout")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guessing_is_bounded_for_a_while() {
        #[derive(Debug)]
        struct Hand(Mutex<crate::clock::Now>);
        impl Clock for Hand {
            fn now(&self) -> crate::clock::Now {
                *self.0.lock()
            }
        }
        let hand = Arc::new(Hand(Mutex::new(crate::clock::System.now())));
        let clock = Arc::clone(&hand) as Arc<dyn Clock>;
        let guesses = Guesses { clock, lately: Mutex::default() };
        assert!((0..GUESSES).all(|_| guesses.one_more()));
        assert!(!guesses.one_more() && !guesses.one_more());
        hand.0.lock().mono += GUESSING;
        assert!(guesses.one_more(), "it is over after a while");
    }

    #[test]
    fn a_user_cannot_keep_others_out() {
        let mut users = Users::default();
        let held: Vec<_> = (0..USER_CONNECTIONS).map(|_| users.place(7).unwrap()).collect();
        assert!(users.place(7).is_none());
        assert!(users.place(8).is_some());
        drop(held);
        assert!(users.place(7).is_some());
        assert_eq!(users.0.len(), 1, "who is gone is forgotten");
    }
}
