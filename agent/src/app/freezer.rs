//! Workloads that a policy has frozen, and the ways back.
//!
//! What is frozen is written down before it is, so that no end of the agent leaves a workload
//! standing still for good: everything goes on when the agent stops, and what an earlier run left
//! frozen (it was killed) goes on when the next one starts.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::kept;
use super::takers::ToFreeze;
use crate::capture::helper::{FreezeError, Helper};
use crate::downstream::Runtime;
use crate::record::{Notice, Sink, Topic};
use crate::subject::Subject;

/// A frozen workload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Frozen {
    /// Its name.
    pub(super) workload: String,
    /// Whose it is.
    pub(super) uid: u32,
    /// The policy that wanted it.
    pub(super) policy: String,
    /// Path of its cgroup below the hierarchy's root.
    pub(super) cgroup: String,
    /// Since when.
    pub(super) since: SystemTime,
}

/// Freezes workloads and lets them go on. All block for as long as a few small files take.
#[derive(Debug)]
pub(super) struct Freezer {
    helper: Helper,
    kept: PathBuf,
    frozen: Mutex<Vec<Frozen>>,
}

impl Freezer {
    /// Has frozen nobody yet.
    pub(super) fn new(state_dir: &Path, helper: Helper) -> Self {
        Self { helper, kept: state_dir.join("frozen.json"), frozen: Mutex::default() }
    }

    /// Lets go on what an earlier run left frozen; once that run is over, or has let go. Blocks.
    pub(super) fn begin(&self) {
        let left = fs::read(&self.kept).ok().and_then(|text| serde_json::from_slice(&text).ok());
        *self.frozen.lock() = left.unwrap_or_default();
        self.thaw_all();
    }

    /// Freezes the workload of a process. `None` where it is frozen already.
    pub(super) fn freeze(
        &self,
        subject: &Subject,
        policy: &str,
        now: SystemTime,
    ) -> Result<Option<Frozen>, FreezeError> {
        let process = (subject.process.pid, subject.process.start_ticks);
        let unit = subject.workload.unit.as_deref();
        let mut frozen = self.frozen.lock();
        let cgroup = self.helper.freezable(process, unit)?;
        if frozen.iter().any(|it| it.cgroup == cgroup) {
            return Ok(None);
        }
        let it = Frozen {
            workload: subject.workload.name.to_string(),
            uid: subject.process.uid,
            policy: policy.to_owned(),
            cgroup,
            since: now,
        };
        frozen.push(it.clone());
        // Written first: who cannot write it down does not freeze.
        let done = self
            .keep(&frozen)
            .map_err(|error| FreezeError::Write(self.kept.display().to_string(), error))
            .and_then(|()| self.helper.freeze(process, unit));
        if let Err(error) = done {
            frozen.pop();
            drop(self.keep(&frozen));
            return Err(error);
        }
        Ok(Some(it))
    }

    /// Lets a workload go on, by its name; returns what was frozen of it.
    pub(super) fn thaw(&self, workload: &str) -> Vec<Frozen> {
        self.thaw_those(|frozen| frozen.workload == workload)
    }

    /// Lets everything go on.
    pub(super) fn thaw_all(&self) {
        for thawed in self.thaw_those(|_| true) {
            tracing::info!(workload = %thawed.workload, "goes on");
        }
    }

    /// What is frozen now.
    pub(super) fn frozen(&self) -> Vec<Frozen> {
        self.frozen.lock().clone()
    }

    fn thaw_those(&self, meant: impl Fn(&Frozen) -> bool) -> Vec<Frozen> {
        let mut frozen = self.frozen.lock();
        let thaws = |it: &mut Frozen| {
            meant(it)
                && self
                    .helper
                    .thaw(&it.cgroup)
                    .inspect_err(|error| {
                        tracing::error!(workload = %it.workload, %error, "stays frozen");
                    })
                    .is_ok()
        };
        let thawed: Vec<_> = frozen.extract_if(.., thaws).collect();
        if !thawed.is_empty()
            && let Err(error) = self.keep(&frozen)
        {
            tracing::warn!(%error, "the list of frozen workloads is out of date");
        }
        thawed
    }

    fn keep(&self, frozen: &[Frozen]) -> io::Result<()> {
        if frozen.is_empty() {
            return match fs::remove_file(&self.kept) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            };
        }
        kept::write(&self.kept, &frozen)
    }
}

/// Lets everything go on, from a task.
pub(super) async fn let_go(freezer: &Arc<Freezer>) {
    let freezer = Arc::clone(freezer);
    // A panic in it has been reported.
    drop(tokio::task::spawn_blocking(move || freezer.thaw_all()).await);
}

/// Freezes whoever policies want frozen, until the agent stops.
pub(super) async fn run(
    freezer: Arc<Freezer>,
    mut wanted: mpsc::Receiver<ToFreeze>,
    sink: Arc<dyn Sink>,
    runtime: Runtime,
) {
    loop {
        let (subject, policy) = tokio::select! {
            () = runtime.drain.signalled() => return,
            wanted = wanted.recv() => match wanted {
                Some(wanted) => wanted,
                None => return,
            },
        };
        let now = runtime.clock.now().wall;
        let (acting, whom, by) = (Arc::clone(&freezer), Arc::clone(&subject), Arc::clone(&policy));
        let done = runtime.drain.spawn_blocking(move || acting.freeze(&whom, &by, now)).await;
        let name = Arc::clone(&subject.workload.name);
        let message = match done {
            Ok(Ok(None)) | Err(_) => continue,
            Ok(Ok(Some(_frozen))) => format!("{name} is frozen: weir policy thaw lets it go on"),
            Ok(Err(error)) => {
                tracing::warn!(workload = %name, %error, "not frozen: its calls are refused");
                format!("{name} could not be frozen, its calls are refused: {error}")
            }
        };
        sink.notice(Notice {
            at: now,
            topic: Topic::Freeze,
            policy,
            subject: name,
            uid: Some(subject.process.uid),
            call_id: None,
            message,
            spent: None,
            limit: None,
            class: None,
            finding: None,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_agent_left_frozen_goes_on_at_the_next_start() {
        let dir = tempfile::TempDir::new().unwrap();
        let left = Frozen {
            workload: "unit:batch.service".to_owned(),
            uid: 0,
            policy: "budgets.batch".to_owned(),
            // There is no such group: it counts as going on.
            cgroup: "/weir-test-that-never-was/batch.service".to_owned(),
            since: SystemTime::UNIX_EPOCH,
        };
        fs::write(dir.path().join("frozen.json"), serde_json::to_vec(&[left]).unwrap()).unwrap();
        let freezer = Freezer::new(dir.path(), Helper::in_process());
        freezer.begin();
        assert_eq!(freezer.frozen(), []);
        assert!(!dir.path().join("frozen.json").exists());
        assert_eq!(freezer.thaw("unit:batch.service"), []);
    }
}
