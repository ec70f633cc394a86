//! A map that holds no more than it may: who was idle longest makes room for who is new.

use std::collections::HashMap;
use std::hash::Hash;

/// Values by key, with the order in which they were last used.
#[derive(Debug)]
pub(super) struct Table<K, V> {
    most: usize,
    used: u64,
    places: HashMap<K, usize>,
    slots: Vec<Slot<K, V>>,
}

#[derive(Debug)]
struct Slot<K, V> {
    key: K,
    used: u64,
    value: V,
}

impl<K: Eq + Hash + Clone, V> Table<K, V> {
    pub(super) fn new(most: usize) -> Self {
        Self { most: most.max(1), used: 0, places: HashMap::new(), slots: Vec::new() }
    }

    /// The value of a key, made where there is none.
    pub(super) fn entry(&mut self, key: &K, make: impl FnOnce() -> V) -> &mut V {
        self.used += 1;
        let place = match self.places.get(key).copied() {
            Some(place) => place,
            None => self.place(key, make()),
        };
        let slot = &mut self.slots[place];
        slot.used = self.used;
        &mut slot.value
    }

    fn place(&mut self, key: &K, value: V) -> usize {
        let slot = Slot { key: key.clone(), used: self.used, value };
        let place = if self.slots.len() < self.most {
            self.slots.push(slot);
            self.slots.len() - 1
        } else {
            let ages = self.slots.iter().enumerate().map(|(place, slot)| (slot.used, place));
            let (_, place) = ages.min().unwrap_or_default();
            self.places.remove(&self.slots[place].key);
            self.slots[place] = slot;
            place
        };
        self.places.insert(key.clone(), place);
        place
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// One of them, by its place below [`Table::len`]: for those who look at all of them, and let
    /// calls pass in between.
    pub(super) fn at(&self, place: usize) -> Option<(&K, &V)> {
        self.slots.get(place).map(|slot| (&slot.key, &slot.value))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (&K, &mut V)> {
        self.slots.iter_mut().map(|slot| (&slot.key, &mut slot.value))
    }

    /// Forgets those that are not to be kept.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&K, &V) -> bool) {
        let before = self.slots.len();
        self.slots.retain(|slot| keep(&slot.key, &slot.value));
        if self.slots.len() < before {
            let places = self.slots.iter().enumerate();
            self.places = places.map(|(place, slot)| (slot.key.clone(), place)).collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn who_was_idle_longest_makes_room() {
        let mut table = Table::new(2);
        *table.entry(&"a", || 0) += 1;
        *table.entry(&"b", || 0) += 1;
        *table.entry(&"a", || 0) += 1;
        *table.entry(&"c", || 0) += 1;
        assert_eq!(table.len(), 2);
        assert_eq!(*table.entry(&"a", || 0), 2, "kept");
        assert_eq!(*table.entry(&"b", || 0), 0, "begins anew");
    }

    proptest! {
        #[test]
        fn it_is_never_larger_and_keeps_what_was_used_last(
            keys in proptest::collection::vec(0..20_u8, 1..200),
            most in 1..8_usize,
            gone in 0..20_u8,
        ) {
            let mut table = Table::new(most);
            let mut recent: Vec<u8> = Vec::new();
            for (at, key) in keys.iter().enumerate() {
                let made = table.entry(key, || (*key, at)).1 == at;
                prop_assert_eq!(made, !recent.contains(key));
                recent.retain(|known| known != key);
                recent.push(*key);
                if recent.len() > most {
                    recent.remove(0);
                }
                prop_assert_eq!(table.len(), recent.len());
                if at % 7 == 0 {
                    table.retain(|key, _| *key != gone);
                    recent.retain(|key| *key != gone);
                }
            }
        }
    }
}
