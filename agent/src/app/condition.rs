//! What metrics are told of the agent itself and of its host when somebody reads them, and of what
//! was before it.

use super::agent::Running;
use crate::config::{Mode, Toggle};
use crate::metrics::{Condition, Places};

impl Running {
    /// How the agent stands.
    pub(super) fn condition(&self) -> Condition {
        let leaves = self.front.client.leaves.as_ref();
        Condition {
            wanted: number(self.modes.wanted()),
            effective: number(self.modes.effective().mode),
            capturing: if let Some(kernel) = &self.kernel {
                Some(kernel.is_up())
            } else {
                let wanted = self.config.lock().config.capture.enabled;
                (wanted != Toggle::Off).then_some(false)
            },
            in_flight: self.takers.in_flight(),
            ca_until: leaves.map(|leaves| leaves.authority().root().not_after()),
        }
    }

    /// Where the host's figures are.
    pub(super) fn places(&self) -> Places {
        Places { state: self.paths.state.clone(), groups: self.front.identities.groups() }
    }

    /// Lets go of series that stand for nothing any more.
    pub(super) fn sweep_metrics(&self) {
        let ttl = self.config.lock().config.metrics.series_ttl;
        self.metrics.sweep(self.front.runtime.clock.mono(), ttl);
    }

    /// Tells metrics which workloads were seen with which providers before. Reads the ledger.
    pub(super) fn remember_contacts(&self) {
        let found = self.ledger.reader().contacts();
        let pairs = match found {
            Ok(found) => {
                // The ledger may have calls of this run by now.
                let before = found.into_iter().filter(|it| it.first_at < self.since);
                Some(before.map(|it| (it.workload, it.provider, it.first_at)).collect())
            }
            Err(error) => {
                tracing::warn!(%error, "who called which provider before is unknown");
                None
            }
        };
        self.metrics.seen_before(pairs);
    }
}

/// Modes in the order of what they do.
fn number(mode: Mode) -> u8 {
    match mode {
        Mode::Off => 0,
        Mode::Observe => 1,
        Mode::Meter => 2,
        Mode::Enforce => 3,
    }
}
