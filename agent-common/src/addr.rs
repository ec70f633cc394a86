//! An IP address as both halves hold it: sixteen bytes, IPv4 in its v4-mapped form.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address in network byte order, as the four words the kernel's contexts hand out.
///
/// One form for both families keeps one map for both, and makes `::ffff:a.b.c.d` (how a dual-stack
/// socket names an IPv4 peer) equal to `a.b.c.d`.
#[repr(C, align(8))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Addr {
    /// The words in network byte order.
    pub words: [u32; 4],
}

const _: () = assert!(size_of::<Addr>() == 16 && align_of::<Addr>() == 8);

/// Third word of a v4-mapped address.
const MAPPED: u32 = 0x0000_ffff_u32.to_be();

impl Addr {
    /// `::1`.
    pub const LOCALHOST6: Self = Self { words: [0, 0, 0, 1_u32.to_be()] };
    /// `127.0.0.1`.
    pub const LOCALHOST4: Self = Self::v4(0x7f00_0001_u32.to_be());

    /// An IPv4 address given as its word in network byte order.
    #[inline]
    pub const fn v4(word: u32) -> Self {
        Self { words: [0, 0, MAPPED, word] }
    }

    /// Whether this is an IPv4 address, mapped or native: we hold both alike.
    #[inline]
    pub const fn is_v4(&self) -> bool {
        self.words[0] == 0 && self.words[1] == 0 && self.words[2] == MAPPED
    }

    /// Whether connections there are left alone whatever the targets say: unspecified, loopback
    /// (resolver stubs live on 127.0.0.53 and 127.0.0.11), link-local (cloud metadata), multicast,
    /// broadcast.
    #[inline]
    pub const fn is_untouchable(&self) -> bool {
        if self.is_v4() {
            let host = u32::from_be(self.words[3]);
            let first = host >> 24;
            return first == 0 || first == 127 || host >> 16 == 0xa9fe || first >= 224;
        }
        let head = u32::from_be(self.words[0]);
        let nothing_above = self.words[0] == 0 && self.words[1] == 0 && self.words[2] == 0;
        let unspecified_or_loopback = nothing_above && u32::from_be(self.words[3]) <= 1;
        unspecified_or_loopback || head >> 22 == 0x3fa || head >> 24 == 0xff
    }
}

impl From<IpAddr> for Addr {
    fn from(ip: IpAddr) -> Self {
        let octets = match ip {
            IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
            IpAddr::V6(ip) => ip.octets(),
        };
        let (words, _) = octets.as_chunks::<4>();
        let mut addr = Self { words: [0; 4] };
        for (to, from) in addr.words.iter_mut().zip(words) {
            *to = u32::from_ne_bytes(*from);
        }
        addr
    }
}

impl From<Addr> for IpAddr {
    fn from(addr: Addr) -> Self {
        if addr.is_v4() {
            return Self::V4(Ipv4Addr::from_bits(u32::from_be(addr.words[3])));
        }
        let mut octets = [0; 16];
        for (to, from) in octets.as_chunks_mut::<4>().0.iter_mut().zip(addr.words) {
            *to = from.to_ne_bytes();
        }
        Self::V6(Ipv6Addr::from(octets))
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;

    fn addr(s: &str) -> Addr {
        Addr::from(s.parse::<IpAddr>().unwrap())
    }

    #[test]
    fn mapped_and_native_v4_are_one() {
        assert_eq!(addr("192.0.2.7"), addr("::ffff:192.0.2.7"));
        assert_eq!(IpAddr::from(addr("::ffff:192.0.2.7")), "192.0.2.7".parse::<IpAddr>().unwrap());
        assert!(addr("192.0.2.7").is_v4());
        assert_eq!(addr("192.0.2.7"), Addr::v4(u32::from_ne_bytes([192, 0, 2, 7])));
        assert!(!addr("::192.0.2.7").is_v4());
    }

    #[test]
    fn v6_survives_the_trip() {
        for text in ["2001:db8::1", "::1", "fe80::1", "64:ff9b::c000:207"] {
            let ip: IpAddr = text.parse().unwrap();
            assert_eq!(IpAddr::from(Addr::from(ip)), ip);
        }
    }

    #[test]
    fn loopbacks_are_the_constants() {
        assert_eq!(addr("127.0.0.1"), Addr::LOCALHOST4);
        assert_eq!(addr("::1"), Addr::LOCALHOST6);
    }

    #[test]
    fn local_addresses_are_untouchable_and_global_ones_are_not() {
        for text in [
            "0.0.0.0",
            "127.0.0.1",
            "127.0.0.53",
            "169.254.169.254",
            "224.0.0.1",
            "255.255.255.255",
            "240.0.0.1",
            "::",
            "::1",
            "fe80::1",
            "febf::1",
            "ff02::1",
            "::ffff:127.0.0.11",
        ] {
            assert!(addr(text).is_untouchable(), "{text}");
        }
        for text in [
            "192.0.2.1",
            "10.0.0.1",
            "169.253.0.1",
            "169.255.0.1",
            "223.255.255.255",
            "1.1.1.1",
            "2001:db8::1",
            "fec0::1",
            "fe00::1",
            "fd00::1",
            "::2",
            "::ffff:192.0.2.1",
        ] {
            assert!(!addr(text).is_untouchable(), "{text}");
        }
    }
}
