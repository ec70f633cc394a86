//! Who is told of what, and how: values that cannot be wrong.
//!
//! What stands in a place for a secret is a parameter: the configuration says where secrets are to
//! be found, the running agent has read them.

use std::sync::Arc;

use super::template::Template;
use crate::record::{Notice, Topic};

/// All channels and what is sent to which.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings<S> {
    /// The channels; their names differ.
    pub channels: Vec<Channel<S>>,
    /// What is sent where; without any route every channel is told everything.
    pub routes: Vec<Route>,
}

impl<S> Default for Settings<S> {
    fn default() -> Self {
        Self { channels: Vec::new(), routes: Vec::new() }
    }
}

/// One way to tell somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Channel<S> {
    /// Its name.
    pub name: Arc<str>,
    /// How it tells; or why it cannot, in one line.
    pub means: Result<Means<S>, String>,
    /// What it says.
    pub template: Template,
    /// Whether it may lead to a private address.
    pub allow_private: bool,
}

/// How somebody is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Means<S> {
    /// A signed JSON object, posted.
    Webhook {
        /// Where to.
        url: Url,
        /// Signs the body (HMAC-SHA-256).
        secret: Option<S>,
        /// Headers sent along, besides our own.
        headers: Vec<(http::HeaderName, S)>,
    },
    /// An incoming webhook of Slack, or of what understands the same.
    Slack {
        /// Its URL, which is its password too.
        url: S,
    },
    /// Events API v2.
    PagerDuty {
        /// Of the integration.
        routing_key: S,
        /// Where events go.
        url: Url,
    },
    /// An e-mail by SMTP.
    Email(Mail<S>),
}

/// Where and how e-mail is handed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail<S> {
    /// Host name or address of the server.
    pub host: Arc<str>,
    /// Its port.
    pub port: u16,
    /// How the way there is protected.
    pub tls: MailTls,
    /// User and password.
    pub login: Option<(Arc<str>, S)>,
    /// The sender's address.
    pub from: Arc<str>,
    /// The recipients' addresses; at least one.
    pub to: Vec<Arc<str>>,
}

/// How the way to a mail server is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailTls {
    /// TLS from the first byte (port 465).
    Implicit,
    /// Begun in clear, and given up where the server offers no TLS (port 587).
    StartTls,
    /// None.
    Clear,
}

/// An `http` or `https` URL without user or fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    /// Whether it is `https`.
    pub tls: bool,
    /// Host name or address literal (without brackets).
    pub host: Arc<str>,
    /// Port.
    pub port: u16,
    /// Path and query.
    pub path: Arc<str>,
}

/// Why a text is no URL that something can be posted to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not a URL to post to: write https://HOST[:PORT]/PATH")]
pub struct NotAUrl;

impl std::str::FromStr for Url {
    type Err = NotAUrl;

    fn from_str(text: &str) -> Result<Self, NotAUrl> {
        let uri: http::Uri = text.parse().map_err(|_| NotAUrl)?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(NotAUrl),
        };
        let authority = uri.authority().ok_or(NotAUrl)?;
        let host = authority.host().trim_matches(['[', ']']);
        let port = match authority.port() {
            Some(port) => port.as_str().parse().map_err(|_| NotAUrl)?,
            // A port that is none is not seen as one.
            None if authority.as_str() != authority.host() => return Err(NotAUrl),
            None if tls => 443,
            None => 80,
        };
        let extras = text.contains('#') || authority.as_str().contains('@');
        if host.is_empty() || port == 0 || extras {
            return Err(NotAUrl);
        }
        Ok(Self {
            tls,
            host: Arc::from(host.to_ascii_lowercase()),
            port,
            path: uri.path_and_query().map_or_else(|| Arc::from("/"), |path| path.as_str().into()),
        })
    }
}

impl<S> Means<S> {
    /// The word for this kind.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Webhook { .. } => "webhook",
            Self::Slack { .. } => "slack",
            Self::PagerDuty { .. } => "pagerduty",
            Self::Email(_) => "email",
        }
    }

    /// The same with every secret read.
    pub fn read<T, E>(&self, mut read: impl FnMut(&S) -> Result<T, E>) -> Result<Means<T>, E> {
        Ok(match self {
            Self::Webhook { url, secret, headers } => Means::Webhook {
                url: url.clone(),
                secret: secret.as_ref().map(&mut read).transpose()?,
                headers: headers
                    .iter()
                    .map(|(name, value)| Ok((name.clone(), read(value)?)))
                    .collect::<Result<_, E>>()?,
            },
            Self::Slack { url } => Means::Slack { url: read(url)? },
            Self::PagerDuty { routing_key, url } => {
                Means::PagerDuty { routing_key: read(routing_key)?, url: url.clone() }
            }
            Self::Email(mail) => Means::Email(Mail {
                host: Arc::clone(&mail.host),
                port: mail.port,
                tls: mail.tls,
                login: match &mail.login {
                    Some((user, password)) => Some((Arc::clone(user), read(password)?)),
                    None => None,
                },
                from: Arc::clone(&mail.from),
                to: mail.to.clone(),
            }),
        })
    }
}

