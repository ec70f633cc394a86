//! The file as written: every key, what it means, and its default.
//!
//! These doc comments are the reference: `weir config schema` prints them.

mod providers;
mod limits;
mod reliability;
mod alerts;
mod webhooks;
mod containers;
mod watching;
mod own;
mod tracing;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(in crate::config) use self::alerts::{
    RawAlerts, RawAudit, RawChannel, RawEmail, RawMailTls, RawPagerDuty, RawRoute, RawSlack,
    RawWebhook,
};
pub(in crate::config) use self::containers::{RawContainers, RawReach};
pub(in crate::config) use self::limits::{
    RawAction, RawBudget, RawGuardAction, RawGuardrail, RawLoops, RawMatch, RawOverrun, RawPer,
    RawRateLimit, RawRolling, RawTeam,
};
pub(in crate::config) use self::own::{RawConfig, RawLedger, RawLog};
pub use self::providers::Format;
pub(in crate::config) use self::providers::{RawCredentials, RawEndpoint, RawPrice, RawProvider};
pub(in crate::config) use self::reliability::{
    RawBreaker, RawFailover, RawHealthChecks, RawOverrides, RawPreset, RawReliability, RawRetry,
    RawStrategy, RawTimeouts,
};
pub(in crate::config) use self::tracing::{RawCompression, RawTracing};
pub(in crate::config) use self::watching::{RawErrorBudget, RawSla, RawSpikes, Short};
pub(in crate::config) use self::webhooks::{RawDefinition, RawWebhooks};
use super::value::{Address, OneOrMany, Size, Span, Toggle};

/// How much the agent does.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Nothing: no hook, no redirect.
    Off,
    /// Who talks to which provider: connections, bytes, seconds. Nothing is decrypted.
    #[default]
    Observe,
    /// TLS is terminated for providers; tokens and dollars are counted.
    Meter,
    /// As `meter`, and policies act.
    Enforce,
}

impl Mode {
    /// The word the configuration and the CLI use.
    pub fn word(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Observe => "observe",
            Self::Meter => "meter",
            Self::Enforce => "enforce",
        }
    }
}

impl std::fmt::Display for Mode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.word())
    }
}

/// What happens to a client that does not accept the agent's CA.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnUntrusted {
    /// It is relayed unread, counted as opaque.
    #[default]
    Passthrough,
    /// It is refused.
    Block,
}

/// What happens to connections to providers while the agent is dead or hangs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnAgentFailure {
    /// They go where they were going, unmetered.
    #[default]
    Open,
    /// They are refused, until the agent is back, or `weir down` is said.
    Closed,
}

/// What happens to a call whose model has no known price.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum UnknownPrice {
    /// It goes through; its cost is `unknown` (never 0) and counted as such.
    #[default]
    AllowAndFlag,
    /// It is refused.
    Deny,
    /// Limits and budgets count it as if it were of the dearest model known ($150 in, $600 out
    /// per million tokens); its recorded cost stays `unknown`.
    AssumeMax,
}

/// A set of stock limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// A user: 60 requests a minute, 1,000 an hour, 10,000 a day, 1,000,000 tokens and $100 a day.
    /// A team: 50,000 requests, 5,000,000 tokens and $500 a day.
    Standard,
}

/// How much the log says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Only what stops the agent or loses data.
    Error,
    /// Also what someone should look at.
    Warn,
    /// Also starts, stops and changes.
    #[default]
    Info,
    /// Also each connection.
    Debug,
    /// Everything.
    Trace,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people and journald.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// Weir's configuration.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(title = "Weir configuration")]
