//! Freezing a workload: its cgroup's processes are stopped where they are, and go on later as if
//! nothing had happened (`cgroup.freeze`, cgroup v2).
//!
//! What must never stand still is decided by [`may_freeze`], on paths alone: the root, anything
//! that holds ourselves, a login session, a user's manager, and slices, which hold other groups.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::proc::Handle;
use crate::capture::cgroup;

/// The process whose workload is meant.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::capture) struct Target {
    pub(in crate::capture) pid: u32,
    /// Tells it from another process that got its pid.
    pub(in crate::capture) start_ticks: u64,
    /// Its unit; all of that is frozen, whatever groups the unit has made below.
    pub(in crate::capture) unit: Option<String>,
}

/// Why a cgroup is not frozen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum Why {
    /// Everything would stand still.
    #[error("it is the root of the hierarchy")]
    Root,
    /// It holds the agent.
    #[error("the agent itself is in it")]
    Own,
    /// Somebody is logged in there: they could not even undo it.
    #[error("it is a login session")]
    Session,
    /// A manager of units, or the system's first process.
    #[error("it holds the manager of other units")]
    Manager,
    /// A slice holds other groups, not a workload.
    #[error("it is a slice, which holds other workloads too")]
    Slice,
    /// Not a path of the hierarchy.
    #[error("its path is not one of this hierarchy")]
    Illegible,
}

/// Why freezing failed.
#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
pub enum FreezeError {
    /// It must not be.
    #[error("{0} may not be frozen: {1}")]
    Forbidden(String, Why),
    /// There is nothing to freeze.
    #[error("the process is gone")]
    Gone,
    /// There is no cgroup v2 hierarchy, so that nothing can be frozen.
    #[error("no cgroup v2 hierarchy is mounted")]
    NoCgroup,
    /// The kernel refuses.
    #[error("{0}/cgroup.freeze: {1}")]
    Write(String, #[serde(with = "number")] io::Error),
    /// The privileged side does not answer.
    #[error("{0}")]
    Helper(String),
}

/// Whether the cgroup at `path` may be frozen by an agent at `own`; both as in `/proc/PID/cgroup`.
pub fn may_freeze(path: &str, own: &str) -> Result<(), Why> {
    let parts = parts(path).ok_or(Why::Illegible)?;
    let own = self::parts(own).ok_or(Why::Illegible)?;
    let Some(last) = parts.last() else { return Err(Why::Root) };
    if own.starts_with(&parts) {
        return Err(Why::Own);
    }
    let is_a = |kind: &str| last.rsplit_once('.').is_some_and(|(_, end)| end == kind);
    if is_a("slice") {
        return Err(Why::Slice);
    }
    if last.starts_with("session-") && is_a("scope") {
        return Err(Why::Session);
    }
    // A user's programs are in groups of their own below their manager's.
    if *last == "init.scope" || last.starts_with("user@") {
        return Err(Why::Manager);
    }
    Ok(())
}

/// The parts of an absolute path without detours.
fn parts(path: &str) -> Option<Vec<&str>> {
    let mut components = Path::new(path).components();
    (components.next() == Some(Component::RootDir)).then_some(())?;
    let named = |component| match component {
        Component::Normal(part) => part.to_str(),
        _ => None,
    };
    components.map(named).collect()
}

/// The path of the unit's own group: the one of its name nearest to the root.
fn of_unit<'a>(path: &'a str, unit: &str) -> &'a str {
    let mut end = 0;
    for part in path.split_inclusive('/') {
        end += part.len();
        if part.trim_end_matches('/') == unit {
            return path[..end].trim_end_matches('/');
        }
    }
    path
}

/// The path of the group that [`freeze`] would freeze.
pub(super) fn freezable(target: &Target) -> Result<String, FreezeError> {
    let process = Handle::open(target.pid).map_err(|_| FreezeError::Gone)?;
    // Read through the handle: both belong to the same process.
    let lines = process.cgroups().map_err(|_| FreezeError::Gone)?;
    let stat = process.stat().map_err(|_| FreezeError::Gone)?;
    if stat.start_ticks != target.start_ticks {
        return Err(FreezeError::Gone);
    }
    let path = unified(&lines).ok_or(FreezeError::NoCgroup)?;
    let path = target.unit.as_deref().map_or(path, |unit| of_unit(path, unit));
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = unified(&own).ok_or(FreezeError::NoCgroup)?;
    may_freeze(path, own).map_err(|why| FreezeError::Forbidden(path.to_owned(), why))?;
    Ok(path.to_owned())
}

