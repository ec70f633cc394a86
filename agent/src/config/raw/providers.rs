//! Providers beside the built-in ones, and prices.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::secret::SecretSource;
use crate::config::value::{Day, OneOrMany, Price};

/// The wire format a provider speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Chat completions, responses, completions, embeddings.
    #[serde(rename = "openai")]
    OpenAi,
    /// Messages.
    Anthropic,
    /// `generateContent`.
    Gemini,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Provider")]
pub(in crate::config) struct RawProvider {
    /// Host names whose connections are captured. A host given as an IP address is reached by
    /// proxy and base URL only.
    pub(in crate::config) hosts: Vec<String>,
    /// Wire format; may be left out where the provider is named after it.
    pub(in crate::config) format: Option<Format>,
    /// Where the gateway sends calls for this provider.
    pub(in crate::config) base_url: Option<String>,
    /// Roots (PEM) that this provider's certificate is checked against, instead of the system's.
    pub(in crate::config) ca_file: Option<PathBuf>,
    /// Ask for usage in streams (`stream_options.include_usage`) where the client did not.
    pub(in crate::config) inject_usage: Option<bool>,
    /// Its tokens cost nothing.
    pub(in crate::config) free: bool,
    /// Key for calls that are taken here from another provider, and for health checks.
    pub(in crate::config) api_key: Option<SecretSource>,
    /// Prices that replace the catalogue's, by model.
    pub(in crate::config) prices: BTreeMap<String, OneOrMany<RawPrice>>,
}

/// Dollars per million tokens of each kind. A kind left out costs what the wider kind costs:
/// reasoning as output, audio and cache kinds as input.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Price list")]
pub(in crate::config) struct RawPrice {
    /// First day (UTC) on which these prices hold; without it they always held.
    pub(in crate::config) from: Option<Day>,
    /// Uncached input.
    pub(in crate::config) input: Option<Price>,
    /// Input read from the provider's cache.
    pub(in crate::config) cache_read: Option<Price>,
    /// Input written to the provider's cache for 5 minutes.
    pub(in crate::config) cache_write_5m: Option<Price>,
    /// Input written to the provider's cache for 1 hour.
    pub(in crate::config) cache_write_1h: Option<Price>,
    /// Output.
    pub(in crate::config) output: Option<Price>,
    /// Reasoning output.
    pub(in crate::config) reasoning: Option<Price>,
    /// Audio input.
    pub(in crate::config) audio_input: Option<Price>,
    /// Audio output.
    pub(in crate::config) audio_output: Option<Price>,
}
