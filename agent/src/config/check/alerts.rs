//! Alerts: who is told, and how.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use super::Check;
use crate::alerts::guard::permits;
use crate::alerts::settings::{Channel, Mail, MailTls, Means, Route, Settings, TOPICS, Url};
use crate::alerts::template::{self, Template};
use crate::config::checked::Alerts;
use crate::config::problem::Trail;
use crate::config::raw::{
    Raw, RawChannel, RawEmail, RawMailTls, RawPagerDuty, RawRoute, RawSlack, RawWebhook,
};
use crate::config::secret::SecretSource;
use crate::config::tree::Value;

/// Where PagerDuty takes events.
const PAGERDUTY: &str = "https://events.pagerduty.com/v2/enqueue";
/// What policies' names begin with.
const FAMILIES: [&str; 10] = [
    "rate_limits",
    "budgets",
    "guardrails",
    "loop_protection",
    "failover",
    "breaker",
    "retry",
    "error_budgets",
    "sla",
    "spikes",
];
/// Headers that are ours, or HTTP's own.
const HEADERS: [&str; 6] = [
    "host",
    "content-type",
    "content-length",
    "transfer-encoding",
    "connection",
    "idempotency-key",
];

pub(super) fn settings(check: &mut Check<'_>, raw: &Raw) -> Alerts {
    let root = Trail::default().key("alerts");
    let text = raw.alerts.template.as_deref();
    let common = check.template(text, &root.key("template")).unwrap_or_default();
    let mut channels = Vec::new();
    for (name, channel) in &raw.alerts.channels {
        let trail = root.key("channels").key(name);
        check.name(name, &trail);
        let text = channel.template.as_deref();
        let template = check.template(text, &trail.key("template"));
        let template = template.unwrap_or_else(|| common.clone());
        let Some(means) = check.means(channel, &trail) else { continue };
        let (name, allow_private) = (Arc::from(name.as_str()), channel.allow_private);
        channels.push(Channel { name, means: Ok(means), template, allow_private });
    }
    let known: BTreeSet<&str> = raw.alerts.channels.keys().map(String::as_str).collect();
    let routes = check
        .items(&root.key("routes"), &raw.alerts.routes)
        .collect::<Vec<_>>()
        .into_iter()
        .map(|(trail, route)| check.route(route, &known, &trail))
        .collect();
    Settings { channels, routes }
}

