//! `/api/calls`: single calls, past and as they happen.

use std::str::FromStr;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de};

use super::money::{Tokens, Usd};
use crate::record::{
    Attempt, Billing, CallId, Decision, Flag, Kind, Outcome, Record, UsageSource, Via,
};

/// Which calls: the parameters of `/api/calls`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CallQuery {
    /// Began at or after this time.
    pub since: Option<Timestamp>,
    /// Began before this time.
    pub until: Option<Timestamp>,
    /// Only the newest so many.
    pub last: Option<u32>,
    /// Only calls after this one: with `limit` in the order in which they began, without in the
    /// order in which they ended.
    #[schemars(with = "Option<String>")]
    pub after: Option<CallId>,
    /// The first so many (1 to 1000), in the order in which they began; `next` of the answer is the
    /// `after` of what follows.
    pub limit: Option<u32>,
    /// Of this workload.
    pub workload: Option<String>,
    /// Of this process id.
    pub pid: Option<u32>,
    /// Of the user with this name or id.
    pub user: Option<String>,
    /// Of this team.
    pub team: Option<String>,
    /// To this provider.
    pub provider: Option<String>,
    /// Asked for, or answered by, this model.
    pub model: Option<String>,
    /// With this status.
    pub status: Option<StatusFilter>,
    /// With this end.
    pub outcome: Option<Outcome>,
    /// Of this kind; LLM calls only where it is `call`.
    pub kind: Option<Kind>,
    /// Go on with calls as they end. The server's part; an [`Agent`](super::Agent) ignores it.
    #[serde(deserialize_with = "switch")]
    #[schemars(with = "bool")]
    pub follow: bool,
    /// Only calls of this user id. Set by who asks, never by what is asked.
    #[serde(skip)]
    pub uid: Option<u32>,
}

fn switch<'de, D: Deserializer<'de>>(from: D) -> Result<bool, D::Error> {
    match String::deserialize(from)?.as_str() {
        "1" | "true" => Ok(true),
        "0" | "false" => Ok(false),
        other => Err(de::Error::custom(format!("`{other}` is not 1 or 0"))),
    }
}

impl CallQuery {
    /// Whether a call that just ended is one of those asked for.
    pub fn matches(&self, call: &CallRow) -> bool {
        let same = |wanted: &Option<String>, found: &str| {
            wanted.as_deref().is_none_or(|wanted| wanted == found)
        };
        let model = self.model.is_none()
            || [&call.model, &call.model_served].into_iter().any(|found| *found == self.model);
        same(&self.workload, &call.workload)
            && (same(&self.user, &call.user) || same(&self.user, &call.uid.to_string()))
            && self.team.as_deref().is_none_or(|team| call.team.as_deref() == Some(team))
            && same(&self.provider, &call.provider)
            && model
            && self.pid.is_none_or(|pid| pid == call.pid)
            && self.uid.is_none_or(|uid| uid == call.uid)
            && self.status.is_none_or(|status| status.matches(call.status))
            && self.outcome.is_none_or(|outcome| call.outcome == Some(outcome))
            && self.kind.is_none_or(|kind| kind == call.kind)
            && self.since.is_none_or(|since| call.started_at >= since)
            && self.until.is_none_or(|until| call.started_at < until)
    }
}

/// One status (`429`) or a class of them (`4xx`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub enum StatusFilter {
    /// This one.
    Exact(u16),
    /// The hundreds: 4 for `4xx`.
    Class(u16),
}

impl StatusFilter {
    /// Whether a call with this status is meant; one without a status never is.
    pub fn matches(self, status: Option<u16>) -> bool {
        status.is_some_and(|status| match self {
            Self::Exact(wanted) => status == wanted,
            Self::Class(hundreds) => status / 100 == hundreds,
        })
    }
}

impl std::fmt::Display for StatusFilter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exact(status) => status.fmt(f),
            Self::Class(hundreds) => write!(f, "{hundreds}xx"),
        }
    }
}

impl TryFrom<String> for StatusFilter {
    type Error = NotAStatus;

    fn try_from(word: String) -> Result<Self, NotAStatus> {
        word.parse()
    }
}

impl From<StatusFilter> for String {
    fn from(filter: StatusFilter) -> Self {
        filter.to_string()
    }
}

/// The word is no status.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a status (`429`) or a class of them (`4xx`)")]
pub struct NotAStatus(String);

impl FromStr for StatusFilter {
    type Err = NotAStatus;

