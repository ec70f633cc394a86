//! What is known when a call is over, and the way it reaches whoever keeps it.
//!
//! Exactly one [`Record`] exists per client request, whatever its end was.

mod class;
mod figures;
pub mod trace;
mod notice;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

pub use self::class::FailureClass;
pub(crate) use self::figures::Amount;
pub use self::figures::{Detail, Figures, Limits, More, Quantity};
pub use self::notice::{Finding, Notice, Topic};
pub use crate::llm::call::Kind;
use crate::llm::usage::{NanoUsd, Usage};
use crate::subject::Subject;

/// Identifies a call: a ULID, so that ids sort by start time. Sent as `x-weir-call-id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CallId(pub ulid::Ulid);

impl std::fmt::Display for CallId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::str::FromStr for CallId {
    type Err = ulid::DecodeError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        ulid::Ulid::from_string(s).map(Self)
    }
}

/// How the request reached the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Via {
    /// Redirected by the kernel half.
    Intercept,
    /// `CONNECT host:443` on the explicit proxy, TLS terminated.
    Connect,
    /// Absolute-form request (`POST http://host/…`) on the explicit proxy.
    Forward,
    /// A base URL of the gateway (`/openai/v1/…`).
    Gateway,
}

impl Via {
    /// The listener it came to, in one word for metrics.
    pub fn listener(self) -> &'static str {
        match self {
            Self::Intercept => "intercept",
            Self::Connect | Self::Forward | Self::Gateway => "proxy",
        }
    }
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A 2xx or 3xx answer arrived whole.
    Ok,
    /// The provider answered with a 4xx (other than 429) or 5xx status.
    UpstreamError,
    /// The provider answered 429.
    RateLimited,
    /// An error event inside a 2xx stream.
    StreamError,
    /// The connection to the provider failed before a response head.
    ConnectError,
    /// The provider's response stopped before its end.
    UpstreamCut,
    /// The client went away before the end.
    ClientAbort,
    /// The agent refused the request (bad request, policy).
    Refused,
    /// The agent failed; a bug.
    Internal,
    /// The agent stopped or died while the call was open; settled at the next start.
    Lost,
}

/// Where the token counts come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UsageSource {
    /// Reported by the provider.
    Reported,
    /// Estimated from the bytes seen, because the report never arrived.
    Estimated,
    /// Not known, and no estimate is possible.
    Unknown,
    /// The exchange uses no tokens (a model list, a refused call).
    None,
}

/// How a call is paid for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Billing {
    /// Per token, at catalogue prices.
    Metered,
    /// Under a flat plan: the dollars are notional.
    Subscription,
    /// The credential does not tell.
    Unknown,
}

/// One try at one provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Provider's name.
    pub provider: Arc<str>,
    /// Model asked for in this attempt.
    pub model: Option<Arc<str>>,
    /// When it began.
    pub started_at: SystemTime,
    /// Status of the answer, where there was one.
    pub status: Option<u16>,
    /// How it ended.
    pub outcome: Outcome,
    /// Time spent waiting for the provider in this attempt.
    pub upstream: Duration,
    /// What this attempt cost on its own; `None` where unknown.
    pub cost: Option<NanoUsd>,
}

/// Something that happened to a call which a reader of its figures should know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Flag {
    /// The caller had already exited; attribution rests on what the kernel saved.
    Unverified,
    /// The body exceeded the limit and was forwarded unread.
    BodyUnread,
    /// The body was not what the path promises; forwarded unchanged.
    BodyUnparsed,
    /// The response carried no usage that could be read.
    UsageMissing,
    /// `stream_options.include_usage` was added, and the chunk it caused removed.
    UsageInjected,
    /// A limit on the output was written into the request: the budget buys no more.
    OutputCapped,
    /// A policy ended the stream: it had come to more than the budget had left.
    StreamCut,
}

/// One decision taken on a call, for `weir explain`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// Time since the call began.
    pub at: Duration,
    /// What decided: `route`, `classify`, `price`, or a policy's name.
    pub rule: Arc<str>,
    /// What was decided, in a few words: `provider openai`, `allow`.
    pub action: Arc<str>,
    /// The figures it rests on.
    pub detail: Detail,
}

