//! `cgroup/connect4` and `connect6`: decides whether a connection is redirected.
//!
//! Ordered by cost: the connections of the whole host pass here, nearly all of them end at the
//! port or at one failed look-up. The record is saved before the destination is rewritten, and
//! whatever stands in the way of either leaves the connection as it was.

use agent_common::{Addr, Config, Record, Stat, tcp, verdict};
use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::{BPF_F_CURRENT_NETNS, bpf_sock};
use aya_ebpf::helpers::generated::bpf_get_current_comm;
use aya_ebpf::helpers::{
    bpf_get_current_cgroup_id, bpf_get_current_uid_gid, bpf_get_netns_cookie,
    bpf_get_socket_cookie, bpf_ktime_get_boot_ns, bpf_setsockopt, bpf_sk_lookup_tcp,
    bpf_sk_release,
};
use aya_ebpf::macros::cgroup_sock_addr;
use aya_ebpf::programs::SockAddrContext;

use crate::{map, quic};

const ALLOW: i32 = 1;
pub(crate) const SOCK_STREAM: u32 = 1;
pub(crate) const IPPROTO_TCP: u32 = 6;
const SOL_SOCKET: i32 = 1;
const SO_BINDTODEVICE: i32 = 25;

#[cgroup_sock_addr(connect4)]
pub(crate) fn weir_connect4(ctx: SockAddrContext) -> i32 {
    let call = ctx.sock_addr;
    // SAFETY: the verifier checks every access to the context.
    unsafe {
        let destination = Addr::v4((*call).user_ip4);
        quic::note(&ctx, &destination, true);
        if let Some(port) = redirect(&ctx, &destination, true) {
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
        let v4 = destination.is_v4();
        quic::note(&ctx, &destination, v4);
        if let Some(port) = redirect(&ctx, &destination, v4) {
            let to = if v4 { Addr::LOCALHOST4 } else { Addr::LOCALHOST6 };
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
fn redirect(ctx: &SockAddrContext, destination: &Addr, v4: bool) -> Option<u16> {
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
    let listener = if v4 { config.listener4 } else { config.listener6 };
    if port == listener {
        // Somebody knocks at our own door. A record left by an earlier attempt of this socket
        // would be taken for this one's.
        map::forget(sk);
        return None;
    }
    if !config.wants(port) {
        return None;
    }
    let claim = if map::is_target(config, destination) {
        Claim::Target
    } else if config.redirect != 0 && map::is_chosen(config) {
        Claim::Chosen
    } else {
        if config.redirect == 0 || !map::is_behind() {
            map::count(Stat::Misses);
            return None;
        }
        Claim::Early
    };
    if destination.is_untouchable() {
        return None;
    }
    let wanted = Wanted { ctx, sk, config, destination, port, v4, claim };
    wanted.capture().then_some(listener)
}

/// Why a connection is looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Claim {
    /// Its address is wanted.
    Target,
    /// Whoever opens it is to be captured wherever they go.
    Chosen,
    /// Its address is not wanted, but a name server's answer about a wanted host is on its way to the
    /// daemon, and this may well be the connection it was asked for: it is faster than the daemon.
    Early,
}

/// A connection to a wanted address, or of a wanted process.
struct Wanted<'a> {
    ctx: &'a SockAddrContext,
    sk: *mut bpf_sock,
    config: &'a Config,
    destination: &'a Addr,
    port: u16,
    v4: bool,
    claim: Claim,
}

impl Wanted<'_> {
    /// Saves the record; true where the connection is to be redirected.
    #[inline(always)]
    fn capture(&self) -> bool {
        // SAFETY: the verifier checks every access to the socket.
        let mark = unsafe { (*self.sk).mark };
        let tgid = self.ctx.tgid();
        if mark == self.config.mark || tgid == self.config.tgid {
            map::forget(self.sk);
            if self.claim == Claim::Target {
                map::count(Stat::Own);
            }
            return false;
        }
        let stored = map::record_or_room(self.sk);
        if stored.is_null() {
            map::count(Stat::Unsaved);
            return false;
        }
        // SAFETY: not null; the storage lives as long as the socket, and nobody else writes to it
        // before the handshake begins.
        let record = unsafe { &mut *stored };
        self.describe(record, tgid, mark);
        let verdict = self.judge(record);
        record.verdict = verdict;
        narrate!(self.ctx, "pid {} port {} verdict {}", tgid, self.port, verdict);
        map::count(match verdict {
            verdict::REDIRECTED => Stat::Redirected,
            verdict::OBSERVED => Stat::Observed,
            verdict::NO_LISTENER => Stat::NoListener,
            verdict::STALE => Stat::Stale,
            verdict::DEVICE => Stat::Device,
            _ => Stat::Unsaved,
        });
        if self.claim != Claim::Target {
            if verdict == verdict::REDIRECTED {
                map::count(if self.claim == Claim::Early { Stat::Early } else { Stat::Chosen });
            } else {
                // It may be to anybody: without its name it is nobody's business.
                map::forget(self.sk);
            }
        }
        verdict == verdict::REDIRECTED
    }

    /// Fills in the record, over whatever an earlier attempt of the same socket left there: in
    /// place, because copies of it would make up a good part of the hook's cost.
    #[inline(always)]
    fn describe(&self, record: &mut Record, tgid: u32, mark: u32) {
        let ctx = self.ctx.as_ptr();
        let ids = bpf_get_current_uid_gid();
        // SAFETY: helpers that read this task, this socket, this context; `comm` has the size given.
        unsafe {
            record.cookie = bpf_get_socket_cookie(ctx);
            record.netns = bpf_get_netns_cookie(ctx);
            record.cgroup = bpf_get_current_cgroup_id();
            record.at = bpf_ktime_get_boot_ns();
            record.device = (*self.sk).bound_dev_if;
            bpf_get_current_comm((&raw mut record.comm).cast(), size_of_val(&record.comm) as u32);
        }
        record.destination = *self.destination;
        record.tgid = tgid;
        record.uid = ids as u32;
        record.gid = (ids >> 32) as u32;
        record.mark = mark;
        record.port = self.port;
        record.verdict = verdict::REDIRECTED;
        record.seen = 0;
    }

    /// Everything that must hold before a connection may be redirected, the cheap first.
    #[inline(always)]
    fn judge(&self, record: &Record) -> u8 {
        if self.config.redirect == 0 {
            return verdict::OBSERVED;
        }
        let beat = map::HEARTBEAT.get(0).copied().unwrap_or_default();
        if !Config::alive(beat, record.at) {
            return verdict::STALE;
        }
        if !is_listening(self.ctx, self.config, self.v4) {
            return verdict::NO_LISTENER;
        }
        if map::RECORDS.insert(record.cookie, record, 0).is_err() {
            return verdict::UNSAVED;
        }
        // A socket bound to a device cannot reach the loopback: the handshake would hang. The
        // daemon dials out through the same device.
        if record.device != 0 && !unbind(self.ctx) {
            let _absent = map::RECORDS.remove(record.cookie);
            return verdict::DEVICE;
        }
        verdict::REDIRECTED
    }
}

/// Whether a listener that carries our mark lives in the caller's network namespace. The mark
/// takes `CAP_NET_ADMIN`, so nobody can squat on the port of a daemon that died.
#[inline(always)]
pub(crate) fn is_listening(ctx: &impl EbpfContext, config: &Config, v4: bool) -> bool {
    if v4 {
        let ip = Addr::LOCALHOST4.words[3];
        let port = config.listener4.to_be();
        is_ours(ctx, config.mark, Tuple { from: ip, to: ip, from_port: 0, to_port: port })
    } else {
        let ip = Addr::LOCALHOST6.words;
        let port = config.listener6.to_be();
        is_ours(ctx, config.mark, Tuple { from: ip, to: ip, from_port: 0, to_port: port })
    }
}

/// Whether a listener with this mark is at the far end of the tuple.
#[inline(always)]
pub(crate) fn is_ours<A>(ctx: &impl EbpfContext, mark: u32, mut tuple: Tuple<A>) -> bool {
    let here = i64::from(BPF_F_CURRENT_NETNS).cast_unsigned();
    let (at, size) = ((&raw mut tuple).cast(), size_of::<Tuple<A>>() as u32);
    // SAFETY: the tuple has the size given.
    let sk = unsafe { bpf_sk_lookup_tcp(ctx.as_ptr(), at, size, here, 0) };
    if sk.is_null() {
        return false;
    }
    // SAFETY: not null; released on the only way out.
    unsafe {
        let ours = (*sk).mark == mark && (*sk).state == tcp::LISTEN;
        bpf_sk_release(sk.cast());
        ours
    }
}

/// One variant of the kernel's `struct bpf_sock_tuple`, which is a union: as such it would be
/// cleared byte by byte. Network byte order.
#[repr(C)]
pub(crate) struct Tuple<A> {
    pub(crate) from: A,
    pub(crate) to: A,
    pub(crate) from_port: u16,
    pub(crate) to_port: u16,
}

/// Clears `SO_BINDTODEVICE`.
#[inline(always)]
fn unbind(ctx: &SockAddrContext) -> bool {
    let mut nothing = 0_u32;
    let name = (&raw mut nothing).cast();
    // SAFETY: an empty, terminated name of four bytes.
    unsafe { bpf_setsockopt(ctx.as_ptr(), SOL_SOCKET, SO_BINDTODEVICE, name, 4) == 0 }
}
