//! Signs of life to the service manager, given only while the data path works: whoever hangs is
//! killed and started again, and until then connections go direct.
//!
//! That this task runs shows that the runtime and its clocks do; accept loops and the heartbeat
//! show their progress themselves; the ledger's threads and the helper process are asked.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, MissedTickBehavior};

use super::notify;
use crate::admin::Agent as _;
use crate::app::agent::Running;
use crate::capture::Helper;

/// How often the status is told where no sign of life is asked for.
const TOLD: Duration = Duration::from_secs(30);
/// Parts that show progress every second may be late on a machine under load.
const LATE: Duration = Duration::from_secs(5);

/// Gives signs of life, and tells the status, for as long as it is polled.
pub(in crate::app) async fn watch(running: Arc<Running>, helper: Helper) -> Infallible {
    if !notify::is_told() {
        return std::future::pending().await;
    }
    let limit = sd_notify::watchdog_enabled();
    let mut ticks = tokio::time::interval(limit.map_or(TOLD, |limit| limit / 2));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut told = String::new();
    let parts = limit.map(|limit| Parts::new(&running, helper, limit));
    loop {
        ticks.tick().await;
        if let Some(parts) = &parts {
            match parts.hanging() {
                hanging if hanging.is_empty() => notify::alive(),
                hanging => tracing::error!(?hanging, "no sign of life is given"),
            }
            parts.ask();
        }
        let (asked, drain) = (Arc::clone(&running), &running.front.runtime.drain);
        if drain.is_signalled() {
            continue;
        }
        // Not waited for longer than to the next tick: the ledger's disk may hang.
        let status = drain.spawn_blocking(move || status(&asked));
        if let Ok(Ok(now)) = tokio::time::timeout(Duration::from_secs(1), status).await
            && now != told
        {
            notify::status(&now);
            told = now;
        }
    }
}

/// Mode and coverage, in words.
pub(in crate::app) fn status(running: &Running) -> String {
    let mode = running.mode();
    let reason = mode.reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
    let coverage = running.ledger.reader().coverage(Some(running.midnight().into()), None);
    let coverage = match coverage.map(|found| (found.metered, found.total)) {
        Ok((_, 0)) => "no LLM connections today".to_owned(),
        Ok((metered, total)) => {
            format!("{metered} of {total} LLM connections today are metered")
        }
        Err(_) => "coverage is not known".to_owned(),
    };
    format!("{}{reason}: {coverage}", mode.effective)
}

/// The parts that are asked.
struct Parts {
    running: Arc<Running>,
    asked: [Asked; 2],
    limit: Duration,
}

/// A part that answers when it works.
struct Asked {
    name: &'static str,
    answers: Arc<dyn Fn() -> bool + Send + Sync>,
    /// When it last did.
    last: Arc<Mutex<Instant>>,
    /// A question is under way.
    busy: Arc<AtomicBool>,
}

impl Parts {
    fn new(running: &Arc<Running>, helper: Helper, limit: Duration) -> Self {
        let ledger = Arc::clone(&running.ledger);
        let asked = [
            Asked::new("ledger", move || ledger.answers(limit)),
            Asked::new("helper", move || helper.answers()),
        ];
        Self { running: Arc::clone(running), asked, limit }
    }

    /// Those that have shown no progress for too long.
    fn hanging(&self) -> Vec<&'static str> {
        let drain = &self.running.front.runtime.drain;
        let mut hanging = drain.silent(self.limit.max(LATE));
        let late = |asked: &&Asked| asked.last.lock().elapsed() > self.limit;
        hanging.extend(self.asked.iter().filter(late).map(|asked| asked.name));
        hanging
    }

    /// Asks everyone who does not owe an answer.
    fn ask(&self) {
        for asked in &self.asked {
            asked.ask();
        }
    }
}

impl Asked {
    fn new(name: &'static str, answers: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        let last = Arc::new(Mutex::new(Instant::now()));
        Self { name, answers: Arc::new(answers), last, busy: Arc::default() }
    }

    fn ask(&self) {
        if self.busy.swap(true, Relaxed) {
            return;
        }
        let (answers, last) = (Arc::clone(&self.answers), Arc::clone(&self.last));
        let busy = Arc::clone(&self.busy);
        // Not the agent's drain: it would wait for an answer that never comes.
        drop(tokio::task::spawn_blocking(move || {
            if answers() {
                *last.lock() = Instant::now();
            }
            busy.store(false, Relaxed);
        }));
    }
}
