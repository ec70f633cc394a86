//! `sockops`: says under which tuple a redirected socket is found, and reports how connections to
//! wanted addresses end.
//!
//! Called several times for every TCP connection of the host, at both ends: it returns at once for
//! every operation but two, and at the first look-up for every socket without a record.

use agent_common::{Addr, Config, FlowKey, Record, Stat, kind, seen, tcp, verdict};
use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::{
    BPF_SOCK_OPS_STATE_CB, BPF_SOCK_OPS_STATE_CB_FLAG, BPF_SOCK_OPS_TCP_CONNECT_CB, bpf_sock,
};
use aya_ebpf::helpers::{bpf_get_netns_cookie, bpf_ktime_get_boot_ns};
use aya_ebpf::macros::sock_ops;
use aya_ebpf::programs::SockOpsContext;

use crate::connect::read_words;
use crate::map;

const KEEP_REPLY: u32 = 1;
const AF_INET: u32 = 2;

// Not named like its section, which would clash with the section's own symbol.
#[sock_ops]
pub(crate) fn weir_sockops(ctx: SockOpsContext) -> u32 {
    match ctx.op() {
        BPF_SOCK_OPS_TCP_CONNECT_CB => opening(&ctx),
        BPF_SOCK_OPS_STATE_CB => changing(&ctx),
        _ => {}
    }
    KEEP_REPLY
}

/// Before the SYN leaves: the daemon cannot accept before the tuple is published.
#[inline(always)]
fn opening(ctx: &SockOpsContext) {
    let Some(config) = map::CONFIG.get(0) else { return };
    let sk = socket(ctx);
    if sk.is_null() {
        return;
    }
    let remote = remote(ctx);
    let to_us = remote.is_ours(config);
    let stored = map::record(sk);
    if stored.is_null() {
        if to_us {
            // Nobody was redirected here, so nothing an earlier connection with the same tuple
            // left behind may be taken for its record.
            // SAFETY: a helper that reads the context.
            let netns = unsafe { bpf_get_netns_cookie(ctx.as_ptr()) };
            let _absent = map::FLOWS.remove(local(ctx, netns));
        }
        return;
    }
    // SAFETY: not null, and the storage lives as long as the socket.
    let record = unsafe { &mut *stored };
    let redirected = record.verdict == verdict::REDIRECTED;
    let elsewhere = if redirected {
        !to_us
    } else {
        remote.addr != record.destination || remote.port != record.port
    };
    if elsewhere {
        // A socket that is used again, this time for a destination that nobody wants.
        map::forget(sk);
        return;
    }
    record.seen = 0;
    let record: &Record = record;
    if redirected {
        if map::FLOWS.insert(local(ctx, record.netns), record, 0).is_err() {
            // The daemon still finds the record through the socket's cookie.
            map::count(Stat::Unpublished);
        }
    } else {
        report(ctx, kind::OPENED, record);
    }
    narrate!(ctx, "opening pid {} port {}", record.tgid, record.port);
    let flags = ctx.cb_flags() | BPF_SOCK_OPS_STATE_CB_FLAG;
    let _without_an_end = ctx.set_cb_flags(flags.cast_signed());
}

/// On every change of state of a socket that `opening` chose.
#[inline(always)]
fn changing(ctx: &SockOpsContext) {
    let sk = socket(ctx);
    if sk.is_null() {
        return;
    }
    let stored = map::record(sk);
    if stored.is_null() {
        return;
    }
    // SAFETY: as above.
    let record = unsafe { &mut *stored };
    match ctx.arg(1) {
        tcp::ESTABLISHED => record.seen |= seen::ESTABLISHED,
        tcp::CLOSE_WAIT | tcp::CLOSING => record.seen |= seen::PEER_FIN,
        tcp::CLOSE => {
            report(ctx, kind::CLOSED, record);
            narrate!(ctx, "closed pid {} port {}", record.tgid, record.port);
        }
        _ => {}
    }
}

/// Sends an event. What a beginning has no use for is what the context holds there: zeros.
#[inline(always)]
fn report(ctx: &SockOpsContext, kind: u32, record: &Record) {
    let Some(mut room) = map::event() else { return };
    let event = room.as_mut_ptr();
    // SAFETY: the room has an event's size, and all of it is written before it is sent. The
    // verifier checks every access to the context.
    unsafe {
        (*event).kind = kind;
        (*event).last_state = ctx.arg(0);
        (*event).at = bpf_ktime_get_boot_ns();
        (*event).received = (*ctx.ops).bytes_received;
        (*event).acked = (*ctx.ops).bytes_acked;
        (*event).record = *record;
    }
    room.submit(0);
}

fn socket(ctx: &SockOpsContext) -> *mut bpf_sock {
    // SAFETY: the verifier checks every access to the context.
    unsafe { (*ctx.ops).__bindgen_anon_2.sk }
}

/// The far end.
struct Remote {
    addr: Addr,
    port: u16,
}

impl Remote {
    #[inline(always)]
    fn is_ours(&self, config: &Config) -> bool {
        (self.port == config.listener4 && self.addr == Addr::LOCALHOST4)
            || (self.port == config.listener6 && self.addr == Addr::LOCALHOST6)
    }
}

#[inline(always)]
fn remote(ctx: &SockOpsContext) -> Remote {
    // SAFETY: the verifier checks every access to the context.
    let addr = unsafe {
        if ctx.family() == AF_INET {
            Addr::v4((*ctx.ops).remote_ip4)
        } else {
            read_words(&raw const (*ctx.ops).remote_ip6)
        }
    };
    // The context holds the far port in network order in a word, the near one in host order.
    Remote { addr, port: u32::from_be(ctx.remote_port()) as u16 }
}

#[inline(always)]
fn local(ctx: &SockOpsContext, netns: u64) -> FlowKey {
    // SAFETY: the verifier checks every access to the context.
    let addr = unsafe {
        if ctx.family() == AF_INET {
            Addr::v4((*ctx.ops).local_ip4)
        } else {
            read_words(&raw const (*ctx.ops).local_ip6)
        }
    };
    FlowKey::new(netns, addr, ctx.local_port() as u16)
}
