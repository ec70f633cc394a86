//! Everyone who takes records, behind the one door the pipeline knows.

use std::sync::Arc;

use foldhash::HashSet;
use parking_lot::Mutex;
use tokio::sync::{broadcast, mpsc, oneshot};

use super::published::Teller;
use super::watching::Watched;
use crate::admin::calls::CallRow;
use crate::alerts::Alerts;
use crate::ledger::Ledger;
use crate::metrics::Metrics;
use crate::record::{CallId, Connection, Durability, Kind, Notice, Opened, Record, Sink};
use crate::subject::Subject;
use crate::telemetry::Telemetry;

/// Records that a slow follower may fall behind before it misses some.
const FOLLOW: usize = 1024;

/// Ledger, metrics, telemetry, live followers, alerts and who is watched.
#[derive(Debug)]
pub(super) struct Takers {
    ledger: Arc<Ledger>,
    metrics: Arc<Metrics>,
    alerts: Arc<Alerts>,
    telemetry: Arc<Telemetry>,
    watched: Watched,
    teller: Teller,
    live: broadcast::Sender<Arc<CallRow>>,
    freezes: mpsc::Sender<ToFreeze>,
    /// Calls that were announced and have not ended.
    in_flight: Mutex<HashSet<CallId>>,
}

/// Somebody a policy wants to be frozen, and the policy.
pub(super) type ToFreeze = (Arc<Subject>, Arc<str>);

/// Freezes that may wait: of a workload that goes on meanwhile the next call asks again.
const FREEZES: usize = 64;

impl Takers {
    /// Hands every record to all of them, and whoever is to be frozen to the receiver.
    pub(super) fn new(
        (ledger, metrics, alerts): (Arc<Ledger>, Arc<Metrics>, Arc<Alerts>),
        telemetry: Arc<Telemetry>,
        teller: Teller,
    ) -> (Self, mpsc::Receiver<ToFreeze>) {
        let (freezes, to_freeze) = mpsc::channel(FREEZES);
        let live = broadcast::Sender::new(FOLLOW);
        let in_flight = Mutex::default();
        let watched = Watched::default();
        let takers =
            Self { ledger, metrics, alerts, telemetry, watched, teller, live, freezes, in_flight };
        (takers, to_freeze)
    }

    /// How many calls are being made.
    pub(super) fn in_flight(&self) -> u64 {
        u64::try_from(self.in_flight.lock().len()).unwrap_or(u64::MAX)
    }

    /// Who fails more, takes longer or spends more than they should.
    pub(super) fn watched(&self) -> &Watched {
        &self.watched
    }

    /// Settled calls from now on.
    pub(super) fn follow(&self) -> broadcast::Receiver<Arc<CallRow>> {
        self.live.subscribe()
    }
}

impl Sink for Takers {
    fn open(&self, opened: Opened) {
        self.in_flight.lock().insert(opened.call_id);
        self.ledger.open(opened);
    }

