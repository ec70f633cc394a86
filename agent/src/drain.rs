//! The only spawner, and the way everything stops: one signal, and a wait for whoever still works.

use std::future::Future;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::pulse::{Beat, Pulse};

/// Spawns tracked tasks and tells them to finish. Clones share one signal and one count.
#[derive(Debug, Clone, Default)]
pub struct Drain {
    signal: CancellationToken,
    /// Given when the grace is almost over.
    hurry: CancellationToken,
    tasks: TaskTracker,
    pulse: Pulse,
}

impl Drain {
    /// A drain that has not been signalled.
    pub fn new() -> Self {
        Self::default()
    }

    /// A drain whose signal can be given earlier than this one's; it follows this one's too, and
    /// its tasks count here.
    #[must_use]
    pub fn child(&self) -> Self {
        Self {
            signal: self.signal.child_token(),
            hurry: self.hurry.clone(),
            tasks: self.tasks.clone(),
            pulse: self.pulse.clone(),
        }
    }

    /// Spawns a task that [`Drain::finish`] waits for.
    pub fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        #[expect(clippy::disallowed_methods, reason = "the one place that spawns tasks")]
        tokio::spawn(self.tasks.track_future(task))
    }

    /// Runs a blocking closure on the blocking pool; [`Drain::finish`] waits for it too.
    pub fn spawn_blocking<F, T>(&self, work: F) -> JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.tasks.spawn_blocking(work)
    }

    /// For a task that must never stand still: it is missed when it shows no progress.
    pub fn beat(&self, name: &'static str) -> Beat {
        self.pulse.part(name)
    }

    /// Tasks that have shown no progress for longer than `limit`.
    pub fn silent(&self, limit: Duration) -> Vec<&'static str> {
        self.pulse.silent(limit)
    }

    /// Whether tasks have been told to finish.
    pub fn is_signalled(&self) -> bool {
        self.signal.is_cancelled()
    }

    /// Resolves when tasks are told to finish; cancel-safe, for `select!`.
    pub async fn signalled(&self) {
        self.signal.cancelled().await;
    }

    /// Resolves when the time to finish is almost over: for tasks that would rather not be
    /// interrupted at all.
    pub async fn hurried(&self) {
        self.hurry.cancelled().await;
    }

    /// Tells all tasks to finish. Idempotent.
    pub fn signal(&self) {
        self.signal.cancel();
    }

    /// Signals and waits at most `grace`, the last tenth of it in a hurry; returns how many tasks
    /// were still running then.
    pub async fn finish(&self, grace: Duration) -> usize {
        self.signal();
        self.tasks.close();
        let last = grace / 10;
        if tokio::time::timeout(grace.saturating_sub(last), self.tasks.wait()).await.is_ok() {
            return 0;
        }
        self.hurry.cancel();
        match tokio::time::timeout(last, self.tasks.wait()).await {
            Ok(()) => 0,
            Err(_elapsed) => self.tasks.len(),
        }
    }
}

/// Lets hyper's HTTP/2 server and client put their stream tasks under the same count.
impl<F> hyper::rt::Executor<F> for Drain
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, task: F) {
        drop(self.spawn(task));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn finish_waits_for_tasks_and_counts_those_that_overstay() {
        let drain = Drain::new();
        let watch = drain.clone();
        drain.spawn(async move { watch.signalled().await });
        drain.spawn(std::future::pending::<()>());
        assert_eq!(drain.finish(Duration::from_secs(1)).await, 1);
        assert!(drain.is_signalled());
    }
}
