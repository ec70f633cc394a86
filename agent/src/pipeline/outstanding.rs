//! What calls in flight have reserved, for the agent that follows this one: it must not spend what
//! these may still come to.

use std::sync::mpsc;

use foldhash::HashMap;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::llm::usage::NanoUsd;
use crate::policy::engine::Spent;
use crate::policy::{Actual, Bound};
use crate::record::CallId;

/// A call in flight that limits hold something for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// The call.
    pub call_id: CallId,
    /// What is reserved for it, as if it were spent.
    pub spent: Spent,
}

/// What such a call came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settled {
    /// The call.
    pub call_id: CallId,
    sent: bool,
    tokens: u64,
    cost: Option<NanoUsd>,
    failed: bool,
}

impl Settled {
    /// For the limits that hold something for it.
    pub fn actual(&self) -> Actual {
        let Self { sent, tokens, cost, failed, .. } = *self;
        Actual { sent, tokens, cost, failed }
    }
}

/// The calls in flight.
#[derive(Debug, Default)]
pub struct Outstanding(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    calls: HashMap<CallId, Held>,
    /// Who follows, once somebody does.
    successor: Option<mpsc::Sender<Settled>>,
}

impl Outstanding {
    /// Another call. False where somebody else decides by now on calls that limits are about.
    pub(super) fn begin(&self, held: Held) -> bool {
        let mut state = self.0.lock();
        if state.successor.is_some() {
            return false;
        }
        state.calls.insert(held.call_id, held);
        true
    }

    /// More was reserved for a call.
    pub(super) fn raise(&self, call_id: CallId, bound: &Bound) {
        if let Some(held) = self.0.lock().calls.get_mut(&call_id) {
            let spent = &mut held.spent;
            spent.tokens = spent.tokens.max(bound.input.saturating_add(bound.output));
            spent.cost = spent.cost.max(bound.cost.unwrap_or_default());
        }
    }

    /// A call is over.
    pub(super) fn settle(&self, call_id: CallId, actual: &Actual) {
        let mut state = self.0.lock();
        if state.calls.remove(&call_id).is_none() {
            return;
        }
        if let Some(successor) = &state.successor {
            let Actual { sent, tokens, cost, failed } = *actual;
            // Whoever has gone meanwhile reads it in the ledger.
            successor.send(Settled { call_id, sent, tokens, cost, failed }).ok();
        }
    }

    /// From here on somebody else decides. Returns what they must know of, and where they are told
    /// how it ends.
    pub fn hand_over(&self) -> (Vec<Held>, mpsc::Receiver<Settled>) {
        let (successor, settled) = mpsc::channel();
        let mut state = self.0.lock();
        state.successor = Some(successor);
        (state.calls.values().cloned().collect(), settled)
    }
}
