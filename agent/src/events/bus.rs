//! The ring of the latest events, who fills it and who reads it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use jiff::Timestamp;
use parking_lot::{Mutex, MutexGuard};
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::sync::Notify;

use super::{Event, Kind};
use crate::clock::Clock;

/// Events that are kept for whoever comes back.
pub const KEPT: usize = 4096;
/// Events that are kept while nobody asks. What leaves the ring is still in the processor's cache
/// then: to let go of a call's record out of memory costs several times as much, on every call.
const UNASKED: usize = 256;
/// For how long after somebody has asked events are kept for when he comes back.
const ASKED: Duration = Duration::from_mins(5);
/// Events read at a time: the lock is held for as long as these are counted up.
const BATCH: usize = 256;

/// Where events are told and heard. Clones are the same bus.
///
/// Tell with [`Self::publish`], from anywhere: it takes a lock for a moment, allocates little and
/// never waits for a listener. Hear with [`Self::subscribe`]. Whether a listener may see an event is
/// its own to ask: [`Published::is_for`].
#[derive(Debug, Clone)]
pub struct Bus(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    clock: Arc<dyn Clock>,
    ring: Mutex<Ring>,
    /// Wakes whoever waits for the next event.
    told: Notify,
}

#[derive(Debug)]
struct Ring {
    /// The id of the first event there ever was.
    base: u64,
    /// The id of the next one.
    next: u64,
    events: VecDeque<Arc<Published>>,
    /// When somebody last asked for events.
    asked: Option<Instant>,
}

/// What happened: a value, or a way to make it when somebody wants to see it.
pub enum Data {
    /// The value.
    Value(Value),
    /// Makes its JSON form; whatever takes time belongs in here.
    Later(Box<dyn Fn() -> serde_json::Result<Box<RawValue>> + Send + Sync>),
}

/// An event of the ring.
#[derive(Debug)]
pub struct Published {
    /// See [`Event::id`].
    pub id: u64,
    /// When.
    pub at: Timestamp,
    /// What it is about.
    pub kind: Kind,
    /// See [`Event::workload`].
    pub workload: Option<Arc<str>>,
    /// See [`Event::uid`].
    pub uid: Option<u32>,
    data: Data,
}

/// What there is to hear.
#[derive(Debug, Default)]
pub struct News {
    /// Events that left the ring before they were read, before those that follow.
    pub missed: u64,
    /// The events, in order.
    pub events: Vec<Arc<Published>>,
}

/// A listener, who reads at his own pace.
#[derive(Debug)]
pub struct Subscription {
    bus: Bus,
    /// The id of the next event to be heard.
    next: u64,
    /// Missed in any case: those of an agent that ran before this one.
    missed: u64,
}

impl Bus {
    /// A bus with nothing on it. Ids begin with the time.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let since = clock.now().wall.duration_since(UNIX_EPOCH).unwrap_or_default();
        let base = u64::try_from(since.as_micros()).unwrap_or(0);
        let ring = Ring { base, next: base, events: VecDeque::new(), asked: None };
        Self(Arc::new(Inner { clock, ring: Mutex::new(ring), told: Notify::new() }))
    }

    /// Tells of something that happens now. `workload` is whom it is about, `uid` whose it is:
    /// without one, only administrators see it.
    pub fn publish(
        &self,
        kind: Kind,
        workload: Option<Arc<str>>,
        uid: Option<u32>,
        data: impl Into<Data>,
    ) {
        let now = self.0.clock.now();
        let at = Timestamp::try_from(now.wall).unwrap_or_default();
        let data = data.into();
        let left = {
            let mut ring = self.0.ring.lock();
            let id = ring.next;
            ring.next += 1;
            let left = ring.leaving(now.mono);
            ring.events.push_back(Arc::new(Published { id, at, kind, workload, uid, data }));
            left
        };
        // Not under the lock: it may be the last to hold something large.
        drop(left);
        self.0.told.notify_waiters();
    }

    /// Listens from the event after `after` on, or from now on. One from before the ring is missed;
    /// one that is still to come is as good as none.
    pub fn subscribe(&self, after: Option<u64>) -> Subscription {
        let (base, end) = {
            let ring = self.asked();
            (ring.base, ring.next)
        };
        let (next, missed) = match after {
            None => (end, 0),
            // Of another agent, which ran before: how many there were then, nobody knows.
            Some(after) if after.saturating_add(1) < base => (base, 1),
            Some(after) => (after.saturating_add(1).min(end), 0),
        };
        Subscription { bus: self.clone(), next, missed }
    }

    /// The events that are kept, `wanted` ones only: the first `limit` of those after `after`, or
    /// the last `limit` of all; and whether there are more behind them.
    pub fn kept(
        &self,
        after: Option<u64>,
        limit: usize,
        wanted: impl Fn(&Published) -> bool,
    ) -> (Vec<Arc<Published>>, bool) {
        let events: Vec<_> = {
            let ring = self.asked();
            let behind = |event: &&Arc<Published>| after.is_none_or(|after| event.id > after);
            ring.events.iter().filter(behind).cloned().collect()
        };
        let mut events: Vec<_> = events.into_iter().filter(|event| wanted(event)).collect();
        if after.is_none() {
            events.drain(..events.len().saturating_sub(limit));
        }
        let more = events.len() > limit;
        events.truncate(limit);
        (events, more)
    }

    /// What there is from an id on.
    fn since(&self, next: u64) -> News {
        let ring = self.asked();
        let first = ring.events.front().map_or(ring.next, |event| event.id);
        let missed = first.saturating_sub(next);
        // Ids grow by one: an event's place is its distance from the first.
        let place = usize::try_from(next.saturating_sub(first)).unwrap_or(usize::MAX);
        News { missed, events: ring.events.iter().skip(place).take(BATCH).cloned().collect() }
    }

    /// The ring, for somebody who asks for its events.
    fn asked(&self) -> MutexGuard<'_, Ring> {
        let now = self.0.clock.mono();
        let mut ring = self.0.ring.lock();
        ring.asked = Some(now);
        ring
    }
}

