//! The file as written: every key, what it means, and its default.
//!
//! These doc comments are the reference: `weir config schema` prints them.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::value::{Address, Day, Fsync, OneOrMany, Price, Size, Span, Toggle};

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

/// The wire format a provider speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Chat completions, responses, completions, embeddings.
    #[serde(rename = "openai")]
    OpenAi,
    /// Messages.
    Anthropic,
}

/// What happens to a call whose model has no known price.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum UnknownPrice {
    /// It goes through; its cost is `unknown` (never 0) and counted as such.
    #[default]
    AllowAndFlag,
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
pub(super) struct Raw {
    /// How much the agent does.
    pub(super) mode: Mode,
    /// Name of the environment (`prod`, `dev`), put on every record and metric.
    pub(super) environment: String,
    /// Where the agent listens; loopback only. Port 0 takes a free port.
    pub(super) listen: RawListen,
    /// The kernel half: which connections are looked at.
    pub(super) capture: RawCapture,
    /// Whether clients accept the agent's CA.
    pub(super) trust: RawTrust,
    /// What happens to a client that does not accept the agent's CA.
    pub(super) on_untrusted: OnUntrusted,
    /// Bounds on what the agent takes on, and timeouts.
    pub(super) limits: RawLimits,
    /// Providers beside the built-in ones, or changes to those, by name.
    pub(super) providers: BTreeMap<String, RawProvider>,
    /// Prices that replace the catalogue's, by `PROVIDER/MODEL`.
    pub(super) prices: BTreeMap<String, OneOrMany<RawPrice>>,
    /// What happens to a call whose model has no known price.
    pub(super) unknown_price: UnknownPrice,
    /// The record of all calls on disk.
    pub(super) ledger: RawLedger,
    /// What `/metrics` shows.
    pub(super) metrics: RawMetrics,
    /// Names of applications beside the built-in ones: a process below one of them belongs to it
    /// (`my-agent` → `node` → `curl`).
    pub(super) apps: Vec<String>,
    /// The agent's own log.
    pub(super) log: RawLog,
}

impl Default for Raw {
    fn default() -> Self {
        Self {
            mode: Mode::default(),
            environment: "default".to_owned(),
            listen: RawListen::default(),
            capture: RawCapture::default(),
            trust: RawTrust::default(),
            on_untrusted: OnUntrusted::default(),
            limits: RawLimits::default(),
            providers: BTreeMap::new(),
            prices: BTreeMap::new(),
            unknown_price: UnknownPrice::default(),
            ledger: RawLedger::default(),
            metrics: RawMetrics::default(),
            apps: Vec::new(),
            log: RawLog::default(),
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Listen")]
pub(super) struct RawListen {
    /// Explicit proxy and gateway.
    pub(super) proxy: Address,
    /// Metrics, health and API over HTTP.
    pub(super) admin: Address,
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
pub(super) struct RawCapture {
    /// Whether to attach to the kernel: `auto` goes on without where that is not possible.
    pub(super) enabled: Toggle,
    /// Directory of the cgroup whose processes are captured; by default every process.
    pub(super) cgroup: Option<PathBuf>,
    /// Destination ports looked at.
    pub(super) ports: Vec<u16>,
    /// Destinations looked at beside the addresses of the providers' hosts.
    pub(super) cidrs: Vec<String>,
}

impl Default for RawCapture {
    fn default() -> Self {
        Self { enabled: Toggle::Auto, cgroup: None, ports: vec![443], cidrs: Vec::new() }
    }
}

#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Trust")]
pub(super) struct RawTrust {
    /// Take it that every client accepts the CA, whether or not `weir trust install` has run.
    pub(super) assume: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Limits")]
pub(super) struct RawLimits {
    /// Connections handled at a time; beyond it new ones go directly to the provider.
    pub(super) connections: u32,
    /// Largest request body that is read; a larger one is forwarded unread.
    pub(super) request_body: Size,
    /// Time a client has to send its TLS `ClientHello` and finish the handshake.
    pub(super) handshake_timeout: Span,
    /// Time to reach a provider.
    pub(super) connect_timeout: Span,
    /// How long a relayed connection that one side has finished may stay silent.
    pub(super) idle_timeout: Span,
    /// Time calls have to end when the agent stops.
    pub(super) drain_timeout: Span,
}

impl Default for RawLimits {
    fn default() -> Self {
        let seconds = |seconds| Span(Duration::from_secs(seconds));
        Self {
            connections: 10_000,
            request_body: Size(64 << 20),
            handshake_timeout: seconds(10),
            connect_timeout: seconds(10),
            idle_timeout: seconds(300),
            drain_timeout: seconds(30),
        }
    }
}

#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Provider")]
pub(super) struct RawProvider {
    /// Host names whose connections are captured. A host given as an IP address is reached by
    /// proxy and base URL only.
    pub(super) hosts: Vec<String>,
    /// Wire format; may be left out where the provider is named after it.
    pub(super) format: Option<Format>,
    /// Where the gateway sends calls for this provider.
    pub(super) base_url: Option<String>,
    /// Roots (PEM) that this provider's certificate is checked against, instead of the system's.
    pub(super) ca_file: Option<PathBuf>,
    /// Ask for usage in streams (`stream_options.include_usage`) where the client did not.
    pub(super) inject_usage: Option<bool>,
    /// Its tokens cost nothing.
    pub(super) free: bool,
    /// Prices that replace the catalogue's, by model.
    pub(super) prices: BTreeMap<String, OneOrMany<RawPrice>>,
}

/// Dollars per million tokens of each kind. A kind left out costs what the wider kind costs:
/// reasoning as output, audio and cache kinds as input.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Price list")]
pub(super) struct RawPrice {
    /// First day (UTC) on which these prices hold; without it they always held.
    pub(super) from: Option<Day>,
    /// Uncached input.
    pub(super) input: Option<Price>,
    /// Input read from the provider's cache.
    pub(super) cache_read: Option<Price>,
    /// Input written to the provider's cache for 5 minutes.
    pub(super) cache_write_5m: Option<Price>,
    /// Input written to the provider's cache for 1 hour.
    pub(super) cache_write_1h: Option<Price>,
    /// Output.
    pub(super) output: Option<Price>,
    /// Reasoning output.
    pub(super) reasoning: Option<Price>,
    /// Audio input.
    pub(super) audio_input: Option<Price>,
    /// Audio output.
    pub(super) audio_output: Option<Price>,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Ledger")]
pub(super) struct RawLedger {
    /// `always`, or how much time a power cut may take (`1s`).
    pub(super) sync: Fsync,
    /// How long rows are kept.
    pub(super) retention: Span,
}

impl Default for RawLedger {
    fn default() -> Self {
        Self { sync: Fsync::EverySecond, retention: Span(Duration::from_hours(90 * 24)) }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Metrics")]
pub(super) struct RawMetrics {
    /// Show workloads of all users; `false` hides whose they are.
    pub(super) per_user: bool,
    /// File with the token that readers of `/metrics` must send as `Authorization: Bearer`.
    pub(super) token_file: Option<PathBuf>,
}

impl Default for RawMetrics {
    fn default() -> Self {
        Self { per_user: true, token_file: None }
    }
}

#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Log")]
pub(super) struct RawLog {
    /// How much it says.
    pub(super) level: Level,
    /// How lines are written.
    pub(super) format: LogFormat,
}