/// Freezes the group of a process; returns its path within the hierarchy.
pub(super) fn freeze(target: &Target) -> Result<String, FreezeError> {
    let path = freezable(target)?;
    set(&path, true)?;
    Ok(path)
}

/// Lets the group at `path` go on. One that is gone goes on by itself.
pub(super) fn thaw(path: &str) -> Result<(), FreezeError> {
    parts(path).ok_or_else(|| FreezeError::Forbidden(path.to_owned(), Why::Illegible))?;
    match set(path, false) {
        Err(FreezeError::Write(_, error)) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

fn set(path: &str, on: bool) -> Result<(), FreezeError> {
    let failed = |error| FreezeError::Write(path.to_owned(), error);
    let mount = cgroup::mount().map_err(failed)?.ok_or(FreezeError::NoCgroup)?;
    let file: PathBuf = mount.join(path.trim_start_matches('/')).join("cgroup.freeze");
    // Never created: where it is missing there is no such group.
    let mut options = fs::OpenOptions::new();
    let file = options.write(true).open(file).map_err(failed)?;
    io::Write::write_all(&mut &file, if on { b"1" } else { b"0" }).map_err(failed)
}

/// Errors of the kernel's cross as their numbers.
mod number {
    use std::io;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(error: &io::Error, to: S) -> Result<S::Ok, S::Error> {
        error.raw_os_error().unwrap_or(libc::EIO).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<io::Error, D::Error> {
        i32::deserialize(from).map(io::Error::from_raw_os_error)
    }
}

/// The line of version 2.
fn unified(lines: &str) -> Option<&str> {
    lines.lines().find_map(|line| line.strip_prefix("0::"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_stand_still_and_what_may_never() {
        let own = "/system.slice/weir.service";
        for (path, expected) in [
            ("/system.slice/batch-agent.service", Ok(())),
            ("/system.slice/batch-agent.service/worker", Ok(())),
            ("/kubepods.slice/kubepods-pod1.slice/cri-containerd-ab.scope", Ok(())),
            ("/user.slice/user-1000.slice/user@1000.service/app.slice/app-ide.scope", Ok(())),
            ("/docker/0123", Ok(())),
            ("/system.slice/weir.service/below", Ok(())),
            ("/", Err(Why::Root)),
            ("//", Err(Why::Root)),
            ("", Err(Why::Illegible)),
            ("system.slice/a.service", Err(Why::Illegible)),
            ("/system.slice/../user.slice", Err(Why::Illegible)),
            ("/system.slice/weir.service", Err(Why::Own)),
            ("/system.slice/weir.service/", Err(Why::Own)),
            ("/system.slice", Err(Why::Own)),
            ("/user.slice", Err(Why::Slice)),
            ("/user.slice/user-1000.slice", Err(Why::Slice)),
            ("/user.slice/user-1000.slice/session-3.scope", Err(Why::Session)),
            ("/user.slice/user-1000.slice/session-c2.scope", Err(Why::Session)),
            ("/user.slice/user-1000.slice/user@1000.service", Err(Why::Manager)),
            ("/user.slice/user-1000.slice/user@1000.service/init.scope", Err(Why::Manager)),
            ("/init.scope", Err(Why::Manager)),
        ] {
            assert_eq!(may_freeze(path, own), expected, "{path}");
        }
        assert_eq!(may_freeze("/a", "/a/b/c"), Err(Why::Own));
        assert_eq!(may_freeze("/a/b", "/a/bc"), Ok(()));
    }

    #[test]
    fn all_of_a_unit_is_meant() {
        for (path, expected) in [
            ("/system.slice/batch.service/worker/1", "/system.slice/batch.service"),
            ("/system.slice/batch.service", "/system.slice/batch.service"),
            ("/system.slice/other.service", "/system.slice/other.service"),
            ("/a/batch.service.d/x", "/a/batch.service.d/x"),
        ] {
            assert_eq!(of_unit(path, "batch.service"), expected);
        }
    }

    #[test]
    fn a_process_that_is_gone_or_another_is_not_frozen() {
        let target = Target { pid: std::process::id(), start_ticks: 1, unit: None };
        assert!(matches!(freeze(&target), Err(FreezeError::Gone)));
        let target = Target { pid: u32::MAX, start_ticks: 1, unit: None };
        assert!(matches!(freeze(&target), Err(FreezeError::Gone)));
    }
}
