//! `weir pause`: interception off, and on again by itself; kept over restarts (`STATE/pause.json`).

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use parking_lot::Mutex;

use super::kept;
use super::kernel::Kernel;
use crate::downstream::Runtime;

/// How often the wall clock is looked at: the machine may sleep, or its clock be set, meanwhile.
const LOOK: Duration = Duration::from_secs(5);

/// The pause, where there is one.
#[derive(Debug)]
pub(super) struct Pause {
    path: PathBuf,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    until: Option<SystemTime>,
    /// How many there have been: who comes to end one must find his own.
    number: u64,
    /// Why it is over, and nothing is intercepted all the same.
    failed: Option<String>,
}

impl Pause {
    /// Goes on with a pause from before this start. To be called while nothing is intercepted yet.
    pub(super) fn open(state: &Path, kernel: Option<&Arc<Kernel>>, runtime: &Runtime) -> Self {
        let pause = Self { path: state.join("pause.json"), state: Arc::default() };
        let kept: Option<SystemTime> = kept::read(&pause.path);
        match (kept, kernel) {
            (Some(until), Some(kernel)) if until > runtime.clock.now().wall => {
                pause.hold(kernel, until, runtime);
            }
            (Some(_), _) => pause.forget(),
            (None, _) => {}
        }
        pause
    }

    /// Begins one, in place of one there may be. Where it cannot be kept, nothing changes.
    pub(super) fn begin(
        &self,
        kernel: &Arc<Kernel>,
        until: SystemTime,
        runtime: &Runtime,
    ) -> io::Result<()> {
        kept::write(&self.path, &until)?;
        self.hold(kernel, until, runtime);
        Ok(())
    }

    /// Ends it, whatever comes after: `weir up` or `weir down` have been said.
    pub(super) fn end(&self) {
        let mut state = self.state.lock();
        state.number += 1;
        state.failed = None;
        if state.until.take().is_some() {
            self.forget();
        }
    }

    /// Why nothing is intercepted, where a pause is the reason.
    pub(super) fn reason(&self) -> Option<String> {
        let state = self.state.lock();
        let until = state.until.and_then(|until| Timestamp::try_from(until).ok());
        let paused = until.map(|until| {
            let local = until.to_zoned(TimeZone::system());
            format!("paused until {}", local.strftime("%Y-%m-%d %H:%M:%S"))
        });
        state.failed.clone().or(paused)
    }

    fn hold(&self, kernel: &Arc<Kernel>, until: SystemTime, runtime: &Runtime) {
        let number = {
            let mut state = self.state.lock();
            state.until = Some(until);
            state.number += 1;
            state.failed = None;
            state.number
        };
        kernel.down();
        tracing::info!(
            until = %Timestamp::try_from(until).unwrap_or_default(),
            "paused: nothing is intercepted"
        );
        let (state, path, kernel) =
            (Arc::clone(&self.state), self.path.clone(), Arc::clone(kernel));
        let runtime = runtime.clone();
        runtime.drain.clone().spawn(async move {
            loop {
                let left = until.duration_since(runtime.clock.now().wall).unwrap_or_default();
                tokio::select! {
                    () = tokio::time::sleep(left.clamp(Duration::from_millis(10), LOOK)) => {}
                    () = runtime.drain.signalled() => return,
                }
                if state.lock().number != number {
                    return;
                }
                if until > runtime.clock.now().wall {
                    continue;
                }
                let (state, path, kernel) = (Arc::clone(&state), path.clone(), Arc::clone(&kernel));
                let done =
                    runtime.drain.spawn_blocking(move || resume(&state, number, (&path, &kernel)));
                if done.await.unwrap_or(true) {
                    return;
                }
            }
        });
    }

    fn forget(&self) {
        forget(&self.path);
    }
}

/// Intercepts again; true where that is done, or no longer this pause's business.
fn resume(state: &Mutex<State>, number: u64, (path, kernel): (&Path, &Arc<Kernel>)) -> bool {
    let mut state = state.lock();
    if state.number != number {
        return true;
    }
    match kernel.up() {
        Ok(()) => {
            state.until = None;
            state.failed = None;
            forget(path);
            tracing::info!("the pause is over: intercepting again");
            true
        }
        Err(error) => {
            tracing::error!(%error, "the pause is over, but nothing is intercepted yet");
            state.failed = Some(format!("the pause is over, but: {error}"));
            false
        }
    }
}

fn forget(path: &Path) {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(%error, "a pause that is over is still kept");
        }
        _ => {}
    }
}