impl Ring {
    /// What makes room for the next event: two of them where fewer are to be kept than there are.
    fn leaving(&mut self, now: Instant) -> [Option<Arc<Published>>; 2] {
        let is_asked = |asked: Instant| now.saturating_duration_since(asked) < ASKED;
        let kept = if self.asked.is_some_and(is_asked) { KEPT } else { UNASKED };
        [0, 1].map(|_| if self.events.len() >= kept { self.events.pop_front() } else { None })
    }
}

impl Subscription {
    /// The next events, at least one, as soon as there are any; or what was missed. Cancel-safe:
    /// what was not returned is returned the next time.
    pub async fn next(&mut self) -> News {
        let bus = self.bus.clone();
        loop {
            let told = bus.0.told.notified();
            let mut told = std::pin::pin!(told);
            // Before the ring is looked at, so that nothing falls between the two.
            told.as_mut().enable();
            let mut news = bus.since(self.next);
            news.missed += std::mem::take(&mut self.missed);
            if let Some(last) = news.events.last() {
                self.next = last.id + 1;
            }
            if news.missed > 0 || !news.events.is_empty() {
                return news;
            }
            told.await;
        }
    }
}

impl Published {
    /// Whether a user may see it; `None` is an administrator, who sees everything.
    pub fn is_for(&self, uid: Option<u32>) -> bool {
        uid.is_none() || self.uid == uid
    }

    /// As the API writes it, on one line.
    pub fn json(&self) -> serde_json::Result<String> {
        #[derive(Serialize)]
        struct Written<'a, T> {
            id: u64,
            at: Timestamp,
            kind: Kind,
            workload: Option<&'a str>,
            uid: Option<u32>,
            data: T,
        }
        let Self { id, at, kind, uid, .. } = *self;
        let workload = self.workload.as_deref();
        match &self.data {
            Data::Value(data) => {
                serde_json::to_string(&Written { id, at, kind, workload, uid, data })
            }
            Data::Later(make) => {
                serde_json::to_string(&Written { id, at, kind, workload, uid, data: make()? })
            }
        }
    }

    /// As a value.
    pub fn event(&self) -> serde_json::Result<Event> {
        Ok(Event {
            id: self.id,
            at: self.at,
            kind: self.kind,
            workload: self.workload.as_deref().map(str::to_owned),
            uid: self.uid,
            data: match &self.data {
                Data::Value(data) => data.clone(),
                Data::Later(make) => serde_json::from_str(make()?.get())?,
            },
        })
    }
}

impl From<Value> for Data {
    fn from(value: Value) -> Self {
        Self::Value(value)
    }
}

