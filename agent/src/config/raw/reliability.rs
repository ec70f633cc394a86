//! Failover, retries, breakers and timeouts, as written.

use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::config::value::Span;

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Failover")]
pub(in crate::config) struct RawFailover {
    /// Other models asked for one call at most.
    pub(in crate::config) max_retries: u32,
    /// What to ask instead, by model; `*` is any without a chain of its own. Links are `MODEL`,
    /// `PROVIDER/MODEL` or `tier:NAME`.
    pub(in crate::config) chains: BTreeMap<String, RawChain>,
    /// Failures after which another model is asked: timeout, connect, tls, reset, overloaded,
    /// `server_error` by default; also `rate_limit`, quota, auth, invalid.
    pub(in crate::config) fallback_on: Option<Vec<String>>,
    /// Features that may get lost where another provider is asked (`seed`, `penalties`, …).
    pub(in crate::config) allow_loss: Vec<String>,
    /// How far all chains go that do not say it themselves: off, shadow, enforce, canary:PERCENT.
    pub(in crate::config) enforcement: Option<String>,
}

impl Default for RawFailover {
    fn default() -> Self {
        Self {
            max_retries: 2,
            chains: BTreeMap::new(),
            fallback_on: None,
            allow_loss: Vec::new(),
            enforcement: None,
        }
    }
}

/// A chain: a list of models, or a map with `models` and more.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(in crate::config) struct RawChain {
    /// What to ask, in order.
    pub(in crate::config) models: Vec<String>,
    /// How far it goes.
    pub(in crate::config) enforcement: Option<String>,
    /// Features that may get lost, beside those of all chains.
    pub(in crate::config) allow_loss: Vec<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Chain with settings")]
#[derive(Default)]
struct Full {
    /// What to ask, in order.
    models: Vec<String>,
    /// How far it goes.
    enforcement: Option<String>,
    /// Features that may get lost, beside those of all chains.
    allow_loss: Vec<String>,
}

impl<'de> Deserialize<'de> for RawChain {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = RawChain;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of models, or a map with `models`")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RawChain, A::Error> {
                let Full { models, enforcement, allow_loss } =
                    Full::deserialize(MapAccessDeserializer::new(map))?;
                Ok(RawChain { models, enforcement, allow_loss })
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<RawChain, A::Error> {
                let models = Vec::deserialize(SeqAccessDeserializer::new(seq))?;
                Ok(RawChain { models, ..RawChain::default() })
            }
        }

        from.deserialize_any(Either)
    }
}

impl JsonSchema for RawChain {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Chain".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let full = generator.subschema_for::<Full>();
        json_schema!({"anyOf": [{"type": "array", "items": {"type": "string"}}, full]})
    }
}

#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Reliability")]
pub(in crate::config) struct RawReliability {
    /// What the rest starts from.
    pub(in crate::config) preset: Option<RawPreset>,
    /// Trying again.
    pub(in crate::config) retry: RawRetry,
    /// Not trying at all for a while.
    pub(in crate::config) breaker: RawBreaker,
    /// Giving up waiting; none by default.
    pub(in crate::config) timeouts: RawTimeouts,
    /// Asking providers how they are (`GET /v1/models`, which is free), where there is a key.
    pub(in crate::config) health_checks: RawHealthChecks,
    /// What is different for single providers, by name.
    pub(in crate::config) providers: BTreeMap<String, RawOverrides>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Reliability of a provider")]
pub(in crate::config) struct RawOverrides {
    /// Trying again.
    pub(in crate::config) retry: RawRetry,
    /// Not trying at all for a while.
    pub(in crate::config) breaker: RawBreaker,
    /// Giving up waiting.
    pub(in crate::config) timeouts: RawTimeouts,
    /// Asking it how it is.
    pub(in crate::config) health_checks: RawHealthChecks,
}

/// Stock settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(in crate::config) enum RawPreset {
    /// Patient retries (3 tries, 1 s to 30 s), health checks.
    HighAvailability,
    /// 2 tries, breakers that open after 3 failures for 30 s.
    CostSensitive,
    /// 1 try, breakers that open after 10 failures for 10 s.
    Development,
    /// Ten seconds for a connection, a first byte and each pause.
    Strict,
}

/// How waits grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum RawStrategy {
    /// 0.5 s, 1 s, 2 s, …
    Exponential,
    /// 0.5 s, 1 s, 1.5 s, …
    Linear,
    /// 0.5 s each time.
    Fixed,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Retry")]
pub(in crate::config) struct RawRetry {
    /// Tries of one call in all: the first, retries, and other models (3).
    pub(in crate::config) attempts: Option<u32>,
    /// How waits grow (exponential).
    pub(in crate::config) strategy: Option<RawStrategy>,
    /// The first wait (500ms).
    pub(in crate::config) base: Option<Span>,
    /// The longest wait (30s).
    pub(in crate::config) max: Option<Span>,
    /// Whether waits are spread (true).
    pub(in crate::config) jitter: Option<bool>,
    /// Time from a call's beginning after which no further try begins (60s).
    pub(in crate::config) total_timeout: Option<Span>,
    /// Retries of the whole host in percent of its calls (10).
    pub(in crate::config) budget_percent: Option<u8>,
    /// How far retries go; only for all providers together.
    pub(in crate::config) enforcement: Option<String>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Breaker")]
pub(in crate::config) struct RawBreaker {
    /// Failures in a row that open it (5).
    pub(in crate::config) failures: Option<u32>,
    /// Share of failures in the window that opens it, in percent (50).
    pub(in crate::config) failure_percent: Option<u8>,
    /// Calls in the window below which the share says nothing (20).
    pub(in crate::config) minimum_calls: Option<u64>,
    /// The window (30s).
    pub(in crate::config) window: Option<Span>,
    /// How long it stays open the first time (60s).
    pub(in crate::config) open: Option<Span>,
    /// How long it stays open at most (15m).
    pub(in crate::config) max_open: Option<Span>,
    /// Whether it stays open twice as long each time (true).
    pub(in crate::config) adaptive: Option<bool>,
    /// Good calls that close it (3).
    pub(in crate::config) probes: Option<u32>,
    /// Whether a rate limit counts as a failure (false).
    pub(in crate::config) trip_on_rate_limit: Option<bool>,
    /// How far breakers go; only for all providers together.
    pub(in crate::config) enforcement: Option<String>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Timeouts")]
pub(in crate::config) struct RawTimeouts {
    /// For a connection, TLS included.
    pub(in crate::config) connect: Option<Span>,
    /// From the request to the response's first byte.
    pub(in crate::config) first_byte: Option<Span>,
    /// Between two pieces of the response.
    pub(in crate::config) idle: Option<Span>,
    /// For one try as a whole.
    pub(in crate::config) total: Option<Span>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Health checks")]
pub(in crate::config) struct RawHealthChecks {
    /// Whether to ask (false, but true in `high-availability`).
    pub(in crate::config) enabled: Option<bool>,
    /// How often (30s).
    pub(in crate::config) interval: Option<Span>,
}
