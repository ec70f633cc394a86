//! What of the kernel half works on this machine, for `weir status` and `weir doctor`.

use serde::{Deserialize, Serialize};

/// One thing the kernel half does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capability {
    /// The hook or resource (`connect4`, `getpeername6`, `listener ::1`, …).
    pub hook: &'static str,
    /// Whether it works, as seen in a real connection.
    pub ok: bool,
    /// What is missing where it does not: a kernel feature, a capability, or who is in the way.
    pub missing: String,
    /// What that means, and what works all the same.
    pub consequence: &'static str,
}

/// All of them, in the order a connection meets them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Vec<Told>", from = "Vec<Told>")]
pub struct Capabilities {
    /// The rows of the table.
    pub rows: Vec<Capability>,
}

/// A row as it crosses from the helper: the words come from the same tables here.
type Told = (String, Result<(), String>);

impl From<Capabilities> for Vec<Told> {
    fn from(table: Capabilities) -> Self {
        let told = |row: Capability| {
            let found = if row.ok { Ok(()) } else { Err(row.missing) };
            (row.hook.to_owned(), found)
        };
        table.rows.into_iter().map(told).collect()
    }
}

impl From<Vec<Told>> for Capabilities {
    fn from(rows: Vec<Told>) -> Self {
        let mut table = Self::default();
        for (told, found) in rows {
            if let Some(hook) = ORDER.iter().find(|hook| **hook == told) {
                table.set(hook, found);
            }
        }
        table
    }
}

impl Capabilities {
    /// Whether everything works.
    pub fn complete(&self) -> bool {
        self.rows.iter().all(|row| row.ok)
    }

    /// Whether `hook` works.
    pub fn works(&self, hook: &str) -> bool {
        self.rows.iter().any(|row| row.hook == hook && row.ok)
    }

    pub(super) fn set(&mut self, hook: &'static str, found: Result<(), String>) {
        let ok = found.is_ok();
        let missing = found.err().unwrap_or_default();
        let consequence = if ok { "" } else { consequence(hook) };
        let row = Capability { hook, ok, missing, consequence };
        match self.rows.iter_mut().find(|row| row.hook == hook) {
            // The first thing that went wrong explains the later ones.
            Some(known) if !known.ok => {}
            Some(known) => *known = row,
            None => self.rows.push(row),
        }
        self.rows.sort_by_key(|row| ORDER.iter().position(|hook| *hook == row.hook));
    }
}

fn consequence(hook: &str) -> &'static str {
    match hook {
        CGROUP => "processes outside of this cgroup go direct, unseen",
        CONNECT4 => "IPv4 connections go direct, unseen; the explicit proxy works",
        LISTENER6 | CONNECT6 => "IPv6 connections go direct; IPv4 is captured",
        MAPPED => "IPv4 connections of dual-stack sockets go direct; others are captured",
        PEERNAME4 | PEERNAME6 => "redirected applications see 127.0.0.1 or ::1 as their peer",
        SOCKOPS => "origins are looked up through sock_diag, which costs more",
        EVENTS => "connections that go direct are neither seen nor counted",
        ANSWERS => {
            "addresses are learned from our own look-ups and capture.cidrs alone: a client that was \
             told others goes direct, unseen"
        }
        QUIC => "QUIC of connected sockets goes direct, unseen; connections over TCP are captured",
        QUIC4 | QUIC6 => {
            "QUIC of unconnected sockets goes direct, unseen; connections over TCP are captured"
        }
        _ => "",
    }
}

const ORDER: [&str; 13] = [
    CGROUP, LISTENER6, ANSWERS, CONNECT4, CONNECT6, MAPPED, QUIC4, QUIC6, QUIC, SOCKOPS, PEERNAME4,
    PEERNAME6, EVENTS,
];

pub(super) const CGROUP: &str = "cgroup root";
pub(super) const LISTENER6: &str = "listener ::1";
pub(super) const CONNECT4: &str = "connect4";
pub(super) const CONNECT6: &str = "connect6";
pub(super) const MAPPED: &str = "connect6 (IPv4-mapped)";
pub(super) const SOCKOPS: &str = "sockops";
pub(super) const PEERNAME4: &str = "getpeername4";
pub(super) const PEERNAME6: &str = "getpeername6";
pub(super) const ANSWERS: &str = "DNS answers";
pub(super) const QUIC4: &str = "QUIC (sendmsg4)";
pub(super) const QUIC6: &str = "QUIC (sendmsg6)";
pub(super) const QUIC: &str = "quic egress";
pub(super) const EVENTS: &str = "close events";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failure_of_a_hook_stays_and_rows_are_in_order() {
        let mut table = Capabilities::default();
        table.set(CONNECT6, Err("no CAP_BPF".to_owned()));
        table.set(CONNECT6, Err("probe did not arrive".to_owned()));
        table.set(CONNECT4, Ok(()));
        assert_eq!(table.rows[0].hook, CONNECT4);
        assert_eq!(table.rows[1].missing, "no CAP_BPF");
        assert!(!table.complete());
        assert!(table.works(CONNECT4) && !table.works(CONNECT6));
        let crossed = serde_json::to_vec(&table).unwrap();
        assert_eq!(serde_json::from_slice::<Capabilities>(&crossed).unwrap(), table);
    }
}
