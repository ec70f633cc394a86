//! `/api/prices`: what a model costs, and which models have no price.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::money::Usd;

/// Prices, by provider and model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Prices {
    /// Version of this shape.
    pub schema_version: u32,
    /// Version of the catalogue.
    pub version: Option<String>,
    /// The prices.
    pub rows: Vec<PriceRow>,
}

/// Which prices; all where nothing is named: the parameters of `/api/prices`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PriceQuery {
    /// Of this provider.
    pub provider: Option<String>,
    /// Of this model, as a provider would name it when it answers.
    pub model: Option<String>,
}

/// Dollars per million tokens; a kind that is absent costs what the wider kind does.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PriceRow {
    /// Provider.
    pub provider: String,
    /// Model as the catalogue names it.
    pub model: String,
    /// Where the price comes from: `catalogue`, `config`, `free`.
    pub source: String,
    /// First day on which it holds.
    pub from: Option<String>,
    /// Uncached input.
    pub input_usd: Option<Usd>,
    /// Input read from the provider's cache.
    pub cache_read_usd: Option<Usd>,
    /// Input written to the provider's cache for 5 minutes.
    pub cache_write_5m_usd: Option<Usd>,
    /// Input written to the provider's cache for 1 hour.
    pub cache_write_1h_usd: Option<Usd>,
    /// Output.
    pub output_usd: Option<Usd>,
    /// Reasoning output.
    pub reasoning_usd: Option<Usd>,
    /// Audio input.
    pub audio_input_usd: Option<Usd>,
    /// Audio output.
    pub audio_output_usd: Option<Usd>,
    /// Tiers and conditions, in words (`above 200,000 input tokens: input 4, output 18`).
    pub note: Option<String>,
}

/// Models that were used but have no price.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct UnknownPrices {
    /// Version of this shape.
    pub schema_version: u32,
    /// The models.
    pub rows: Vec<UnknownPriceRow>,
}

/// A model without a price.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UnknownPriceRow {
    /// Provider.
    pub provider: String,
    /// Model, where the call named one.
    pub model: Option<String>,
    /// Calls that could not be priced.
    pub calls: u64,
    /// Those of them whose tokens are not known either: no price would help.
    pub unknown_usage: u64,
}
