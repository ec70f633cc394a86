//! When nothing is captured any more: the helper process ended, or a listener was closed. Captured
//! again is as soon as that can be.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::watch;

use super::Kernel;
use crate::capture::{Capture, Helper, Standing};

/// Pause before attaching anew is tried again; then twice as long each time, up to the longest.
const AGAIN: Duration = Duration::from_millis(500);
const SELDOM: Duration = Duration::from_secs(30);

impl Kernel {
    /// Follows the helper process: without it nothing is captured, with its next one all is again.
    pub(in crate::app) fn follow(self: &Arc<Self>, helper: &Helper) -> std::io::Result<()> {
        let drain = &self.front.runtime.drain;
        let Some(mut standing) = helper.follow(drain)? else { return Ok(()) };
        let (this, signal) = (Arc::clone(self), drain.clone());
        drain.spawn(async move {
            let following = async {
                while standing.changed().await.is_ok() {
                    let now = *standing.borrow_and_update();
                    match now {
                        Standing::Gone => this.lose("its helper process ended").await,
                        Standing::Lost => this.lose("its helper process is gone for good").await,
                        Standing::Up(_) => this.regain(&standing).await,
                    }
                }
            };
            tokio::select! {
                () = following => {}
                () = signal.signalled() => {}
            }
        });
        Ok(())
    }

    async fn lose(self: &Arc<Self>, why: &str) {
        {
            let mut state = self.state.lock();
            if state.capture.is_none() && state.lost.is_none() {
                // `weir down` had been said.
                return;
            }
            state.lost = Some(why.to_owned());
        }
        tracing::error!("nothing is captured: {why}");
        let this = Arc::clone(self);
        // A panic in it has been reported.
        drop(self.front.runtime.drain.spawn_blocking(move || this.release()).await);
    }

    /// Attaches again, where that is still wanted, unless the helper ends once more.
    async fn regain(self: &Arc<Self>, standing: &watch::Receiver<Standing>) {
        self.attach_again(|| standing.has_changed().unwrap_or(true)).await;
    }

    /// Nobody accepts any more what the programs lead to `listeners` of this capture. Others are
    /// opened, and the programs attached to lead there.
    pub(super) async fn reopen(self: &Arc<Self>, closed: &Weak<Capture>) {
        const WHY: &str = "its listener was closed";
        {
            let mut state = self.state.lock();
            let current = state.capture.as_ref().map(|(capture, _)| Arc::downgrade(capture));
            // Released meanwhile, or somebody is at it already.
            if state.lost.is_some() || !current.is_some_and(|current| current.ptr_eq(closed)) {
                return;
            }
            state.lost = Some(WHY.to_owned());
        }
        tracing::error!("nothing is captured: {WHY}");
        let this = Arc::clone(self);
        // A panic in it has been reported.
        drop(self.front.runtime.drain.spawn_blocking(move || this.release()).await);
        let drain = self.front.runtime.drain.clone();
        tokio::select! {
            () = self.attach_again(|| false) => {}
            () = drain.signalled() => {}
        }
    }

    /// Until it is attached, or no longer to be, or `is_over`.
    async fn attach_again(self: &Arc<Self>, is_over: impl Fn() -> bool) {
        let mut pause = AGAIN;
        while self.lost().is_some() && !is_over() {
            let this = Arc::clone(self);
            match self.front.runtime.drain.spawn_blocking(move || this.up()).await {
                Ok(Ok(())) => {
                    tracing::info!("captured again");
                    return;
                }
                Ok(Err(error)) => {
                    tracing::error!(%error, "not captured again yet");
                    self.state.lock().lost = Some(error.to_string());
                }
                Err(_panicked) => return,
            }
            tokio::time::sleep(pause).await;
            pause = SELDOM.min(pause * 2);
        }
    }
}
