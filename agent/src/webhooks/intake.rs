//! A request to a webhook: read, checked, kept, answered.
//!
//! Whether there is a webhook of a name is nobody's business without its secret: until the
//! signature has been found right, everything that is said is the same for every name.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;
use ulid::Ulid;

use super::lane::Lane;
use super::prompt::Delivered;
use super::run::Run;
use super::seen::Look;
use super::settings::Definition;
use super::signature::{Key, Signed, Tag};
use super::{Counted, Webhooks};
use crate::pipeline::inspect::discard;
use crate::pipeline::room::Claim;
use crate::pipeline::{Body, body};
use crate::secret::Secret;
use crate::subject::Subject;
use crate::upstream::Outgoing;

/// How long a body may take.
const READ: Duration = Duration::from_secs(30);
/// What names that are none are counted as.
const UNKNOWN: &str = "unknown";
/// How long somebody whom there is no room for should wait.
const AGAIN: u64 = 5;

/// Why a request is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum Refused {
    #[error("webhooks are not enabled: see webhooks.enabled")]
    Disabled,
    #[error("a webhook takes POST only")]
    Method,
    #[error("the body could not be read")]
    Unreadable,
    #[error("the body did not come within {} seconds", READ.as_secs())]
    Slow,
    #[error("the body is larger than webhooks.max_body allows")]
    TooLarge,
    #[error("there is no room for more bodies")]
    NoRoom,
    /// No such webhook, no signature, or a wrong one: which of them is not said.
    #[error("there is no webhook of this name, or the signature is not right")]
    Unsigned,
    #[error("the timestamp is too old, or not yet; are the clocks right?")]
    Stale,
    #[error("this request was taken before")]
    Replayed,
    #[error("this is a callback of the same webhook")]
    Reflected,
    #[error("too many deliveries wait for this webhook")]
    Full,
    #[error("the delivery cannot be kept")]
    NotKept,
}

impl Refused {
    fn status(self) -> StatusCode {
        match self {
            Self::Disabled => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Unreadable => StatusCode::BAD_REQUEST,
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Unsigned | Self::Stale => StatusCode::UNAUTHORIZED,
            Self::Replayed | Self::Reflected => StatusCode::CONFLICT,
            Self::NoRoom | Self::Full | Self::NotKept => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// As metrics and answers write it.
    fn word(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::Method => "method",
            Self::Unreadable => "unreadable",
            Self::Slow => "slow",
            Self::TooLarge => "too_large",
            Self::NoRoom => "no_room",
            Self::Unsigned => "bad_signature",
            Self::Stale => "stale",
            Self::Replayed => "replayed",
            Self::Reflected => "reflected",
            Self::Full => "full",
            Self::NotKept => "not_kept",
        }
    }

    fn answer(self) -> Response<Body> {
        let message = format!("weir: {self}");
        let error =
            json!({"error": {"type": "webhook_refused", "code": self.word(), "message": message}});
        let mut response = body::own(self.status(), error.to_string().into());
        let mut set = |name, value| response.headers_mut().insert(name, value);
        match self {
            Self::Method => drop(set(header::ALLOW, HeaderValue::from_static("POST"))),
            Self::NoRoom | Self::Full | Self::NotKept => {
                drop(set(header::RETRY_AFTER, HeaderValue::from(AGAIN)));
            }
            Self::Unsigned | Self::Stale => {
                drop(set(header::WWW_AUTHENTICATE, HeaderValue::from_static("HMAC-SHA256")));
            }
            _ => {}
        }
        response
    }
}

/// A request that may be taken.
struct Taken {
    definition: Definition<Secret>,
    lane: Lane,
    place: OwnedSemaphorePermit,
    tag: Tag,
    known_until: SystemTime,
    at: SystemTime,
}

impl Webhooks {
    /// Answers a request to a webhook, which a process of this host has posted.
    pub async fn answer(
        self: &Arc<Self>,
        poster: &Arc<Subject>,
        name: &str,
        request: Request<Incoming>,
    ) -> Response<Body> {
        let (name, poster) = (name.to_owned(), Arc::clone(poster));
        let known = self.settings.load().get(&name).map(|known| Arc::clone(&known.name));
        let label = known.unwrap_or_else(|| Arc::from(UNKNOWN));
        let answered = async {
            let (parts, body, claim) = self.read(request).await?;
            let webhooks = Arc::clone(self);
            // A sender that leaves now must not leave half of it.
            let keeping = self.means.drain.spawn(async move {
                let _held = claim;
                let taken = webhooks.take(&name, &parts.headers, &body)?;
                webhooks.keep(taken, &poster, (parts, body)).await
            });
            keeping.await.unwrap_or(Err(Refused::NotKept))
        };
        match answered.await {
            Ok(id) => {
                self.count(&label, Counted::Request, "accepted");
                let said =
                    json!({"delivery_id": id.to_string(), "webhook": &*label, "status": "queued"});
                body::own(StatusCode::ACCEPTED, said.to_string().into())
            }
            Err(refused) => {
                self.count(&label, Counted::Request, refused.word());
                refused.answer()
            }
        }
    }

