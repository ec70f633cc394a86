//! Which webhooks there are, and what each asks whom: values that cannot be wrong.
//!
//! As with alerts, what stands in a place for a secret is a parameter: the configuration says where
//! secrets are to be found, the running agent has read them.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use crate::alerts::settings::Url;
use crate::alerts::template::Prompt;

/// All webhooks that others may call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings<S> {
    /// Whether others may call them.
    pub enabled: bool,
    /// Largest body taken, in bytes. One for all: a name must not be found out by its own.
    pub max_body: usize,
    /// The webhooks; their names differ.
    pub definitions: Vec<Definition<S>>,
}

/// None, and nobody may call them.
impl<S> Default for Settings<S> {
    fn default() -> Self {
        Self { enabled: false, max_body: 0, definitions: Vec::new() }
    }
}

/// One webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition<S> {
    /// Its name: letters, digits, `-` and `_`.
    pub name: Arc<str>,
    /// What callers sign with, and what its callbacks are signed with; or why that is not known.
    pub secret: Result<S, String>,
    /// The provider that is asked.
    pub provider: Arc<str>,
    /// The model that is asked, in the provider's words.
    pub model: Arc<str>,
    /// What it is asked.
    pub prompt: Prompt,
    /// What it is told beforehand.
    pub system: Option<Arc<str>>,
    /// Most tokens of its answer.
    pub max_tokens: NonZeroU32,
    /// Where the answer is posted.
    pub callback: Option<Callback>,
    /// How old or new a signed timestamp may be, and for how long a request is known again.
    pub window: Duration,
    /// Whether a signature without a timestamp is refused.
    pub require_timestamp: bool,
    /// Calls made at a time.
    pub concurrency: NonZeroU32,
    /// Deliveries that may wait beside them.
    pub queue: NonZeroU32,
}

/// Where an answer is posted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Callback {
    /// The URL, or why nothing can be posted there.
    pub url: Result<Url, String>,
    /// Whether it may lead to a private address, and be plain `http`.
    pub allow_private: bool,
}

impl<S> Settings<S> {
    /// The webhook of a name.
    pub fn get(&self, name: &str) -> Option<&Definition<S>> {
        self.definitions.iter().find(|definition| *definition.name == *name)
    }

    /// The same with every secret read; one that cannot be read leaves its webhook there, to say so.
    pub fn read<T, E: std::fmt::Display>(&self, read: impl Fn(&S) -> Result<T, E>) -> Settings<T> {
        let definition = |from: &Definition<S>| Definition {
            name: Arc::clone(&from.name),
            secret: from
                .secret
                .as_ref()
                .map_err(Clone::clone)
                .and_then(|secret| read(secret).map_err(|error| error.to_string())),
            provider: Arc::clone(&from.provider),
            model: Arc::clone(&from.model),
            prompt: from.prompt.clone(),
            system: from.system.clone(),
            max_tokens: from.max_tokens,
            callback: from.callback.clone(),
            window: from.window,
            require_timestamp: from.require_timestamp,
            concurrency: from.concurrency,
            queue: from.queue,
        };
        Settings {
            enabled: self.enabled,
            max_body: self.max_body,
            definitions: self.definitions.iter().map(definition).collect(),
        }
    }
}
