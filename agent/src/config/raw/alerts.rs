//! Alerts, and the sections that act in later releases, as written.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::secret::SecretSource;

#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Alerts")]
pub(in crate::config) struct RawAlerts {
    /// Ways to tell people, by name.
    pub(in crate::config) channels: BTreeMap<String, RawChannel>,
    /// What is sent to which channels. Without any, every channel is told everything.
    pub(in crate::config) routes: Vec<RawRoute>,
    /// What alerts say: text with `{{.AgentName}}`, `{{.SpentPercent}}`, `{{.Spent}}`,
    /// `{{.Limit}}`, `{{.Remaining}}`, `{{.Timestamp}}`, `{{.Policy}}`, `{{.Topic}}`,
    /// `{{.Message}}`, `{{.CallId}}`, and of error budgets, latencies and spikes `{{.Task}}`,
    /// `{{.Measured}}`, `{{.Target}}`. By default the message alone.
    pub(in crate::config) template: Option<String>,
}

/// One of `webhook`, `slack`, `pagerduty`, `email`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Alert channel")]
pub(in crate::config) struct RawChannel {
    /// Posts a signed JSON object.
    pub(in crate::config) webhook: Option<RawWebhook>,
    /// Posts to a Slack incoming webhook, or to what understands the same.
    pub(in crate::config) slack: Option<RawSlack>,
    /// Sends events to PagerDuty (Events API v2).
    pub(in crate::config) pagerduty: Option<RawPagerDuty>,
    /// Sends e-mail by SMTP.
    pub(in crate::config) email: Option<RawEmail>,
    /// Let URLs lead to private and loopback addresses, and be plain `http`. Cloud metadata
    /// services are never posted to.
    pub(in crate::config) allow_private: bool,
    /// What this channel says, instead of `alerts.template`.
    pub(in crate::config) template: Option<String>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Alert webhook")]
pub(in crate::config) struct RawWebhook {
    /// Where to post.
    pub(in crate::config) url: Option<String>,
    /// Key of the signature, `X-Webhook-Signature: sha256=<hex HMAC of the body>`.
    pub(in crate::config) secret: Option<SecretSource>,
    /// Further headers; their values are secrets.
    pub(in crate::config) headers: BTreeMap<String, SecretSource>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Slack channel")]
pub(in crate::config) struct RawSlack {
    /// The incoming webhook's URL: whoever has it can post.
    pub(in crate::config) url: Option<SecretSource>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "PagerDuty channel")]
pub(in crate::config) struct RawPagerDuty {
    /// Integration key.
    pub(in crate::config) routing_key: Option<SecretSource>,
    /// Where events go; by default `https://events.pagerduty.com/v2/enqueue`.
    pub(in crate::config) url: Option<String>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "E-mail channel")]
pub(in crate::config) struct RawEmail {
    /// The server, `HOST[:PORT]`; without a port it is 587.
    pub(in crate::config) smtp: Option<String>,
    /// How the way there is protected; by default `implicit` on port 465 and `starttls` elsewhere.
    pub(in crate::config) tls: Option<RawMailTls>,
    /// User name to log in with.
    pub(in crate::config) username: Option<String>,
    /// Password to log in with.
    pub(in crate::config) password: Option<SecretSource>,
    /// The sender's address.
    pub(in crate::config) from: Option<String>,
    /// The recipients' addresses.
    pub(in crate::config) to: Vec<String>,
}

/// How the way to a mail server is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum RawMailTls {
    /// TLS from the first byte.
    Implicit,
    /// TLS after a beginning in clear; nothing is sent where the server offers none.
    StartTls,
    /// None: no password can be sent.
    None,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Alert route")]
pub(in crate::config) struct RawRoute {
    /// About these topics; all where none is named.
    pub(in crate::config) topics: Vec<String>,
    /// Of these policies (`budgets.code-reviewer`, `budgets.*`); all where none is named.
    pub(in crate::config) policies: Vec<String>,
    /// To these channels.
    pub(in crate::config) channels: Vec<String>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Audit")]
pub(in crate::config) struct RawAudit {
    /// Whether to keep an audit log.
    pub(in crate::config) enabled: bool,
}
