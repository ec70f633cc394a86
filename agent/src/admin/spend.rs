//! `/api/spend`: calls, tokens and dollars over a span of time, by anything.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::money::{Coverage, Tokens, Usd};

/// What spend can be grouped by.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Dimension {
    /// Workload.
    Workload,
    /// Process instance.
    Process,
    /// User.
    User,
    /// Team.
    Team,
    /// Provider.
    Provider,
    /// Model that answered.
    Model,
    /// Environment.
    Environment,
    /// systemd unit.
    Unit,
    /// Container.
    Container,
    /// Application group.
    App,
}

impl Dimension {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Workload,
        Self::Process,
        Self::User,
        Self::Team,
        Self::Provider,
        Self::Model,
        Self::Environment,
        Self::Unit,
        Self::Container,
        Self::App,
    ];

    /// The word for it on the command line and in the API.
    pub fn word(self) -> &'static str {
        match self {
            Self::Workload => "workload",
            Self::Process => "process",
            Self::User => "user",
            Self::Team => "team",
            Self::Provider => "provider",
            Self::Model => "model",
            Self::Environment => "environment",
            Self::Unit => "unit",
            Self::Container => "container",
            Self::App => "app",
        }
    }
}

impl std::fmt::Display for Dimension {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.word())
    }
}

/// The word is no dimension.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{0}` is not one of workload, process, user, team, provider, model, environment, unit, container, app"
)]
pub struct NotADimension(String);

impl std::str::FromStr for Dimension {
    type Err = NotADimension;

    fn from_str(word: &str) -> Result<Self, NotADimension> {
        let found = Self::ALL.into_iter().find(|dimension| dimension.word() == word);
        found.ok_or_else(|| NotADimension(word.to_owned()))
    }
}

/// Calendar periods that rows are split into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Bucket {
    /// `2026-11-22`.
    Day,
    /// The Monday it begins with: `2026-11-16`.
    Week,
    /// `2026-11`.
    Month,
}

/// Which calls, and how they are grouped: the parameters of `/api/spend`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SpendQuery {
    /// Calls that began at or after this time.
    pub since: Option<Timestamp>,
    /// Calls that began before this time.
    pub until: Option<Timestamp>,
    /// Groups; empty is one row.
    #[serde(with = "commas")]
    #[schemars(with = "String")]
    pub by: Vec<Dimension>,
    /// Periods, first key of the grouping.
    pub bucket: Option<Bucket>,
    /// Where the calendar of the periods is: an IANA name, or an offset from UTC.
    #[serde(with = "zone")]
    #[schemars(with = "String")]
    pub zone: TimeZone,
    /// Only calls of this user id. Set by who asks, never by what is asked.
    #[serde(skip)]
    pub uid: Option<u32>,
}

impl Default for SpendQuery {
    fn default() -> Self {
        let zone = TimeZone::UTC;
        Self { since: None, until: None, by: Vec::new(), bucket: None, zone, uid: None }
    }
}

/// A time zone as one word. UTC needs no zone database, which small systems lack.
pub(super) mod zone {
    use jiff::fmt::serde::tz::required;
    use jiff::tz::TimeZone;
    use serde::de::IntoDeserializer;
    use serde::{Deserialize, Deserializer};

    pub(in crate::admin) use required::serialize;

    pub(in crate::admin) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<TimeZone, D::Error> {
        match String::deserialize(from)?.as_str() {
            "UTC" => Ok(TimeZone::UTC),
            word => required::deserialize(word.into_deserializer()),
        }
    }
}

/// Dimensions as one word: `provider,model`.
mod commas {
    use serde::{Deserialize, Deserializer, Serializer, de};

    use super::Dimension;

    pub(super) fn serialize<S: Serializer>(by: &[Dimension], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&by.iter().map(|by| by.word()).collect::<Vec<_>>().join(","))
    }

    pub(super) fn deserialize<'de, D>(from: D) -> Result<Vec<Dimension>, D::Error>
    where
        D: Deserializer<'de>,
    {
        let words = String::deserialize(from)?;
        let words = words.split(',').filter(|word| !word.is_empty());
        words.map(|word| word.parse().map_err(de::Error::custom)).collect()
    }
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Spend {
    /// Version of this shape.
    pub schema_version: u32,
    /// Start of the span.
    pub since: Option<Timestamp>,
    /// End of the span.
    pub until: Option<Timestamp>,
    /// One per group.
    pub rows: Vec<SpendRow>,
    /// All of them together.
    pub total: SpendRow,
    /// Share of connections to LLM hosts in the span that were metered.
    pub coverage: Coverage,
}

/// Calls, tokens and dollars of one group. Keys not grouped by are absent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SpendRow {
    /// The period, as [`Bucket`] writes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub period: Option<String>,
    /// Workload.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workload: Option<String>,
    /// Process instance (`python3[4711]`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<String>,
    /// User.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Team.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub team: Option<String>,
    /// Provider.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// Model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Environment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// systemd unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// Container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// Application group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app: Option<String>,
    /// LLM calls.
    pub calls: u64,
    /// Other requests on LLM hosts.
    pub requests: u64,
    /// Requests that were not understood.
    pub opaque: u64,
    /// Calls that did not end well.
    pub errors: u64,
    /// Tokens by kind.
    #[serde(flatten)]
    pub tokens: Tokens,
    /// Cost of the calls whose cost is known.
    pub cost_usd: Usd,
    /// Part of it that is notional, because a flat plan pays.
    pub subscription_usd: Usd,
    /// Calls whose cost is not known.
    pub unpriced_calls: u64,
    /// Calls whose tokens are estimated.
    pub estimated_calls: u64,
    /// Share of the group's connections that were metered (0 to 1); absent where none was seen or
    /// connections cannot be grouped this way.
    pub coverage: Option<f64>,
}

impl SpendRow {
    /// The group's key along a dimension.
    pub fn key(&self, dimension: Dimension) -> Option<&str> {
        match dimension {
            Dimension::Workload => &self.workload,
            Dimension::Process => &self.process,
            Dimension::User => &self.user,
            Dimension::Team => &self.team,
            Dimension::Provider => &self.provider,
            Dimension::Model => &self.model,
            Dimension::Environment => &self.environment,
            Dimension::Unit => &self.unit,
            Dimension::Container => &self.container,
            Dimension::App => &self.app,
        }
        .as_deref()
    }

    /// Names the group along a dimension.
    pub fn name(&mut self, dimension: Dimension, key: String) {
        let field = match dimension {
            Dimension::Workload => &mut self.workload,
            Dimension::Process => &mut self.process,
            Dimension::User => &mut self.user,
            Dimension::Team => &mut self.team,
            Dimension::Provider => &mut self.provider,
            Dimension::Model => &mut self.model,
            Dimension::Environment => &mut self.environment,
            Dimension::Unit => &mut self.unit,
            Dimension::Container => &mut self.container,
            Dimension::App => &mut self.app,
        };
        *field = Some(key);
    }
}