/// Everything known about one client request when it is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Identifies the call.
    pub call_id: CallId,
    /// When the request's head had been read.
    pub started_at: SystemTime,
    /// Call, other request, or opaque.
    pub kind: Kind,
    /// How it reached the agent.
    pub via: Via,
    /// Who made it.
    pub subject: Arc<Subject>,
    /// `environment` of the configuration.
    pub environment: Arc<str>,
    /// The team the workload or the user belongs to, where the configuration names one.
    #[serde(default)]
    pub team: Option<Arc<str>>,
    /// The account behind the credential, as a keyed hash; never the credential.
    #[serde(default)]
    pub account: Option<Arc<str>>,
    /// `X-Agent-Name` as sent: refines within a workload, never replaces it.
    pub agent_name: Option<Arc<str>>,
    /// Provider's name (`openai`).
    pub provider: Arc<str>,
    /// Host asked for.
    pub host: Arc<str>,
    /// Operation (`chat`, `responses`, `messages`, …; `other` for opaque paths).
    pub operation: Arc<str>,
    /// Request method and path, without the query.
    pub method: Arc<str>,
    /// See `method`.
    pub path: Arc<str>,
    /// Model asked for.
    pub model: Option<Arc<str>>,
    /// Model that answered, as the provider names it.
    pub model_served: Option<Arc<str>>,
    /// Whether the answer was a stream of events.
    pub stream: bool,
    /// Status sent to the client, where one was.
    pub status: Option<u16>,
    /// How it ended.
    pub outcome: Outcome,
    /// What went wrong, in one line without content or secrets.
    pub error: Option<String>,
    /// Tokens by kind; meaningful as `usage_source` says.
    pub usage: Usage,
    /// Where `usage` comes from.
    pub usage_source: UsageSource,
    /// Cost of all attempts; `None` where the price or the usage is unknown.
    pub cost: Option<NanoUsd>,
    /// How it is paid for.
    pub billing: Billing,
    /// Date or version of the prices used.
    pub price_version: Option<Arc<str>>,
    /// Every try, in order.
    pub attempts: Vec<Attempt>,
    /// The call this one repeats, where the client's SDK says so.
    pub retry_of: Option<CallId>,
    /// From the request's head to the first content byte of a stream.
    pub ttft: Option<Duration>,
    /// From the request's head to the last byte of the response.
    pub latency: Duration,
    /// Part of `latency` spent waiting for the provider or for the client's request body.
    pub upstream: Duration,
    /// Request body bytes.
    pub bytes_in: u64,
    /// Response body bytes.
    pub bytes_out: u64,
    /// What a reader of the figures should know.
    pub flags: Vec<Flag>,
    /// Every decision taken, in order.
    pub decisions: Vec<Decision>,
    /// Its place in a trace, where it is kept; for whoever sends it on, and not written down.
    #[serde(skip)]
    pub trace: Option<Box<trace::Trace>>,
}

/// What is known when a call begins, kept so that a call open at a crash is not lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opened {
    /// Identifies the call.
    pub call_id: CallId,
    /// When the request's head had been read.
    pub started_at: SystemTime,
    /// Call, other request, or opaque.
    pub kind: Kind,
    /// How it reached the agent.
    pub via: Via,
    /// Who made it.
    pub subject: Arc<Subject>,
    /// `environment` of the configuration.
    pub environment: Arc<str>,
    /// The team it belongs to.
    pub team: Option<Arc<str>>,
    /// The account behind the credential, as a keyed hash.
    pub account: Option<Arc<str>>,
    /// `X-Agent-Name` as sent.
    pub agent_name: Option<Arc<str>>,
    /// Provider's name.
    pub provider: Arc<str>,
    /// Host asked for.
    pub host: Arc<str>,
    /// Operation.
    pub operation: Arc<str>,
    /// Request method.
    pub method: Arc<str>,
    /// Request path without the query.
    pub path: Arc<str>,
    /// Model asked for.
    pub model: Option<Arc<str>>,
}

/// How a connection to an LLM host was treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Treatment {
    /// TLS terminated; its calls are recorded.
    Metered,
    /// Relayed unread.
    Opaque,
    /// Never redirected; seen by the kernel half only.
    Direct,
    /// Refused.
    Blocked,
}

/// One connection to an LLM host, when it is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// When it was opened.
    pub opened_at: SystemTime,
    /// How long it lasted.
    pub duration: Duration,
    /// Who opened it.
    pub subject: Arc<Subject>,
    /// Provider's name; `unknown` where the host is none of ours.
    pub provider: Arc<str>,
    /// Host name, or the address where no name is known.
    pub host: Arc<str>,
    /// How it was treated.
    pub treatment: Treatment,
    /// Why, where it was not metered: `untrusted`, `observe`, `no_sni`, `not_tls`, `not_llm`, `fail_open`, ….
    pub reason: Arc<str>,
    /// Bytes from the client to the host.
    pub bytes_up: u64,
    /// Bytes from the host to the client.
    pub bytes_down: u64,
    /// Whether it failed to open.
    pub failed: bool,
}

/// Whether a record is safe from the death of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// The record is with the kernel: it survives `kill -9`.
    Kept,
    /// It could not be written (disk full); counted by the ledger.
    Dropped,
}

/// Whoever takes records. Implementations never block the caller.
pub trait Sink: Send + Sync + std::fmt::Debug {
    /// A call began.
    fn open(&self, opened: Opened);
    /// A call is over; the receiver resolves once the record survives the death of the process.
    /// A receiver that errs means the same as [`Durability::Dropped`].
    fn settle(&self, record: Arc<Record>) -> oneshot::Receiver<Durability>;
    /// A connection to an LLM host is over.
    fn connection(&self, connection: Connection);
    /// A client showed that it does not accept our certificates, by this signal (a fixed word).
    /// For takers that count; others have nothing to do.
    fn distrusted(&self, _signal: &'static str) {}
    /// A client did what none should (a fixed word), at this listener (another); as above.
    fn fault(&self, _listener: &'static str, _fault: &'static str) {}
    /// A response went out before its record was confirmed to be safe: the wait for it is bounded.
    /// For takers that count; others have nothing to do.
    fn unconfirmed(&self) {}
    /// Something happened that people may want to be told of. Never blocks.
    fn notice(&self, _notice: Notice) {}
    /// A policy wants whoever made a call to be frozen. For whoever can; never blocks.
    fn freeze(&self, _subject: &Arc<Subject>, _policy: &Arc<str>) {}
}
