//! Addresses that a URL must not lead to: a configuration or a name server must not make the agent
//! speak to what only this host, or only its network, can reach.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What an address is, as far as that decides whether something is posted to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Anyone can reach it.
    Public,
    /// Only this host or its network can.
    Private,
    /// Nothing is ever posted to it: instance metadata (which hands out credentials), multicast,
    /// unspecified and reserved addresses.
    Never,
}

/// Whether something may be posted to an address.
pub fn permits(address: IpAddr, allow_private: bool) -> bool {
    match reach(address) {
        Reach::Public => true,
        Reach::Private => allow_private,
        Reach::Never => false,
    }
}

/// What an address is. Addresses that carry another one are what that one is.
pub fn reach(address: IpAddr) -> Reach {
    match address {
        IpAddr::V4(v4) => reach4(v4),
        IpAddr::V6(v6) => reach6(v6),
    }
}

/// The metadata services of clouds: EC2 and most others, ECS tasks, Alibaba, Oracle, Azure's wire
/// server (a public address that only answers inside).
const METADATA: [Ipv4Addr; 5] = [
    Ipv4Addr::new(169, 254, 169, 254),
    Ipv4Addr::new(169, 254, 170, 2),
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(192, 0, 0, 192),
    Ipv4Addr::new(168, 63, 129, 16),
];

/// EC2's metadata service over IPv6.
const METADATA6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);

/// IANA's registry of special-purpose IPv4 addresses.
fn reach4(address: Ipv4Addr) -> Reach {
    let [a, b, c, _] = address.octets();
    if METADATA.contains(&address) || a == 0 || a >= 224 {
        return Reach::Never;
    }
    let private = address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        // Carrier-grade NAT, protocol assignments, 6to4 relays, benchmarks.
        || (a == 100 && b & 0xc0 == 64)
        || (a, b, c) == (192, 0, 0)
        || (a, b, c) == (192, 88, 99)
        || (a == 198 && b & 0xfe == 18);
    if private { Reach::Private } else { Reach::Public }
}

/// IANA's registry of special-purpose IPv6 addresses.
fn reach6(address: Ipv6Addr) -> Reach {
    let parts = address.segments();
    let [.., high, low] = parts;
    let embedded = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        reach4(Ipv4Addr::new(a, b, c, d))
    };
    match parts {
        _ if address.is_loopback() => Reach::Private,
        _ if address.is_unspecified() || address.is_multicast() || address == METADATA6 => {
            Reach::Never
        }
        // Mapped and compatible addresses, NAT64 (RFC 6052), 6to4 (RFC 3056).
        [0, 0, 0, 0, 0, 0xffff | 0, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => embedded(high, low),
        [0x2002, high, low, ..] => embedded(high, low),
        // NAT64 of one's own, discard, Teredo and benchmarks, documentation, unique local,
        // link-local, site-local.
        [0x64, 0xff9b, ..] | [0x100, 0, 0, 0, ..] | [0x2001, 0 | 2 | 0xdb8, ..] => Reach::Private,
        [first, ..] if first & 0xfe00 == 0xfc00 || first & 0xff80 == 0xfe80 => Reach::Private,
        _ => Reach::Public,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table() {
        let cases = [
            (
                Reach::Public,
                "8.8.8.8 1.1.1.1 172.32.0.1 100.128.0.1 2606:4700::1111 ::ffff:8.8.8.8 64:ff9b::808:808",
            ),
            (
                Reach::Private,
                "127.0.0.1 127.9.9.9 10.0.0.1 172.16.0.1 172.31.255.255 192.168.1.1 169.254.1.1 \
                 100.64.0.1 192.0.2.1 198.18.0.1 198.51.100.7 203.0.113.7 ::1 fe80::1 fec0::1 \
                 fc00::1 fd12::1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::127.0.0.1 64:ff9b::a00:1 \
                 2002:7f00:1:: 2001:db8::1 2001::1 64:ff9b:1::1",
            ),
            (
                Reach::Never,
                "0.0.0.0 169.254.169.254 168.63.129.16 100.100.100.200 224.0.0.1 255.255.255.255 \
                 240.0.0.1 :: ff02::1 fd00:ec2::254 ::ffff:169.254.169.254 64:ff9b::a9fe:a9fe",
            ),
        ];
        for (expected, addresses) in cases {
            for address in addresses.split_whitespace() {
                assert_eq!(reach(address.parse().unwrap()), expected, "{address}");
            }
        }
    }
}
