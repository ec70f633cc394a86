//! The kernel's table of hosts that name servers' answers are wanted about.

use std::collections::HashSet;
use std::sync::Arc;

use agent_common::NameKey;
use aya::maps::lpm_trie::Key;
use aya::maps::{LpmTrie, MapData};

type Words = [u32; NameKey::BYTES / 4];

/// The table, and what is in it.
#[derive(Debug)]
pub(super) struct Hosts {
    map: LpmTrie<MapData, Words, u32>,
    held: HashSet<NameKey>,
}

impl Hosts {
    pub(super) fn new(map: LpmTrie<MapData, Words, u32>) -> Self {
        Self { map, held: HashSet::new() }
    }

    /// Makes the table hold `hosts` and nothing else; returns how many did not fit, or cannot be asked
    /// for: those are found by our own look-ups alone.
    pub(super) fn replace(&mut self, hosts: &[Arc<str>]) -> usize {
        let mut left_out = 0;
        let mut wanted = HashSet::new();
        for host in hosts.iter().filter(|host| host.parse::<std::net::IpAddr>().is_err()) {
            match NameKey::of_host(host) {
                Some(key) => drop(wanted.insert(key)),
                None => left_out += 1,
            }
        }
        let gone: Vec<_> = self.held.difference(&wanted).copied().collect();
        for key in gone {
            if let Err(error) = self.map.remove(&Key::new(key.bits, key.words)) {
                tracing::warn!(%error, "a host that nobody wants stays");
            }
            self.held.remove(&key);
        }
        for key in wanted {
            if self.held.contains(&key) {
                continue;
            }
            match self.map.insert(&Key::new(key.bits, key.words), 1, 0) {
                Ok(()) => drop(self.held.insert(key)),
                Err(error) => {
                    tracing::debug!(%error, "no room");
                    left_out += 1;
                }
            }
        }
        left_out
    }
}
