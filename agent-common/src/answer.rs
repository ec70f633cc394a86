//! A packet from a name server, as the programs pass it on.

/// Most bytes of a packet that are passed on, headers included: what an Ethernet carries, and more
/// than name servers send in a datagram today (1,232 bytes).
pub const PACKET: usize = 1528;

/// The beginning of a packet.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Packet {
    /// How many of the bytes are the packet's; the others are whatever lay there.
    pub len: u32,
    /// Explicit padding.
    pub pad: u32,
    /// From the IP header on.
    pub bytes: [u8; PACKET],
}

const _: () = assert!(size_of::<Packet>() == 1536 && align_of::<Packet>() == 4);

/// Where the bytes lie in it.
const BYTES: usize = core::mem::offset_of!(Packet, bytes);

impl Packet {
    /// The packet in what the programs wrote as `item`; `None` where the size is not theirs.
    pub fn of_item(item: &[u8]) -> Option<&[u8]> {
        if item.len() != size_of::<Self>() {
            return None;
        }
        let (len, _) = item.split_first_chunk::<4>()?;
        let len = usize::try_from(u32::from_ne_bytes(*len)).ok()?;
        item.get(BYTES..BYTES.checked_add(len)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_as_much_as_was_written_counts() {
        let mut item = [7; size_of::<Packet>()];
        item[..4].copy_from_slice(&3_u32.to_ne_bytes());
        assert_eq!(Packet::of_item(&item), Some(&[7; 3][..]));
        assert_eq!(Packet::of_item(&item[1..]), None);
        item[..4].copy_from_slice(&u32::MAX.to_ne_bytes());
        assert_eq!(Packet::of_item(&item), None);
    }
}
