//! QUIC to wanted addresses: refused, so that the application falls back to TCP, which is captured.
//!
//! Connecting a datagram socket sends nothing: resolvers do it to sort addresses by the route they
//! would take. `connect` therefore only leaves a record with the socket, and `cgroup_skb/egress` drops
//! what is then really sent there. Datagrams of other sockets are refused in `cgroup/sendmsg4` and
//! `sendmsg6`. Either way the application sees EPERM at once. Only where a TCP connection in its place
//! would be redirected: a daemon that died, hangs, or has no listener here refuses nothing.

use agent_common::{Addr, Config, Record, Stat, kind, seen, verdict};
use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::{__sk_buff, bpf_sock};
use aya_ebpf::helpers::generated::bpf_get_current_comm;
use aya_ebpf::helpers::{
    bpf_get_current_cgroup_id, bpf_get_current_uid_gid, bpf_get_netns_cookie,
    bpf_get_socket_cookie, bpf_ktime_get_boot_ns, bpf_sk_fullsock,
};
use aya_ebpf::macros::{cgroup_skb, cgroup_sock_addr};
use aya_ebpf::programs::{SkBuffContext, SockAddrContext};

use crate::connect::{is_listening, read_words};
use crate::ip::{
    IPPROTO_UDP, PLAIN_V4, PORTS, TO_PORT, V4_DESTINATION, V4_HEADER, V4_PROTOCOL, V6_DESTINATION,
    V6_HEADER, V6_NEXT,
};
use crate::map;

const ALLOW: i32 = 1;
const REFUSE: i32 = 0;

#[cgroup_sock_addr(sendmsg4)]
pub(crate) fn weir_sendmsg4(ctx: SockAddrContext) -> i32 {
    // SAFETY: the verifier checks every access to the context.
    let destination = Addr::v4(unsafe { (*ctx.sock_addr).user_ip4 });
    if is_refused(&ctx, &destination, true) { REFUSE } else { ALLOW }
}

#[cgroup_sock_addr(sendmsg6)]
pub(crate) fn weir_sendmsg6(ctx: SockAddrContext) -> i32 {
    // SAFETY: as above; single words, as the verifier wants them.
    let destination = unsafe { read_words(&raw const (*ctx.sock_addr).user_ip6) };
    let v4 = destination.is_v4();
    if is_refused(&ctx, &destination, v4) { REFUSE } else { ALLOW }
}

/// Sees every packet that any socket of the host sends: all but UDP to wanted ports ends at a look or
/// two at the packet. Whose it is stands in the record, for nobody's task runs here for certain.
#[cgroup_skb(egress)]
pub(crate) fn weir_quic(ctx: SkBuffContext) -> i32 {
    if is_dropped(&ctx) { REFUSE } else { ALLOW }
}

/// Leaves with a datagram socket that what it sends is to be refused, if it is; whatever an earlier
/// connecting of it left there goes.
#[inline(always)]
pub(crate) fn note(ctx: &SockAddrContext, destination: &Addr, v4: bool) {
    // SAFETY: the verifier checks every access to the context.
    let (protocol, sk) =
        unsafe { ((*ctx.sock_addr).protocol, (*ctx.sock_addr).__bindgen_anon_1.sk) };
    if protocol != u32::from(IPPROTO_UDP) {
        return;
    }
    let Some(config) = map::CONFIG.get(0) else { return };
    if config.quic == 0 {
        return;
    }
    let Some(port) = is_quic(ctx, config, destination, v4) else {
        map::forget(sk);
        return;
    };
    let stored = map::record_or_room(sk);
    if stored.is_null() {
        map::count(Stat::Unsaved);
        return;
    }
    // SAFETY: not null, and the storage lives as long as the socket.
    unsafe { describe(ctx, stored, destination, port) };
}

/// Whether this is a datagram that would go past us; counted and reported then.
#[inline(always)]
fn is_refused(ctx: &SockAddrContext, destination: &Addr, v4: bool) -> bool {
    // SAFETY: the verifier checks every access to the context.
    if unsafe { (*ctx.sock_addr).protocol } != u32::from(IPPROTO_UDP) {
        return false;
    }
    let Some(config) = map::CONFIG.get(0) else { return false };
    let Some(port) = is_quic(ctx, config, destination, v4) else { return false };
    map::count(Stat::QuicRefused);
    let Some(mut room) = map::event() else { return true };
    let event = room.as_mut_ptr();
    // SAFETY: the room has an event's size, and all of it is written before it is sent.
    unsafe {
        let record = &raw mut (*event).record;
        describe(ctx, record, destination, port);
        (*event).kind = kind::REFUSED;
        (*event).last_state = 0;
        (*event).at = (*record).at;
        (*event).received = 0;
        (*event).acked = 0;
    }
    room.submit(0);
    true
}

/// The port, where a TCP connection there would be redirected.
#[inline(always)]
fn is_quic(ctx: &SockAddrContext, config: &Config, destination: &Addr, v4: bool) -> Option<u16> {
    let call = ctx.sock_addr;
    // SAFETY: the verifier checks every access to the context.
    let (port, sk) =
        unsafe { (u16::from_be((*call).user_port as u16), (*call).__bindgen_anon_1.sk) };
    if config.quic == 0 || config.redirect == 0 || !config.wants(port) {
        return None;
    }
    if !map::is_target(config, destination) || destination.is_untouchable() {
        return None;
    }
    // SAFETY: the verifier checks every access to the socket.
    if unsafe { (*sk).mark } == config.mark || ctx.tgid() == config.tgid {
        return None;
    }
    is_taken(ctx, config, v4).then_some(port)
}

