//! The agent's own log, and the configuration itself.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Level, LogFormat};

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
