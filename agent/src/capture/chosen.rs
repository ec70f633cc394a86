//! The kernel's tables of processes that are captured wherever they connect to: cgroups by id, users
//! by uid.

use std::collections::{BTreeMap, BTreeSet, HashMap as Held};
use std::hash::Hash;

use agent_common::MAX_LEVEL;
use aya::Pod;
use aya::maps::{HashMap, MapData};
use serde::{Deserialize, Serialize};

/// Whose connections are redirected wherever they go.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChosenSet {
    /// Cgroups by id, with their depth below the root of the host's hierarchy; `None` where that is
    /// not known. What lies below them is chosen too.
    pub cgroups: BTreeMap<u64, Option<u32>>,
    /// Users by uid.
    pub users: BTreeSet<u32>,
}

/// Both tables, and what is in them.
#[derive(Debug)]
pub(super) struct Chosen {
    cgroups: HashMap<MapData, u64, u32>,
    users: HashMap<MapData, u32, u32>,
    held_cgroups: Held<u64, u32>,
    held_users: Held<u32, u32>,
}

impl Chosen {
    pub(super) fn new(
        cgroups: HashMap<MapData, u64, u32>,
        users: HashMap<MapData, u32, u32>,
    ) -> Self {
        Self { cgroups, users, held_cgroups: Held::new(), held_users: Held::new() }
    }

    /// Makes the tables hold this and nothing else; returns how much did not fit.
    pub(super) fn replace(&mut self, wanted: &ChosenSet) -> usize {
        let cgroups: Held<u64, u32> =
            wanted.cgroups.iter().map(|(id, level)| (*id, mask(*level))).collect();
        let users = wanted.users.iter().map(|uid| (*uid, 1)).collect();
        let left_out = replace(&mut self.cgroups, &mut self.held_cgroups, &cgroups);
        left_out + replace(&mut self.users, &mut self.held_users, &users)
    }

    /// Bit n where a cgroup n levels below the root is held.
    pub(super) fn levels(&self) -> u32 {
        self.held_cgroups.values().fold(0, |levels, mask| levels | mask)
    }

    pub(super) fn has_users(&self) -> bool {
        !self.held_users.is_empty()
    }
}

/// The bit of a level; all of them where it is not known, and none where it lies too deep.
fn mask(level: Option<u32>) -> u32 {
    match level {
        Some(level @ 1..=MAX_LEVEL) => 1 << level,
        Some(_) => 0,
        None => (2 << MAX_LEVEL) - 2,
    }
}

fn replace<K: Pod + Eq + Hash>(
    map: &mut HashMap<MapData, K, u32>,
    held: &mut Held<K, u32>,
    wanted: &Held<K, u32>,
) -> usize {
    held.retain(|key, _| {
        let stays = wanted.contains_key(key);
        if !stays && let Err(error) = map.remove(key) {
            tracing::warn!(%error, "what is no longer chosen stays chosen");
        }
        stays
    });
    let mut left_out = 0;
    for (key, value) in wanted {
        if held.contains_key(key) {
            continue;
        }
        match map.insert(key, value, 0) {
            Ok(()) => {
                held.insert(*key, *value);
            }
            Err(error) => {
                tracing::debug!(%error, "no room");
                left_out += 1;
            }
        }
    }
    left_out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_bits() {
        assert_eq!(mask(Some(1)), 0b10);
        assert_eq!(mask(Some(MAX_LEVEL)), 1 << MAX_LEVEL);
        assert_eq!(mask(Some(0)), 0, "the root is everybody");
        assert_eq!(mask(Some(MAX_LEVEL + 1)), 0);
        assert_eq!(mask(None).count_ones(), MAX_LEVEL);
        assert_eq!(mask(None) & 1, 0);
    }
}
