//! Keys for providers that a call may be taken to instead of the one its client has a key for.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use hyper::HeaderMap;
use hyper::header::{self, HeaderName, HeaderValue};

use crate::llm::providers::Format;

/// The version of Anthropic's API that requests of our own are written in.
const ANTHROPIC_VERSION: HeaderValue = HeaderValue::from_static("2023-06-01");

/// A provider's key. Prints as `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Blanks around a key come from the file it stood in; `None` where nothing else is there, or
    /// what is there can't be sent.
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        let fits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        fits.then(|| Self(Arc::from(text)))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The keys there are, by provider.
#[derive(Debug, Clone, Default)]
pub struct Credentials(HashMap<Arc<str>, Secret>);

impl Credentials {
    /// From provider's names and keys.
    pub fn new(keys: impl IntoIterator<Item = (Arc<str>, Secret)>) -> Self {
        Self(keys.into_iter().collect())
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
        Format::OpenAi => (header::AUTHORIZATION, format!("Bearer {}", secret.0)),
        Format::Anthropic => (HeaderName::from_static("x-api-key"), secret.0.to_string()),
        Format::Gemini => (HeaderName::from_static("x-goog-api-key"), secret.0.to_string()),
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
        let secret = Secret::new(" sk-secret\n").unwrap();
        let all = Credentials::new([(Arc::from("openai"), secret.clone())]);
        let mut headers = HeaderMap::new();
        present(&secret, Format::OpenAi, &mut headers);
        assert_eq!(headers[header::AUTHORIZATION], "Bearer sk-secret");
        let printed = format!("{all:?} {secret:?} {headers:?}");
        assert!(!printed.contains("sk-secret"), "{printed}");
        assert_eq!(Secret::new(" \n"), None);
        assert_eq!(Secret::new("sk\nx"), None);
    }

    #[test]
    fn each_format_has_its_own_field() {
        let mut headers = HeaderMap::new();
        present(&Secret::new("k").unwrap(), Format::Anthropic, &mut headers);
        assert_eq!(headers["x-api-key"], "k");
        assert_eq!(headers["anthropic-version"], "2023-06-01");
        assert!(!headers.contains_key(header::AUTHORIZATION));
    }
}