impl std::fmt::Debug for Data {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Value(value) => f.debug_tuple("Value").field(value).finish(),
            Self::Later(_) => f.write_str("Later"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::clock::System;
    use crate::drain::Drain;

    fn tell(bus: &Bus, count: u64) {
        for n in 0..count {
            bus.publish(Kind::Call, Some("exe:curl".into()), Some(7), json!({"n": n}));
        }
    }

    fn ids(events: &[Arc<Published>]) -> Vec<u64> {
        events.iter().map(|event| event.id).collect()
    }

    #[tokio::test]
    async fn ids_grow_by_one_and_listeners_go_on_where_they_were() {
        let bus = Bus::new(Arc::new(System));
        let mut first = bus.subscribe(None);
        tell(&bus, 3);
        let heard = first.next().await;
        let base = heard.events[0].id;
        assert_eq!((ids(&heard.events), heard.missed), (vec![base, base + 1, base + 2], 0));
        // Who comes back says what he had last.
        let mut again = bus.subscribe(Some(base));
        assert_eq!(ids(&again.next().await.events), [base + 1, base + 2]);
        tell(&bus, 1);
        assert_eq!(ids(&again.next().await.events), [base + 3]);
        assert_eq!(ids(&first.next().await.events), [base + 3]);
        // What is still to come is no reason to miss what comes before.
        let mut early = bus.subscribe(Some(base + 1_000));
        tell(&bus, 1);
        assert_eq!(ids(&early.next().await.events), [base + 4]);
    }

    #[tokio::test]
    async fn whoever_waits_is_woken() {
        let (bus, drain) = (Bus::new(Arc::new(System)), Drain::new());
        let listeners: Vec<_> = (0..3)
            .map(|_| {
                let mut heard = bus.subscribe(None);
                drain.spawn(async move { heard.next().await.events.len() })
            })
            .collect();
        tell(&bus, 1);
        for listener in listeners {
            assert_eq!(listener.await.unwrap(), 1);
        }
    }

    #[tokio::test]
    async fn who_is_too_slow_is_told_and_goes_on() {
        let bus = Bus::new(Arc::new(System));
        let mut slow = bus.subscribe(None);
        let kept = u64::try_from(KEPT).unwrap();
        tell(&bus, kept + 10);
        let mut heard = slow.next().await;
        assert_eq!(heard.missed, 10);
        let mut all = heard.events.len();
        while all < KEPT {
            heard = slow.next().await;
            assert_eq!(heard.missed, 0);
            all += heard.events.len();
        }
        assert_eq!(all, KEPT);
        // Of an earlier agent: it cannot be known how much, but that something was.
        let mut stranger = bus.subscribe(Some(7));
        assert!(stranger.next().await.missed > 0);
        assert_eq!(stranger.next().await.missed, 0);
    }

    #[test]
    fn fewer_are_kept_while_nobody_asks() {
        let bus = Bus::new(Arc::new(System));
        let kept = || bus.0.ring.lock().events.len();
        tell(&bus, 1_000);
        assert_eq!(kept(), UNASKED);
        // Who asks has what there is, and what follows is kept for when he comes back.
        assert_eq!(bus.kept(None, 1_000, |_| true).0.len(), UNASKED);
        tell(&bus, 1_000);
        assert_eq!(kept(), UNASKED + 1_000);
        bus.0.ring.lock().asked = System.mono().checked_sub(ASKED);
        tell(&bus, 1_000);
        assert_eq!(kept(), UNASKED, "he has not");
    }

    #[test]
    fn events_are_made_when_they_are_read_and_belong_to_somebody() {
        let bus = Bus::new(Arc::new(System));
        let later = || serde_json::value::to_raw_value(&json!({"cost_usd": "0.01"}));
        bus.publish(Kind::Call, Some("exe:curl".into()), Some(7), Data::Later(Box::new(later)));
        bus.publish(Kind::Mode, None, None, json!({"wanted": "meter"}));
        let (events, more) = bus.kept(None, 10, |_| true);
        assert_eq!((events.len(), more), (2, false));
        for event in &events {
            let read: Event = serde_json::from_str(&event.json().unwrap()).unwrap();
            assert_eq!(read, event.event().unwrap());
        }
        assert_eq!(events[0].event().unwrap().data["cost_usd"], "0.01");
        let seen = |uid| events.iter().map(|event| event.is_for(uid)).collect::<Vec<_>>();
        assert_eq!(seen(None), [true, true]);
        assert_eq!(seen(Some(7)), [true, false]);
        assert_eq!(seen(Some(8)), [false, false]);
    }

    #[test]
    fn what_is_kept_is_read_in_pages() {
        let bus = Bus::new(Arc::new(System));
        tell(&bus, 5);
        let (last, _) = bus.kept(None, 2, |_| true);
        let base = last[0].id - 3;
        assert_eq!(ids(&last), [base + 3, base + 4]);
        let (page, more) = bus.kept(Some(base), 2, |_| true);
        assert_eq!((ids(&page), more), (vec![base + 1, base + 2], true));
        let (page, more) = bus.kept(Some(base + 2), 2, |_| true);
        assert_eq!((ids(&page), more), (vec![base + 3, base + 4], false));
        assert!(bus.kept(None, 2, |event| event.kind == Kind::Mode).0.is_empty());
    }
}
