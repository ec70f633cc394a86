//! `/api/processes`: who talks to a provider, and how far that is metered.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::money::Usd;
use crate::record::Treatment;

/// How far a process's traffic to LLM hosts is understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Word {
    /// Tokens and dollars are counted.
    Metered,
    /// Connections and bytes are counted: the mode asks for no more.
    Observed,
    /// It does not accept the CA; relayed unread.
    Untrusted,
    /// It started before the CA was there, and reads trust only once.
    NeedsRestart,
    /// It is in a container without trust.
    Container,
    /// It goes through another proxy.
    Proxied,
    /// A user asked for it to be left alone.
    Bypassed,
}

impl Word {
    /// The word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Metered => "metered",
            Self::Observed => "observed",
            Self::Untrusted => "untrusted",
            Self::NeedsRestart => "needs-restart",
            Self::Container => "container",
            Self::Proxied => "proxied",
            Self::Bypassed => "bypassed",
        }
    }
}

/// Which processes: the parameters of `/api/processes`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ProcessQuery {
    /// Seen at or after this time.
    pub since: Option<Timestamp>,
    /// This one.
    pub pid: Option<u32>,
    /// Only processes of this user id. Set by who asks, never by what is asked.
    #[serde(skip)]
    pub uid: Option<u32>,
}

/// Processes, newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Processes {
    /// Version of this shape.
    pub schema_version: u32,
    /// The processes.
    pub rows: Vec<ProcessRow>,
}

/// One process that talked to an LLM host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProcessRow {
    /// Process id.
    pub pid: u32,
    /// Workload.
    pub workload: String,
    /// Executable.
    pub exe: String,
    /// Command line, keys redacted.
    pub command: String,
    /// User id.
    pub uid: u32,
    /// User's name, or the id where it has none.
    pub user: String,
    /// When it was last seen.
    pub last_seen: Timestamp,
    /// Its connections to LLM hosts.
    pub connections: Vec<ProcessConnections>,
    /// Calls read.
    pub calls: u64,
    /// Known cost of those.
    pub cost_usd: Usd,
    /// Those whose cost is not known.
    pub unpriced_calls: u64,
    /// How far its traffic is understood.
    pub coverage: Word,
    /// Why no further: one word, as connections have it.
    pub reason: Option<String>,
    /// Where that comes from in this process: one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// What to do about it.
    pub fix: Option<String>,
}

/// Connections of one process that were treated alike.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProcessConnections {
    /// Provider.
    pub provider: String,
    /// How they were treated.
    pub treatment: Treatment,
    /// Why, where they were not metered.
    pub reason: String,
    /// How many there were.
    pub count: u64,
    /// Those of them that failed to open.
    pub failed: u64,
    /// Bytes sent.
    pub bytes_up: u64,
    /// Bytes received.
    pub bytes_down: u64,
}
