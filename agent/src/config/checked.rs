//! The configuration as the agent uses it: values that cannot be wrong.

use std::net::{IpAddr, SocketAddr};
use std::num::{NonZeroU16, NonZeroU32, NonZeroU64};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::problem::Problem;
use super::raw::{Format, Level, LogFormat, Mode, OnAgentFailure, OnUntrusted, UnknownPrice};
use super::secret::SecretSource;
use super::value::{Fsync, Toggle};
use crate::alerts::settings::Settings;
use crate::llm::usage::NanoUsd;
use crate::policy;
use crate::subject::Pick;
use crate::telemetry::settings::SampleRate;
use crate::watch::settings as watch;
use crate::webhooks::settings as webhooks;

/// A whole configuration without faults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// How much the agent does.
    pub mode: Mode,
    /// Name of the environment.
    pub environment: Arc<str>,
    /// The user to become when started as root.
    pub user: Arc<str>,
    /// Where the agent listens.
    pub listen: Listen,
    /// The kernel half.
    pub capture: Capture,
    /// How far one goes with connections of other network namespaces.
    pub containers: policy::containers::Containers,
    /// Whether every client is taken to accept the CA.
    pub trust_assumed: bool,
    /// What happens to a client that does not accept the CA.
    pub on_untrusted: OnUntrusted,
    /// What happens to connections while the agent is dead or hangs.
    pub on_agent_failure: OnAgentFailure,
    /// Bounds and timeouts.
    pub limits: Limits,
    /// Providers added or changed, by name.
    pub providers: Vec<ProviderEntry>,
    /// Prices that replace the catalogue's, oldest first within a model.
    pub prices: Vec<PriceOverride>,
    /// What happens to a call whose model has no known price.
    pub unknown_price: UnknownPrice,
    /// Limits, budgets, guardrails.
    pub policy: policy::Settings,
    /// Failover, retries, breakers, timeouts.
    pub reliability: policy::reliability::Settings,
    /// Who is told when something happens.
    pub alerts: Alerts,
    /// Webhooks that others call.
    pub webhooks: webhooks::Settings<SecretSource>,
    /// What is sent to a collector; `None` is nothing.
    pub tracing: Option<Tracing>,
    /// How much may fail, how long it may take, and what spending is unusual.
    pub watching: watch::Settings,
    /// The ledger.
    pub ledger: Ledger,
    /// What `/metrics` shows.
    pub metrics: Metrics,
    /// Application names beside the built-in ones.
    pub apps: Vec<Arc<str>>,
    /// The agent's own log.
    pub log: Log,
    /// Whether changed files are taken over by themselves.
    pub watch: bool,
    /// What does no harm and should be known.
    pub warnings: Vec<Problem>,
}

/// Listeners; `None` is off. Always loopback addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listen {
    /// Explicit proxy and gateway.
    pub proxy: Option<SocketAddr>,
    /// Metrics, health, API.
    pub admin: Option<SocketAddr>,
}

/// The kernel half.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capture {
    /// Whether to attach.
    pub enabled: Toggle,
    /// Cgroup directory to attach to; `None` is the root of the cgroup2 tree.
    pub cgroup: Option<PathBuf>,
    /// Destination ports; at least one, none twice.
    pub ports: Vec<NonZeroU16>,
    /// Destinations beside the providers' addresses.
    pub cidrs: Vec<IpNet>,
    /// Workloads captured wherever they connect to.
    pub all: Vec<Pick>,
    /// Whether QUIC to the destinations is refused.
    pub refuse_quic: bool,
    /// Proxies of the network, through which clients may reach providers.
    pub proxies: Vec<NetworkProxy>,
}

impl Capture {
    /// Ports of destinations and of proxies, each once.
    pub fn all_ports(&self) -> Vec<NonZeroU16> {
        let mut all = self.ports.clone();
        for proxy in &self.proxies {
            if !all.contains(&proxy.port) {
                all.push(proxy.port);
            }
        }
        all
    }
}

/// A proxy that clients are set to use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkProxy {
    /// Its host.
    pub host: Host,
    /// Its port.
    pub port: NonZeroU16,
}