pub(in crate::config) struct Raw {
    /// How much the agent does.
    pub(in crate::config) mode: Mode,
    /// Name of the environment (`prod`, `dev`), put on every record and metric.
    pub(in crate::config) environment: String,
    /// The user that the agent becomes when it is started as root. Its files are given to this
    /// user; without such a user it stays root, without root's capabilities. `root` says that this
    /// is meant.
    pub(in crate::config) user: String,
    /// Where the agent listens; loopback only. Port 0 takes a free port.
    pub(in crate::config) listen: RawListen,
    /// The kernel half: which connections are looked at.
    pub(in crate::config) capture: RawCapture,
    /// How far one goes with connections of other network namespaces, containers above all:
    /// `off`, `observe`, `meter`, or a map that tells them apart.
    pub(in crate::config) containers: RawContainers,
    /// Whether clients accept the agent's CA.
    pub(in crate::config) trust: RawTrust,
    /// What happens to a client that does not accept the agent's CA.
    pub(in crate::config) on_untrusted: OnUntrusted,
    /// What happens to connections to providers while the agent is dead or hangs, in modes `meter`
    /// and `enforce`.
    pub(in crate::config) on_agent_failure: OnAgentFailure,
    /// Bounds on what the agent takes on, and timeouts.
    pub(in crate::config) limits: RawLimits,
    /// Providers beside the built-in ones, or changes to those, by name.
    pub(in crate::config) providers: BTreeMap<String, RawProvider>,
    /// Prices that replace the catalogue's, by `PROVIDER/MODEL`.
    pub(in crate::config) prices: BTreeMap<String, OneOrMany<RawPrice>>,
    /// What happens to a call whose model has no known price.
    pub(in crate::config) unknown_price: UnknownPrice,
    /// Where days, weeks and months of budgets begin, and times of day are told: a name
    /// (`Europe/Berlin`, `UTC`), or `local` for the host's.
    pub(in crate::config) timezone: String,
    /// Stock limits to begin with: `standard`.
    pub(in crate::config) profile: Option<Profile>,
    /// Teams by name: the workloads and users that belong to them.
    pub(in crate::config) teams: BTreeMap<String, RawTeam>,
    /// Limits on requests, tokens and dollars, by whom they are for.
    pub(in crate::config) rate_limits: BTreeMap<String, RawRateLimit>,
    /// Budgets, by whom they are for.
    pub(in crate::config) budgets: BTreeMap<String, RawBudget>,
    /// What may be asked for at all.
    pub(in crate::config) guardrails: BTreeMap<String, RawGuardrail>,
    /// Protection against programs that repeat themselves.
    pub(in crate::config) loop_protection: RawLoops,
    /// Other models to try when one fails.
    pub(in crate::config) failover: RawFailover,
    /// Retries, circuit breakers, timeouts, health checks.
    pub(in crate::config) reliability: RawReliability,
    /// Named groups of models, best first, for failover chains and budgets.
    pub(in crate::config) tiers: BTreeMap<String, Vec<String>>,
    /// Who is told when something happens.
    pub(in crate::config) alerts: RawAlerts,
    /// How much may fail: tasks, by whom they are for, with the percentage of their calls that may.
    /// A key is an operation (`chat`), whom a rule can be for, a name beside a `match`, or `default`
    /// for all other calls, of which each operation is a task.
    pub(in crate::config) error_budgets: BTreeMap<String, Short<RawErrorBudget>>,
    /// How long calls may take, by whom the limit is for; keys as those of `error_budgets`.
    pub(in crate::config) sla: BTreeMap<String, Short<RawSla>>,
    /// When people are told that spending is unusual.
    pub(in crate::config) spikes: RawSpikes,
    /// Webhooks that others call: a signed request becomes a prompt, and the answer is posted back.
    pub(in crate::config) webhooks: RawWebhooks,
    /// The audit log. Checked; it acts in a later release.
    pub(in crate::config) audit: RawAudit,
    /// Traces, metrics and log lines for an OpenTelemetry collector.
    pub(in crate::config) tracing: RawTracing,
    /// The record of all calls on disk.
    pub(in crate::config) ledger: RawLedger,
    /// What `/metrics` shows.
    pub(in crate::config) metrics: RawMetrics,
    /// Names of applications beside the built-in ones: a process below one of them belongs to it
    /// (`my-agent` → `node` → `curl`).
    pub(in crate::config) apps: Vec<String>,
    /// The agent's own log.
    pub(in crate::config) log: RawLog,
    /// The configuration itself.
    pub(in crate::config) config: RawConfig,
}

