//! What happens when a call fails: retries, breakers, failover.

use super::Enforcement;
use super::view::{BreakerView, PolicyView};
use crate::clock::Now;

/// How reliability is to be had.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {}

/// How providers fare, and what to do about it.
#[derive(Debug)]
pub struct Reliability {
    settings: Settings,
}

impl Reliability {
    /// Begins with every breaker closed.
    pub fn new(settings: Settings, _now: Now) -> Self {
        Self { settings }
    }

    /// Takes other settings over; breakers stay as they are.
    pub fn replace(&mut self, settings: Settings, _now: Now) {
        self.settings = settings;
    }

    /// All its policies: `failover.MODEL`, `breaker.NAME`, `retry`.
    pub fn policies(&self) -> Vec<PolicyView> {
        Vec::new()
    }

    /// Changes how far a policy goes; `None` gives it back to the configuration. False where there
    /// is no such policy.
    pub fn set(&mut self, _name: &str, _enforcement: Option<Enforcement>) -> bool {
        false
    }

    /// Every breaker.
    pub fn breakers(&self, _now: Now) -> Vec<BreakerView> {
        Vec::new()
    }

    /// Opens a breaker by hand, until it is reset. False where the name is no provider's.
    pub fn trip(&mut self, _name: &str, _now: Now) -> bool {
        false
    }

    /// Closes a breaker by hand. False where there is none of this name.
    pub fn reset(&mut self, _name: &str, _now: Now) -> bool {
        false
    }
}