/// Bounds and timeouts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections at a time.
    pub connections: NonZeroU32,
    /// Largest request body read, in bytes.
    pub request_body: NonZeroU64,
    /// For a client's TLS handshake.
    pub handshake_timeout: Duration,
    /// For the head of a request.
    pub header_timeout: Duration,
    /// Between two requests on one connection.
    pub keep_alive_timeout: Duration,
    /// For reaching a provider.
    pub connect_timeout: Duration,
    /// How long a relayed connection that one side has finished may stay silent.
    pub idle_timeout: Duration,
    /// How long calls may take to end when the agent stops.
    pub drain_timeout: Duration,
}

/// A host of a provider.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Host {
    /// A DNS name in lower case, without a trailing dot.
    Name(Arc<str>),
    /// An address: reached by proxy and base URL only.
    Address(IpAddr),
}

impl std::fmt::Display for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(address) => address.fmt(f),
        }
    }
}

/// A provider added, or a built-in one changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderEntry {
    /// Its name.
    pub name: Arc<str>,
    /// Its hosts; empty leaves a built-in provider's as they are.
    pub hosts: Vec<Host>,
    /// Its wire format.
    pub format: Format,
    /// Where the gateway sends its calls: `http` or `https`, with a host, without a query.
    pub base_url: Option<http::Uri>,
    /// Roots its certificate is checked against (a file that exists).
    pub ca_file: Option<PathBuf>,
    /// Whether usage is asked for in streams; `None` leaves it to the provider table.
    pub inject_usage: Option<bool>,
    /// Its tokens cost nothing.
    pub free: bool,
    /// Where its key is.
    pub api_key: Option<SecretSource>,
    /// Where its calls go, when there are several; each has a name of its own.
    pub endpoints: Vec<EndpointEntry>,
}

/// One of several endpoints of a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointEntry {
    /// Its name.
    pub name: Arc<str>,
    /// Where it is; `None` is the provider's own place.
    pub base_url: Option<http::Uri>,
    /// Its share of the calls, beside the others'.
    pub weight: NonZeroU32,
    /// What it is sent as a credential.
    pub credential: EndpointCredential,
    /// Roots its certificate is checked against (a file that exists).
    pub ca_file: Option<PathBuf>,
}

/// What an endpoint is sent as a credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EndpointCredential {
    /// Its own key.
    Own(SecretSource),
    /// What the client sends.
    Client,
    /// Nothing.
    Nothing,
}

/// Prices of one model from some day on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriceOverride {
    /// Provider's name.
    pub provider: Arc<str>,
    /// Model's name.
    pub model: Arc<str>,
    /// First day (UTC) on which they hold; `None` is always.
    pub from: Option<jiff::civil::Date>,
    /// The prices.
    pub rates: Rates,
}

/// Money per million tokens of each kind. What the file leaves out has been filled in: reasoning
/// as output, every input kind as input, audio output as output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rates {
    /// Uncached input.
    pub input: NanoUsd,
    /// Input read from the provider's cache.
    pub cache_read: NanoUsd,
    /// Input written to the provider's cache for 5 minutes.
    pub cache_write_5m: NanoUsd,
    /// Input written to the provider's cache for 1 hour.
    pub cache_write_1h: NanoUsd,
    /// Output.
    pub output: NanoUsd,
    /// Reasoning output.
    pub reasoning: NanoUsd,
    /// Audio input.
    pub audio_input: NanoUsd,
    /// Audio output.
    pub audio_output: NanoUsd,
}

/// The ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ledger {
    /// How often rows are forced to the disk.
    pub sync: Fsync,
    /// How long rows are kept.
    pub retention: Duration,
}

/// What `/metrics` shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metrics {
    /// Workloads of all users are named.
    pub per_user: bool,
    /// File with the token that readers must send.
    pub token_file: Option<PathBuf>,
    /// How long series stay that nothing is added to.
    pub series_ttl: Duration,
}

/// The agent's own log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Log {
    /// How much it says.
    pub level: Level,
    /// How lines are written.
    pub format: LogFormat,
}

/// What is sent to a collector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tracing {
    /// Where to, and what.
    pub settings: crate::telemetry::settings::Settings<SecretSource>,
    /// The share of calls that are traced.
    pub sample_rate: SampleRate,
    /// What vouches for the collector.
    pub ca_file: Option<PathBuf>,
}

/// Who is told when something happens.
pub type Alerts = Settings<SecretSource>;
