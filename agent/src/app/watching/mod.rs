//! Who is watched: what is kept of calls that are over, and what is read of it from the ledger.
//!
//! Calls take the lock for as long as one of them is counted. Whoever looks at all of it takes it
//! once for each, and sorts and writes without it.

mod shown;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;

use super::agent::Running;
use crate::ledger::{self, CallQuery, CallRow, Ledger};
use crate::llm::usage::NanoUsd;
use crate::metrics::Watched as Gauges;
use crate::record::{Billing, FailureClass, Kind, Notice, Record, Sink as _};
use crate::subject::{Process, Subject, Workload};
use crate::watch::{self, History, Hourly, ModelView, Seen, SpikeView, TaskView};

/// Calls that windows are restored from.
const LAST: usize = 5_000;
/// How often spikes may end and the idle be forgotten.
const TICK: Duration = Duration::from_secs(15);
/// Seconds of an hour.
const HOUR: u64 = 3_600;

/// Everyone who is watched, for all who call and all who ask.
#[derive(Debug, Default)]
pub(super) struct Watched(Mutex<watch::Watch>);

impl Watched {
    /// A call is over; what people may want to be told of.
    pub(super) fn call(&self, record: &Record) -> Vec<Notice> {
        Seen::of(record).map(|seen| self.0.lock().call(&seen)).unwrap_or_default()
    }

    /// Goes by other rules; what people may want to be told of.
    pub(super) fn replace(&self, settings: &watch::Settings, now: SystemTime) -> Vec<Notice> {
        let settings = Arc::new(settings.clone());
        self.0.lock().replace(settings, now)
    }

    /// Takes up where the last agent was: the windows of its last calls, of which everything has
    /// been told. Reads the disk.
    pub(super) fn restore(&self, ledger: &Ledger, now: SystemTime) {
        let query = CallQuery {
            since: now.checked_sub(watch::MEMORY),
            last: Some(LAST),
            kind: Some(Kind::Call),
            ..CallQuery::default()
        };
        let rows = match ledger.reader().calls(&query) {
            Ok(rows) => rows,
            Err(error) => {
                tracing::error!(%error, "the last calls cannot be read: their windows begin anew");
                return;
            }
        };
        for row in rows.iter().filter(|row| row.outcome.is_some()) {
            // Told before, or too late to matter.
            drop(self.seen(row));
        }
        self.0.lock().restored();
    }

    fn seen(&self, row: &CallRow) -> Vec<Notice> {
        let shared = |text: &String| Arc::<str>::from(text.as_str());
        let subject = Subject {
            process: Process {
                pid: row.pid,
                start_ticks: row.start_ticks,
                exe: shared(&row.exe),
                command: Arc::from(""),
                uid: row.uid,
                user: row.user.as_ref().map(shared),
                verified: row.verified,
            },
            workload: Workload {
                name: shared(&row.workload),
                unit: row.unit.as_ref().map(shared),
                container: row.container.as_ref().map(shared),
                pod: None,
                app: row.app.as_ref().map(shared),
            },
        };
        let latency = row.latency.unwrap_or_default();
        let operation = shared(&row.operation);
        let model = row.model.as_ref().or(row.model_served.as_ref()).map(shared);
        let seen = Seen {
            call_id: row.call_id,
            subject: &subject,
            agent_name: row.agent_name.as_deref(),
            team: row.team.as_deref(),
            environment: &row.environment,
            provider: &row.provider,
            host: &row.host,
            path: &row.path,
            operation: &operation,
            model: model.as_ref(),
            ended_at: SystemTime::from(row.started_at) + latency,
            latency,
            class: row
                .outcome
                .and_then(|outcome| FailureClass::of(outcome, row.status, row.error.as_deref())),
            cost: row.cost_usd.filter(|_| row.billing != Billing::Subscription),
        };
        self.0.lock().call(&seen)
    }

    /// Each as it stands, with the lock held for one at a time.
    fn each<T>(&self, at: impl Fn(&watch::Watch, usize) -> Option<T>) -> Vec<T> {
        let places = self.0.lock().places();
        (0..places).filter_map(|place| at(&self.0.lock(), place)).collect()
    }

    fn tasks(&self) -> Vec<TaskView> {
        self.each(watch::Watch::task_at)
    }

    fn models(&self) -> Vec<ModelView> {
        self.each(watch::Watch::model_at)
    }

    fn spikes(&self) -> Vec<SpikeView> {
        self.each(watch::Watch::spike_at)
    }

    /// For the metrics.
    pub(super) fn gauges(&self) -> Gauges {
        let used = |task: TaskView| Some((task.workload, task.task, task.used?));
        let limited = |model: &ModelView| model.sla.is_some();
        Gauges {
            budgets: self.tasks().into_iter().filter_map(used).collect(),
            sla: self
                .models()
                .into_iter()
                .filter(limited)
                .map(|model| (model.workload, model.breached))
                .collect(),
            spikes: self.spikes().into_iter().map(|spike| spike.workload).collect(),
        }
    }
}

/// Reads what is usual, every hour, and lets time pass.
pub(super) async fn run(running: Arc<Running>) {
    let drain = running.front.runtime.drain.clone();
    let mut history = History::default();
    let mut read = None;
    loop {
        let now = running.front.runtime.clock.now().wall;
        let hour = hour(now);
        if read != Some(hour) {
            let ledger = Arc::clone(&running.ledger);
            let reading = drain.spawn_blocking(move || {
                let looked = look(&ledger, &mut history, hour);
                (looked, history)
            });
            let Ok((looked, there)) = reading.await else {
                tracing::error!(
                    "reading what is usually spent failed: spikes are not seen any more"
                );
                return;
            };
            history = there;
            match looked {
                Ok(usual) => running.takers.watched().0.lock().take_usual(usual),
                // Tried again in an hour; what was usual stays so.
                Err(error) => tracing::warn!(%error, "what is usually spent cannot be read"),
            }
            read = Some(hour);
        }
        let news = running.takers.watched().0.lock().tick(now);
        for notice in news {
            running.takers.notice(notice);
        }
        tokio::select! {
            () = tokio::time::sleep(TICK) => {}
            () = drain.signalled() => return,
        }
    }
}

/// What every workload usually spends in this hour.
fn look(
    ledger: &Ledger,
    history: &mut History,
    now: u64,
) -> Result<HashMap<Arc<str>, NanoUsd>, ledger::LedgerError> {
    let reader = ledger.reader();
    let read = |hours| {
        let rows = reader.hourly(hours)?.into_iter();
        let hourly = rows.map(|row: ledger::HourRow| Hourly {
            workload: Arc::from(row.workload),
            hour: row.hour,
            cost: row.cost,
        });
        Ok::<Vec<Hourly>, ledger::LedgerError>(hourly.collect())
    };
    let (week, same) = history.wanted(now);
    let week = read(week)?;
    let mut weeks = Vec::new();
    for hours in same {
        weeks.extend(read(hours)?);
    }
    let first = reader.first_hours()?.into_iter();
    let first = first.map(|(workload, hour)| (Arc::from(workload), hour)).collect();
    history.take(now, (week, weeks), &first);
    Ok(history.usual(now).map(|(workload, usual)| (Arc::clone(workload), usual)).collect())
}

fn hour(at: SystemTime) -> u64 {
    at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs() / HOUR
}
