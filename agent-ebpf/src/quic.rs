//! QUIC to wanted addresses: refused, so that the application falls back to TCP, which is captured.
//!
//! Connected sockets are refused in `connect`, datagrams of others here, in `cgroup/sendmsg4` and
//! `sendmsg6`; either way the application sees EPERM at once. Only where a TCP connection in its place
//! would be redirected: a daemon that died, hangs, or has no listener here refuses nothing.

use agent_common::{Addr, Config, Record, Stat, kind, verdict};
use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::generated::bpf_get_current_comm;
use aya_ebpf::helpers::{
    bpf_get_current_cgroup_id, bpf_get_current_uid_gid, bpf_get_netns_cookie,
    bpf_get_socket_cookie, bpf_ktime_get_boot_ns,
};
use aya_ebpf::macros::cgroup_sock_addr;
use aya_ebpf::programs::SockAddrContext;

use crate::connect::{is_listening, read_words};
use crate::map;

const ALLOW: i32 = 1;
const REFUSE: i32 = 0;
const IPPROTO_UDP: u32 = 17;

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

/// Whether these are datagrams that would go past us.
#[inline(always)]
pub(crate) fn is_refused(ctx: &SockAddrContext, destination: &Addr, v4: bool) -> bool {
    let call = ctx.sock_addr;
    // SAFETY: the verifier checks every access to the context.
    let (protocol, port, sk) = unsafe {
        let port = u16::from_be((*call).user_port as u16);
        ((*call).protocol, port, (*call).__bindgen_anon_1.sk)
    };
    if protocol != IPPROTO_UDP {
        return false;
    }
    let Some(config) = map::CONFIG.get(0) else { return false };
    if config.quic == 0 || config.redirect == 0 || !config.wants(port) {
        return false;
    }
    if !map::is_target(config, destination) || destination.is_untouchable() {
        return false;
    }
    // SAFETY: the verifier checks every access to the socket.
    if unsafe { (*sk).mark } == config.mark || ctx.tgid() == config.tgid {
        return false;
    }
    let beat = map::HEARTBEAT.get(0).copied().unwrap_or_default();
    // SAFETY: a helper that reads the clock.
    let now = unsafe { bpf_ktime_get_boot_ns() };
    if !Config::alive(beat, now) || !is_listening(ctx, config, v4) {
        return false;
    }
    map::count(Stat::QuicRefused);
    report(ctx, destination, (port, now));
    true
}

/// Sends an event.
#[inline(always)]
fn report(ctx: &SockAddrContext, destination: &Addr, (port, now): (u16, u64)) {
    let Some(mut room) = map::event() else { return };
    let event = room.as_mut_ptr();
    let ids = bpf_get_current_uid_gid();
    // SAFETY: the room has an event's size, and all of it is written before it is sent; helpers that
    // read this task, this socket, this context.
    unsafe {
        (*event).kind = kind::REFUSED;
        (*event).last_state = 0;
        (*event).at = now;
        (*event).received = 0;
        (*event).acked = 0;
        let record: *mut Record = &raw mut (*event).record;
        (*record).cookie = bpf_get_socket_cookie(ctx.as_ptr());
        (*record).netns = bpf_get_netns_cookie(ctx.as_ptr());
        (*record).cgroup = bpf_get_current_cgroup_id();
        (*record).at = now;
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
    room.submit(0);
}
