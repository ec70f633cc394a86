//! Signs of progress of what must never stand still, for whoever watches over it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock;

/// How often a part that has nothing to do shows that it could.
pub const EVERY: Duration = Duration::from_secs(1);

/// The parts that show progress. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Pulse {
    parts: Arc<Mutex<Vec<Part>>>,
}

/// A part's name, and its last sign.
type Part = (&'static str, Arc<AtomicU64>);

/// One part's, for as long as it lives.
#[derive(Debug)]
pub struct Beat {
    pulse: Pulse,
    /// The last sign, in milliseconds since boot.
    last: Arc<AtomicU64>,
}

impl Pulse {
    /// Another part, which has just shown progress.
    pub fn part(&self, name: &'static str) -> Beat {
        let last = Arc::new(AtomicU64::new(now()));
        self.parts.lock().push((name, Arc::clone(&last)));
        Beat { pulse: self.clone(), last }
    }

    /// The parts that have shown nothing for longer than `limit`.
    pub fn silent(&self, limit: Duration) -> Vec<&'static str> {
        let limit = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        let (now, parts) = (now(), self.parts.lock());
        let late = parts.iter().filter(|(_, last)| now.saturating_sub(last.load(Relaxed)) > limit);
        late.map(|(name, _)| *name).collect()
    }
}

impl Beat {
    /// Shows progress.
    pub fn beat(&self) {
        self.last.store(now(), Relaxed);
    }
}

impl Drop for Beat {
    fn drop(&mut self) {
        self.pulse.parts.lock().retain(|(_, last)| !Arc::ptr_eq(last, &self.last));
    }
}

fn now() -> u64 {
    u64::try_from(clock::since_boot().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_silent_until_it_beats_again_and_forgotten_when_it_ends() {
        let pulse = Pulse::default();
        let (one, other) = (pulse.part("one"), pulse.part("other"));
        assert!(pulse.silent(EVERY).is_empty());
        one.last.store(0, Relaxed);
        assert_eq!(pulse.silent(EVERY), ["one"]);
        one.beat();
        assert!(pulse.silent(EVERY).is_empty());
        other.last.store(0, Relaxed);
        drop(other);
        assert!(pulse.silent(EVERY).is_empty());
    }
}
