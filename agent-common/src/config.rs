//! What the daemon tells the programs: the one entry of the configuration map.

/// How many ports can be wanted. The hook compares them one by one, in line.
pub const MAX_PORTS: usize = 8;

/// Age of the daemon's last sign of life beyond which the hooks leave connections alone. Six
/// missed beats: long enough for a loaded machine, short enough for a client's patience.
pub const HEARTBEAT_LIMIT_NS: u64 = 3_000_000_000;

/// Deepest level below the root at which a cgroup can be chosen. Units of a user's own manager lie
/// at 5, pods' containers at 5.
pub const MAX_LEVEL: u32 = 12;

/// Written by the daemon, read by every hook. Ports are in host byte order; 0 stands for none.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Config {
    /// Thread-group id of the daemon in the initial pid namespace, whose connections are left
    /// alone; 0 where it is not known.
    pub tgid: u32,
    /// Mark of the daemon's sockets: its listeners are known by it, its own connections are left
    /// alone by it.
    pub mark: u32,
    /// 1 where connections are redirected; 0 where they are only watched.
    pub redirect: u32,
    /// 1 where [`NETWORKS`](crate::map::NETWORKS) has entries.
    pub networks: u32,
    /// Port of the listener on 127.0.0.1.
    pub listener4: u16,
    /// Port of the listener on `::1`.
    pub listener6: u16,
    /// 1 where QUIC to wanted addresses is refused while connections are redirected.
    pub quic: u32,
    /// Bit n where a cgroup n levels below the root is in [`CGROUPS`](crate::map::CGROUPS).
    pub levels: u32,
    /// 1 where [`USERS`](crate::map::USERS) has entries.
    pub users: u32,
    /// Ports wanted.
    pub ports: [u16; MAX_PORTS],
}

const _: () = assert!(size_of::<Config>() == 48 && align_of::<Config>() == 4);

impl Config {
    /// Whether connections to `port` are of interest.
    #[inline]
    pub fn wants(&self, port: u16) -> bool {
        self.ports.contains(&port)
    }

    /// Whether a sign of life given at `beat` still counts at `now` (both nanoseconds since boot).
    #[inline]
    pub fn alive(beat: u64, now: u64) -> bool {
        // A beat "in the future" is one written between our two readings of the clock.
        beat != 0 && now.saturating_sub(beat) <= HEARTBEAT_LIMIT_NS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listed_ports_are_wanted() {
        let config = Config { ports: [443, 8443, 0, 0, 0, 0, 0, 9], ..Config::default() };
        assert!(config.wants(443) && config.wants(8443) && config.wants(9));
        assert!(!config.wants(80) && !config.wants(444));
    }

    #[test]
    fn a_beat_counts_for_three_seconds() {
        assert!(!Config::alive(0, 1));
        assert!(Config::alive(10, 10 + HEARTBEAT_LIMIT_NS));
        assert!(!Config::alive(10, 11 + HEARTBEAT_LIMIT_NS));
        assert!(Config::alive(11, 10));
    }
}
