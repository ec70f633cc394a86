//! `cgroup_skb/ingress`: copies what name servers answer, for the daemon to learn addresses from.
//!
//! Sees every packet that any socket of the host receives, so it begins with the one comparison that
//! nearly none of them passes. It sees the packet before the application does. Never drops or changes
//! one, and reads no further into it than the ports: what an answer says is found out in user space.

use agent_common::{PACKET, Stat};
use aya_ebpf::bindings::{BPF_RB_FORCE_WAKEUP, __sk_buff};
use aya_ebpf::helpers::bpf_skb_load_bytes;
use aya_ebpf::macros::cgroup_skb;
use aya_ebpf::programs::SkBuffContext;

use crate::map;

const ALLOW: i32 = 1;

/// Of name servers, in network byte order; also of stub resolvers on the loopback.
const PORT: u16 = 53_u16.to_be();

const IPPROTO_TCP: u8 = 6;
const IPPROTO_UDP: u8 = 17;

/// First byte of an IPv4 header without options. Nobody sends them, and many drop what has them.
const PLAIN_V4: u8 = 0x45;
const V4_HEADER: usize = 20;
const V4_PROTOCOL: usize = 9;
const V6_HEADER: usize = 40;
const V6_NEXT: usize = 6;
const PORTS: usize = 4;

#[cgroup_skb(ingress)]
pub(crate) fn weir_answers(ctx: SkBuffContext) -> i32 {
    if is_from_name_server(ctx.skb.skb) {
        pass_on(ctx.skb.skb);
    }
    ALLOW
}

/// The headers have been pulled together by whoever found the socket, so they can be looked at in
/// place.
#[inline(always)]
fn is_from_name_server(skb: *mut __sk_buff) -> bool {
    // SAFETY: the verifier checks every access to the context and to the packet.
    unsafe {
        let (start, end) = ((*skb).data as usize, (*skb).data_end as usize);
        if start + V4_HEADER + PORTS > end {
            return false;
        }
        let byte = |offset: usize| (start + offset) as *const u8;
        let port = |offset: usize| (start + offset) as *const u16;
        let first = *byte(0);
        let protocol = if first == PLAIN_V4 {
            if *port(V4_HEADER) != PORT {
                return false;
            }
            *byte(V4_PROTOCOL)
        } else {
            if first >> 4 != 6 || start + V6_HEADER + PORTS > end {
                return false;
            }
            if *port(V6_HEADER) != PORT {
                return false;
            }
            *byte(V6_NEXT)
        };
        protocol == IPPROTO_UDP || protocol == IPPROTO_TCP
    }
}

/// Copies the beginning of the packet into the ring buffer.
#[inline(always)]
fn pass_on(skb: *mut __sk_buff) {
    // SAFETY: the verifier checks every access to the context.
    let len = unsafe { (*skb).len };
    if len == 0 {
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
