//! The maps, and the few accesses to them that several hooks share.

use core::ffi::c_void;

use agent_common::{Addr, Config, Event, FlowKey, MAX_LEVEL, NameKey, Packet, Record, Stat};
use aya_ebpf::bindings::{BPF_RB_AVAIL_DATA, BPF_SK_STORAGE_GET_F_CREATE, bpf_sock};
use aya_ebpf::btf_maps::lpm_trie::Key;
use aya_ebpf::btf_maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, RingBuf, SkStorage};
use aya_ebpf::helpers::generated::{bpf_get_current_ancestor_cgroup_id, bpf_ringbuf_query};
use aya_ebpf::helpers::{bpf_get_current_uid_gid, bpf_sk_storage_delete, bpf_sk_storage_get};
use aya_ebpf::macros::btf_map;
use aya_ebpf::maps::ring_buf::RingBufEntry;

/// Written by the daemon.
#[btf_map]
pub(crate) static CONFIG: Array<Config, 1> = Array::new();

/// Time since boot of the daemon's last sign of life.
#[btf_map]
pub(crate) static HEARTBEAT: Array<u64, 1> = Array::new();

/// Wanted addresses. Several providers publish dozens; beyond this the daemon drops and counts.
#[btf_map]
static TARGETS: HashMap<Addr, u32, 8192> = HashMap::new();

/// Wanted networks.
#[btf_map]
static NETWORKS: LpmTrie<[u32; 4], u32, 1024> = LpmTrie::new();

/// The record of a socket: goes with the socket, so nothing needs to collect it.
#[btf_map]
static SOCKETS: SkStorage<Record> = SkStorage::new();

/// Records of redirected sockets by cookie, for the daemon, which cannot read the storage of other
/// processes' sockets. Only those between connect(2) and accept(2) are needed; the oldest go first.
#[btf_map]
pub(crate) static RECORDS: LruHashMap<u64, Record, 16384> = LruHashMap::new();

/// Records by tuple. Not cookies: a socket that is used again while its first connection still
/// waits to be accepted has two connections under one cookie.
#[btf_map]
pub(crate) static FLOWS: LruHashMap<FlowKey, Record, 16384> = LruHashMap::new();

/// [`Event`]s for the daemon. Untyped, because libbpf takes a ring buffer with a value for an error
/// and `bpftool prog load` is worth having.
#[btf_map]
static EVENTS: RingBuf<(), 262_144> = RingBuf::new();

/// [`Packet`]s from name servers: room for some 340 that the daemon has not got round to.
#[btf_map]
static ANSWERS: RingBuf<(), 524_288> = RingBuf::new();

/// Wanted hosts, by the beginning of their name.
#[btf_map]
static HOSTS: LpmTrie<[u32; NameKey::BYTES / 4], u32, 1024> = LpmTrie::new();

/// Cgroups whose processes' connections are wanted wherever they go.
#[btf_map]
static CGROUPS: HashMap<u64, u32, 1024> = HashMap::new();

/// Users whose processes' connections are wanted wherever they go.
#[btf_map]
static USERS: HashMap<u32, u32, 256> = HashMap::new();

/// Counters.
#[btf_map]
static STATS: PerCpuArray<u64, { Stat::ALL.len() }> = PerCpuArray::new();

/// Adds one.
#[inline(always)]
pub(crate) fn count(stat: Stat) {
    if let Some(counter) = STATS.get_ptr_mut(stat as u32) {
        // SAFETY: the counter is this CPU's own.
        unsafe { *counter += 1 };
    }
}

/// Whether the daemon asked for connections to `addr`.
#[inline(always)]
pub(crate) fn is_target(config: &Config, addr: &Addr) -> bool {
    // SAFETY: only the presence of the entry is used.
    if unsafe { TARGETS.get(addr) }.is_some() {
        return true;
    }
    config.networks != 0 && NETWORKS.get(&Key::new(128, addr.words)).is_some()
}

/// Whether the daemon asked for all connections of the calling process.
#[inline(always)]
pub(crate) fn is_chosen(config: &Config) -> bool {
    if config.users != 0 {
        let uid = bpf_get_current_uid_gid() as u32;
        // SAFETY: only the presence of the entry is used.
        if unsafe { USERS.get(uid) }.is_some() {
            return true;
        }
    }
    config.levels != 0 && is_in_chosen_cgroup(config.levels)
}

/// Whether the process is in one of the chosen cgroups or below it: what lies below comes and goes
/// too fast for a list.
#[inline(always)]
fn is_in_chosen_cgroup(levels: u32) -> bool {
    let mut level = 1;
    while level <= MAX_LEVEL {
        if levels & (1 << level) != 0 {
            // SAFETY: a helper that reads this task; 0 where it lies less deep.
            let id = unsafe { bpf_get_current_ancestor_cgroup_id(level.cast_signed()) };
            // SAFETY: as above.
            if unsafe { CGROUPS.get(id) }.is_some() {
                return true;
            }
        }
        level += 1;
    }
    false
}

/// Whether the daemon wants the host of a question.
#[inline(always)]
pub(crate) fn is_host(name: &NameKey) -> bool {
    HOSTS.get(&Key::new(name.bits, name.words)).is_some()
}

/// Room for a packet from a name server.
#[inline(always)]
pub(crate) fn packet() -> Option<RingBufEntry<Packet>> {
    let room = ANSWERS.reserve_untyped::<Packet>(0);
    if room.is_none() {
        count(Stat::AnswersDropped);
    }
    room
}

/// Whether the daemon has yet to take in what a name server said about a wanted host.
#[inline(always)]
pub(crate) fn is_behind() -> bool {
    let buffer = (&raw const ANSWERS).cast_mut().cast();
    // SAFETY: a helper that reads how far both sides of a ring buffer are.
    unsafe { bpf_ringbuf_query(buffer, u64::from(BPF_RB_AVAIL_DATA)) != 0 }
}

/// The record of a socket, or null.
#[inline(always)]
pub(crate) fn record(sk: *mut bpf_sock) -> *mut Record {
    // SAFETY: the verifier proves that `sk` is a socket.
    unsafe { bpf_sk_storage_get(sockets(), sk.cast(), core::ptr::null_mut(), 0) }.cast()
}

/// Room for the record of a socket, with whatever it held; null where there is no memory.
#[inline(always)]
pub(crate) fn record_or_room(sk: *mut bpf_sock) -> *mut Record {
    let create = u64::from(BPF_SK_STORAGE_GET_F_CREATE);
    // SAFETY: as above.
    unsafe { bpf_sk_storage_get(sockets(), sk.cast(), core::ptr::null_mut(), create) }.cast()
}

/// Forgets the record of a socket.
#[inline(always)]
pub(crate) fn forget(sk: *mut bpf_sock) {
    let stored = record(sk);
    if stored.is_null() {
        return;
    }
    // SAFETY: not null, and the storage lives as long as the socket.
    let cookie = unsafe { (*stored).cookie };
    let _absent = RECORDS.remove(cookie);
    // SAFETY: the verifier proves that `sk` is a socket.
    unsafe { bpf_sk_storage_delete(sockets(), sk.cast()) };
}

/// Room for an event in the ring buffer: filled in there, because on the stack it would be cleared
/// and copied byte by byte.
#[inline(always)]
pub(crate) fn event() -> Option<RingBufEntry<Event>> {
    let room = EVENTS.reserve_untyped::<Event>(0);
    if room.is_none() {
        count(Stat::EventsDropped);
    }
    room
}

fn sockets() -> *mut c_void {
    (&raw const SOCKETS).cast_mut().cast()
}
