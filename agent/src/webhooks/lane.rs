//! What one webhook may have under way at once, and what it has taken.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::seen::Seen;
use super::settings::Definition;
use super::signature::Tag;

/// Answers that may wait to be posted; above it they are given up at once.
const CALLBACKS: usize = 256;
/// Answers posted at a time: a receiver that is slow for one is not waited for by all.
const POSTS: usize = 8;

/// Webhooks that are gone whose requests stay known.
const GONE: usize = 64;

/// The lanes of all webhooks, and what those have taken that are gone: one that comes back must not
/// take it again.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    there: HashMap<Arc<str>, Lane>,
    gone: HashMap<Arc<str>, Arc<Mutex<Seen>>>,
}

impl Lanes {
    /// Makes them those of other definitions.
    pub(super) fn renew<S>(&mut self, definitions: &[Definition<S>], now: SystemTime) {
        let mut before = std::mem::take(&mut self.there);
        for definition in definitions {
            let name = &definition.name;
            let lane = match (before.remove(name), self.gone.remove(name)) {
                (Some(known), _) => known.renewed(definition),
                (None, Some(seen)) => Lane { seen, ..Lane::new(definition) },
                (None, None) => Lane::new(definition),
            };
            self.there.insert(Arc::clone(name), lane);
        }
        self.gone.extend(before.into_iter().map(|(name, lane)| (name, lane.seen)));
        self.forget(now);
    }

    pub(super) fn get(&self, name: &str) -> Option<&Lane> {
        self.there.get(name)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Lane)> {
        self.there.iter()
    }

    /// Remembers a request to a webhook that is there, or was.
    pub(super) fn remember(
        &mut self,
        webhook: &Arc<str>,
        (tag, until): (Tag, SystemTime),
        now: SystemTime,
    ) {
        if let Some(lane) = self.there.get(webhook) {
            lane.seen.lock().take(tag, until, now);
            return;
        }
        let seen = self.gone.entry(Arc::clone(webhook)).or_default();
        seen.lock().take(tag, until, now);
        self.forget(now);
    }

    /// Of those that are gone keeps what could still be played back; of too many the longest.
    fn forget(&mut self, now: SystemTime) {
        self.gone.retain(|_, seen| seen.lock().until().is_some_and(|until| until > now));
        while self.gone.len() > GONE {
            let first = self.gone.iter().min_by_key(|(_, seen)| seen.lock().until());
            let Some(name) = first.map(|(name, _)| Arc::clone(name)) else { return };
            self.gone.remove(&name);
        }
    }
}

/// The bounds of one webhook.
#[derive(Debug, Clone)]
pub(super) struct Lane {
    /// For deliveries that wait or run.
    places: Arc<Semaphore>,
    /// For calls.
    pub(super) calls: Arc<Semaphore>,
    /// For answers that wait to be posted.
    callbacks: Arc<Semaphore>,
    /// For attempts to post one.
    pub(super) posts: Arc<Semaphore>,
    /// Requests that were taken.
    pub(super) seen: Arc<Mutex<Seen>>,
    /// What the first two were made for.
    size: (u32, u32),
}

impl Lane {
    pub(super) fn new<S>(definition: &Definition<S>) -> Self {
        let size = (definition.concurrency.get(), definition.queue.get());
        Self {
            places: semaphore(size.0.saturating_add(size.1)),
            calls: semaphore(size.0),
            callbacks: Arc::new(Semaphore::new(CALLBACKS)),
            posts: Arc::new(Semaphore::new(POSTS)),
            seen: Arc::default(),
            size,
        }
    }

    /// For what was accepted for a webhook that is gone: it only has to be ended.
    pub(super) fn nobodys() -> Self {
        Self {
            places: semaphore(0),
            calls: semaphore(1),
            callbacks: semaphore(0),
            posts: semaphore(0),
            seen: Arc::default(),
            size: (0, 0),
        }
    }

    /// The same after a reload: what was taken stays known. What is under way keeps the bounds it
    /// began with.
    pub(super) fn renewed<S>(&self, definition: &Definition<S>) -> Self {
        let new = Self::new(definition);
        let (callbacks, posts) = (Arc::clone(&self.callbacks), Arc::clone(&self.posts));
        let kept = Self { callbacks, posts, seen: Arc::clone(&self.seen), ..new };
        if kept.size != self.size {
            return kept;
        }
        Self { places: Arc::clone(&self.places), calls: Arc::clone(&self.calls), ..kept }
    }

    /// Room for one more delivery; `None` where there is none.
    pub(super) fn place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.places).try_acquire_owned().ok()
    }

    /// Room for one more answer that waits to be posted; `None` where there is none.
    pub(super) fn callback(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.callbacks).try_acquire_owned().ok()
    }

    /// Deliveries that wait or run.
    pub(super) fn taken(&self) -> usize {
        let all = self.size.0.saturating_add(self.size.1) as usize;
        all.saturating_sub(self.places.available_permits())
    }
}

fn semaphore(permits: u32) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(permits as usize))
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::time::Duration;

    use super::*;
    use crate::alerts::template::Prompt;
    use crate::webhooks::seen::Look;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn definition(name: &str) -> Definition<()> {
        Definition {
            name: Arc::from(name),
            secret: Ok(()),
            provider: Arc::from("x"),
            model: Arc::from("m"),
            prompt: Prompt::parse("p").unwrap(),
            system: None,
            max_tokens: NonZeroU32::MIN,
            callback: None,
            window: Duration::from_secs(1),
            require_timestamp: true,
            concurrency: NonZeroU32::MIN,
            queue: NonZeroU32::MIN,
        }
    }

    fn take(lanes: &Lanes, name: &str, until: u64, now: u64) -> Look {
        lanes.get(name).unwrap().seen.lock().take([7; 16], at(until), at(now))
    }

    #[test]
    fn what_was_taken_stays_known_where_a_webhook_goes_and_comes_back() {
        let mut lanes = Lanes::default();
        lanes.renew(&[definition("a"), definition("b")], at(0));
        assert_eq!(take(&lanes, "a", 10, 0), Look::New);
        lanes.renew(&[definition("b")], at(1));
        assert!(lanes.get("a").is_none());
        lanes.renew(&[definition("b")], at(2));
        lanes.renew(&[definition("a")], at(9));
        assert_eq!(take(&lanes, "a", 19, 9), Look::Again);
        lanes.renew(&[definition("b")], at(10));
        assert!(lanes.gone.is_empty(), "nothing of it could be played back");
        // What is on disk of one that is not there yet is known when it comes.
        lanes.remember(&Arc::from("c"), ([7; 16], at(20)), at(10));
        lanes.renew(&[definition("c")], at(11));
        assert_eq!(take(&lanes, "c", 21, 11), Look::Again);
    }

    #[test]
    fn of_too_many_that_are_gone_those_are_kept_that_are_known_longest() {
        let mut lanes = Lanes::default();
        for number in 0..=GONE {
            let until = at(100 + number as u64);
            lanes.remember(&Arc::from(format!("w{number}")), ([7; 16], until), at(0));
        }
        assert_eq!(lanes.gone.len(), GONE);
        assert!(!lanes.gone.contains_key("w0"));
    }
}
