//! What name servers say: which answers are of interest, and the packets as the programs pass them on.

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

/// Beginning of a host's name as it stands in a question (RFC 1035 §3.1), for looking it up in a
/// prefix trie: it is the one thing of an answer that lies in a fixed place.
///
/// In every byte the bit is set that tells lower case letters from upper case ones, so that both are
/// equal. That, and cutting long names, lets a few names pass for others: whoever reads the answer
/// finds out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NameKey {
    /// Bits of `words` that count.
    pub bits: u32,
    /// The bytes.
    pub words: [u32; Self::BYTES / 4],
}

impl NameKey {
    /// Bytes compared.
    pub const BYTES: usize = 32;
    const BITS: u32 = 256;
    const CASE: u8 = 0x20;

    /// The key of a host, given without a trailing dot; `None` where it cannot be a name.
    pub fn of_host(host: &str) -> Option<Self> {
        let mut bytes = [Self::CASE; Self::BYTES];
        let mut at = 0;
        for label in host.split('.') {
            let length =
                u8::try_from(label.len()).ok().filter(|length| (1..64).contains(length))?;
            for byte in core::iter::once(length).chain(label.bytes()) {
                if let Some(to) = bytes.get_mut(at) {
                    *to = byte | Self::CASE;
                }
                at += 1;
            }
        }
        // The root's label, which ends the name, is a zero.
        let len = (at + 1).min(Self::BYTES);
        let mut words = [0; Self::BYTES / 4];
        for (to, from) in words.iter_mut().zip(bytes.as_chunks::<4>().0) {
            *to = u32::from_ne_bytes(*from);
        }
        Some(Self { bits: u32::try_from(len * 8).ok()?, words })
    }

    /// The key of what stands in a question, which is all looked at.
    #[inline]
    pub fn of_question(words: [u32; Self::BYTES / 4]) -> Self {
        let case = u32::from_ne_bytes([Self::CASE; 4]);
        Self { bits: Self::BITS, words: words.map(|word| word | case) }
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

    /// Whether the trie would find the host by a question.
    fn found(host: &str, question: &[u8; NameKey::BYTES]) -> bool {
        let bytes = |words: [u32; 8]| words.map(u32::to_ne_bytes);
        let host = NameKey::of_host(host).unwrap();
        let words = question.as_chunks::<4>().0;
        let words = core::array::from_fn(|at| u32::from_ne_bytes(words[at]));
        let question = NameKey::of_question(words);
        assert!(question.bits >= host.bits && host.bits.is_multiple_of(8));
        let len = host.bits as usize / 8;
        bytes(host.words).as_flattened()[..len] == bytes(question.words).as_flattened()[..len]
    }

    #[test]
    fn hosts_are_found_by_questions_in_any_case_and_others_are_not() {
        let question =
            b"\x03api\x06OpenAI\x03com\0\0\x01\0\x01\xc0\x0c\0\x01\0\x01\0\0\0\x1e\0\x04";
        let question: &[u8; NameKey::BYTES] = question[..NameKey::BYTES].try_into().unwrap();
        assert!(found("api.openai.com", question));
        assert!(!found("api.openai.co", question));
        assert!(!found("api.openai.com.example", question));
        assert!(!found("openai.com", question));
        let long = b"\x0fbedrock-runtime\x0aap-south-1\x09amazon";
        let long: &[u8; NameKey::BYTES] = long[..NameKey::BYTES].try_into().unwrap();
        assert!(found("bedrock-runtime.ap-south-1.amazonaws.com", long));
        assert!(!found("bedrock-runtime.ap-south-2.amazonaws.com", long));
    }

    #[test]
    fn what_cannot_be_a_name_has_no_key() {
        for host in ["", "a..b", "a."] {
            assert_eq!(NameKey::of_host(host), None, "{host}");
        }
    }
}
