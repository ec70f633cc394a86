//! The policies over all calls: what decides, behind its locks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use foldhash::quality::RandomState;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::accounts::Accounts;
use super::outstanding::Outstanding;
use crate::clock::Now;
use crate::policy::{self, Engine, Reliability};

/// Each takes a thread of the blocking pool for up to 50 ms; the rest of the machine is others'.
const COUNTED_AT_ONCE: usize = 2;

/// What decides about calls. The locks are held for a decision, never across a wait; where both
/// are needed, one after the other.
#[derive(Debug)]
pub struct Policies {
    /// Limits, budgets, guardrails.
    pub engine: Mutex<Engine>,
    /// Retries, breakers, failover.
    pub reliability: Mutex<Reliability>,
    /// Whether they act (`mode: enforce`), or only decide.
    acting: AtomicBool,
    /// Who pays, and what providers say of their limits.
    pub accounts: Accounts,
    /// Prompts whose tokens may be counted at a time.
    pub(super) counting: Arc<Semaphore>,
    /// What calls in flight have reserved.
    pub outstanding: Outstanding,
    /// Key of the hashes by which prompts are known again.
    pub prompts: RandomState,
}

impl Policies {
    /// Nothing used yet, every breaker closed.
    pub fn new(
        limits: policy::Settings,
        reliability: policy::reliability::Settings,
        now: Now,
    ) -> Self {
        Self {
            engine: Mutex::new(Engine::new(limits, now)),
            reliability: Mutex::new(Reliability::new(reliability, now)),
            acting: AtomicBool::new(false),
            accounts: Accounts::default(),
            counting: Arc::new(Semaphore::new(COUNTED_AT_ONCE)),
            outstanding: Outstanding::default(),
            prompts: RandomState::default(),
        }
    }

    /// Takes another configuration over. `publish` makes the rest of it known, while nobody can be
    /// admitted: whoever is decided on sees all of the old one or all of the new one.
    pub fn replace(
        &self,
        (limits, reliability): (policy::Settings, policy::reliability::Settings),
        now: Now,
        publish: impl FnOnce(),
    ) {
        // The one place that holds both: nobody else takes the second while holding the first.
        let mut engine = self.engine.lock();
        let mut courses = self.reliability.lock();
        engine.replace(limits, now);
        courses.replace(reliability, now);
        publish();
    }

    /// Whether policies act.
    pub fn is_acting(&self) -> bool {
        self.acting.load(Relaxed)
    }

    /// Lets them act, or only decide.
    pub fn act(&self, acting: bool) {
        self.acting.store(acting, Relaxed);
    }
}
