//! The sign of life without which the programs leave every connection alone.
//!
//! It is given by a task of the runtime that also serves the connections: a runtime that hangs
//! stops giving it, and within three seconds nothing is redirected to it any more.

use std::sync::Arc;
use std::time::Duration;

use aya::maps::{Array, MapData};
use parking_lot::Mutex;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::drain::Drain;

const INTERVAL: Duration = Duration::from_millis(400);

/// Beats while it lives; stops on drop.
pub(super) struct Heart {
    map: Array<MapData, u64>,
    guard: Second,
}

/// The guard's own map, while there is a guard.
pub(super) type Second = Arc<Mutex<Option<Array<MapData, u64>>>>;

impl Heart {
    pub(super) fn new(map: Array<MapData, u64>, guard: Second) -> Self {
        Self { map, guard }
    }

    /// Gives one sign of life.
    pub(super) fn beat(&mut self) {
        let now = clock::since_boot().as_nanos();
        self.write(u64::try_from(now).unwrap_or(u64::MAX));
    }

    /// Keeps giving signs of life until `over`, or until the agent is told to finish.
    pub(super) fn run(mut self, drain: &Drain, over: CancellationToken) {
        let (signal, shown) = (drain.clone(), drain.beat("heartbeat"));
        drain.spawn(async move {
            let mut ticks = tokio::time::interval(INTERVAL);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    () = over.cancelled() => break,
                    () = signal.signalled() => break,
                    _at = ticks.tick() => {
                        self.beat();
                        shown.beat();
                    }
                }
            }
        });
    }

    fn write(&mut self, at: u64) {
        // The guard first: it must not take an agent for dead that the other programs lead to.
        if let Some(guard) = &mut *self.guard.lock()
            && let Err(error) = guard.set(0, at, 0)
        {
            tracing::error!(%error, "the guard was given no sign of life: it will refuse");
        }
        if let Err(error) = self.map.set(0, at, 0) {
            tracing::error!(%error, "no sign of life could be given: connections will go direct");
        }
    }
}

impl Drop for Heart {
    fn drop(&mut self) {
        self.write(0);
    }
}
