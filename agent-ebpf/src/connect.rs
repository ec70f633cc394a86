//! `cgroup/connect4` and `connect6`: decides whether a connection is redirected.
//!
//! Ordered by cost: the connections of the whole host pass here, nearly all of them end at the
//! port or at one failed look-up. The record is saved before the destination is rewritten, and
//! whatever stands in the way of either leaves the connection as it was.

use agent_common::{Addr, Config, Record, Stat, tcp, verdict};
use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::{BPF_F_CURRENT_NETNS, bpf_sock, bpf_sock_addr, bpf_sock_tuple};
use aya_ebpf::helpers::{
    bpf_get_current_cgroup_id, bpf_get_netns_cookie, bpf_get_socket_cookie, bpf_ktime_get_boot_ns,
    bpf_setsockopt, bpf_sk_lookup_tcp, bpf_sk_release,
};
use aya_ebpf::macros::cgroup_sock_addr;
use aya_ebpf::programs::SockAddrContext;

use crate::map;

const ALLOW: i32 = 1;
const SOCK_STREAM: u32 = 1;
const IPPROTO_TCP: u32 = 6;
const SOL_SOCKET: i32 = 1;
const SO_BINDTODEVICE: i32 = 25;

#[cgroup_sock_addr(connect4)]
pub(crate) fn weir_connect4(ctx: SockAddrContext) -> i32 {
    let call = ctx.sock_addr;
    // SAFETY: the verifier checks every access to the context.
    unsafe {
        let destination = Addr::v4((*call).user_ip4);
        if let Some(port) = redirect(&ctx, &destination) {
            (*call).user_ip4 = Addr::LOCALHOST4.words[3];
            (*call).user_port = u32::from(port.to_be());
        }
    }
    ALLOW
}

/// Also sees IPv4, from sockets that name their peer `::ffff:a.b.c.d`; those stay IPv4, because a
/// native IPv6 rewrite would not suit them. Native IPv6 goes to `::1`: a mapped address would be
/// unreachable for sockets with `IPV6_V6ONLY`.
#[cgroup_sock_addr(connect6)]
pub(crate) fn weir_connect6(ctx: SockAddrContext) -> i32 {
    let call = ctx.sock_addr;
    // SAFETY: the verifier checks every access to the context. It wants single words, hence
    // volatile: the compiler would merge them.
    unsafe {
        let words = &raw mut (*call).user_ip6;
        let destination = read_words(words);
        if let Some(port) = redirect(&ctx, &destination) {
            let to = if destination.is_v4() { Addr::LOCALHOST4 } else { Addr::LOCALHOST6 };
            write_words(words, &to);
            (*call).user_port = u32::from(port.to_be());
        }
    }
    ALLOW
}

/// Reads an address from a context word by word.
///
/// # Safety
/// `words` points into a context that the verifier lets be read there.
#[inline(always)]
pub(crate) unsafe fn read_words(words: *const [u32; 4]) -> Addr {
    let word = words.cast::<u32>();
    // SAFETY: four words, as the type says.
    unsafe {
        Addr {
            words: [
                word.read_volatile(),
                word.add(1).read_volatile(),
                word.add(2).read_volatile(),
                word.add(3).read_volatile(),
            ],
        }
    }
}

/// Writes an address into a context word by word.
///
/// # Safety
/// `words` points into a context that the verifier lets be written there.
#[inline(always)]
pub(crate) unsafe fn write_words(words: *mut [u32; 4], addr: &Addr) {
    let word = words.cast::<u32>();
    // SAFETY: four words, as the type says.
    unsafe {
        word.write_volatile(addr.words[0]);
        word.add(1).write_volatile(addr.words[1]);
        word.add(2).write_volatile(addr.words[2]);
        word.add(3).write_volatile(addr.words[3]);
    }
}

/// The port of our listener where the connection is to be redirected to it.
#[inline(always)]
fn redirect(ctx: &SockAddrContext, destination: &Addr) -> Option<u16> {
    let call = ctx.sock_addr;
    // SAFETY: the verifier checks every access to the context.
    let (kind, protocol, port, sk) = unsafe {
        let port = u16::from_be((*call).user_port as u16);
        ((*call).type_, (*call).protocol, port, (*call).__bindgen_anon_1.sk)
    };
    if kind != SOCK_STREAM || protocol != IPPROTO_TCP {
        return None;
    }
    let config = map::CONFIG.get(0)?;
    let listener = if destination.is_v4() { config.listener4 } else { config.listener6 };
    if port == listener {
        // Somebody knocks at our own door. A record left by an earlier attempt of this socket
        // would be taken for this one's.
        map::forget(sk);
        return None;
    }
    if !config.wants(port) {
        return None;
    }
    if !map::is_target(config, destination) {
        map::count(Stat::Misses);
        return None;
    }
    if destination.is_untouchable() {
        return None;
    }
    capture(ctx, sk, config, destination, port).then_some(listener)
}

