//! What has to be looked at from time to time: idle connections, idle series, and whether the host
//! trusts the CA.

use std::sync::Arc;
use std::time::Duration;

use super::agent::Running;
use crate::clock::since_boot;
use crate::config::Paths;
use crate::downstream::trust::{self, installed};

/// How often idle upstream connections are looked through.
const SWEEP: Duration = Duration::from_secs(5);

/// Looks until the drain begins.
pub(super) async fn sweep(running: Arc<Running>, paths: Paths) {
    let front = &running.front;
    let pool = &front.upstream.pool;
    let mut installed = front.client.trust.is_expected();
    loop {
        tokio::select! {
            () = tokio::time::sleep(SWEEP) => pool.sweep(),
            () = front.runtime.drain.signalled() => return pool.close(),
        }
        // `weir trust install` and `uninstall` are done without asking the daemon.
        let (looking, paths) = (Arc::clone(&running), paths.clone());
        let look = front.runtime.drain.spawn_blocking(move || {
            looking.sweep_metrics();
            look_for_trust(&looking, &paths);
        });
        if look.await.is_ok() && front.client.trust.is_expected() != installed {
            installed = !installed;
            tracing::info!(installed, "the CA was installed or removed");
            running.modes.apply();
        }
        running.log.flush();
    }
}

/// Finds out whether the host trusts the CA now.
pub(super) fn look_for_trust(running: &Running, paths: &Paths) {
    let client = &running.front.client;
    let Some(leaves) = &client.leaves else { return };
    let now = running.front.runtime.clock.now();
    let root = leaves.authority().root();
    let installed_at = installed::since("/".as_ref(), &paths.state, root);
    let assumed = client.trust.is_assumed();
    client.trust.set(trust::Settings::new(assumed, installed_at, now, since_boot()));
}
