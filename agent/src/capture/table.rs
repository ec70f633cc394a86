//! The kernel's tables of wanted addresses: single ones in a hash, networks in a prefix trie.

use std::collections::HashSet;
use std::net::IpAddr;

use agent_common::Addr;
use aya::maps::lpm_trie::Key;
use aya::maps::{HashMap, LpmTrie, MapData, MapError};
use ipnet::IpNet;

/// Bits in front of an IPv4 address in its mapped form.
const MAPPED_PREFIX: u8 = 96;

/// Both tables, and what is in them.
#[derive(Debug)]
pub(super) struct Table {
    addresses: HashMap<MapData, Addr, u32>,
    networks: LpmTrie<MapData, [u32; 4], u32>,
    held: HashSet<Prefix>,
}

/// A network as the tables have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Prefix {
    addr: Addr,
    len: u8,
}

impl Prefix {
    fn is_single(self) -> bool {
        self.len == 128
    }
}

impl From<&IpNet> for Prefix {
    fn from(network: &IpNet) -> Self {
        let network = network.trunc();
        let before = if network.addr().is_ipv4() { MAPPED_PREFIX } else { 0 };
        Self { addr: Addr::from(network.addr()), len: before + network.prefix_len() }
    }
}

impl Table {
    pub(super) fn new(
        addresses: HashMap<MapData, Addr, u32>,
        networks: LpmTrie<MapData, [u32; 4], u32>,
    ) -> Self {
        Self { addresses, networks, held: HashSet::new() }
    }

    /// Tables that another process has filled.
    pub(super) fn adopt(
        addresses: HashMap<MapData, Addr, u32>,
        networks: LpmTrie<MapData, [u32; 4], u32>,
    ) -> Self {
        let single = |addr| Prefix { addr, len: 128 };
        let mut held: HashSet<Prefix> =
            addresses.keys().filter_map(Result::ok).map(single).collect();
        held.extend(networks.keys().filter_map(Result::ok).filter_map(|key| {
            let len = u8::try_from(key.prefix_len()).ok()?;
            Some(Prefix { addr: Addr { words: key.data() }, len })
        }));
        Self { addresses, networks, held }
    }

    /// Whether there is anything in the trie: the programs skip it otherwise.
    pub(super) fn has_networks(&self) -> bool {
        self.held.iter().any(|prefix| !prefix.is_single())
    }

    /// Makes the tables hold `networks` and nothing else; returns how many did not fit. What stays
    /// is not touched, so that no connection slips through in between.
    pub(super) fn replace(&mut self, networks: &[IpNet]) -> usize {
        let wanted: HashSet<Prefix> = networks.iter().map(Prefix::from).collect();
        let gone: Vec<_> = self.held.difference(&wanted).copied().collect();
        let mut left_out = 0;
        // Removed first: a table that is nearly full has room for the new ones then.
        for prefix in gone {
            if let Err(error) = self.remove(prefix) {
                tracing::warn!(%error, addr = %IpAddr::from(prefix.addr), "a target stays");
            }
            self.held.remove(&prefix);
        }
        for prefix in wanted {
            if self.held.contains(&prefix) {
                continue;
            }
            match self.insert(prefix) {
                Ok(()) => {
                    self.held.insert(prefix);
                }
                Err(error) => {
                    tracing::debug!(%error, addr = %IpAddr::from(prefix.addr), "no room");
                    left_out += 1;
                }
            }
        }
        left_out
    }

    /// Adds single addresses to what the tables hold; returns how many did not fit.
    pub(super) fn add(&mut self, addrs: &[IpAddr]) -> usize {
        let mut left_out = 0;
        for addr in addrs {
            let prefix = Prefix::from(&IpNet::from(*addr));
            if self.held.contains(&prefix) {
                continue;
            }
            match self.insert(prefix) {
                Ok(()) => {
                    self.held.insert(prefix);
                }
                Err(error) => {
                    tracing::debug!(%error, %addr, "no room");
                    left_out += 1;
                }
            }
        }
        left_out
    }

    fn insert(&mut self, prefix: Prefix) -> Result<(), MapError> {
        if prefix.is_single() {
            return self.addresses.insert(prefix.addr, 1, 0);
        }
        self.networks.insert(&Key::new(u32::from(prefix.len), prefix.addr.words), 1, 0)
    }

    fn remove(&mut self, prefix: Prefix) -> Result<(), MapError> {
        if prefix.is_single() {
            return self.addresses.remove(&prefix.addr);
        }
        self.networks.remove(&Key::new(u32::from(prefix.len), prefix.addr.words))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Prefix {
        Prefix::from(&text.parse::<IpNet>().unwrap())
    }

    #[test]
    fn single_addresses_of_both_families_go_to_the_hash() {
        assert!(prefix("192.0.2.1/32").is_single());
        assert!(prefix("2001:db8::1/128").is_single());
    }

    #[test]
    fn networks_are_mapped_and_truncated() {
        assert_eq!(prefix("192.0.2.77/24"), prefix("192.0.2.0/24"));
        assert_eq!(prefix("192.0.2.0/24").len, 120);
        assert_eq!(prefix("2001:db8::/32").len, 32);
        assert_eq!(prefix("0.0.0.0/0").len, 96);
    }
}
