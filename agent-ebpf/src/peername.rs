//! `cgroup/getpeername4` and `getpeername6`: the application sees the peer it asked for, not us.

use agent_common::{Addr, Config, Record, verdict};
use aya_ebpf::macros::cgroup_sock_addr;
use aya_ebpf::programs::SockAddrContext;

use crate::connect::{read_words, write_words};
use crate::map;

const ALLOW: i32 = 1;

#[cgroup_sock_addr(getpeername4)]
pub(crate) fn weir_peername4(ctx: SockAddrContext) -> i32 {
    let call = ctx.sock_addr;
    // SAFETY: the verifier checks every access to the context.
    unsafe {
        let peer = Addr::v4((*call).user_ip4);
        if let Some(record) = redirected(&ctx, &peer) {
            (*call).user_ip4 = record.destination.words[3];
            (*call).user_port = u32::from(record.port.to_be());
        }
    }
    ALLOW
}

#[cgroup_sock_addr(getpeername6)]
pub(crate) fn weir_peername6(ctx: SockAddrContext) -> i32 {
    let call = ctx.sock_addr;
    // SAFETY: the verifier checks every access to the context.
    unsafe {
        let words = &raw mut (*call).user_ip6;
        let peer = read_words(words);
        if let Some(record) = redirected(&ctx, &peer) {
            write_words(words, &record.destination);
            (*call).user_port = u32::from(record.port.to_be());
        }
    }
    ALLOW
}

/// The record of the socket, where its peer is our listener.
#[inline(always)]
fn redirected<'a>(ctx: &'a SockAddrContext, peer: &Addr) -> Option<&'a Record> {
    let config = map::CONFIG.get(0)?;
    // SAFETY: the verifier checks every access to the context.
    let port = u16::from_be(unsafe { (*ctx.sock_addr).user_port } as u16);
    if !is_ours(config, peer, port) {
        return None;
    }
    // SAFETY: as above.
    let stored = map::record(unsafe { (*ctx.sock_addr).__bindgen_anon_1.sk });
    // SAFETY: null or the socket's record, which lives as long as the socket.
    let record = unsafe { stored.as_ref() }?;
    (record.verdict == verdict::REDIRECTED).then_some(record)
}

#[inline(always)]
fn is_ours(config: &Config, peer: &Addr, port: u16) -> bool {
    (port == config.listener4 && *peer == Addr::LOCALHOST4)
        || (port == config.listener6 && *peer == Addr::LOCALHOST6)
}
