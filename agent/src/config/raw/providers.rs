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
    /// Where its calls go, when there are several: they share them by weight. Calls are led there
    /// in mode `enforce`.
    pub(in crate::config) endpoints: Vec<RawEndpoint>,
    /// Prices that replace the catalogue's, by model.
    pub(in crate::config) prices: BTreeMap<String, OneOrMany<RawPrice>>,
}

/// One of several endpoints of a provider.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Endpoint")]
pub(in crate::config) struct RawEndpoint {
    /// Its name in decisions and metrics; its host where left out.
    pub(in crate::config) name: Option<String>,
    /// Where it is; the provider's own place where left out.
    pub(in crate::config) base_url: Option<String>,
    /// Its share of the calls beside the others', from 1 to 1000.
    pub(in crate::config) weight: u32,
    /// Its own key.
    pub(in crate::config) api_key: Option<SecretSource>,
    /// What it is sent without a key of its own. The provider's own hosts get what the client
    /// sends; for any other one this has to be said.
    pub(in crate::config) credentials: Option<RawCredentials>,
    /// Roots (PEM) that its certificate is checked against, instead of the system's.
    pub(in crate::config) ca_file: Option<PathBuf>,
}

impl Default for RawEndpoint {
    fn default() -> Self {
        Self {
            name: None,
            base_url: None,
            weight: 1,
            api_key: None,
            credentials: None,
            ca_file: None,
        }
    }
}

/// What an endpoint without a key of its own is sent as a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum RawCredentials {
    /// What the client sends.
    Client,
    /// Nothing.
    None,
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
