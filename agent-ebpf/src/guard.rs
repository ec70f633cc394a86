//! `cgroup/connect4` and `connect6` once more, pinned: refuses connections to wanted addresses
//! while no agent is there to take them. Only where that was asked for (`on_agent_failure: closed`).
//!
//! It has maps of its own, which outlive the agent. What another program has rewritten by then is
//! not wanted any more, and what is let through here is redirected or not as if there were no guard.

use agent_common::{Addr, Config, Guard};
use aya_ebpf::EbpfContext;
use aya_ebpf::btf_maps::lpm_trie::Key;
use aya_ebpf::btf_maps::{Array, HashMap, LpmTrie};
use aya_ebpf::helpers::{bpf_get_netns_cookie, bpf_ktime_get_boot_ns};
use aya_ebpf::macros::{btf_map, cgroup_sock_addr};
use aya_ebpf::programs::SockAddrContext;

use crate::connect::{IPPROTO_TCP, SOCK_STREAM, Tuple, is_ours, read_words};

/// Makes connect(2) fail with `EPERM`.
const REFUSE: i32 = 0;
const ALLOW: i32 = 1;

/// Written by the daemon's helper.
#[btf_map]
static GUARD: Array<Guard, 1> = Array::new();

/// Time since boot of the daemon's last sign of life.
#[btf_map]
static GUARD_BEAT: Array<u64, 1> = Array::new();

/// Guarded addresses.
#[btf_map]
static GUARDED: HashMap<Addr, u32, 8192> = HashMap::new();

/// Guarded networks.
#[btf_map]
static GUARD_NETWORKS: LpmTrie<[u32; 4], u32, 1024> = LpmTrie::new();

#[cgroup_sock_addr(connect4)]
pub(crate) fn weir_guard4(ctx: SockAddrContext) -> i32 {
    // SAFETY: the verifier checks every access to the context.
    let destination = Addr::v4(unsafe { (*ctx.sock_addr).user_ip4 });
    if is_refused(&ctx, &destination, true) { REFUSE } else { ALLOW }
}

#[cgroup_sock_addr(connect6)]
pub(crate) fn weir_guard6(ctx: SockAddrContext) -> i32 {
    // SAFETY: the verifier checks every access to the context, word by word.
    let destination = unsafe { read_words(&raw const (*ctx.sock_addr).user_ip6) };
    let v4 = destination.is_v4();
    if is_refused(&ctx, &destination, v4) { REFUSE } else { ALLOW }
}

#[inline(always)]
fn is_refused(ctx: &SockAddrContext, destination: &Addr, v4: bool) -> bool {
    let call = ctx.sock_addr;
    // SAFETY: the verifier checks every access to the context.
    let (kind, protocol, port, mark) = unsafe {
        let port = u16::from_be((*call).user_port as u16);
        ((*call).type_, (*call).protocol, port, (*(*call).__bindgen_anon_1.sk).mark)
    };
    if kind != SOCK_STREAM || protocol != IPPROTO_TCP {
        return false;
    }
    let Some(guard) = GUARD.get(0) else { return false };
    if !guard.wants(port) || mark == guard.mark || !is_guarded(guard, destination) {
        return false;
    }
    // SAFETY: helpers that read this socket's namespace, and a clock.
    let (netns, now) = unsafe { (bpf_get_netns_cookie(ctx.as_ptr()), bpf_ktime_get_boot_ns()) };
    // Other namespaces are not captured while the agent lives, so its death is nothing to them.
    if netns != guard.netns || destination.is_untouchable() {
        return false;
    }
    let beat = GUARD_BEAT.get(0).copied().unwrap_or_default();
    !Config::alive(beat, now) || !is_listening(ctx, guard, v4)
}

#[inline(always)]
fn is_guarded(guard: &Guard, destination: &Addr) -> bool {
    // SAFETY: only the presence of the entry is used.
    unsafe { GUARDED.get(destination) }.is_some()
        || guard.networks != 0 && GUARD_NETWORKS.get(&Key::new(128, destination.words)).is_some()
}

#[inline(always)]
fn is_listening(ctx: &SockAddrContext, guard: &Guard, v4: bool) -> bool {
    if v4 || guard.listener6 == 0 {
        let (ip, port) = (Addr::LOCALHOST4.words[3], guard.listener4.to_be());
        is_ours(ctx, guard.mark, Tuple { from: ip, to: ip, from_port: 0, to_port: port })
    } else {
        let (ip, port) = (Addr::LOCALHOST6.words, guard.listener6.to_be());
        is_ours(ctx, guard.mark, Tuple { from: ip, to: ip, from_port: 0, to_port: port })
    }
}
