//! `/api/events/stream`: events as they happen, as server-sent events.
//!
//! Whoever comes back says what it had last (`Last-Event-ID`, or `after`) and goes on from there.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Extension, State};
use axum::response::IntoResponse;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::routing::get;
use futures_util::Stream;
use http::{HeaderMap, HeaderName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::access::Caller;
use super::routes::{Asked, Refusal, Shared};
use super::serve::Door;
use super::sessions::{Session, Sessions};
use crate::drain::Drain;
use crate::events::{News, Published, Subscription};

/// What a browser sends when it comes back.
const LAST: HeaderName = HeaderName::from_static("last-event-id");
/// How often something is sent even if nothing happens: by it a client knows that it is connected,
/// and what stands between does not end the connection.
const ALIVE: Duration = Duration::from_secs(15);
/// Events of so long a time are written together: a thousand a second are twenty writes.
const TOGETHER: Duration = Duration::from_millis(50);

/// From where on: the parameters of `/api/events/stream`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct StreamQuery {
    /// After this event; from now on where not named. The header `Last-Event-ID` counts before it.
    pub after: Option<u64>,
}

/// The data of the event `missed`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(super) struct Missed {
    /// So many events were too many to be kept, or an unknown number of an agent that ran before.
    pub missed: u64,
}

pub(super) fn router() -> Router<Shared> {
    Router::new().route("/api/events/stream", get(stream))
}

async fn stream(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    Extension(door): Extension<Door>,
    headers: HeaderMap,
    query: Asked<StreamQuery>,
) -> Result<impl IntoResponse, Refusal> {
    let uid = caller.rows_of()?;
    let after = after(&headers, query?.0)?;
    let session = match door {
        Door::Http(session) => session,
        Door::Socket => None,
    };
    let listener = Listener {
        heard: shared.agent.events().subscribe(after),
        uid,
        session,
        sessions: shared.sessions,
        drain: shared.drain,
        waiting: VecDeque::new(),
        missed: 0,
    };
    Ok(Sse::new(listener.stream()).keep_alive(KeepAlive::new().interval(ALIVE)))
}

fn after(headers: &HeaderMap, query: StreamQuery) -> Result<Option<u64>, Refusal> {
    let Some(last) = headers.get(LAST).filter(|last| !last.is_empty()) else {
        return Ok(query.after);
    };
    let id = last.to_str().ok().and_then(|last| last.parse().ok());
    let nonsense = || Refusal::Nonsense("Last-Event-ID is the number of an event".to_owned());
    id.map(Some).ok_or_else(nonsense)
}

/// Somebody who listens.
struct Listener {
    heard: Subscription,
    uid: Option<u32>,
    session: Option<Session>,
    sessions: Arc<Sessions>,
    drain: Drain,
    /// Heard, and not yet written.
    waiting: VecDeque<Arc<Published>>,
    missed: u64,
}

impl Listener {
    fn stream(self) -> impl Stream<Item = Result<Event, Infallible>> {
        futures_util::stream::unfold(self, async |mut listener| {
            Some((Ok(listener.next().await?), listener))
        })
    }

    /// The next frame; `None` once the agent stops, or the session is over.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if self.missed > 0 {
                let missed = Missed { missed: std::mem::take(&mut self.missed) };
                return Event::default().event("missed").json_data(missed).ok();
            }
            if let Some(event) = self.waiting.pop_front() {
                // One that has no JSON form is no event: there is none such.
                let Ok(json) = event.json() else { continue };
                let frame = Event::default().id(event.id.to_string());
                return Some(frame.event(event.kind.word()).data(json));
            }
            let news = tokio::select! {
                () = self.drain.signalled() => return None,
                () = over(&self.sessions, self.session) => return None,
                news = self.heard.next() => news,
            };
            self.take(news);
            tokio::time::sleep(TOGETHER).await;
            if self.session.is_some_and(|session| !self.sessions.lasts(&session)) {
                return None;
            }
        }
    }

    fn take(&mut self, news: News) {
        self.missed += news.missed;
        let own = news.events.into_iter().filter(|event| event.is_for(self.uid));
        self.waiting.extend(own);
    }
}

/// Resolves when a session is over; never without one.
async fn over(sessions: &Sessions, session: Option<Session>) {
    let Some(session) = session else { return std::future::pending().await };
    while sessions.lasts(&session) {
        tokio::time::sleep(ALIVE).await;
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn whoever_comes_back_says_so_in_either_way() {
        let sent =
            |last: &str| HeaderMap::from_iter([(LAST, HeaderValue::from_str(last).unwrap())]);
        let query = StreamQuery { after: Some(3) };
        assert_eq!(after(&HeaderMap::new(), query).unwrap(), Some(3));
        assert_eq!(after(&HeaderMap::new(), StreamQuery::default()).unwrap(), None);
        assert_eq!(after(&sent("7"), query).unwrap(), Some(7));
        assert_eq!(after(&sent(""), query).unwrap(), Some(3));
        assert!(after(&sent("x"), query).is_err());
    }
}
