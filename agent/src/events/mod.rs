//! What happens, as one stream: calls as they end, and every change of state somebody may want to
//! see at once. The admin server shows it, live (`/api/events/stream`) and as a list
//! (`/api/analytics/events`).
//!
//! [`Bus`] is where it is told and heard. Telling never waits: an event goes into a ring of
//! [`KEPT`] and whoever listens is woken. Listening is reading that ring at one's own pace, so a
//! slow listener holds up nobody and costs nothing; what has left the ring before it was read is
//! missed, and the listener is told how many events that were.
//!
//! ```
//! # use std::sync::Arc;
//! # use agent::clock::System;
//! # use agent::events::{Bus, Kind, News};
//! # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
//! let bus = Bus::new(Arc::new(System));
//! let mut heard = bus.subscribe(None);
//! let what = serde_json::json!({"mode": "enforce"});
//! bus.publish(Kind::Mode, None, None, what);
//! let News { events, missed } = heard.next().await;
//! assert_eq!((events[0].kind, missed), (Kind::Mode, 0));
//! # });
//! # Ok::<(), std::io::Error>(())
//! ```

mod bus;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::bus::{Bus, Data, KEPT, News, Published, Subscription};

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "EventKind")]
pub enum Kind {
    /// A call is over; its data is that of `/api/calls`.
    Call,
    /// How far a policy goes was changed.
    Policy,
    /// A circuit breaker opened, closed, or lets a few calls through to see.
    Breaker,
    /// A budget passed a threshold, is spent, or will be before its period ends.
    Budget,
    /// The mode asked for or the one in effect changed.
    Mode,
    /// Interception began or ended.
    Capture,
    /// The configuration was read again.
    Config,
    /// People are told of something else.
    Alert,
    /// A workload uses up its error budget, spends unlike itself, or is well again.
    Watch,
}

impl Kind {
    /// The word for it in the API.
    pub fn word(self) -> &'static str {
        match self {
            Self::Call => "call",
            Self::Policy => "policy",
            Self::Breaker => "breaker",
            Self::Budget => "budget",
            Self::Mode => "mode",
            Self::Capture => "capture",
            Self::Config => "config",
            Self::Alert => "alert",
            Self::Watch => "watch",
        }
    }
}

/// One event, as the API writes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    /// Its place in the stream: grows by one; the first of an agent is its start in microseconds.
    pub id: u64,
    /// When.
    pub at: Timestamp,
    /// What it is about.
    pub kind: Kind,
    /// The workload it is about, where it is about one.
    pub workload: Option<String>,
    /// The user it belongs to; administrators see it in any case.
    pub uid: Option<u32>,
    /// What happened, in the form that its kind has.
    pub data: Value,
}
