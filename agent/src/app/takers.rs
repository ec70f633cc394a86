//! Everyone who takes records, behind the one door the pipeline knows.

use std::sync::Arc;

use tokio::sync::{broadcast, mpsc, oneshot};

use crate::admin::calls::CallRow;
use crate::ledger::Ledger;
use crate::metrics::Metrics;
use crate::record::{Connection, Durability, Opened, Record, Sink};
use crate::subject::Subject;

/// Records that a slow follower may fall behind before it misses some.
const FOLLOW: usize = 1024;

/// Ledger, metrics and live followers.
#[derive(Debug)]
pub(super) struct Takers {
    ledger: Arc<Ledger>,
    metrics: Arc<Metrics>,
    live: broadcast::Sender<Arc<CallRow>>,
    freezes: mpsc::Sender<ToFreeze>,
}

/// Somebody a policy wants to be frozen, and the policy.
pub(super) type ToFreeze = (Arc<Subject>, Arc<str>);

/// Freezes that may wait: of a workload that goes on meanwhile the next call asks again.
const FREEZES: usize = 64;

impl Takers {
    /// Hands every record to all of them, and whoever is to be frozen to the receiver.
    pub(super) fn new(
        ledger: Arc<Ledger>,
        metrics: Arc<Metrics>,
    ) -> (Self, mpsc::Receiver<ToFreeze>) {
        let (freezes, to_freeze) = mpsc::channel(FREEZES);
        (Self { ledger, metrics, live: broadcast::Sender::new(FOLLOW), freezes }, to_freeze)
    }

    /// Settled calls from now on.
    pub(super) fn follow(&self) -> broadcast::Receiver<Arc<CallRow>> {
        self.live.subscribe()
    }
}

impl Sink for Takers {
    fn open(&self, opened: Opened) {
        self.ledger.open(opened);
    }

    fn settle(&self, record: Arc<Record>) -> oneshot::Receiver<Durability> {
        self.metrics.call(&record);
        if self.live.receiver_count() > 0 {
            // An error means that the last follower has just left.
            drop(self.live.send(Arc::new(CallRow::from(&*record))));
        }
        self.ledger.settle(record)
    }

    fn connection(&self, connection: Connection) {
        self.metrics.connection(&connection);
        self.ledger.connection(connection);
    }

    fn distrusted(&self, signal: &'static str) {
        self.metrics.distrusted(signal);
    }

    fn unconfirmed(&self) {
        self.metrics.unconfirmed();
    }

    fn freeze(&self, subject: &Arc<Subject>, policy: &Arc<str>) {
        let wanted = (Arc::clone(subject), Arc::clone(policy));
        if self.freezes.try_send(wanted).is_err() {
            tracing::warn!(workload = %subject.workload.name, "too much is to be frozen at once");
        }
    }
}