/// What is sent to some channels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// About these topics; none is all of them.
    pub topics: Vec<Topic>,
    /// Of these policies (`budgets.*`); none is all of them.
    pub policies: Vec<Arc<str>>,
    /// To these channels; at least one.
    pub channels: Vec<Arc<str>>,
}

impl Route {
    /// Whether a notice goes this way.
    pub fn takes(&self, notice: &Notice) -> bool {
        (self.topics.is_empty() || self.topics.contains(&notice.topic))
            && (self.policies.is_empty()
                || self.policies.iter().any(|pattern| fits(pattern, &notice.policy)))
    }
}

/// Whether a name fits a pattern in which `*` stands for anything.
fn fits(pattern: &str, name: &str) -> bool {
    let Some((head, mut rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut name) = name.strip_prefix(head) else { return false };
    // The first place a middle part fits leaves most of the name for what follows.
    while let Some((part, after)) = rest.split_once('*') {
        let Some(at) = name.find(part) else { return false };
        name = &name[at + part.len()..];
        rest = after;
    }
    name.ends_with(rest)
}

/// Every topic with its word.
pub const TOPICS: [(Topic, &str); 16] = [
    (Topic::BudgetThreshold, "budget_threshold"),
    (Topic::BudgetExceeded, "budget_exceeded"),
    (Topic::BudgetForecast, "budget_forecast"),
    (Topic::CostSpike, "cost_spike"),
    (Topic::Loop, "loop"),
    (Topic::BreakerOpened, "breaker_opened"),
    (Topic::BreakerClosed, "breaker_closed"),
    (Topic::Escalation, "escalation"),
    (Topic::Guardrail, "guardrail"),
    (Topic::Freeze, "freeze"),
    (Topic::CostSpikeOver, "cost_spike_over"),
    (Topic::ErrorBudgetThreshold, "error_budget_threshold"),
    (Topic::ErrorBudgetExceeded, "error_budget_exceeded"),
    (Topic::ErrorBudgetRecovered, "error_budget_recovered"),
    (Topic::SlaBreached, "sla_breached"),
    (Topic::SlaRecovered, "sla_recovered"),
];

/// The word for a topic, as the configuration and metrics write it.
pub fn word(topic: Topic) -> &'static str {
    TOPICS.iter().find(|(known, _)| *known == topic).map_or("other", |(_, word)| word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, name) in [
            ("budgets.*", "budgets.code-reviewer"),
            ("*", "retry"),
            ("*.openai", "breaker.openai"),
            ("breaker.*/gpt*", "breaker.openai/gpt-4o"),
            ("retry", "retry"),
        ] {
            assert!(fits(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("budgets.*", "rate_limits.a"),
            ("budgets.", "budgets.a"),
            ("*.openai", "breaker.openai/gpt-4o"),
            ("a*a", "a"),
            ("a*b*b", "ab"),
        ] {
            assert!(!fits(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn every_topic_has_the_word_serde_writes() {
        for (topic, word) in TOPICS {
            assert_eq!(serde_json::to_value(topic).unwrap(), word);
        }
    }

    #[test]
    fn urls() {
        let url: Url = "https://Hooks.example.com/a?b=c".parse().unwrap();
        assert_eq!((&*url.host, url.port, &*url.path), ("hooks.example.com", 443, "/a?b=c"));
        let url: Url = "http://[::1]:8080".parse().unwrap();
        assert_eq!((&*url.host, url.port, &*url.path, url.tls), ("::1", 8080, "/", false));
        for text in [
            "",
            "x",
            "/a",
            "ftp://a/",
            "https://",
            "https://u:p@h/",
            "https://h:0/",
            "https://h:99999/",
            "https://h/#f",
        ] {
            assert_eq!(text.parse::<Url>(), Err(NotAUrl), "{text}");
        }
    }
}
