//! Everyone who takes records, behind the one door the pipeline knows.

use std::sync::Arc;

use tokio::sync::{broadcast, oneshot};

use crate::admin::calls::CallRow;
use crate::alerts::Alerts;
use crate::ledger::Ledger;
use crate::metrics::Metrics;
use crate::record::{Connection, Durability, Kind, Notice, Opened, Record, Sink};

/// Records that a slow follower may fall behind before it misses some.
const FOLLOW: usize = 1024;

/// Ledger, metrics, live followers and alerts.
#[derive(Debug)]
pub(super) struct Takers {
    ledger: Arc<Ledger>,
    metrics: Arc<Metrics>,
    alerts: Arc<Alerts>,
    live: broadcast::Sender<Arc<CallRow>>,
}

impl Takers {
    /// Hands every record to all of them.
    pub(super) fn new(ledger: Arc<Ledger>, metrics: Arc<Metrics>, alerts: Arc<Alerts>) -> Self {
        Self { ledger, metrics, alerts, live: broadcast::Sender::new(FOLLOW) }
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
        if record.kind == Kind::Call {
            self.alerts.call(record.started_at);
        }
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

    fn notice(&self, notice: Notice) {
        self.metrics.notice(&notice);
        self.alerts.notice(notice);
    }
}
