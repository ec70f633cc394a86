//! Sessions: how somebody who asks over HTTP is known.
//!
//! The unix socket knows who asks, HTTP does not. Whoever may ask over the socket is given a token
//! there (`POST /api/sessions`), and with it sees and may do over HTTP what it may over the socket:
//! no more, for a while, and only from this machine. Tokens are 256 random bits; only their hashes
//! are kept, in memory, so that they end with the daemon.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use aws_lc_rs::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use aws_lc_rs::rand;
use axum::Router;
use axum::extract::{Extension, Json, State};
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::access::{Caller, Denied};
use super::routes::{Answer, Refusal, Shared};
use super::serve::{Door, Who};
use super::usage::timestamp;
use super::{Failure, SCHEMA_VERSION};
use crate::clock::{Clock, Now};

/// How long a session lasts.
const LENGTH: Duration = Duration::from_hours(12);
/// Sessions of one user at a time, and of all administrators together; one more ends the oldest.
const OWN: usize = 16;
/// Sessions of all users at a time; one more ends the oldest. Those of administrators don't count:
/// no user ends one of theirs.
const ALL: usize = 1024;

/// The sessions there are.
#[derive(Debug)]
pub(super) struct Sessions {
    clock: Arc<dyn Clock>,
    held: Mutex<HashMap<Key, Session>>,
}

/// A token's hash: who reads it from memory has no token.
type Key = [u8; SHA256_OUTPUT_LEN];

/// Somebody who is known over HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Session {
    pub(super) caller: Caller,
    /// Who made it.
    pub(super) who: Who,
    /// When it ends.
    pub(super) expires_at: SystemTime,
    /// The same by a clock that nobody sets.
    ends: Instant,
    key: Key,
}

impl Sessions {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, held: Mutex::default() }
    }

    /// A new session for whoever asks, and its token; `None` where there is no randomness.
    fn begin(&self, caller: Caller, who: Who) -> Option<(String, Session)> {
        let mut bits = [0; 32];
        rand::fill(&mut bits).ok()?;
        let token = URL_SAFE_NO_PAD.encode(bits);
        let now = self.clock.now();
        let (expires_at, ends, key) = (now.wall + LENGTH, now.mono + LENGTH, key(token.as_bytes()));
        let session = Session { caller, who, expires_at, ends, key };
        let mut held = self.held.lock();
        held.retain(|_, session| session.lasts(now));
        let theirs = |it: &Session| it.caller == caller;
        if held.values().filter(|it| theirs(it)).count() >= OWN {
            end_oldest(&mut held, theirs);
        }
        let is_user = |it: &Session| matches!(it.caller, Caller::User(_));
        if is_user(&session) && held.values().filter(|it| is_user(it)).count() >= ALL {
            end_oldest(&mut held, is_user);
        }
        held.insert(key, session);
        Some((token, session))
    }

    /// The session a token is of.
    pub(super) fn find(&self, token: &[u8]) -> Option<Session> {
        let session = self.held.lock().get(&key(token)).copied()?;
        session.lasts(self.clock.now()).then_some(session)
    }

    /// Whether a session has neither ended nor been ended.
    pub(super) fn lasts(&self, session: &Session) -> bool {
        session.lasts(self.clock.now()) && self.held.lock().contains_key(&session.key)
    }

    fn end(&self, session: &Session) {
        self.held.lock().remove(&session.key);
    }
}

impl Session {
    /// By both clocks: one stands still while the machine sleeps, the other can be set.
    fn lasts(&self, now: Now) -> bool {
        now.mono < self.ends && now.wall < self.expires_at
    }
}

fn key(token: &[u8]) -> Key {
    let mut key = Key::default();
    key.copy_from_slice(digest(&SHA256, token).as_ref());
    key
}

fn end_oldest(held: &mut HashMap<Key, Session>, among: impl Fn(&Session) -> bool) {
    let oldest = held.values().filter(|it| among(it)).min_by_key(|it| it.ends).map(|it| it.key);
    if let Some(oldest) = oldest {
        held.remove(&oldest);
    }
}

/// The answer to `POST /api/sessions`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NewSession {
    /// Version of this shape.
    pub schema_version: u32,
    /// To be sent as `Authorization: Bearer TOKEN`.
    pub token: String,
    /// When the session ends; it ends with the daemon in any case.
    pub expires_at: Timestamp,
    /// The dashboard's address, with the token where no server gets to see it.
    pub url: String,
}

/// `GET /api/session`: who one is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WhoAmI {
    /// Version of this shape.
    pub schema_version: u32,
    /// What one may do.
    pub role: Role,
    /// One's user id; `null` to nobody.
    pub user: Option<String>,
    /// When the session ends; `null` over the socket, and to nobody.
    pub expires_at: Option<Timestamp>,
}

/// What somebody may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// See everything, and change things.
    Administrator,
    /// See what belongs to them.
    User,
    /// See what any local process may.
    Nobody,
}

pub(super) fn router() -> Router<Shared> {
    Router::new()
        .route("/api/sessions", post(begin))
        .route("/api/session", get(who_am_i).delete(end))
}

