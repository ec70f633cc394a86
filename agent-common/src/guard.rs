//! What the guard is told: the one entry of its configuration map.

use crate::{Config, MAX_PORTS};

/// Written by the daemon's helper, read by the guard, and still there when both are gone.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Guard {
    /// Cookie of the network namespace that it guards.
    pub netns: u64,
    /// Mark of the daemon's sockets.
    pub mark: u32,
    /// 1 where [`GUARD_NETWORKS`](crate::map::GUARD_NETWORKS) has entries.
    pub networks: u32,
    /// Port of the listener on 127.0.0.1.
    pub listener4: u16,
    /// Port of the listener on `::1`.
    pub listener6: u16,
    /// Explicit padding.
    pub pad: u32,
    /// Ports guarded.
    pub ports: [u16; MAX_PORTS],
}

const _: () = assert!(size_of::<Guard>() == 40 && align_of::<Guard>() == 8);

impl Guard {
    /// For programs with this configuration, in this network namespace.
    pub fn of(config: &Config, netns: u64) -> Self {
        let Config { mark, listener4, listener6, ports, .. } = *config;
        Self { netns, mark, networks: 0, listener4, listener6, pad: 0, ports }
    }

    /// Whether connections to `port` are of interest.
    #[inline]
    pub fn wants(&self, port: u16) -> bool {
        self.ports.contains(&port)
    }
}
