//! The counters of one rule: one per subject, and never more than a bound.
//!
//! Where the bound is reached, a subject whose counter is empty makes room. Where none is empty,
//! newcomers share one counter: what was spent is never forgotten to make room.

use std::sync::Arc;

use foldhash::HashMap;

use super::gauge::{Gauge, Reading};
use super::loops::Repetition;
use super::settings::{Limit, Says};

/// Counters per rule.
pub(super) const MOST: usize = 10_000;

/// Who shares a counter once there is no room for another.
const OTHERS: &str = "(others)";

/// Counters looked at for an empty one, per newcomer.
const GLANCES: usize = 64;

/// The counters of one rule.
#[derive(Debug, Clone, Default)]
pub(super) struct Counters {
    slots: Vec<Counter>,
    by_key: HashMap<Arc<str>, u32>,
    hand: usize,
}

/// What one subject has used.
#[derive(Debug, Clone)]
pub(super) struct Counter {
    /// Whom it counts.
    pub(super) key: Arc<str>,
    pub(super) owner: Owner,
    /// One per limit of the rule.
    pub(super) gauges: Vec<Gauge>,
    /// For loop protection.
    pub(super) repetition: Option<Box<Repetition>>,
    /// Goes up when the slot is given to another subject.
    pub(super) generation: u32,
    /// Reservations that point here.
    pub(super) holds: u32,
}

/// Whose a counter is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// Nobody's yet.
    Nobody,
    /// One user's.
    One(u32),
    /// Several users'.
    Many,
}

impl Owner {
    /// A user uses it.
    pub(super) fn meet(&mut self, uid: u32) {
        *self = match *self {
            Self::Nobody => Self::One(uid),
            Self::One(one) if one == uid => Self::One(one),
            _ => Self::Many,
        };
    }

    pub(super) fn uid(self) -> Option<u32> {
        match self {
            Self::One(uid) => Some(uid),
            Self::Nobody | Self::Many => None,
        }
    }
}

impl Counters {
    /// The slot of a subject, made where there is none yet.
    pub(super) fn slot(&mut self, key: &str, says: &Says, t: Reading<'_>) -> u32 {
        if let Some(slot) = self.by_key.get(key) {
            return *slot;
        }
        if self.slots.len() < MOST {
            return self.push(key, says, t);
        }
        let Some(free) = self.idle(t) else {
            return match self.by_key.get(OTHERS) {
                Some(slot) => *slot,
                None => self.push(OTHERS, says, t),
            };
        };
        let Some(counter) = self.slots.get_mut(free) else { return self.push(key, says, t) };
        self.by_key.remove(&counter.key);
        let generation = counter.generation.wrapping_add(1);
        *counter = Counter { generation, ..Counter::new(key, says, t) };
        let (key, slot) = (Arc::clone(&counter.key), u32::try_from(free).unwrap_or(u32::MAX));
        self.by_key.insert(key, slot);
        slot
    }

    /// The counter of a slot, where it is still the same subject's.
    pub(super) fn of(&mut self, slot: u32, generation: u32) -> Option<&mut Counter> {
        self.at(slot).filter(|counter| counter.generation == generation)
    }

    /// The counter of a slot.
    pub(super) fn at(&mut self, slot: u32) -> Option<&mut Counter> {
        self.slots.get_mut(usize::try_from(slot).unwrap_or(usize::MAX))
    }