impl Default for Raw {
    fn default() -> Self {
        Self {
            mode: Mode::default(),
            environment: "default".to_owned(),
            user: "weir".to_owned(),
            listen: RawListen::default(),
            capture: RawCapture::default(),
            containers: RawContainers::default(),
            trust: RawTrust::default(),
            on_untrusted: OnUntrusted::default(),
            on_agent_failure: OnAgentFailure::default(),
            limits: RawLimits::default(),
            providers: BTreeMap::new(),
            prices: BTreeMap::new(),
            unknown_price: UnknownPrice::default(),
            timezone: "local".to_owned(),
            profile: None,
            teams: BTreeMap::new(),
            rate_limits: BTreeMap::new(),
            budgets: BTreeMap::new(),
            guardrails: BTreeMap::new(),
            loop_protection: RawLoops::default(),
            failover: RawFailover::default(),
            reliability: RawReliability::default(),
            tiers: BTreeMap::new(),
            alerts: RawAlerts::default(),
            error_budgets: BTreeMap::new(),
            sla: BTreeMap::new(),
            spikes: RawSpikes::default(),
            webhooks: RawWebhooks::default(),
            audit: RawAudit::default(),
            tracing: RawTracing::default(),
            ledger: RawLedger::default(),
            metrics: RawMetrics::default(),
            apps: Vec::new(),
            log: RawLog::default(),
            config: RawConfig::default(),
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Listen")]
pub(in crate::config) struct RawListen {
    /// Explicit proxy and gateway.
    pub(in crate::config) proxy: Address,
    /// Metrics, health and API over HTTP.
    pub(in crate::config) admin: Address,
}

impl Default for RawListen {
    fn default() -> Self {
        let loopback = |port| Address(Some(SocketAddr::from((Ipv4Addr::LOCALHOST, port))));
        Self { proxy: loopback(4180), admin: loopback(4181) }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Capture")]
pub(in crate::config) struct RawCapture {
    /// Whether to attach to the kernel: `auto` goes on without where that is not possible.
    pub(in crate::config) enabled: Toggle,
    /// Directory of the cgroup whose processes are captured; by default every process.
    pub(in crate::config) cgroup: Option<PathBuf>,
    /// Destination ports looked at.
    pub(in crate::config) ports: Vec<u16>,
    /// Destinations looked at beside the addresses of the providers' hosts.
    pub(in crate::config) cidrs: Vec<String>,
    /// Workloads (`unit:`, `container:`, `user:`) all of whose connections to the ports are led here,
    /// wherever they go; those that are to no provider are passed on untouched.
    pub(in crate::config) all: Vec<String>,
    /// Whether QUIC to these destinations is refused in `meter` and `enforce`, so that clients fall
    /// back to TCP.
    pub(in crate::config) refuse_quic: bool,
    /// Proxies of the network that clients reach providers through, as `HOST:PORT`: what a client
    /// asks them for with `CONNECT` is metered where it is a provider, and passed on as it is
    /// where it is not.
    pub(in crate::config) proxies: Vec<String>,
}

impl Default for RawCapture {
    fn default() -> Self {
        Self {
            enabled: Toggle::Auto,
            cgroup: None,
            ports: vec![443],
            cidrs: Vec::new(),
            all: Vec::new(),
            refuse_quic: true,
            proxies: Vec::new(),
        }
    }
}

#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Trust")]
pub(in crate::config) struct RawTrust {
    /// Take it that every client accepts the CA, whether or not `weir trust install` has run.
    pub(in crate::config) assume: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Limits")]
pub(in crate::config) struct RawLimits {
    /// Connections handled at a time; beyond it new ones go directly to the provider.
    pub(in crate::config) connections: u32,
    /// Largest request body that is read; a larger one is forwarded unread.
    pub(in crate::config) request_body: Size,
    /// Time a client has to send its TLS `ClientHello` and finish the handshake.
    pub(in crate::config) handshake_timeout: Span,
    /// Time a client has to send the head of a request, from its first byte; on the explicit port
    /// also from connecting to the first byte.
    pub(in crate::config) header_timeout: Span,
    /// How long a client's connection may rest between two requests.
    pub(in crate::config) keep_alive_timeout: Span,
    /// Time to reach a provider.
    pub(in crate::config) connect_timeout: Span,
    /// How long a relayed connection that one side has finished may stay silent.
    pub(in crate::config) idle_timeout: Span,
    /// Time calls have to end when the agent stops.
    pub(in crate::config) drain_timeout: Span,
}

impl Default for RawLimits {
    fn default() -> Self {
        let seconds = |seconds| Span(Duration::from_secs(seconds));
        Self {
            connections: 10_000,
            request_body: Size(64 << 20),
            handshake_timeout: seconds(10),
            header_timeout: seconds(30),
            keep_alive_timeout: seconds(600),
            connect_timeout: seconds(10),
            idle_timeout: seconds(300),
            drain_timeout: seconds(60),
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Metrics")]
pub(in crate::config) struct RawMetrics {
    /// Show workloads of all users; `false` hides whose they are.
    pub(in crate::config) per_user: bool,
    /// File with the token that readers of `/metrics` must send as `Authorization: Bearer`.
    pub(in crate::config) token_file: Option<PathBuf>,
    /// Series that nothing was added to for this long go away; one that comes back begins at 0.
    pub(in crate::config) series_ttl: Span,
}

impl Default for RawMetrics {
    fn default() -> Self {
        let series_ttl = Span(Duration::from_hours(24));
        Self { per_user: true, token_file: None, series_ttl }
    }
}