impl Check<'_> {
    pub(super) fn template(&mut self, text: Option<&str>, trail: &Trail) -> Option<Template> {
        match Template::parse(text?) {
            Ok(template) => Some(template),
            Err(fault) => {
                self.template_fault(&fault, template::names(), trail);
                None
            }
        }
    }

    pub(super) fn template_fault(
        &mut self,
        fault: &template::Fault,
        known: impl Iterator<Item = &'static str>,
        trail: &Trail,
    ) {
        match fault {
            template::Fault::Unknown(name) => self.unknown(trail, (name, fault.to_string()), known),
            _ => self.problem(trail, fault.to_string()),
        }
    }

    fn means(&mut self, raw: &RawChannel, trail: &Trail) -> Option<Means<SecretSource>> {
        match (&raw.webhook, &raw.slack, &raw.pagerduty, &raw.email) {
            (Some(webhook), None, None, None) => {
                self.webhook(webhook, raw.allow_private, &trail.key("webhook"))
            }
            (None, Some(slack), None, None) => {
                self.slack(slack, raw.allow_private, &trail.key("slack"))
            }
            (None, None, Some(pagerduty), None) => {
                self.pagerduty(pagerduty, raw.allow_private, &trail.key("pagerduty"))
            }
            (None, None, None, Some(email)) => self.email(email, &trail.key("email")),
            (None, None, None, None) => {
                let keys = ["webhook", "slack", "pagerduty", "email"];
                self.missing(trail, &keys, "needs one of webhook, slack, pagerduty, email");
                None
            }
            _ => {
                let what = "takes only one of webhook, slack, pagerduty, email";
                self.problem(trail, what.to_owned());
                None
            }
        }
    }

    fn webhook(
        &mut self,
        raw: &RawWebhook,
        allow_private: bool,
        trail: &Trail,
    ) -> Option<Means<SecretSource>> {
        let url = self.url(raw.url.as_deref(), allow_private, (trail, "url"));
        let secret = raw.secret.as_ref().map(|secret| self.secret(secret, &trail.key("secret")));
        let mut headers = Vec::new();
        for (name, value) in &raw.headers {
            let at = trail.key("headers").key(name);
            let value = self.secret(value, &at);
            match http::HeaderName::try_from(name.as_str()) {
                Ok(name) if is_ours(&name) => {
                    self.problem(&at, format!("the header `{name}` is set by weir"));
                }
                Ok(name) => headers.push((name, value)),
                Err(_) => self.problem(&at, format!("`{name}` is not a header's name")),
            }
        }
        Some(Means::Webhook { url: url?, secret, headers })
    }

    fn slack(
        &mut self,
        raw: &RawSlack,
        allow_private: bool,
        trail: &Trail,
    ) -> Option<Means<SecretSource>> {
        let Some(source) = &raw.url else {
            self.missing(trail, &["url"], "needs `url`");
            return None;
        };
        if let SecretSource::Literal(secret) = source {
            self.url(Some(secret.reveal()), allow_private, (trail, "url"))?;
        }
        Some(Means::Slack { url: self.secret(source, &trail.key("url")) })
    }

    fn pagerduty(
        &mut self,
        raw: &RawPagerDuty,
        allow_private: bool,
        trail: &Trail,
    ) -> Option<Means<SecretSource>> {
        let url = raw.url.as_deref().unwrap_or(PAGERDUTY);
        let url = self.url(Some(url), allow_private, (trail, "url"));
        let Some(key) = &raw.routing_key else {
            self.missing(trail, &["routing_key"], "needs `routing_key`");
            return None;
        };
        Some(Means::PagerDuty {
            routing_key: self.secret(key, &trail.key("routing_key")),
            url: url?,
        })
    }

    fn email(&mut self, raw: &RawEmail, trail: &Trail) -> Option<Means<SecretSource>> {
        for (key, is_there) in
            [("smtp", raw.smtp.is_some()), ("from", raw.from.is_some()), ("to", !raw.to.is_empty())]
        {
            if !is_there {
                self.missing(trail, &[key], &format!("needs `{key}`"));
            }
        }
        self.not_empty(&trail.key("to"), "needs at least one address");
        let server = raw.smtp.as_deref().and_then(server);
        if let (Some(smtp), None) = (&raw.smtp, &server) {
            let what = format!("`{smtp}` is not a mail server: write HOST or HOST:PORT");
            self.problem(&trail.key("smtp"), what);
        }
        let from = raw.from.as_deref().and_then(|from| self.address(from, &trail.key("from")));
        let to: Vec<_> = self
            .items(&trail.key("to"), &raw.to)
            .collect::<Vec<_>>()
            .into_iter()
            .filter_map(|(at, to)| self.address(to, &at))
            .collect();
        let login = match (&raw.username, &raw.password) {
            (Some(user), Some(password)) => {
                Some((Arc::from(user.as_str()), self.secret(password, &trail.key("password"))))
            }
            (None, None) => None,
            (Some(_), None) => {
                self.missing(trail, &["password"], "`username` needs `password`");
                None
            }
            (None, Some(_)) => {
                self.missing(trail, &["username"], "`password` needs `username`");
                None
            }
        };
        let (host, port) = server?;
        let tls = match raw.tls {
            Some(RawMailTls::Implicit) => MailTls::Implicit,
            Some(RawMailTls::None) => MailTls::Clear,
            None if port == 465 => MailTls::Implicit,
            Some(RawMailTls::StartTls) | None => MailTls::StartTls,
        };
        if tls == MailTls::Clear && login.is_some() {
            let what = "a password is not sent in clear: use starttls or implicit";
            self.problem(&trail.key("tls"), what.to_owned());
        }
        (!to.is_empty()).then_some(())?;
        Some(Means::Email(Mail { host, port, tls, login, from: from?, to }))
    }

    /// A bare address. Anything that could end the line, or the angle brackets, is none.
    fn address(&mut self, text: &str, trail: &Trail) -> Option<Arc<str>> {
        let harmless = |c: char| c.is_ascii_graphic() && !"<>()[],;:\\\"".contains(c);
        let fits = text.len() <= 254
            && text.chars().all(harmless)
            && text.split_once('@').is_some_and(|(user, host)| {
                !user.is_empty() && !host.is_empty() && !host.contains('@')
            });
        if !fits {
            self.problem(trail, format!("`{text}` is not an e-mail address: write USER@HOST"));
        }
        fits.then(|| Arc::from(text))
    }

    /// A URL to post to, under `key` of the node at `trail`. What it says is not repeated: it may
    /// be a secret.
    pub(super) fn url(
        &mut self,
        text: Option<&str>,
        allow_private: bool,
        (trail, key): (&Trail, &str),
    ) -> Option<Url> {
        let Some(text) = text else {
            self.missing(trail, &[key], &format!("needs `{key}`"));
            return None;
        };
        let at = trail.key(key);
        let url: Url = match text.parse() {
            Ok(url) => url,
            Err(fault) => {
                self.problem(&at, format!("{fault}"));
                return None;
            }
        };
        self.reachable(&url, allow_private, &at);
        Some(url)
    }

    fn reachable(&mut self, url: &Url, allow_private: bool, at: &Trail) {
        let address: Option<IpAddr> = url.host.parse().ok();
        match address {
            Some(address) if !permits(address, true) => {
                self.problem(at, format!("{address} is never posted to"));
            }
            Some(address) if !permits(address, allow_private) => {
                let what =
                    format!("{address} is a private address: it needs `allow_private: true`");
                self.problem(at, what);
            }
            _ if !url.tls && !allow_private => {
                self.problem(at, "plain http needs `allow_private: true`: use https".to_owned());
            }
            _ => {}
        }
    }

    fn route(&mut self, raw: &RawRoute, known: &BTreeSet<&str>, trail: &Trail) -> Route {
        let mut topics = Vec::new();
        for (at, word) in self.list(&trail.key("topics"), &raw.topics) {
            if let Some((topic, _)) = TOPICS.iter().find(|(_, known)| *known == word) {
                topics.push(*topic);
            } else {
                let words = TOPICS.map(|(_, word)| word);
                let what = format!("`{word}` is not one of {}", words.join(", "));
                self.unknown(&at, (&word, what), words);
            }
        }
        let mut policies = Vec::new();
        for (at, pattern) in self.list(&trail.key("policies"), &raw.policies) {
            let family = pattern.split_once('.').map_or(&*pattern, |(family, _)| family);
            if family.contains('*') || FAMILIES.contains(&family) {
                policies.push(Arc::from(pattern));
            } else {
                let what = format!("no policy's name begins with `{family}`");
                self.unknown(&at, (family, what), FAMILIES);
            }
        }
        let mut channels = Vec::new();
        for (at, name) in self.list(&trail.key("channels"), &raw.channels) {
            if known.contains(&*name) {
                channels.push(Arc::from(name));
            } else {
                let what = format!("there is no channel `{name}`");
                self.unknown(&at, (&name, what), known.iter().copied());
            }
        }
        self.missing(trail, &["channels"], "needs `channels`");
        self.not_empty(&trail.key("channels"), "needs at least one channel");
        Route { topics, policies, channels }
    }

    /// A list that was written, without anything in it.
    fn not_empty(&mut self, trail: &Trail, what: &str) {
        let written = self.tree.find(trail).map(|node| &node.value);
        if matches!(written, Some(Value::List(items)) if items.is_empty()) {
            self.problem(trail, what.to_owned());
        }
    }

    fn list(&self, trail: &Trail, items: &[String]) -> Vec<(Trail, String)> {
        self.items(trail, items).map(|(at, item)| (at, item.clone())).collect()
    }
}

fn is_ours(name: &http::HeaderName) -> bool {
    HEADERS.contains(&name.as_str()) || name.as_str().starts_with("x-webhook-")
}

/// `HOST`, `HOST:PORT`, `ADDRESS`, `[ADDRESS]:PORT`.
fn server(text: &str) -> Option<(Arc<str>, u16)> {
    let (host, port) = match text.parse::<IpAddr>() {
        Ok(_) => (text, None),
        Err(_) => match text.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let port = port.map_or(Some(587), |port| port.parse().ok().filter(|port| *port != 0))?;
    let bare = host.trim_matches(['[', ']']);
    let is_name =
        |name: &str| name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.');
    let fits = !bare.is_empty() && (bare.parse::<IpAddr>().is_ok() || is_name(bare));
    fits.then(|| (Arc::from(bare.to_ascii_lowercase()), port))
}
