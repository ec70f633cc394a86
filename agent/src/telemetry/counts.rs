//! What came of telemetry: what arrived, what was dropped, what failed.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;

use super::settings::Signal;

/// Since the start: spans, log lines, points of metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counted {
    /// The collector took them.
    pub exported: u64,
    /// Nobody will see them: there was no room, or the collector did not take them.
    pub dropped: u64,
    /// Attempts to send that failed.
    pub failures: u64,
}

/// Of all signals.
#[derive(Debug, Default)]
pub(super) struct Counts {
    traces: Count,
    metrics: Count,
    logs: Count,
}

impl Counts {
    pub(super) fn of(&self, signal: Signal) -> &Count {
        match signal {
            Signal::Traces => &self.traces,
            Signal::Metrics => &self.metrics,
            Signal::Logs => &self.logs,
        }
    }
}

/// Of one signal.
#[derive(Debug, Default)]
pub(super) struct Count {
    exported: AtomicU64,
    dropped: AtomicU64,
    failures: AtomicU64,
    /// Why the last attempt failed, where it did.
    trouble: Mutex<Option<String>>,
    /// Somebody has been told that a collector takes only parts.
    parts_told: AtomicBool,
}

impl Count {
    pub(super) fn dropped(&self, count: u64) {
        self.dropped.fetch_add(count, Relaxed);
    }

    /// A message arrived; whether those before it did not.
    pub(super) fn arrived(&self, count: u64) -> bool {
        self.exported.fetch_add(count, Relaxed);
        self.trouble.lock().take().is_some()
    }

    /// An attempt failed; whether the one before it did not.
    pub(super) fn failed(&self, why: &str) -> bool {
        self.failures.fetch_add(1, Relaxed);
        self.trouble.lock().replace(why.to_owned()).is_none()
    }

    /// Part of a message was not taken; whether that is news.
    pub(super) fn refused(&self, count: u64) -> bool {
        self.dropped(count);
        !self.parts_told.swap(true, Relaxed)
    }

    /// What was the matter is so no longer: it is sent elsewhere, or not at all.
    pub(super) fn forget(&self) {
        self.trouble.lock().take();
    }

    pub(super) fn trouble(&self) -> Option<String> {
        self.trouble.lock().clone()
    }

    pub(super) fn counted(&self) -> Counted {
        Counted {
            exported: self.exported.load(Relaxed),
            dropped: self.dropped.load(Relaxed),
            failures: self.failures.load(Relaxed),
        }
    }
}
