//! The guard: pinned programs that refuse connections to targets while no agent takes them.
//!
//! They lie in the BPF file system, below `weir/`, in a directory for each cgroup guarded, so that
//! the next agent takes them over and `weir down` removes them also where no agent runs.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use agent_common::{Config, Guard, map, program};
use aya::EbpfLoader;
use aya::maps::{Array, HashMap, LpmTrie, Map, MapData};
use aya::pin::PinError;
use aya::programs::links::{FdLink, LinkError};
use aya::programs::{CgroupAttachMode, CgroupSockAddr, ProgramError};
use ipnet::IpNet;

use super::attach::OBJECT;
use super::cgroup;
use super::error::AttachError;
use super::table::Table;

/// Directory of all guards in the BPF file system.
const DIRECTORY: &str = "weir";
/// Changes with the layout of the maps: guards of another version are replaced.
const VERSION: u32 = 1;
const PROGRAMS: [&str; 2] = [program::GUARD4, program::GUARD6];
const MAPS: [&str; 4] = [map::GUARD, map::GUARD_BEAT, map::GUARDED, map::GUARD_NETWORKS];

/// Why there is no guard.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    /// Nowhere to pin it to.
    #[error("no BPF file system is mounted: mount -t bpf bpf /sys/fs/bpf")]
    NoFileSystem,
    /// Its directory cannot be worked with.
    #[error("{path}: {source}")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It cannot be loaded or linked.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// Its link is not one that can be pinned.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// It cannot be pinned.
    #[error(transparent)]
    Pin(#[from] PinError),
}

/// A guard in place. Dropping it changes nothing: it is pinned.
pub(super) struct Post {
    settings: Array<MapData, Guard>,
    guard: Guard,
    table: Table,
    beat: MapData,
}

impl Post {
    /// Puts the guard of `cgroup` in place, or takes over the one that is there.
    pub(super) fn take_up(cgroup: &Path, guard: Guard) -> Result<Self, AttachError> {
        let dir = directory(cgroup)?;
        if !PROGRAMS.iter().all(|name| dir.join(name).exists()) {
            place(&dir, cgroup)?;
        }
        let pinned = |name: &str| Ok(Map::from_map_data(MapData::from_pin(dir.join(name))?)?);
        let pinned = |name: &str| -> Result<Map, AttachError> { pinned(name) };
        let mut post = Self {
            settings: Array::try_from(pinned(map::GUARD)?)?,
            guard,
            table: Table::adopt(
                HashMap::try_from(pinned(map::GUARDED)?)?,
                LpmTrie::try_from(pinned(map::GUARD_NETWORKS)?)?,
            ),
            beat: MapData::from_pin(dir.join(map::GUARD_BEAT))?,
        };
        post.settle()?;
        Ok(post)
    }

    /// Guards these addresses; returns how many did not fit.
    pub(super) fn targets(&mut self, networks: &[IpNet]) -> Result<usize, AttachError> {
        let left_out = self.table.replace(networks);
        self.settle()?;
        Ok(left_out)
    }

    /// The map of the daemon's signs of life.
    pub(super) fn beat(&self) -> io::Result<OwnedFd> {
        self.beat.fd().as_fd().try_clone_to_owned()
    }

    fn settle(&mut self) -> Result<(), AttachError> {
        self.guard.networks = u32::from(self.table.has_networks());
        Ok(self.settings.set(0, self.guard, 0)?)
    }
}

/// What the guard is told, from what the programs are.
pub(super) fn settings(config: &Config, netns: u64) -> Guard {
    Guard::of(config, netns)
}

/// Removes the guard of `cgroup`. Fine where there is none.
pub(super) fn leave(cgroup: &Path) -> Result<(), GuardError> {
    let dir = match directory(cgroup) {
        Err(GuardError::NoFileSystem) => return Ok(()),
        dir => dir?,
    };
    remove(&dir)
}

/// Removes the guards of all cgroups, whoever left them; returns how many there were. Takes the
/// right to write to the BPF file system.
pub fn leave_all() -> Result<usize, GuardError> {
    let Some(mount) = mount() else { return Ok(0) };
    let all = mount.join(DIRECTORY);
    let failed = |source| GuardError::Directory { path: all.clone(), source };
    let entries = match fs::read_dir(&all) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        entries => entries.map_err(failed)?,
    };
    let mut left = 0;
    for entry in entries {
        remove(&entry.map_err(failed)?.path())?;
        left += 1;
    }
    fs::remove_dir(&all).map_err(failed)?;
    Ok(left)
}

/// Loads the programs, pins their maps and, when those can be found again, the links.
fn place(dir: &Path, cgroup: &Path) -> Result<(), AttachError> {
    // What a start that was broken off left.
    remove(dir)?;
    let failed = |source| GuardError::Directory { path: dir.to_owned(), source };
    fs::create_dir_all(dir).map_err(failed)?;
    let placed = pin(dir, cgroup);
    if placed.is_err()
        && let Err(error) = remove(dir)
    {
        tracing::error!(%error, "half a guard stays");
    }
    placed
}

fn pin(dir: &Path, cgroup: &Path) -> Result<(), AttachError> {
    let cgroup = File::open(cgroup)?;
    let mut ebpf = EbpfLoader::new().load(OBJECT)?;
    for name in MAPS {
        // Left in the object: programs that are loaded next refer to its descriptor.
        let map = ebpf.map(name).ok_or(AttachError::Protocol)?;
        map.pin(dir.join(name)).map_err(GuardError::from)?;
    }
    for name in PROGRAMS {
        let program = ebpf.program_mut(name).ok_or(AttachError::Protocol)?;
        let mut link = || -> Result<(), GuardError> {
            let program: &mut CgroupSockAddr = program.try_into()?;
            program.load()?;
            let id = program.attach(&cgroup, CgroupAttachMode::Single)?;
            let link = program.take_link(id)?;
            let link = FdLink::try_from(link)?;
            link.pin(dir.join(name))?;
            Ok(())
        };
        link()?;
    }
    Ok(())
}

/// Links first: nothing is refused any more from then on.
fn remove(dir: &Path) -> Result<(), GuardError> {
    let failed = |source| GuardError::Directory { path: dir.to_owned(), source };
    for name in PROGRAMS.iter().chain(&MAPS) {
        match fs::remove_file(dir.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
    }
    match fs::remove_dir(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(error)),
        _ => Ok(()),
    }
}

fn directory(cgroup: &Path) -> Result<PathBuf, GuardError> {
    let mount = mount().ok_or(GuardError::NoFileSystem)?;
    let failed = |source| GuardError::Directory { path: cgroup.to_owned(), source };
    let id = fs::metadata(cgroup).map_err(failed)?.ino();
    Ok(mount.join(DIRECTORY).join(format!("{id}-v{VERSION}")))
}

fn mount() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    cgroup::find_mount(&mounts, "bpf")
}
