//! Following the helper process: without it nothing is captured.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::Kernel;
use crate::capture::{Helper, Standing};

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
        let mut pause = AGAIN;
        while self.lost().is_some() && !standing.has_changed().unwrap_or(true) {
            let this = Arc::clone(self);
            match self.front.runtime.drain.spawn_blocking(move || this.up()).await {
                Ok(Ok(())) => {
                    tracing::info!("captured again, by another helper process");
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
