//! The contract between the kernel half and the daemon: what lies in the maps, and the decisions
//! that both sides must take alike.
//!
//! Everything that crosses is `repr(C)` with its padding spelled out and its size asserted; map
//! values hold integers only, so that any bit pattern the other side wrote is a valid value.
#![no_std]

mod addr;
mod answer;
mod config;
mod event;
mod guard;
mod record;
mod stat;

pub use addr::Addr;
pub use answer::{NameKey, PACKET, Packet};
pub use config::{Config, HEARTBEAT_LIMIT_NS, MAX_LEVEL, MAX_PORTS};
pub use event::{Event, kind, tcp};
pub use guard::Guard;
pub use record::{FlowKey, Record, seen, verdict};
pub use stat::Stat;

/// Names of the maps in the object, as the loader finds them.
pub mod map {
    /// The one [`Config`](crate::Config).
    pub const CONFIG: &str = "CONFIG";
    /// Time since boot of the daemon's last sign of life, in nanoseconds; 0 for none.
    pub const HEARTBEAT: &str = "HEARTBEAT";
    /// Wanted addresses.
    pub const TARGETS: &str = "TARGETS";
    /// Wanted networks, where there are any.
    pub const NETWORKS: &str = "NETWORKS";
    /// Records of redirected connections not yet accepted, by socket cookie: the latest of each.
    pub const RECORDS: &str = "RECORDS";
    /// Records of redirected connections not yet accepted, by [`FlowKey`](crate::FlowKey).
    pub const FLOWS: &str = "FLOWS";
    /// Ring buffer of [`Event`](crate::Event)s.
    pub const EVENTS: &str = "EVENTS";
    /// Counters per CPU, by [`Stat`](crate::Stat).
    pub const STATS: &str = "STATS";
    /// The one [`Guard`](crate::Guard).
    pub const GUARD: &str = "GUARD";
    /// As [`HEARTBEAT`], for the guard.
    pub const GUARD_BEAT: &str = "GUARD_BEAT";
    /// Guarded addresses.
    pub const GUARDED: &str = "GUARDED";
    /// Guarded networks, where there are any.
    pub const GUARD_NETWORKS: &str = "GUARD_NETWORKS";
    /// Ring buffer of [`Packet`](crate::Packet)s.
    pub const ANSWERS: &str = "ANSWERS";
    /// Wanted hosts, by [`NameKey`](crate::NameKey).
    pub const HOSTS: &str = "HOSTS";
    /// Cgroups whose processes' connections are wanted wherever they go, by id.
    pub const CGROUPS: &str = "CGROUPS";
    /// Users whose processes' connections are wanted wherever they go, by uid.
    pub const USERS: &str = "USERS";
}

/// Names of the programs in the object. The kernel keeps 15 bytes of them.
pub mod program {
    /// `cgroup/connect4`.
    pub const CONNECT4: &str = "weir_connect4";
    /// `cgroup/connect6`.
    pub const CONNECT6: &str = "weir_connect6";
    /// `cgroup/getpeername4`.
    pub const PEERNAME4: &str = "weir_peername4";
    /// `cgroup/getpeername6`.
    pub const PEERNAME6: &str = "weir_peername6";
    /// `sockops`.
    pub const SOCKOPS: &str = "weir_sockops";
    /// `cgroup/connect4` of the guard.
    pub const GUARD4: &str = "weir_guard4";
    /// `cgroup/connect6` of the guard.
    pub const GUARD6: &str = "weir_guard6";
    /// `cgroup/sendmsg4`.
    pub const SENDMSG4: &str = "weir_sendmsg4";
    /// `cgroup/sendmsg6`.
    pub const SENDMSG6: &str = "weir_sendmsg6";
    /// `cgroup_skb/egress`.
    pub const QUIC: &str = "weir_quic";
    /// `cgroup_skb/ingress`.
    pub const ANSWERS: &str = "weir_answers";
}

#[cfg(feature = "user")]
mod pod {
    #![expect(unsafe_code, reason = "plain old data is a promise that takes the word")]

    use crate::{Addr, Config, Event, FlowKey, Guard, Record};

    // SAFETY: integers only, `repr(C)`, no implicit padding.
    unsafe impl aya::Pod for Addr {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Config {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Guard {}
    // SAFETY: as above.
    unsafe impl aya::Pod for FlowKey {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Record {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Event {}

    impl Event {
        /// The event that the programs wrote as `bytes`; `None` where the size is not an event's.
        pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
            // SAFETY: as many bytes as an event has, and any bytes are one.
            (bytes.len() == size_of::<Self>())
                .then(|| unsafe { bytes.as_ptr().cast::<Self>().read_unaligned() })
        }
    }
}
