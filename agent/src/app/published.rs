//! What is told on the bus: calls as they end, notices, and changes of state.
//!
//! Modes, interception and breakers change in many ways, also by themselves: they are looked at, and
//! what differs from the last look is told. Whoever changes one of them asks for a look at once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{json, value};
use tokio::sync::Notify;

use super::agent::Running;
use crate::admin::Agent as _;
use crate::admin::Control as _;
use crate::admin::breakers::BreakerRow;
use crate::admin::calls::CallRow;
use crate::admin::money::Usd;
use crate::admin::policies::Reach;
use crate::admin::reload::Reloaded;
use crate::admin::status::{CaptureState, ModeState};
use crate::alerts::word;
use crate::drain::Drain;
use crate::events::{Bus, Data, Kind};
use crate::policy::view::PolicyView;
use crate::record::{Notice, Record, Topic};

/// How often modes, interception and breakers are looked at.
const PAUSE: Duration = Duration::from_secs(1);

/// Tells what happens, and looks at what may have changed.
#[derive(Debug, Clone)]
pub(super) struct Teller {
    pub(super) bus: Bus,
    look: Arc<Notify>,
}

impl Teller {
    pub(super) fn new(bus: Bus) -> Self {
        Self { bus, look: Arc::default() }
    }

    /// Has modes, interception and breakers looked at now.
    pub(super) fn look(&self) {
        self.look.notify_one();
    }

    /// A call is over.
    pub(super) fn call(&self, record: &Arc<Record>) {
        let process = &record.subject.process;
        let workload = Arc::clone(&record.subject.workload.name);
        let row = Arc::clone(record);
        // Thousands a second may be told of, and nobody listen: their text is made on demand.
        let later = move || value::to_raw_value(&CallRow::from(&*row));
        self.bus.publish(
            Kind::Call,
            Some(workload),
            Some(process.uid),
            Data::Later(Box::new(later)),
        );
    }

    /// Somebody is told of something.
    pub(super) fn notice(&self, notice: &Notice) {
        let kind = match notice.topic {
            Topic::BudgetThreshold | Topic::BudgetExceeded | Topic::BudgetForecast => Kind::Budget,
            Topic::CostSpike
            | Topic::CostSpikeOver
            | Topic::ErrorBudgetThreshold
            | Topic::ErrorBudgetExceeded
            | Topic::ErrorBudgetRecovered
            | Topic::SlaBreached
            | Topic::SlaRecovered => Kind::Watch,
            Topic::Loop | Topic::Escalation | Topic::Guardrail | Topic::Freeze => Kind::Alert,
            // What became of the breaker is seen by looking: also where it was by hand.
            Topic::BreakerOpened | Topic::BreakerClosed => return self.look(),
        };
        // The subject of others may be a user, a team or a provider.
        let workload = matches!(notice.topic, Topic::Escalation | Topic::Freeze)
            .then(|| Arc::clone(&notice.subject));
        let data = json!({
            "topic": word(notice.topic),
            "policy": notice.policy,
            "subject": notice.subject,
            "message": notice.message,
            "class": notice.class,
            "call_id": notice.call_id,
            "spent_usd": notice.spent.map(Usd),
            "limit_usd": notice.limit.map(Usd),
        });
        self.bus.publish(kind, workload, notice.uid, data);
    }

    /// How far a policy goes was changed by hand.
    pub(super) fn policy(&self, now: &PolicyView) {
        let data = json!({
            "policy": now.name,
            "enforcement": Reach(now.enforcement),
            "configured": Reach(now.configured),
        });
        self.bus.publish(Kind::Policy, None, None, data);
    }

    /// The configuration was read again.
    pub(super) fn config(&self, done: &Reloaded) {
        let keys = |changes: &[crate::config::Change]| {
            changes.iter().map(|change| change.key.clone()).collect::<Vec<_>>()
        };
        let problems: Vec<_> = done.problems.iter().map(ToString::to_string).collect();
        // The values may be secrets' places, or others' limits: the keys say what to look at.
        let data = json!({
            "ok": done.ok,
            "changes": keys(&done.changes),
            "needs_restart": keys(&done.needs_restart),
            "problems": problems,
        });
        self.bus.publish(Kind::Config, None, None, data);
        self.look();
    }

