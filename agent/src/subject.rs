//! Who made a call: the process as the kernel knows it, and the workload it belongs to.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// One process instance. `pid` alone is reused by the kernel; `(pid, start_ticks)` is not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Thread-group id in the initial pid namespace.
    pub pid: u32,
    /// Start time in clock ticks since boot (field 22 of proc(5) `stat`); 0 where unknown.
    pub start_ticks: u64,
    /// Path of the executable; empty where it could not be read.
    pub exe: Arc<str>,
    /// Command line with anything that looks like a key redacted; empty where unknown.
    pub command: Arc<str>,
    /// Real user id.
    pub uid: u32,
    /// Name of `uid` in the user database, where it has one.
    pub user: Option<Arc<str>>,
    /// False where the process was gone before it could be examined, so that only what the kernel
    /// saved at connect time (uid, cgroup, `comm`) is known.
    pub verified: bool,
}

/// The stable thing a process belongs to: what spend is grouped by and rules are written for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workload {
    /// `pod:NS/NAME`, `container:NAME`, `unit:NAME.service`, `exe:NAME` or `exe:INTERPRETER:SCRIPT`.
    pub name: Arc<str>,
    /// The system manager's unit (`NAME.service`), or `user-unit:UID/NAME` of a user manager.
    pub unit: Option<Arc<str>>,
    /// Container name, or the first 12 digits of its id where the name is unknown.
    pub container: Option<Arc<str>>,
    /// `NAMESPACE/NAME` of the Kubernetes pod, or its uid where the name is unknown.
    pub pod: Option<Arc<str>>,
    /// The application group the process was folded into (`claude` for `claude → node → curl`).
    pub app: Option<Arc<str>>,
}

/// Everything known about who made a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// The process that opened the connection.
    pub process: Process,
    /// The workload that process belongs to.
    pub workload: Workload,
}
