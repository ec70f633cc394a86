//! The kernel half against the real kernel: real programs on a real cgroup, real sockets.
//!
//! Every test has a network namespace of its own (loopback only, no routes: nothing of it can leave
//! the machine) and a cgroup of its own, into which its clients go.

mod world;
mod redirect;
mod direct;
mod events;
mod full;
mod lifecycle;
mod capabilities;
mod targets;
mod dns;
mod quic;
mod chosen;
mod netns;
mod costs;
mod freeze;

pub(crate) use world::netns_cookie;