    /// Looks until the agent stops. A look that fails ends nothing: the next one may not.
    async fn watch(&self, drain: &Drain, look: impl Fn() -> Seen + Send + Sync + 'static) {
        let look = Arc::new(look);
        let mut before: Option<Seen> = None;
        loop {
            let look = Arc::clone(&look);
            // Whoever switches the kernel half holds its lock for longer than a task may wait.
            match drain.spawn_blocking(move || look()).await {
                Ok(now) => {
                    if let Some(before) = &before {
                        now.tell(before, &self.bus);
                    }
                    before = Some(now);
                }
                Err(error) => {
                    let why = error.to_string();
                    tracing::error!(why, "changes of state cannot be looked at now");
                }
            }
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                () = self.look.notified() => {}
                () = drain.signalled() => return,
            }
        }
    }
}

/// What is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    mode: ModeState,
    capture: CaptureState,
    breakers: BTreeMap<String, BreakerRow>,
}

impl Seen {
    fn of(running: &Running) -> Self {
        let breakers = running.breakers().into_iter().map(|row| (row.name.clone(), row));
        Self {
            mode: running.mode(),
            capture: running.capture_state(),
            breakers: breakers.collect(),
        }
    }

    /// Tells what differs from an earlier look.
    fn tell(&self, before: &Self, bus: &Bus) {
        let tell = |kind, data| bus.publish(kind, None, None, data);
        if self.mode != before.mode {
            tell(Kind::Mode, json!(self.mode));
        }
        if self.capture != before.capture {
            tell(Kind::Capture, json!(self.capture));
        }
        for (name, row) in &self.breakers {
            // One that nobody has met yet is closed.
            let known = before.breakers.get(name);
            let (was, opened) = known.map_or_else(
                || (BreakerRow::unmet(name).state, 0),
                |known| (known.state, known.opened),
            );
            if row.state != was || row.opened != opened {
                tell(Kind::Breaker, json!(row));
            }
        }
    }
}

/// Looks until the agent stops.
pub(super) async fn watch(running: Arc<Running>) {
    let (teller, drain) = (running.teller.clone(), running.front.runtime.drain.clone());
    teller.watch(&drain, move || Seen::of(&running)).await;
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::time::Instant;

    use super::*;
    use crate::admin::breakers::BreakerState;
    use crate::clock::System;
    use crate::config::Mode;

    fn seen(mode: Mode, on: bool, breakers: &[(&str, BreakerState, u64)]) -> Seen {
        let row = |&(name, state, opened): &(&str, _, _)| {
            (name.to_owned(), BreakerRow { state, opened, ..BreakerRow::unmet(name) })
        };
        Seen {
            mode: ModeState { wanted: mode, effective: mode, reason: None },
            capture: CaptureState { on, reason: None },
            breakers: breakers.iter().map(row).collect(),
        }
    }

    #[test]
    fn what_changed_is_told_once_and_nothing_else() {
        use BreakerState::{Closed, HalfOpen, Open};
        let before = seen(Mode::Meter, true, &[("openai", Closed, 0), ("gemini", Open, 1)]);
        let told = |after: &Seen| {
            let bus = Bus::new(Arc::new(System));
            after.tell(&before, &bus);
            let (events, _) = bus.kept(None, 100, |_| true);
            events.iter().map(|event| event.kind).collect::<Vec<_>>()
        };
        assert!(told(&before).is_empty());
        assert_eq!(
            told(&Seen { mode: seen(Mode::Off, true, &[]).mode, ..before.clone() }),
            [Kind::Mode]
        );
        let off = seen(Mode::Meter, false, &[("openai", Closed, 0), ("gemini", HalfOpen, 1)]);
        assert_eq!(told(&off), [Kind::Capture, Kind::Breaker]);
        // Closed and open again between two looks; another that was never met, and is closed.
        let again = seen(
            Mode::Meter,
            true,
            &[("openai", Closed, 0), ("gemini", Open, 2), ("anthropic", Closed, 0)],
        );
        assert_eq!(told(&again), [Kind::Breaker]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_that_is_asked_for_is_had_at_once_and_one_that_panics_ends_nothing() {
        let (teller, drain) = (Teller::new(Bus::new(Arc::new(System))), Drain::new());
        let mut heard = teller.bus.subscribe(None);
        let looks = AtomicU32::new(0);
        let look = move || match looks.fetch_add(1, Ordering::Relaxed) {
            0 => seen(Mode::Meter, true, &[]),
            1 => panic!("a look that fails"),
            _ => seen(Mode::Off, true, &[]),
        };
        let (begun, watching) = (Instant::now(), (teller.clone(), drain.clone()));
        drain.spawn(async move { watching.0.watch(&watching.1, look).await });
        // The second look is asked for; the third one comes by itself.
        teller.look();
        assert_eq!(heard.next().await.events[0].kind, Kind::Mode);
        assert!(begun.elapsed() < PAUSE * 2, "{:?}", begun.elapsed());
        assert_eq!(drain.finish(PAUSE).await, 0);
    }
}
