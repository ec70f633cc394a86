//! Who rejects the CA, kept over restarts of the agent (`STATE/trust.json`), and told to people.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::kept;
use crate::admin::processes::{ProcessRow, Word};
use crate::config::Paths;
use crate::downstream::Front;
use crate::downstream::trust::cause::{self, Cause, Seen};
use crate::downstream::trust::{Ground, Saved, installed};

const NAME: &str = "trust.json";

/// Between two writings: a burst of verdicts is one.
const PAUSE: Duration = Duration::from_millis(200);

/// Takes over what an earlier agent learnt, as far as it still holds.
pub(super) fn restore(front: &Front, paths: &Paths) {
    if let (Some(saved), Some(ground)) =
        (kept::read::<Saved>(&paths.state.join(NAME)), ground(front, &paths.state))
    {
        front.client.trust.restore(saved, &ground);
    }
}

/// Keeps verdicts until the drain is over, and a last time then.
pub(super) async fn keep(front: Arc<Front>, paths: Paths) {
    let drain = front.runtime.drain.clone();
    loop {
        let ends = tokio::select! {
            () = front.client.trust.changed() => false,
            () = drain.signalled() => true,
        };
        let (there, state) = (Arc::clone(&front), paths.state.clone());
        let written = drain.spawn_blocking(move || write(&there, &state)).await;
        if written.is_err() || ends {
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn write(front: &Front, state: &Path) {
    let Some(ground) = ground(front, state) else { return };
    let saved = front.client.trust.save(ground);
    if let Err(error) = kept::write(&state.join(NAME), &saved) {
        tracing::warn!(%error, "who rejects the CA cannot be kept: they are asked after a restart");
    }
}

fn ground(front: &Front, state: &Path) -> Option<Ground> {
    let root = front.client.leaves.as_ref()?.authority().root();
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(Ground {
        boot: boot.trim().to_owned(),
        root: root.fingerprint().to_owned(),
        installed_at: installed::since("/".as_ref(), state, root),
    })
}

/// Says of a process that is not metered why, and what helps, as exactly as can be told: from what
/// was found out when it rejected us, else from what it is now.
pub(super) fn explain(front: &Front, row: &mut ProcessRow, start_ticks: u64) {
    let trust = &front.client.trust;
    if row.coverage == Word::Observed
        && front.client.terminate.load(Relaxed)
        && !trust.is_expected()
    {
        // More was asked for: another mode is not what is missing.
        row.cause = Some("nobody is metered while the host does not trust the CA".to_owned());
        row.fix = Some("weir trust install --yes".to_owned());
        return;
    }
    let kind = match row.coverage {
        Word::Untrusted | Word::NeedsRestart | Word::Container => row.reason.clone(),
        _ => return,
    };
    let reason = kind.unwrap_or_default();
    // Not looked into at all, as `containers:` says: nobody rejected anything.
    if reason.starts_with("container") {
        return;
    }
    if cause::is_contained(&row.workload) {
        row.coverage = Word::Container;
    }
    let found = (trust.cause((row.pid, start_ticks), (&row.exe, row.uid, &row.workload)))
        .and_then(|distrust| distrust.cause)
        .unwrap_or_else(|| {
            let traits = front.identities.traits_of(row.pid, start_ticks);
            let anatomy = (reason == "untrusted" || reason == "rejected")
                .then(|| front.identities.anatomy(row.pid, start_ticks))
                .flatten();
            let seen = Seen {
                exe: &row.exe,
                command: &row.command,
                workload: &row.workload,
                traits: traits.as_deref(),
                anatomy: anatomy.as_ref(),
                installed: trust.is_installed(),
            };
            match reason.as_str() {
                "needs_restart" => cause::older(&seen),
                "not_installed" => cause::not_installed(&seen),
                _ => cause::rejected(&seen),
            }
        });
    let Cause { what, fix } = found;
    row.cause = Some(what);
    row.fix = Some(fix);
}
