//! Webhooks that others call, as written.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::secret::SecretSource;
use crate::config::value::{Size, Span};

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Webhooks")]
pub(in crate::config) struct RawWebhooks {
    /// Whether others may call them, at `/v1/webhooks/NAME` of the gateway.
    pub(in crate::config) enabled: bool,
    /// Largest body taken.
    pub(in crate::config) max_body: Size,
    /// Webhooks by name.
    pub(in crate::config) definitions: BTreeMap<String, RawDefinition>,
}

impl Default for RawWebhooks {
    fn default() -> Self {
        Self { enabled: false, max_body: Size(1 << 20), definitions: BTreeMap::new() }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Webhook")]
pub(in crate::config) struct RawDefinition {
    /// Key that callers sign with, `X-Webhook-Signature: sha256=<hex HMAC of TIMESTAMP.BODY>`, and
    /// that callbacks are signed with.
    pub(in crate::config) secret: Option<SecretSource>,
    /// Model that is asked: `MODEL` or `PROVIDER/MODEL`. Its provider needs an `api_key`.
    pub(in crate::config) model: Option<String>,
    /// What it is asked: text with `{{.Payload}}`, `{{.Headers}}`, `{{.Timestamp}}`,
    /// `{{.WebhookName}}`, and the variables of alerts, taken from the body of an alert.
    pub(in crate::config) prompt_template: Option<String>,
    /// What it is told beforehand.
    pub(in crate::config) system_prompt: Option<String>,
    /// Most tokens of its answer.
    pub(in crate::config) max_tokens: u32,
    /// Where the answer is posted.
    pub(in crate::config) callback_url: Option<String>,
    /// Let the callback lead to private and loopback addresses, and be plain `http`.
    pub(in crate::config) allow_private: bool,
    /// How far the time of `X-Webhook-Timestamp` may be from now, and for how long a request is
    /// known again.
    pub(in crate::config) replay_window: Span,
    /// Refuse signatures of the body alone, as GitHub and others send them: what is signed without
    /// a time can be played back once the window is over.
    pub(in crate::config) require_timestamp: bool,
    /// Calls made at a time.
    pub(in crate::config) concurrency: u32,
    /// Deliveries that may wait beside them; more are answered with 503.
    pub(in crate::config) queue: u32,
}

impl Default for RawDefinition {
    fn default() -> Self {
        Self {
            secret: None,
            model: None,
            prompt_template: None,
            system_prompt: None,
            max_tokens: 1024,
            callback_url: None,
            allow_private: false,
            replay_window: Span(Duration::from_mins(5)),
            require_timestamp: true,
            concurrency: 4,
            queue: 64,
        }
    }
}
