//! The agent's own warnings, handed to whoever sends telemetry.
//!
//! Only what our own code says, whose words hold neither content nor credentials; and nothing that
//! the sending of telemetry says: each line would make the next one.

use std::sync::{Arc, OnceLock};

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::journal::Fields;
use crate::clock::{Clock, System};
use crate::telemetry::{Said, Severity, Telemetry};

/// Ours, but for those of `telemetry` itself.
const OURS: &str = "agent";
const NOT: &str = "agent::telemetry";

/// Where warnings go, once there is such a place.
pub(super) type Ear = Arc<OnceLock<Arc<Telemetry>>>;

/// Listens to the log.
pub(super) struct Told(pub(super) Ear);

impl<S: Subscriber> Layer<S> for Told {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let Some(telemetry) = self.0.get() else { return };
        let meta = event.metadata();
        let Some(severity) = severity(*meta.level(), meta.target()) else { return };
        let mut fields = Fields::default();
        event.record(&mut fields);
        telemetry.say(Said {
            at: System.now().wall,
            severity,
            target: meta.target(),
            message: fields.message,
            fields: fields.named,
        });
    }
}

/// How bad what this part says is; `None` where it is not handed on.
fn severity(level: Level, target: &str) -> Option<Severity> {
    let is_below = |root: &str| {
        target.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    };
    if !is_below(OURS) || is_below(NOT) {
        return None;
    }
    match level {
        Level::ERROR => Some(Severity::Error),
        Level::WARN => Some(Severity::Warn),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_warnings_are_handed_on() {
        for (level, target, expected) in [
            (Level::WARN, "agent::ledger::journal", Some(Severity::Warn)),
            (Level::ERROR, "agent", Some(Severity::Error)),
            (Level::INFO, "agent::app", None),
            (Level::ERROR, "agent::telemetry::worker", None),
            (Level::ERROR, "agent::telemetry", None),
            (Level::ERROR, "hyper::proto", None),
            (Level::ERROR, "agents", None),
        ] {
            assert_eq!(severity(level, target), expected, "{level} {target}");
        }
    }
}