/// Saves the record of a connection to a wanted address; true where it is to be redirected.
#[inline(always)]
fn capture(
    ctx: &SockAddrContext,
    sk: *mut bpf_sock,
    config: &Config,
    destination: &Addr,
    port: u16,
) -> bool {
    // SAFETY: the verifier checks every access to the socket.
    let (mark, device) = unsafe { ((*sk).mark, (*sk).bound_dev_if) };
    let tgid = ctx.tgid();
    if mark == config.mark || tgid == config.tgid {
        map::forget(sk);
        map::count(Stat::Own);
        return false;
    }
    // SAFETY: helpers that read this task or this context.
    let record = unsafe {
        Record {
            cookie: bpf_get_socket_cookie(ctx.as_ptr()),
            netns: bpf_get_netns_cookie(ctx.as_ptr()),
            cgroup: bpf_get_current_cgroup_id(),
            at: bpf_ktime_get_boot_ns(),
            destination: *destination,
            tgid,
            uid: ctx.uid(),
            gid: ctx.gid(),
            device,
            mark,
            port,
            verdict: verdict::REDIRECTED,
            seen: 0,
            comm: ctx.command().unwrap_or_default(),
        }
    };
    let stored = map::record_or_room(sk);
    if stored.is_null() {
        map::count(Stat::Unsaved);
        return false;
    }
    let verdict = judge(ctx, config, &record);
    // Overwrites what an earlier attempt of the same socket left. SAFETY: not null.
    unsafe {
        *stored = record;
        (*stored).verdict = verdict;
    }
    narrate!(ctx, "pid {} port {} verdict {}", record.tgid, record.port, verdict);
    let stat = match verdict {
        verdict::REDIRECTED => Stat::Redirected,
        verdict::OBSERVED => Stat::Observed,
        verdict::NO_LISTENER => Stat::NoListener,
        verdict::STALE => Stat::Stale,
        verdict::DEVICE => Stat::Device,
        _ => Stat::Unsaved,
    };
    map::count(stat);
    verdict == verdict::REDIRECTED
}

/// Everything that must hold before a connection may be redirected, the cheap first.
#[inline(always)]
fn judge(ctx: &SockAddrContext, config: &Config, record: &Record) -> u8 {
    if config.redirect == 0 {
        return verdict::OBSERVED;
    }
    let beat = map::HEARTBEAT.get(0).copied().unwrap_or_default();
    if !Config::alive(beat, record.at) {
        return verdict::STALE;
    }
    if !is_listening(ctx, config, record.destination.is_v4()) {
        return verdict::NO_LISTENER;
    }
    if map::RECORDS.insert(record.cookie, record, 0).is_err() {
        return verdict::UNSAVED;
    }
    // A socket bound to a device cannot reach the loopback: the handshake would hang. The daemon
    // dials out through the same device.
    if record.device != 0 && !unbind(ctx) {
        let _absent = map::RECORDS.remove(record.cookie);
        return verdict::DEVICE;
    }
    verdict::REDIRECTED
}

/// Whether a listener that carries our mark lives in the caller's network namespace. The mark
/// takes `CAP_NET_ADMIN`, so nobody can squat on the port of a daemon that died.
#[inline(always)]
fn is_listening(ctx: &SockAddrContext, config: &Config, v4: bool) -> bool {
    // SAFETY: integers, for which zeros are valid.
    let mut tuple: bpf_sock_tuple = unsafe { core::mem::zeroed() };
    let size = if v4 {
        let ip = &mut tuple.__bindgen_anon_1;
        ip.ipv4.daddr = Addr::LOCALHOST4.words[3];
        ip.ipv4.saddr = Addr::LOCALHOST4.words[3];
        ip.ipv4.dport = config.listener4.to_be();
        // SAFETY: the size of the variant just written.
        size_of_val(unsafe { &ip.ipv4 })
    } else {
        let ip = &mut tuple.__bindgen_anon_1;
        ip.ipv6.daddr = Addr::LOCALHOST6.words;
        ip.ipv6.saddr = Addr::LOCALHOST6.words;
        ip.ipv6.dport = config.listener6.to_be();
        // SAFETY: as above.
        size_of_val(unsafe { &ip.ipv6 })
    };
    let netns = BPF_F_CURRENT_NETNS as i64 as u64;
    // SAFETY: the tuple has the size given.
    let sk =
        unsafe { bpf_sk_lookup_tcp(ctx.sock_addr.cast(), &raw mut tuple, size as u32, netns, 0) };
    if sk.is_null() {
        return false;
    }
    // SAFETY: not null; released on the only way out.
    unsafe {
        let ours = (*sk).mark == config.mark && (*sk).state == tcp::LISTEN;
        bpf_sk_release(sk.cast());
        ours
    }
}

/// Clears `SO_BINDTODEVICE`.
#[inline(always)]
fn unbind(ctx: &SockAddrContext) -> bool {
    let mut nothing = 0_u32;
    let name = (&raw mut nothing).cast();
    let context: *mut bpf_sock_addr = ctx.sock_addr;
    // SAFETY: an empty, terminated name of four bytes.
    unsafe { bpf_setsockopt(context.cast(), SOL_SOCKET, SO_BINDTODEVICE, name, 4) == 0 }
}
