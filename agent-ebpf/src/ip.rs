//! Where things are in an IP packet, for the hooks that look at packets in place.

pub(crate) const IPPROTO_TCP: u8 = 6;
pub(crate) const IPPROTO_UDP: u8 = 17;

/// First byte of an IPv4 header without options. Nobody sends them, and many drop what has them.
pub(crate) const PLAIN_V4: u8 = 0x45;
pub(crate) const V4_HEADER: usize = 20;
pub(crate) const V4_PROTOCOL: usize = 9;
pub(crate) const V4_DESTINATION: usize = 16;
pub(crate) const V6_HEADER: usize = 40;
pub(crate) const V6_NEXT: usize = 6;
pub(crate) const V6_DESTINATION: usize = 24;
/// Both ports, with which UDP and TCP begin.
pub(crate) const PORTS: usize = 4;
/// The second of them.
pub(crate) const TO_PORT: usize = 2;