    fn settle(&self, record: Arc<Record>) -> oneshot::Receiver<Durability> {
        self.in_flight.lock().remove(&record.call_id);
        self.metrics.call(&record);
        self.telemetry.call(&record);
        // For those who look for one call in the journal: `weir log level info,app=debug`.
        tracing::debug!(
            call_id = %record.call_id, workload = &*record.subject.workload.name,
            provider = &*record.provider, model = record.model.as_deref(), status = record.status,
            outcome = ?record.outcome, "call"
        );
        if record.kind == Kind::Call {
            self.alerts.call(record.started_at);
        }
        for notice in self.watched.call(&record) {
            self.notice(notice);
        }
        self.teller.call(&record);
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

    fn fault(&self, listener: &'static str, fault: &'static str) {
        self.metrics.fault(listener, fault);
    }

    fn unconfirmed(&self) {
        self.metrics.unconfirmed();
    }

    fn notice(&self, notice: Notice) {
        self.metrics.notice(&notice);
        self.teller.notice(&notice);
        self.alerts.notice(notice);
    }

    fn freeze(&self, subject: &Arc<Subject>, policy: &Arc<str>) {
        let wanted = (Arc::clone(subject), Arc::clone(policy));
        if self.freezes.try_send(wanted).is_err() {
            tracing::warn!(workload = %subject.workload.name, "too much is to be frozen at once");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::super::front::Marked;
    use super::super::telemetry;
    use super::*;
    use crate::alerts::settings::Settings;
    use crate::alerts::{Dial, Pace, Parts};
    use crate::capture::Helper;
    use crate::clock::{Clock, System};
    use crate::drain::Drain;
    use crate::events::{Bus, Kind};
    use crate::record::Topic;
    use crate::upstream::Tls;
    use crate::upstream::connect::{BoxFuture, Resolve, Tcp};
    use crate::{ledger, metrics};

    #[derive(Debug)]
    struct NoNames;

    impl Resolve for NoNames {
        fn resolve<'a>(
            &'a self,
            _: &'a str,
        ) -> BoxFuture<'a, std::io::Result<Vec<std::net::IpAddr>>> {
            Box::pin(async { Ok(Vec::new()) })
        }
    }

    #[tokio::test]
    async fn a_notice_is_counted_and_filed() {
        let dir = tempfile::tempdir().unwrap();
        let clock: Arc<dyn Clock> = Arc::new(System);
        let keep = ledger::Settings {
            sync: ledger::Fsync::EverySecond,
            retention: Duration::from_hours(24),
        };
        let ledger = Arc::new(Ledger::open(dir.path(), keep, Arc::clone(&clock)).unwrap());
        let metrics = Arc::new(Metrics::new(metrics::Settings { per_user: true }).unwrap());
        let parts = Parts {
            settings: Settings::default(),
            clock,
            host: Arc::from("host"),
            pace: Pace::default(),
        };
        let (alerts, worker) = Alerts::open(dir.path(), parts).unwrap();
        let alerts = Arc::new(alerts);
        let silent = Arc::new(telemetry::silent(Arc::new(System)));
        let teller = Teller::new(Bus::new(Arc::new(System)));
        let keepers = (Arc::clone(&ledger), Arc::clone(&metrics), Arc::clone(&alerts));
        let (takers, _nobody_freezes) = Takers::new(keepers, silent, teller.clone());
        takers.notice(Notice {
            at: SystemTime::UNIX_EPOCH + Duration::from_hours(500_000),
            topic: Topic::Escalation,
            policy: Arc::from("failover.gpt-4o"),
            subject: Arc::from("batch"),
            uid: None,
            call_id: None,
            message: "3 attempts failed".to_owned(),
            spent: None,
            limit: None,
            class: Some(Arc::from("overloaded")),
            finding: None,
        });
        let (events, _) = teller.bus.kept(None, 10, |_| true);
        let told: Vec<_> = events.iter().map(|it| (it.kind, it.workload.as_deref())).collect();
        assert_eq!(told, [(Kind::Alert, Some("batch"))]);
        let drain = Drain::new();
        let tls = Tls::new(rustls::RootCertStore::empty(), []).unwrap();
        let tcp = Tcp::new(
            Arc::new(NoNames),
            Arc::new(Marked(Helper::in_process())),
            Duration::from_secs(1),
        );
        drain.spawn(worker.run(Dial { tcp, tls }, drain.clone()));
        // What was taken in is filed before the end.
        assert_eq!(drain.finish(Duration::from_secs(10)).await, 0);
        assert_eq!(alerts.escalations(None).len(), 1);
        metrics.alerts(&alerts.health(None));
        let text = metrics.render();
        for line in [
            "weir_notices_total{topic=\"escalation\"} 1",
            "weir_escalations_total{class=\"overloaded\"} 1",
            "weir_escalations_open 1",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
        ledger.close();
    }
}