    fn from_str(word: &str) -> Result<Self, NotAStatus> {
        let (digits, class) =
            word.strip_suffix("xx").map_or((word, false), |hundreds| (hundreds, true));
        match digits.parse::<u16>() {
            Ok(hundreds @ 1..=5) if class => Ok(Self::Class(hundreds)),
            Ok(status @ 100..=599) if !class => Ok(Self::Exact(status)),
            _ => Err(NotAStatus(word.to_owned())),
        }
    }
}

/// Calls, oldest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Calls {
    /// Version of this shape.
    pub schema_version: u32,
    /// The calls.
    pub rows: Vec<CallRow>,
    /// Where a `limit` was given: to be sent as `after` for what follows; `null` after the last.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub next: Option<CallId>,
}

/// One call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CallRow {
    /// Identifies it.
    #[schemars(with = "String")]
    pub call_id: CallId,
    /// When its head had been read.
    pub started_at: Timestamp,
    /// Call, other request, or opaque.
    pub kind: Kind,
    /// How it reached the agent.
    pub via: Via,
    /// Workload.
    pub workload: String,
    /// Application group.
    pub app: Option<String>,
    /// systemd unit.
    pub unit: Option<String>,
    /// Container.
    pub container: Option<String>,
    /// Process id.
    pub pid: u32,
    /// Executable.
    pub exe: String,
    /// Command line, keys redacted.
    pub command: String,
    /// User id.
    pub uid: u32,
    /// User's name, or the id where it has none.
    pub user: String,
    /// `X-Agent-Name` as sent.
    pub agent_name: Option<String>,
    /// Environment.
    pub environment: String,
    /// The team it belongs to.
    #[serde(default)]
    pub team: Option<String>,
    /// The account behind the credential, as a keyed hash.
    #[serde(default)]
    pub account: Option<String>,
    /// Provider.
    pub provider: String,
    /// Host.
    pub host: String,
    /// Operation (`chat`, `messages`, …).
    pub operation: String,
    /// Request method.
    pub method: String,
    /// Request path, without the query.
    pub path: String,
    /// Model asked for.
    pub model: Option<String>,
    /// Model that answered.
    pub model_served: Option<String>,
    /// Whether the answer was a stream.
    pub stream: bool,
    /// Status sent to the client.
    pub status: Option<u16>,
    /// How it ended; `null` while it is open.
    pub outcome: Option<Outcome>,
    /// What went wrong, in one line.
    pub error: Option<String>,
    /// Tokens by kind.
    #[serde(flatten)]
    pub tokens: Tokens,
    /// Where the counts come from.
    pub usage_source: UsageSource,
    /// Cost; `null` where unknown.
    pub cost_usd: Option<Usd>,
    /// How it is paid for.
    pub billing: Billing,
    /// Version of the prices.
    pub price_version: Option<String>,
    /// Number of tries.
    pub attempts: u32,
    /// The call this one repeats.
    #[schemars(with = "Option<String>")]
    pub retry_of: Option<CallId>,
    /// Milliseconds to the first content byte of a stream.
    pub ttft_ms: Option<f64>,
    /// Milliseconds to the last byte; `null` while it is open.
    pub latency_ms: Option<f64>,
    /// Part of it spent waiting for the provider.
    pub upstream_ms: Option<f64>,
    /// Request body bytes.
    pub bytes_in: u64,
    /// Response body bytes.
    pub bytes_out: u64,
    /// What a reader of the figures should know.
    pub flags: Vec<Flag>,
}

