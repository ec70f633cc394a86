//! How a credential is billed, as far as its form tells.
//!
//! Dollar limits do not count what a flat plan pays, so whatever leaves room for doubt is no plan.

use http::{HeaderMap, header};

use crate::record::Billing;

/// Where API keys are sent when they are not sent as bearer tokens.
const API_KEYS: [&str; 3] = ["x-api-key", "api-key", "x-goog-api-key"];

/// Whose tokens belong to plans, as they begin: Anthropic's OAuth tokens, and `OpenAI`'s JSON web
/// tokens, which elsewhere are common API keys.
const PLANS: [(&str, &[&str]); 2] =
    [("sk-ant-oat", &["anthropic.com"]), ("eyJ", &["openai.com", "chatgpt.com"])];

/// How a request for this host is billed: plans' tokens by subscription, API keys by the token.
pub(super) fn billing(headers: &HeaderMap, host: &str) -> Billing {
    // With a key beside the token, the provider chooses.
    if API_KEYS.iter().any(|name| headers.contains_key(*name)) {
        return Billing::Metered;
    }
    let mut credentials = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(credential), None) = (credentials.next(), credentials.next()) else {
        return Billing::Unknown;
    };
    match credential.to_str().ok().and_then(|value| value.strip_prefix("Bearer ")) {
        Some(token) if is_plan(token, host) => Billing::Subscription,
        Some(_api_key) => Billing::Metered,
        None => Billing::Unknown,
    }
}

fn is_plan(token: &str, host: &str) -> bool {
    let is_at = |domain: &&str| {
        host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    PLANS.iter().any(|(start, domains)| token.starts_with(start) && domains.iter().any(is_at))
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn only_what_is_surely_a_plan_is_taken_for_one() {
        let plan = ("authorization", "Bearer sk-ant-oat01-x");
        let token = ("authorization", "Bearer eyJhbGciOiJSUzI1NiJ9.e30.x");
        let key = ("authorization", "Bearer sk-proj-x");
        let (anthropic, openai) = ("api.anthropic.com", "api.openai.com");
        for (sent, host, expected) in [
            (&[plan][..], anthropic, Billing::Subscription),
            (&[plan, ("x-api-key", "sk-ant-api03-x")], anthropic, Billing::Metered),
            (&[plan, key], anthropic, Billing::Unknown),
            (&[plan], "proxy.test", Billing::Metered),
            (&[key], openai, Billing::Metered),
            (&[token], openai, Billing::Subscription),
            (&[token], "chatgpt.com", Billing::Subscription),
            (&[token], "api.hyperbolic.xyz", Billing::Metered),
            (&[token], "me.openai.azure.com", Billing::Metered),
            (&[token], "notopenai.com", Billing::Metered),
            (&[("x-goog-api-key", "AIza")], "generativelanguage.googleapis.com", Billing::Metered),
            (&[("authorization", "Basic eyJ")], openai, Billing::Unknown),
            (&[], openai, Billing::Unknown),
        ] {
            let headers: HeaderMap = sent
                .iter()
                .map(|(name, value)| {
                    (HeaderName::from_static(name), HeaderValue::from_static(value))
                })
                .fold(HeaderMap::new(), |mut all, (name, value)| {
                    all.append(name, value);
                    all
                });
            assert_eq!(billing(&headers, host), expected, "{sent:?} to {host}");
        }
    }
}
