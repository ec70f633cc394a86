//! The agent's own log and record, and the configuration itself.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Level, LogFormat};
use crate::config::value::{Fsync, Span};

#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Config")]
pub(in crate::config) struct RawConfig {
    /// Take changed files over by themselves, as `weir config reload` does when it is asked to.
    pub(in crate::config) watch: bool,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Log")]
pub(in crate::config) struct RawLog {
    /// How much it says.
    pub(in crate::config) level: Level,
    /// How lines are written.
    pub(in crate::config) format: LogFormat,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Ledger")]
pub(in crate::config) struct RawLedger {
    /// `always`, or how much time a power cut may take (`1s`).
    pub(in crate::config) sync: Fsync,
    /// How long rows are kept.
    pub(in crate::config) retention: Span,
}

impl Default for RawLedger {
    fn default() -> Self {
        Self { sync: Fsync::EverySecond, retention: Span(Duration::from_hours(90 * 24)) }
    }
}