    /// As [`Self::of`], to look at.
    pub(super) fn peek(&self, (slot, generation): (u32, u32)) -> Option<&Counter> {
        let counter = self.slots.get(usize::try_from(slot).ok()?)?;
        (counter.generation == generation).then_some(counter)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Counter> {
        self.slots.iter()
    }

    /// Goes on under other limits: what was counted of a unit that is still limited stays.
    pub(super) fn renew(&mut self, limit: &Limit, t: Reading<'_>) {
        for counter in &mut self.slots {
            let mut old = std::mem::take(&mut counter.gauges);
            counter.gauges = gauges(limit, t, |cap| {
                let same = |gauge: &Gauge| (gauge.cap.of, gauge.cap.over) == (cap.of, cap.over);
                old.iter().position(same).map(|place| old.swap_remove(place))
            });
        }
    }

    /// A copy with this subject's counter only.
    pub(super) fn only(&self, key: &str) -> Self {
        let mut one = Self::default();
        let slot = self.by_key.get(key).or_else(|| self.by_key.get(OTHERS));
        let counter = slot.and_then(|slot| self.slots.get(usize::try_from(*slot).ok()?));
        if let Some(counter) = counter {
            one.slots.push(counter.clone());
            one.by_key.insert(key.into(), 0);
        }
        one
    }

    fn push(&mut self, key: &str, says: &Says, t: Reading<'_>) -> u32 {
        let counter = Counter::new(key, says, t);
        let slot = u32::try_from(self.slots.len()).unwrap_or(u32::MAX);
        self.by_key.insert(Arc::clone(&counter.key), slot);
        self.slots.push(counter);
        slot
    }

    fn idle(&mut self, t: Reading<'_>) -> Option<usize> {
        for _ in 0..GLANCES {
            self.hand = (self.hand + 1) % self.slots.len().max(1);
            let counter = self.slots.get(self.hand)?;
            if counter.is_idle(t) && &*counter.key != OTHERS {
                return Some(self.hand);
            }
        }
        None
    }
}

impl Counter {
    fn new(key: &str, says: &Says, t: Reading<'_>) -> Self {
        Self {
            key: key.into(),
            owner: Owner::Nobody,
            gauges: match says {
                Says::Limit(limit) => gauges(limit, t, |_| None),
                Says::Guard(_) | Says::Price(_) | Says::Loops(_) => Vec::new(),
            },
            repetition: matches!(says, Says::Loops(_)).then(Box::default),
            generation: 0,
            holds: 0,
        }
    }

    fn is_idle(&self, t: Reading<'_>) -> bool {
        self.holds == 0
            && self.gauges.iter().all(|gauge| gauge.is_idle(t))
            && self.repetition.as_ref().is_none_or(|repetition| repetition.is_idle(t.at))
    }
}

fn gauges(
    limit: &Limit,
    t: Reading<'_>,
    mut known: impl FnMut(&super::settings::Cap) -> Option<Gauge>,
) -> Vec<Gauge> {
    let watched = limit.watch.is_some();
    let gauge = |cap| match known(cap) {
        Some(gauge) => gauge.renew(*cap, watched),
        None => Gauge::new(*cap, watched, t),
    };
    limit.caps.iter().map(gauge).collect()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use jiff::tz::TimeZone;

    use super::*;
    use crate::policy::testing;

    #[test]
    fn no_room_is_made_by_forgetting_what_was_spent() {
        let zone = TimeZone::UTC;
        let t = Reading { at: 1 << 60, wall: SystemTime::UNIX_EPOCH, zone: &zone };
        let says = Says::Limit(testing::limit(&[testing::daily_usd(5)]));
        let mut counters = Counters::default();
        for n in 0..MOST {
            let slot = counters.slot(&format!("w{n}"), &says, t);
            if n != 17 {
                counters.at(slot).unwrap().gauges[0].count(t.at, 1);
            }
        }
        // One was empty: it makes room for the first newcomer; all others share.
        for n in 0..2 * MOST {
            let slot = counters.slot(&format!("x{n}"), &says, t);
            counters.at(slot).unwrap().gauges[0].count(t.at, 1);
        }
        assert!(counters.slots.len() <= MOST + 1);
        assert!(counters.by_key.len() <= MOST + 1);
        let others = counters.slot(OTHERS, &says, t);
        assert!(counters.at(others).unwrap().gauges[0].used() > 1);
        for n in (0..MOST).filter(|n| *n != 17) {
            let slot = counters.by_key[&*format!("w{n}")];
            assert_eq!(counters.at(slot).unwrap().gauges[0].used(), 1);
        }
        // A day later everything is empty, and there is room again.
        let t = Reading { wall: t.wall + Duration::from_hours(48), ..t };
        let slot = counters.slot("new", &says, t);
        assert_eq!(&*counters.at(slot).unwrap().key, "new");
    }

    #[test]
    fn a_counter_belongs_to_a_user_only_while_it_is_one_users() {
        let mut owner = Owner::Nobody;
        owner.meet(1000);
        owner.meet(1000);
        assert_eq!(owner.uid(), Some(1000));
        owner.meet(0);
        owner.meet(1000);
        assert_eq!(owner.uid(), None);
    }
}
