//! What the programs count, and what the kernel counts about them.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use agent_common::Stat;
use aya::maps::{MapData, PerCpuArray};
use serde::{Deserialize, Serialize};

/// The kernel's run statistics of one program, since it was loaded and while they were counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgramStats {
    /// Name, as the kernel keeps it.
    pub name: String,
    /// Time spent in it.
    pub run_time: Duration,
    /// Number of runs.
    pub runs: u64,
}

/// Makes the kernel count the run time of all its programs for as long as this lives. That costs
/// every run of every program some nanoseconds.
#[derive(Debug)]
pub struct Measuring {
    _enabled: OwnedFd,
}

impl Measuring {
    /// Starts. Needs `CAP_SYS_ADMIN`.
    pub fn start() -> io::Result<Self> {
        let enabled = aya::sys::enable_stats(aya::sys::Stats::RunTime);
        Ok(Self { _enabled: enabled.map_err(|error| error.io_error)? })
    }
}

/// The programs' own counters.
pub(super) struct Counters {
    map: PerCpuArray<MapData, u64>,
}

impl Counters {
    pub(super) fn new(map: PerCpuArray<MapData, u64>) -> Self {
        Self { map }
    }

    pub(super) fn read(&self) -> Vec<(&'static str, u64)> {
        let sum = |stat: Stat| self.map.get(&(stat as u32), 0).map_or(0, |cpus| cpus.iter().sum());
        Stat::ALL.iter().map(|(stat, name)| (*name, sum(*stat))).collect()
    }
}
