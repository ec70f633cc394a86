//! `cgroup_skb/ingress`: copies what name servers answer about wanted hosts, for the daemon to learn
//! their addresses.
//!
//! Sees every packet that any socket of the host receives, so it begins with the one comparison that
//! nearly none of them passes. It sees the packet before the application does, which is what makes
//! the first connection after an answer ours: as long as the copy has not been taken in, `connect`
//! knows. Never drops or changes a packet. Of what answers say it looks at nothing but the beginning of
//! the question, in its fixed place: answers about others are not even copied.

use agent_common::{NameKey, PACKET, Stat};
use aya_ebpf::bindings::{__sk_buff, BPF_RB_FORCE_WAKEUP};
use aya_ebpf::helpers::bpf_skb_load_bytes;
use aya_ebpf::macros::cgroup_skb;
use aya_ebpf::programs::SkBuffContext;

use crate::ip::{
    IPPROTO_TCP, IPPROTO_UDP, PLAIN_V4, PORTS, V4_HEADER, V4_PROTOCOL, V6_HEADER, V6_NEXT,
};
use crate::map;

const ALLOW: i32 = 1;

/// Of name servers, in network byte order; also of stub resolvers on the loopback.
const PORT: u16 = 53_u16.to_be();

const UDP_HEADER: u32 = 8;
/// Where a TCP header tells its own length.
const TCP_LENGTH: u32 = 12;
/// Before a message over TCP, its length.
const PREFIX: u32 = 2;
const DNS_HEADER: u32 = 12;

#[cgroup_skb(ingress)]
pub(crate) fn weir_answers(ctx: SkBuffContext) -> i32 {
    let skb = ctx.skb.skb;
    if let Some(carried) = from_name_server(skb)
        && carried.is_wanted(skb)
    {
        pass_on(skb);
    }
    ALLOW
}

/// What an IP packet carries.
struct Carried {
    /// Where it begins.
    at: u32,
    udp: bool,
}

/// The headers have been pulled together by whoever found the socket, so they can be looked at in
/// place.
#[inline(always)]
fn from_name_server(skb: *mut __sk_buff) -> Option<Carried> {
    // SAFETY: the verifier checks every access to the context and to the packet.
    unsafe {
        let (start, end) = ((*skb).data as usize, (*skb).data_end as usize);
        if start + V4_HEADER + PORTS > end {
            return None;
        }
        let byte = |offset: usize| (start + offset) as *const u8;
        let port = |offset: usize| (start + offset) as *const u16;
        let first = *byte(0);
        let (protocol, at) = if first == PLAIN_V4 {
            if *port(V4_HEADER) != PORT {
                return None;
            }
            (*byte(V4_PROTOCOL), V4_HEADER)
        } else {
            if first >> 4 != 6 || start + V6_HEADER + PORTS > end {
                return None;
            }
            if *port(V6_HEADER) != PORT {
                return None;
            }
            (*byte(V6_NEXT), V6_HEADER)
        };
        let udp = protocol == IPPROTO_UDP;
        (udp || protocol == IPPROTO_TCP).then_some(Carried { at: at as u32, udp })
    }
}

impl Carried {
    /// Whether it is about a wanted host.
    #[inline(always)]
    fn is_wanted(&self, skb: *mut __sk_buff) -> bool {
        if self.udp {
            return is_wanted(skb, self.at + UDP_HEADER);
        }
        let mut length = 0_u8;
        // SAFETY: a helper that writes one byte to where there is room for one.
        let read = unsafe {
            bpf_skb_load_bytes(skb.cast(), self.at + TCP_LENGTH, (&raw mut length).cast(), 1)
        };
        let message = self.at + u32::from(length >> 4) * 4;
        // The length may also have come in a segment of its own.
        read == 0 && (is_wanted(skb, message + PREFIX) || is_wanted(skb, message))
    }
}

/// Whether the message that begins at `at` asks for a wanted host.
#[inline(always)]
fn is_wanted(skb: *mut __sk_buff, at: u32) -> bool {
    let mut words = [0_u32; NameKey::BYTES / 4];
    let (to, len) = ((&raw mut words).cast(), NameKey::BYTES as u32);
    // SAFETY: a helper that writes as many bytes as there is room for. It fails where the packet is
    // shorter, as no answer with an address in it is.
    let read = unsafe { bpf_skb_load_bytes(skb.cast(), at + DNS_HEADER, to, len) };
    read == 0 && map::is_host(&NameKey::of_question(words))
}

/// Copies the beginning of the packet into the ring buffer.
#[inline(always)]
fn pass_on(skb: *mut __sk_buff) {
    // SAFETY: the verifier checks every access to the context.
    let len = unsafe { (*skb).len };
    // Never true, but before Linux 6.4 the verifier learns nothing of a comparison with 0, and wants
    // to know that there is something to copy.
    if len < (V4_HEADER + PORTS) as u32 {
        return;
    }
    let len = if len > PACKET as u32 { PACKET as u32 } else { len };
    let Some(mut room) = map::packet() else { return };
    let packet = room.as_mut_ptr();
    // SAFETY: the room has a packet's size, and as many bytes as `len` says are written.
    let copied = unsafe {
        (*packet).len = len;
        (*packet).pad = 0;
        bpf_skb_load_bytes(skb.cast(), 0, (&raw mut (*packet).bytes).cast(), len) == 0
    };
    if copied {
        map::count(Stat::Answers);
        // The daemon may be about to sleep, and there is a race to be won.
        room.submit(u64::from(BPF_RB_FORCE_WAKEUP));
    } else {
        room.discard(0);
    }
}