/// Whether the daemon takes connections here, now.
#[inline(always)]
fn is_taken(ctx: &impl EbpfContext, config: &Config, v4: bool) -> bool {
    let beat = map::HEARTBEAT.get(0).copied().unwrap_or_default();
    // SAFETY: a helper that reads the clock.
    let now = unsafe { bpf_ktime_get_boot_ns() };
    Config::alive(beat, now) && is_listening(ctx, config, v4)
}

/// Fills in a record, in place.
///
/// # Safety
/// There is room for one.
#[inline(always)]
unsafe fn describe(ctx: &SockAddrContext, record: *mut Record, destination: &Addr, port: u16) {
    let ids = bpf_get_current_uid_gid();
    // SAFETY: as the caller says; helpers that read this task, this socket, this context.
    unsafe {
        (*record).cookie = bpf_get_socket_cookie(ctx.as_ptr());
        (*record).netns = bpf_get_netns_cookie(ctx.as_ptr());
        (*record).cgroup = bpf_get_current_cgroup_id();
        (*record).at = bpf_ktime_get_boot_ns();
        (*record).destination = *destination;
        (*record).tgid = ctx.tgid();
        (*record).uid = ids as u32;
        (*record).gid = (ids >> 32) as u32;
        (*record).device = 0;
        (*record).mark = 0;
        (*record).port = port;
        (*record).verdict = verdict::QUIC;
        (*record).seen = 0;
        let comm = &raw mut (*record).comm;
        if bpf_get_current_comm(comm.cast(), size_of::<[u8; 16]>() as u32) != 0 {
            (*record).comm = [0; 16];
        }
    }
}

/// Whether this is a datagram of a connected socket that would go past us; counted and reported then,
/// once for each time the socket was connected.
#[inline(always)]
fn is_dropped(ctx: &SkBuffContext) -> bool {
    let skb = ctx.skb.skb;
    let Some(config) = map::CONFIG.get(0) else { return false };
    let Some(datagram) = to_wanted_port(skb, config) else { return false };
    // SAFETY: the verifier checks every access to the context.
    let sk = unsafe { (*skb).__bindgen_anon_2.sk };
    let Some(stored) = note_of(sk) else { return false };
    // SAFETY: not null, and the storage lives as long as the socket.
    let record = unsafe { &mut *stored };
    // Also a connected socket can send elsewhere, and after its connection has been undone.
    if record.verdict != verdict::QUIC
        || record.destination != datagram.destination
        || record.port != datagram.port
    {
        return false;
    }
    if config.redirect == 0 || !is_taken(ctx, config, datagram.v4) {
        // What has begun goes on, whatever becomes of the daemon.
        record.verdict = verdict::OBSERVED;
        return false;
    }
    if record.seen & seen::REFUSED == 0 {
        record.seen |= seen::REFUSED;
        map::count(Stat::QuicRefused);
        report(record);
    }
    true
}

/// What is read of a datagram.
struct Datagram {
    destination: Addr,
    /// In host byte order.
    port: u16,
    v4: bool,
}

/// Of a socket of this host the headers lie together, so they can be looked at in place.
#[inline(always)]
fn to_wanted_port(skb: *mut __sk_buff, config: &Config) -> Option<Datagram> {
    // SAFETY: the verifier checks every access to the context and to the packet.
    unsafe {
        let (start, end) = ((*skb).data as usize, (*skb).data_end as usize);
        if start + V4_HEADER + PORTS > end {
            return None;
        }
        let byte = |offset: usize| *((start + offset) as *const u8);
        let port = |offset: usize| u16::from_be(*((start + offset) as *const u16));
        let word = |offset: usize| *((start + offset) as *const u32);
        let first = byte(0);
        if first == PLAIN_V4 {
            if byte(V4_PROTOCOL) != IPPROTO_UDP {
                return None;
            }
            let port = port(V4_HEADER + TO_PORT);
            let destination = Addr::v4(word(V4_DESTINATION));
            return config.wants(port).then_some(Datagram { destination, port, v4: true });
        }
        if first >> 4 != 6 || byte(V6_NEXT) != IPPROTO_UDP || start + V6_HEADER + PORTS > end {
            return None;
        }
        let port = port(V6_HEADER + TO_PORT);
        if !config.wants(port) {
            return None;
        }
        let at = V6_DESTINATION;
        let words = [word(at), word(at + 4), word(at + 8), word(at + 12)];
        Some(Datagram { destination: Addr { words }, port, v4: false })
    }
}

/// The record of a packet's socket.
#[inline(always)]
fn note_of(sk: *mut bpf_sock) -> Option<*mut Record> {
    if sk.is_null() {
        return None;
    }
    // SAFETY: the verifier knows the socket; not all that have one are whole.
    let sk = unsafe { bpf_sk_fullsock(sk) };
    if sk.is_null() {
        return None;
    }
    let stored = map::record(sk);
    (!stored.is_null()).then_some(stored)
}

/// Sends an event.
#[inline(always)]
fn report(record: &Record) {
    let Some(mut room) = map::event() else { return };
    let event = room.as_mut_ptr();
    // SAFETY: the room has an event's size, and all of it is written before it is sent; a helper that
    // reads the clock.
    unsafe {
        (*event).kind = kind::REFUSED;
        (*event).last_state = 0;
        (*event).at = bpf_ktime_get_boot_ns();
        (*event).received = 0;
        (*event).acked = 0;
        (*event).record = *record;
    }
    room.submit(0);
}