impl From<&Record> for CallRow {
    fn from(record: &Record) -> Self {
        let process = &record.subject.process;
        let user = process.user.as_deref().map_or_else(|| process.uid.to_string(), str::to_owned);
        Self {
            call_id: record.call_id,
            started_at: timestamp(record.started_at),
            kind: record.kind,
            via: record.via,
            workload: record.subject.workload.name.to_string(),
            app: record.subject.workload.app.as_deref().map(str::to_owned),
            unit: record.subject.workload.unit.as_deref().map(str::to_owned),
            container: record.subject.workload.container.as_deref().map(str::to_owned),
            pid: process.pid,
            exe: process.exe.to_string(),
            command: process.command.to_string(),
            uid: process.uid,
            user,
            agent_name: record.agent_name.as_deref().map(str::to_owned),
            environment: record.environment.to_string(),
            team: record.team.as_deref().map(str::to_owned),
            account: record.account.as_deref().map(str::to_owned),
            provider: record.provider.to_string(),
            host: record.host.to_string(),
            operation: record.operation.to_string(),
            method: record.method.to_string(),
            path: record.path.to_string(),
            model: record.model.as_deref().map(str::to_owned),
            model_served: record.model_served.as_deref().map(str::to_owned),
            stream: record.stream,
            status: record.status,
            outcome: Some(record.outcome),
            error: record.error.clone(),
            tokens: record.usage.into(),
            usage_source: record.usage_source,
            cost_usd: record.cost.map(Usd),
            billing: record.billing,
            price_version: record.price_version.as_deref().map(str::to_owned),
            attempts: u32::try_from(record.attempts.len()).unwrap_or(u32::MAX),
            retry_of: record.retry_of,
            ttft_ms: record.ttft.map(milliseconds),
            latency_ms: Some(milliseconds(record.latency)),
            upstream_ms: Some(milliseconds(record.upstream)),
            bytes_in: record.bytes_in,
            bytes_out: record.bytes_out,
            flags: record.flags.clone(),
        }
    }
}

/// One call with everything that was done about it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CallDetail {
    /// Version of this shape.
    pub schema_version: u32,
    /// The call.
    pub call: CallRow,
    /// Where it was sent, without the query.
    pub url: String,
    /// Each try, in order.
    pub attempts: Vec<AttemptRow>,
    /// Each decision, in order.
    pub decisions: Vec<DecisionRow>,
}

/// One try at one provider.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AttemptRow {
    /// When it began.
    pub started_at: Timestamp,
    /// Provider.
    pub provider: String,
    /// Model asked for.
    pub model: Option<String>,
    /// Status of the answer.
    pub status: Option<u16>,
    /// How it ended.
    pub outcome: Outcome,
    /// Milliseconds spent waiting for the provider.
    pub upstream_ms: Option<f64>,
    /// Its own cost; `null` where unknown.
    pub cost_usd: Option<Usd>,
}

impl From<&Attempt> for AttemptRow {
    fn from(attempt: &Attempt) -> Self {
        Self {
            started_at: timestamp(attempt.started_at),
            provider: attempt.provider.to_string(),
            model: attempt.model.as_deref().map(str::to_owned),
            status: attempt.status,
            outcome: attempt.outcome,
            upstream_ms: Some(milliseconds(attempt.upstream)),
            cost_usd: attempt.cost.map(Usd),
        }
    }
}

/// One decision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DecisionRow {
    /// Milliseconds since the call began.
    pub at_ms: Option<f64>,
    /// What decided.
    pub rule: String,
    /// What was decided.
    pub action: String,
    /// The figures it rests on.
    pub detail: String,
}

impl From<&Decision> for DecisionRow {
    fn from(decision: &Decision) -> Self {
        Self {
            at_ms: Some(milliseconds(decision.at)),
            rule: decision.rule.to_string(),
            action: decision.action.to_string(),
            detail: decision.detail.to_string(),
        }
    }
}

/// To the microsecond, as the ledger has it. Times outside of what a timestamp can hold (years −9999
/// to 9999) become the epoch.
fn timestamp(at: std::time::SystemTime) -> Timestamp {
    let at = Timestamp::try_from(at).unwrap_or_default();
    Timestamp::from_microsecond(at.as_microsecond()).unwrap_or(at)
}

fn milliseconds(span: std::time::Duration) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "exact for the first 285 years")]
    let micros = span.as_micros() as f64;
    micros / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::sample::sample;

    #[test]
    fn users_are_named_or_numbered() {
        let call = CallRow { user: "alice".to_owned(), uid: 1000, ..sample() };
        let of = |user: &str| CallQuery { user: Some(user.to_owned()), ..CallQuery::default() };
        assert!(of("alice").matches(&call) && of("1000").matches(&call));
        assert!(!of("bob").matches(&call) && !of("100").matches(&call));
    }

    #[test]
    fn status_filters() {
        let class: StatusFilter = "4xx".parse().unwrap();
        assert!(class.matches(Some(429)) && !class.matches(Some(500)) && !class.matches(None));
        assert_eq!("429".parse::<StatusFilter>().unwrap(), StatusFilter::Exact(429));
        for word in ["", "xx", "9xx", "42", "4xxx", "-1"] {
            assert!(word.parse::<StatusFilter>().is_err(), "{word}");
        }
    }
}
