//! What crosses between the side that attaches the programs and the side that uses their maps.

use std::os::fd::{AsFd, OwnedFd};

use agent_common::{FlowKey, Record, map};
use aya::maps::{Array, HashMap, Map, MapData, PerCpuArray, RingBuf};
use serde::{Deserialize, Serialize};

use super::capability::Capabilities;
use super::error::AttachError;
use super::listen::Listening;

/// Inode of the initial pid namespace (`PROC_PID_INIT_INO`).
const INITIAL_PID_NAMESPACE: u64 = 0xefff_fffc;

/// Where the daemon is to be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Doors {
    /// Port of its listener on 127.0.0.1.
    pub(super) port4: u16,
    /// Port of its listener on `::1`.
    pub(super) port6: Option<u16>,
    /// Its thread-group id in the initial pid namespace; 0 where it is not known.
    pub(super) tgid: u32,
}

impl Doors {
    /// Those of the process that asks.
    pub(super) fn of(listening: &Listening) -> Self {
        Self { port4: listening.port4(), port6: listening.port6(), tgid: own_tgid() }
    }

    /// Where nothing is led.
    pub(super) fn nowhere() -> Self {
        Self { port4: 0, port6: Some(0), tgid: own_tgid() }
    }
}

/// The maps that are handed to the unprivileged side, in this order.
pub(super) const HANDED: [&str; 6] =
    [map::FLOWS, map::RECORDS, map::HEARTBEAT, map::EVENTS, map::ANSWERS, map::STATS];

/// What the unprivileged side needs of the programs.
pub(super) struct Made {
    /// One for each of [`HANDED`].
    pub(super) maps: Vec<OwnedFd>,
    pub(super) capabilities: Capabilities,
}

/// The programs' maps, as the unprivileged side uses them.
pub(super) struct Attached {
    pub(super) flows: HashMap<MapData, FlowKey, Record>,
    pub(super) records: HashMap<MapData, u64, Record>,
    pub(super) heartbeat: Array<MapData, u64>,
    pub(super) events: RingBuf<MapData>,
    pub(super) answers: RingBuf<MapData>,
    pub(super) stats: PerCpuArray<MapData, u64>,
    pub(super) capabilities: Capabilities,
    /// Whether the programs know our thread-group id.
    pub(super) spared: bool,
}

impl Attached {
    /// From one descriptor for each of [`HANDED`].
    pub(super) fn new(
        maps: Vec<OwnedFd>,
        capabilities: Capabilities,
        spared: bool,
    ) -> Result<Self, AttachError> {
        let mut maps = maps.into_iter();
        let mut next = || -> Result<Map, AttachError> {
            let fd = maps.next().ok_or(AttachError::Protocol)?;
            Ok(Map::from_map_data(MapData::from_fd(fd)?)?)
        };
        Ok(Self {
            flows: next()?.try_into()?,
            records: next()?.try_into()?,
            heartbeat: next()?.try_into()?,
            events: next()?.try_into()?,
            answers: next()?.try_into()?,
            stats: next()?.try_into()?,
            capabilities,
            spared,
        })
    }
}

/// A descriptor of a map's own, for whoever else is to use it.
pub(super) fn descriptor(map: &Map) -> Result<OwnedFd, AttachError> {
    let (Map::Array(data)
    | Map::HashMap(data)
    | Map::LruHashMap(data)
    | Map::PerCpuArray(data)
    | Map::RingBuf(data)) = map
    else {
        return Err(AttachError::Protocol);
    };
    Ok(data.fd().as_fd().try_clone_to_owned()?)
}

/// Our thread-group id as the programs see it; 0 in a pid namespace of our own, where that number
/// belongs to somebody else: then the self-test finds it out.
fn own_tgid() -> u32 {
    use std::os::unix::fs::MetadataExt;
    let initial = std::fs::metadata("/proc/self/ns/pid")
        .is_ok_and(|namespace| namespace.ino() == INITIAL_PID_NAMESPACE);
    if initial { std::process::id() } else { 0 }
}
