//! Calls that a client's SDK makes again by itself, because the first one failed.
//!
//! The SDKs of `OpenAI` and Anthropic number their tries (`x-stainless-retry-count`). Such a call
//! is linked to the one it repeats, and the tries made for that one count here too: two layers
//! that each try three times must not come to nine.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use crate::record::CallId;
use crate::subject::Process;

/// Failed calls remembered.
const MOST: usize = 1024;
/// For how long: SDKs wait at most a minute or so before they try again.
const AGE: Duration = Duration::from_mins(10);

/// What makes two calls the same: process, model and body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Print(u64);

impl Print {
    /// Of a call with this hash of its body.
    pub fn of(process: &Process, model: Option<&str>, body: u64) -> Self {
        let mut hasher = DefaultHasher::new();
        (process.pid, process.start_ticks, model, body).hash(&mut hasher);
        Self(hasher.finish())
    }
}

/// A call that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Earlier {
    /// Its id.
    pub call: CallId,
    /// Tries made for it, and for those it repeats itself.
    pub tries: u32,
}

/// Calls that failed of late.
#[derive(Debug, Default)]
pub struct Repeats {
    seen: HashMap<Print, (Earlier, Instant)>,
    order: VecDeque<(Print, Instant)>,
}

impl Repeats {
    /// Remembers a call that failed.
    pub fn remember(&mut self, print: Print, earlier: Earlier, now: Instant) {
        self.seen.insert(print, (earlier, now));
        self.order.push_back((print, now));
        while self.order.len() > MOST {
            let Some((oldest, at)) = self.order.pop_front() else { return };
            if self.seen.get(&oldest).is_some_and(|(_, last)| *last == at) {
                self.seen.remove(&oldest);
            }
        }
    }

    /// The call that this one repeats.
    pub fn find(&self, print: Print, now: Instant) -> Option<Earlier> {
        let (earlier, at) = self.seen.get(&print)?;
        (now.saturating_duration_since(*at) <= AGE).then_some(*earlier)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ulid::Ulid;

    use super::*;
    use crate::clock::{Clock as _, System};

    fn process(pid: u32) -> Process {
        Process {
            pid,
            start_ticks: 1,
            exe: Arc::from("/usr/bin/python3"),
            command: Arc::from("python3"),
            uid: 1000,
            user: None,
            verified: true,
        }
    }

    #[test]
    fn only_the_same_process_model_and_body_repeat_a_call() {
        let now = System.now().mono;
        let mut repeats = Repeats::default();
        let print = Print::of(&process(7), Some("m"), 1);
        let earlier = Earlier { call: CallId(Ulid::nil()), tries: 3 };
        repeats.remember(print, earlier, now);
        assert_eq!(repeats.find(print, now), Some(earlier));
        for other in [
            Print::of(&process(8), Some("m"), 1),
            Print::of(&process(7), Some("n"), 1),
            Print::of(&process(7), Some("m"), 2),
        ] {
            assert_eq!(repeats.find(other, now), None);
        }
        assert_eq!(repeats.find(print, now + AGE + Duration::from_secs(1)), None);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let now = System.now().mono;
        let mut repeats = Repeats::default();
        let earlier = Earlier { call: CallId(Ulid::nil()), tries: 1 };
        let print = |number: u32| Print::of(&process(number), None, 0);
        for number in 0..5000 {
            repeats.remember(print(number), earlier, now);
        }
        assert_eq!((repeats.seen.len(), repeats.order.len()), (MOST, MOST));
        assert!(repeats.find(print(4999), now).is_some() && repeats.find(print(0), now).is_none());
    }
}