    /// Reads the whole body, but no more than may be held.
    async fn read(&self, request: Request<Incoming>) -> Result<(Parts, Bytes, Claim), Refused> {
        let most = {
            let settings = self.settings.load();
            if !settings.enabled {
                return Err(Refused::Disabled);
            }
            settings.max_body
        };
        if request.method() != Method::POST {
            return Err(Refused::Method);
        }
        let (parts, mut body) = request.into_parts();
        if body.size_hint().lower() > most as u64 {
            discard(Outgoing::through(body)).await;
            return Err(Refused::TooLarge);
        }
        let mut claim = self.means.rules.load().room.claim();
        let reading = async {
            let mut read = BytesMut::new();
            while let Some(frame) = body.frame().await {
                let Ok(data) = frame.map_err(|_| Refused::Unreadable)?.into_data() else {
                    continue;
                };
                if read.len() + data.len() > most {
                    return Err(Refused::TooLarge);
                }
                // The body itself, and the prompt that is made of it.
                if !claim.extend(2 * (read.len() + data.len())) {
                    return Err(Refused::NoRoom);
                }
                read.extend_from_slice(&data);
            }
            Ok(read.freeze())
        };
        match tokio::time::timeout(READ, reading).await.unwrap_or(Err(Refused::Slow)) {
            Ok(read) => Ok((parts, read, claim)),
            Err(refused) => {
                // A sender that is cut off while it writes does not read why.
                discard(Outgoing::through(body)).await;
                Err(refused)
            }
        }
    }

    /// Decides whether a request is taken. From the signature on, its sender is told what is wrong.
    fn take(&self, name: &str, headers: &HeaderMap, body: &[u8]) -> Result<Taken, Refused> {
        let definition = self.definition(name);
        let secret = definition.as_ref().and_then(|definition| definition.secret.as_ref().ok());
        let require = definition.as_ref().is_none_or(|definition| definition.require_timestamp);
        // For a name that is none the same is done, so that it takes as long.
        let key = secret.map_or_else(Key::nobodys, Key::new);
        let signed = key.check(headers, body, require).filter(|_| secret.is_some());
        let (Some(definition), Some(signed)) = (definition, signed) else {
            return Err(Refused::Unsigned);
        };
        let lane = self.lane(name).ok_or(Refused::Unsigned)?;
        let at = self.means.clock.now().wall;
        let known_until = fresh(signed, definition.window, at).ok_or(Refused::Stale)?;
        if body.starts_with(super::callback::beginning(name).as_bytes()) {
            return Err(Refused::Reflected);
        }
        let place = lane.place();
        let look = lane.seen.lock().take(signed.tag, known_until, at);
        match (look, place) {
            (Look::Again, _) => Err(Refused::Replayed),
            (Look::Full, _) => Err(Refused::Full),
            (Look::New, None) => {
                lane.seen.lock().forget(signed.tag);
                Err(Refused::Full)
            }
            (Look::New, Some(place)) => {
                Ok(Taken { definition, lane, place, tag: signed.tag, known_until, at })
            }
        }
    }

    /// Keeps a request on disk, and lets it wait for its turn.
    async fn keep(
        self: &Arc<Self>,
        taken: Taken,
        poster: &Subject,
        (parts, body): (Parts, Bytes),
    ) -> Result<Ulid, Refused> {
        let Taken { definition, lane, place, tag, known_until, at } = taken;
        let id = Ulid::from_datetime(at);
        let name = &definition.name;
        let run = Run::new((id, at), name, poster.process.clone(), (tag, known_until));
        // Before the file is there for others to find.
        self.waiting.lock().insert(id);
        let (webhooks, name) = (Arc::clone(self), Arc::clone(name));
        let kept = self.means.drain.spawn_blocking(move || {
            let delivered = Delivered { webhook: &name, headers: &parts.headers, body: &body, at };
            webhooks.spool.accept(&run, &delivered.ask(&definition.prompt))
        });
        let kept = kept.await.unwrap_or_else(|_| Err(std::io::Error::other("it panicked")));
        if let Err(error) = kept {
            tracing::error!(%error, "a delivery to a webhook cannot be kept");
            self.waiting.lock().remove(&id);
            lane.seen.lock().forget(tag);
            return Err(Refused::NotKept);
        }
        self.schedule(id, lane, Some(place));
        Ok(id)
    }
}

/// Until when a request could be played back; `None` where its time is not now.
fn fresh(signed: Signed, window: Duration, now: SystemTime) -> Option<SystemTime> {
    let Some(at) = signed.at else { return now.checked_add(window) };
    let (earlier, later) = if at < now { (at, now) } else { (now, at) };
    let apart = later.duration_since(earlier).ok()?;
    // A moment more: its last moment is taken too.
    (apart <= window).then(|| later.checked_add(window + Duration::from_secs(1)))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_old_or_not_yet_is_no_longer_taken_when_it_is_no_longer_known() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let window = Duration::from_mins(5);
        let signed = |seconds| Signed { tag: [0; 16], at: Some(at(seconds)) };
        for (made, now, taken) in [
            (1000, 1000, true),
            (1000, 1300, true),
            (1000, 1301, false),
            (1300, 1000, true),
            (1301, 1000, false),
        ] {
            let until = fresh(signed(made), window, at(now));
            assert_eq!(until.is_some(), taken, "{made} at {now}");
            // Whatever is remembered of it is remembered for as long as it would be taken.
            if let Some(until) = until {
                assert_eq!(fresh(signed(made), window, until), None, "{made} at {now}");
            }
        }
        let plain = Signed { tag: [0; 16], at: None };
        assert_eq!(fresh(plain, window, at(5)), Some(at(305)));
    }

    #[test]
    fn an_unknown_name_and_a_wrong_signature_are_one() {
        assert_eq!(Refused::Unsigned.status(), StatusCode::UNAUTHORIZED);
        let response = Refused::Full.answer();
        assert_eq!(response.headers()[header::RETRY_AFTER], "5");
        assert_eq!(Refused::Method.answer().headers()[header::ALLOW], "POST");
    }
}
