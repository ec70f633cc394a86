//! Webhooks that others call.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use super::Check;
use super::reliability::Names;
use crate::alerts::settings::Url;
use crate::alerts::template::{self, Prompt};
use crate::config::problem::Trail;
use crate::config::raw::{Raw, RawDefinition};
use crate::config::secret::SecretSource;
use crate::policy::reliability::Hop;
use crate::webhooks::settings::{Callback, Definition, Settings};

/// The largest body that can be allowed: it becomes a prompt.
const BODY: u64 = 16 << 20;
/// What `max_tokens`, `concurrency` and `queue` can be at most.
const TOKENS: u32 = 1_000_000;
const CALLS: u32 = 64;
const QUEUE: u32 = 10_000;
/// The longest time for which requests are remembered.
const WINDOW: Duration = Duration::from_hours(24);

pub(super) fn settings(check: &mut Check<'_>, raw: &Raw) -> Settings<SecretSource> {
    let root = Trail::default().key("webhooks");
    let names = Names::new(raw);
    let max_body = raw.webhooks.max_body.0;
    if !(1..=BODY).contains(&max_body) {
        let what = format!("must be from 1 byte to {} MiB", BODY >> 20);
        check.problem(&root.key("max_body"), what);
    }
    let mut definitions = Vec::new();
    for (name, raw_definition) in &raw.webhooks.definitions {
        let trail = root.key("definitions").key(name);
        let enabled = raw.webhooks.enabled;
        definitions.extend(check.definition((name, raw_definition), (&names, enabled), &trail));
    }
    let max_body = usize::try_from(max_body).unwrap_or(usize::MAX);
    Settings { enabled: raw.webhooks.enabled, max_body, definitions }
}

impl Check<'_> {
    fn definition(
        &mut self,
        (name, raw): (&str, &RawDefinition),
        (names, enabled): (&Names, bool),
        trail: &Trail,
    ) -> Option<Definition<SecretSource>> {
        // The name becomes a path segment, and part of a workload's.
        let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if name.is_empty() || name.len() > 64 || !name.bytes().all(fits) {
            let what = "a webhook's name has letters, digits, `-` and `_` only";
            self.problem(trail, what.to_owned());
        }
        for (key, is_there) in [
            ("secret", raw.secret.is_some()),
            ("model", raw.model.is_some()),
            ("prompt_template", raw.prompt_template.is_some()),
        ] {
            if !is_there {
                self.missing(trail, &[key], &format!("needs `{key}`"));
            }
        }
        let secret = raw.secret.as_ref().map(|it| self.secret(it, &trail.key("secret")));
        let hop = raw.model.as_ref().and_then(|it| self.model(it, (names, enabled), trail));
        let prompt = raw.prompt_template.as_ref().and_then(|text| {
            let parsed = Prompt::parse(text);
            let at = trail.key("prompt_template");
            parsed
                .inspect_err(|fault| self.template_fault(fault, template::prompt_names(), &at))
                .ok()
        });
        let callback = raw.callback_url.as_ref().and_then(|it| self.callback(it, raw, trail));
        let window = raw.replay_window.0;
        if window.is_zero() || window > WINDOW {
            self.problem(&trail.key("replay_window"), "must be from 1s to 24h".to_owned());
        }
        let max_tokens = self.within(raw.max_tokens, TOKENS, &trail.key("max_tokens"));
        let concurrency = self.within(raw.concurrency, CALLS, &trail.key("concurrency"));
        let queue = self.within(raw.queue, QUEUE, &trail.key("queue"));
        let hop = hop?;
        Some(Definition {
            name: Arc::from(name),
            secret: Ok(secret?),
            provider: hop.provider,
            model: hop.model,
            prompt: prompt?,
            system: raw.system_prompt.as_deref().map(Arc::from),
            max_tokens,
            callback,
            window,
            require_timestamp: raw.require_timestamp,
            concurrency,
            queue,
        })
    }

    /// Whom a webhook asks.
    fn model(
        &mut self,
        text: &str,
        (names, enabled): (&Names, bool),
        trail: &Trail,
    ) -> Option<Hop> {
        let at = trail.key("model");
        self.name(text, &at);
        let hop = match names.model(text) {
            Ok(hop) => hop,
            Err(what) => {
                self.problem(&at, what);
                return None;
            }
        };
        if enabled && !names.has_key(&hop.provider) {
            let what =
                format!("no call can be made: there is no providers.{}.api_key", hop.provider);
            self.warning(&at, what);
        }
        Some(hop)
    }

    fn callback(&mut self, text: &str, raw: &RawDefinition, trail: &Trail) -> Option<Callback> {
        let allow_private = raw.allow_private;
        if text.is_ascii() {
            let url = self.url(Some(text), allow_private, (trail, "callback_url"))?;
            return Some(Callback { url: Ok(url), allow_private });
        }
        // Whatever else is wrong with it is said all the same.
        let plain = |c: char| if c.is_ascii() { c } else { 'x' };
        let ascii: String = text.chars().map(plain).collect();
        let _shape: Url = self.url(Some(&ascii), allow_private, (trail, "callback_url"))?;
        let what = "nothing can be posted there: write the host in ASCII (xn--…), and the rest of \
                    the URL with %-escapes";
        self.warning(&trail.key("callback_url"), what.to_owned());
        Some(Callback { url: Err(format!("callback_url: {what}")), allow_private })
    }

    fn within(&mut self, number: u32, most: u32, trail: &Trail) -> NonZeroU32 {
        let fits = NonZeroU32::new(number).filter(|number| number.get() <= most);
        fits.unwrap_or_else(|| {
            self.problem(trail, format!("must be from 1 to {most}"));
            NonZeroU32::MIN
        })
    }
}
