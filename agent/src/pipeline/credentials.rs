//! Keys for providers that a call may be taken to instead of the one its client has a key for.

use std::collections::HashMap;
use std::sync::Arc;

use hyper::HeaderMap;
use hyper::header::{self, HeaderName, HeaderValue};

use crate::llm::providers::Format;
use crate::secret::Secret;

/// The version of Anthropic's API that requests of our own are written in.
const ANTHROPIC_VERSION: HeaderValue = HeaderValue::from_static("2023-06-01");

/// A key that can't be sent: empty, or with characters that no key has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("providers.{0}.api_key: what is there is no key")]
pub struct NotAKey(Arc<str>);

/// The keys there are, by provider.
#[derive(Debug, Clone, Default)]
pub struct Credentials(HashMap<Arc<str>, Secret>);

impl Credentials {
    /// From provider's names and keys.
    pub fn new(keys: impl IntoIterator<Item = (Arc<str>, Secret)>) -> Result<Self, NotAKey> {
        let fits = |key: &str| !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_graphic());
        let known = keys.into_iter().map(|(provider, key)| {
            if fits(key.reveal()) { Ok((provider, key)) } else { Err(NotAKey(provider)) }
        });
        known.collect::<Result<_, _>>().map(Self)
    }

    /// The key for a provider.
    pub fn get(&self, provider: &str) -> Option<&Secret> {
        self.0.get(provider)
    }

    /// Providers there are keys for.
    pub fn providers(&self) -> impl Iterator<Item = &Arc<str>> {
        self.0.keys()
    }
}

/// Puts a key into a request, the way providers of this format want it.
pub fn present(secret: &Secret, format: Format, headers: &mut HeaderMap) {
    let (name, value) = match format {
        Format::OpenAi => (header::AUTHORIZATION, format!("Bearer {}", secret.reveal())),
        Format::Anthropic => (HeaderName::from_static("x-api-key"), secret.reveal().to_owned()),
        Format::Gemini => (HeaderName::from_static("x-goog-api-key"), secret.reveal().to_owned()),
    };
    // A key of printable characters is a field's value.
    if let Ok(mut value) = HeaderValue::from_str(&value) {
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    if format == Format::Anthropic {
        headers.entry("anthropic-version").or_insert(ANTHROPIC_VERSION);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_printed_nowhere() {
        let secret = Secret::new("sk-secret");
        let all = Credentials::new([(Arc::from("openai"), secret.clone())]).unwrap();
        let mut headers = HeaderMap::new();
        present(&secret, Format::OpenAi, &mut headers);
        assert_eq!(headers[header::AUTHORIZATION], "Bearer sk-secret");
        let printed = format!("{all:?} {secret:?} {headers:?}");
        assert!(!printed.contains("sk-secret"), "{printed}");
        for none in ["", "sk\nx"] {
            let refused = Credentials::new([(Arc::from("openai"), Secret::new(none))]).unwrap_err();
            assert_eq!(refused.to_string(), "providers.openai.api_key: what is there is no key");
        }
    }

    #[test]
    fn each_format_has_its_own_field() {
        let mut headers = HeaderMap::new();
        present(&Secret::new("k"), Format::Anthropic, &mut headers);
        assert_eq!(headers["x-api-key"], "k");
        assert_eq!(headers["anthropic-version"], "2023-06-01");
        assert!(!headers.contains_key(header::AUTHORIZATION));
    }
}