async fn begin(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    Extension(door): Extension<Door>,
    who: Option<Extension<Who>>,
) -> Answer<NewSession> {
    // A session that could make others would never end.
    let (Door::Socket, Some(Extension(who))) = (door, who) else {
        return Err(Denied::OnlyOverTheSocket.into());
    };
    let Some(address) = shared.http else {
        let what = "there is no HTTP listener that a session could be for".to_owned();
        return Err(Failure::Refused { what, fix: Some("set listen.admin".to_owned()) }.into());
    };
    let Some((token, session)) = shared.sessions.begin(caller, who) else {
        return Err(Failure::Unavailable("the system has no random bits".to_owned()).into());
    };
    let url = format!("http://{address}/#session={token}");
    let expires_at = timestamp(session.expires_at);
    Ok(Json(NewSession { schema_version: SCHEMA_VERSION, token, expires_at, url }))
}

async fn who_am_i(
    Extension(caller): Extension<Caller>,
    Extension(door): Extension<Door>,
    who: Option<Extension<Who>>,
) -> Json<WhoAmI> {
    let role = match caller {
        Caller::Administrator => Role::Administrator,
        Caller::User(_) => Role::User,
        Caller::Http { .. } => Role::Nobody,
    };
    let expires_at = match door {
        Door::Http(Some(session)) => Some(timestamp(session.expires_at)),
        Door::Http(None) | Door::Socket => None,
    };
    let user = who.map(|Extension(Who(uid))| uid.to_string());
    Json(WhoAmI { schema_version: SCHEMA_VERSION, role, user, expires_at })
}

async fn end(
    State(shared): State<Shared>,
    Extension(door): Extension<Door>,
) -> Result<http::StatusCode, Refusal> {
    match door {
        Door::Http(Some(session)) => {
            shared.sessions.end(&session);
            Ok(http::StatusCode::NO_CONTENT)
        }
        Door::Http(None) => Err(Denied::Http.into()),
        Door::Socket => {
            let what = "over the socket there is no session to end".to_owned();
            Err(Failure::Refused { what, fix: None }.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::System;

    /// Two clocks that are set by hand.
    #[derive(Debug)]
    struct Hands(Mutex<Now>);

    impl Clock for Hands {
        fn now(&self) -> Now {
            *self.0.lock()
        }
    }

    fn sessions() -> (Sessions, Arc<Hands>) {
        let clock = Arc::new(Hands(Mutex::new(System.now())));
        (Sessions::new(Arc::clone(&clock) as Arc<dyn Clock>), clock)
    }

    fn begin(sessions: &Sessions, caller: Caller) -> String {
        sessions.begin(caller, Who(7)).unwrap().0
    }

    #[test]
    fn a_token_is_known_until_its_session_ends_by_either_clock() {
        for sleep in [true, false] {
            let (sessions, clock) = sessions();
            let token = begin(&sessions, Caller::User(7));
            let found = sessions.find(token.as_bytes()).unwrap();
            assert_eq!((found.caller, found.who), (Caller::User(7), Who(7)));
            assert_eq!(URL_SAFE_NO_PAD.decode(&token).unwrap().len(), 32);
            let mut now = clock.0.lock();
            let almost = LENGTH.checked_sub(Duration::from_secs(1)).unwrap();
            *now = Now { mono: now.mono + almost, wall: now.wall + almost };
            drop(now);
            assert!(sessions.find(token.as_bytes()).is_some() && sessions.lasts(&found));
            let mut now = clock.0.lock();
            // Asleep, the machine's own clock stands still; and the wall clock can be set back.
            if sleep {
                now.wall += Duration::from_secs(1);
            } else {
                now.mono += Duration::from_secs(1);
                now.wall -= LENGTH;
            }
            drop(now);
            assert!(sessions.find(token.as_bytes()).is_none() && !sessions.lasts(&found));
        }
    }

    #[test]
    fn no_token_is_guessed_and_none_is_kept() {
        let (sessions, _clock) = sessions();
        let token = begin(&sessions, Caller::Administrator);
        for wrong in ["", "x", &token[1..], &format!("{token}=")] {
            assert!(sessions.find(wrong.as_bytes()).is_none(), "{wrong}");
        }
        assert_ne!(begin(&sessions, Caller::Administrator), token);
        assert!(!format!("{sessions:?}").contains(&token));
        let held = sessions.find(token.as_bytes()).unwrap();
        sessions.end(&held);
        assert!(sessions.find(token.as_bytes()).is_none() && !sessions.lasts(&held));
    }

    #[test]
    fn sessions_are_bounded_and_users_end_nobody_elses() {
        let (sessions, clock) = sessions();
        let admin = begin(&sessions, Caller::Administrator);
        let others = begin(&sessions, Caller::User(8));
        let own: Vec<String> = (0..=OWN)
            .map(|_| {
                clock.0.lock().mono += Duration::from_millis(1);
                begin(&sessions, Caller::User(7))
            })
            .collect();
        let known = |token: &String| sessions.find(token.as_bytes()).is_some();
        assert!(!known(&own[0]) && own[1..].iter().all(known), "the oldest has ended");
        assert!(known(&admin) && known(&others));
        for uid in 0..u32::try_from(ALL).unwrap() {
            clock.0.lock().mono += Duration::from_millis(1);
            begin(&sessions, Caller::User(1000 + uid));
        }
        assert!(known(&admin), "an administrator's stays");
        assert!(!known(&others), "the oldest of all users' has ended");
        assert_eq!(sessions.held.lock().len(), ALL + 1);
    }
}
