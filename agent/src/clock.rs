//! The only reader of clocks.
//!
//! Everything that decides is told the time as a [`Now`]; tests hand in a [`Clock`] of their own.

use std::time::{Duration, Instant, SystemTime};

/// One reading of both clocks, taken together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Monotonic time: for durations, timeouts and windows; never stepped.
    pub mono: Instant,
    /// Wall-clock time: for records and calendar budgets; may be stepped.
    pub wall: SystemTime,
}

/// A source of time: one of the three seams tests may replace.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// Reads both clocks.
    fn now(&self) -> Now;

    /// Reads the monotonic clock alone, which costs half.
    fn mono(&self) -> Instant {
        self.now().mono
    }
}

/// The machine's own clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct System;

impl Clock for System {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the wall clock and the monotonic clock"
    )]
    fn now(&self) -> Now {
        Now { mono: Instant::now(), wall: SystemTime::now() }
    }

    #[expect(clippy::disallowed_methods, reason = "the one place that reads the monotonic clock")]
    fn mono(&self) -> Instant {
        Instant::now()
    }
}

/// Time since boot including suspend (`CLOCK_BOOTTIME`), the clock of process start times and of
/// the kernel half's stamps.
pub fn since_boot() -> Duration {
    let at = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    // The boot-time clock starts at zero and only grows: neither part can be negative.
    Duration::new(at.tv_sec.unsigned_abs(), u32::try_from(at.tv_nsec).unwrap_or(0))
}
