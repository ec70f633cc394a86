//! The maps, and the few accesses to them that several hooks share.

use core::ffi::c_void;

use agent_common::{Addr, Config, Event, FlowKey, Record, Stat};
use aya_ebpf::bindings::{BPF_SK_STORAGE_GET_F_CREATE, bpf_sock};
use aya_ebpf::btf_maps::lpm_trie::Key;
use aya_ebpf::btf_maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, RingBuf, SkStorage};
use aya_ebpf::helpers::{bpf_sk_storage_delete, bpf_sk_storage_get};
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
