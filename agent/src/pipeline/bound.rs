//! What a call can come to at most, before it is made: so much is reserved for it.

use std::hash::{BuildHasher, Hasher as _};
use std::time::SystemTime;

use crate::llm::call::{Ask, Kind};
use crate::llm::dearest::Dearest;
use crate::llm::maxima::Maxima;
use crate::llm::price::{Prices, Query};
use crate::llm::providers::Provider;
use crate::llm::usage::{NanoUsd, Usage};
use crate::policy::Bound;

/// Bytes per token of a body that was not read; as for one that was.
const BYTES_PER_TOKEN: u64 = 3;
/// Of a prompt this much is hashed from either end: a loop repeats the whole of it, and a hash of
/// megabytes would be felt.
const HASHED: usize = 16 << 10;

/// What is known of a call before it is made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) prices: &'a Prices,
    pub(super) provider: &'a Provider,
    /// The model asked for there.
    pub(super) model: Option<&'a str>,
    /// What the body says; `None` where it could not be read.
    pub(super) ask: Option<&'a Ask>,
    /// What kind of call it is.
    pub(super) kind: Kind,
    pub(super) body_bytes: u64,
    pub(super) at: SystemTime,
}

impl Asked<'_> {
    /// The bound. What is no call by the token, or asks for a model without a price, leaves the
    /// cost unknown.
    pub(super) fn bound(&self) -> Bound {
        let Some(ask) = self.ask else {
            if self.kind == Kind::Call {
                return self.unread();
            }
            let free = self.provider.free.then_some(NanoUsd(0));
            let input = self.body_bytes.div_ceil(BYTES_PER_TOKEN);
            return Bound { input, input_cost: free, cost: free, ..Bound::default() };
        };
        let model = self.model.unwrap_or_default();
        let maxima = Maxima::of(self.prices, self.provider, model);
        // More than the context is refused by the provider.
        let input = if ask.input_open { maxima.context } else { self.input().min(maxima.context) };
        let most = maxima.output.saturating_mul(ask.choices);
        let output = ask.max_output.map_or(most, |asked| asked.min(most));
        let (input_cost, cost) = self.costs(input, output);
        let output_asked = ask.max_output.is_some();
        Bound { input, output, output_asked, unread: false, input_cost, cost }
    }

    /// For a body that could not be read: the most that its model can come to, where the path names
    /// that, or else any model of the provider. Nothing can be written into it, so its output is as
    /// if the client had asked for it.
    fn unread(&self) -> Bound {
        let most = match self.model {
            Some(model) => Dearest::of_model(self.prices, self.provider, model, self.at),
            None => Dearest::of_provider(self.prices, self.provider, self.at),
        };
        Bound {
            input: most.input,
            output: most.output,
            output_asked: true,
            unread: true,
            input_cost: most.worst.map(|worst| worst.input),
            cost: most.worst.map(|worst| worst.total),
        }
    }

    /// Input tokens by what the body holds, counted or guessed.
    pub(super) fn input(&self) -> u64 {
        let model = self.model.unwrap_or_default();
        self.ask.map_or(0, |ask| ask.input(self.provider, model))
    }

    /// The most so many tokens can cost: the input's part, and all of it.
    pub(super) fn costs(&self, input: u64, output: u64) -> (Option<NanoUsd>, Option<NanoUsd>) {
        let usage = Usage { input, output, ..Usage::default() };
        let tier = self.ask.and_then(|ask| ask.service_tier.as_deref());
        let worst = self.model.and_then(|model| {
            let query = Query { provider: self.provider, model, at: self.at, tier, usage: &usage };
            self.prices.worst(&query).ok()
        });
        (worst.map(|worst| worst.input), worst.map(|worst| worst.total))
    }
}

/// A hash by which the same prompt is known again in this run of the agent. It says nothing of the
/// prompt to anybody else: its key is made at random and kept nowhere.
pub(super) fn prompt_hash(key: &impl BuildHasher, body: &[u8]) -> u64 {
    let mut hasher = key.build_hasher();
    hasher.write_usize(body.len());
    if body.len() <= 2 * HASHED {
        hasher.write(body);
    } else {
        hasher.write(&body[..HASHED]);
        hasher.write(&body[body.len() - HASHED..]);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llm::call::{Operation, Route};
    use crate::llm::providers::Providers;

    fn bound(provider: &str, operation: Operation, body: &str) -> Bound {
        let (prices, providers) = (Prices::embedded(), Providers::builtin());
        let route = Route { operation, kind: Kind::Call };
        let ask = Ask::parse(route, body.as_bytes()).ok();
        let asked = Asked {
            prices: &prices,
            provider: providers.by_name(provider).unwrap(),
            model: ask.as_ref().and_then(|ask| ask.model.as_deref()),
            ask: ask.as_ref(),
            kind: Kind::Call,
            body_bytes: body.len() as u64,
            at: SystemTime::UNIX_EPOCH + std::time::Duration::from_hours(24 * 365 * 56),
        };
        asked.bound()
    }

    /// P1: without `max_tokens`, or with an absurd one, the model's own maximum is reserved.
    #[test]
    fn what_the_client_leaves_open_is_bounded_by_the_model() {
        let chat = |body| bound("openai", Operation::Chat, body);
        let open = chat(r#"{"model":"gpt-4o-mini","messages":[]}"#);
        assert_eq!((open.output, open.output_asked), (16_384, false));
        let absurd = chat(r#"{"model":"gpt-4o-mini","max_tokens":999999999,"messages":[]}"#);
        assert_eq!((absurd.output, absurd.output_asked), (16_384, true));
        let three = chat(r#"{"model":"gpt-4o-mini","n":3,"messages":[]}"#);
        assert_eq!(three.output, 3 * 16_384);
        let asked = chat(r#"{"model":"gpt-4o-mini","max_tokens":100,"messages":[]}"#);
        assert_eq!(asked.output, 100);
        // 19 tokens of input at $0.15 and 100 of output at $0.60 per million.
        assert_eq!(asked.input_cost, Some(NanoUsd(i64::try_from(asked.input).unwrap() * 150)));
        assert_eq!(asked.cost, Some(NanoUsd(asked.input_cost.unwrap().0 + 60_000)));
    }

    #[test]
    fn what_the_body_does_not_hold_takes_the_whole_context() {
        let image = r#"{"model":"gpt-4o-mini","messages":[{"content":[{"type":"image_url","image_url":{"url":"https://example.com/a.png"}}]}]}"#;
        assert_eq!(bound("openai", Operation::Chat, image).input, 128_000);
        let stored = r#"{"model":"gpt-5","previous_response_id":"resp_1","input":"go on"}"#;
        assert_eq!(bound("openai", Operation::Responses, stored).input, 400_000);
        let embedded = bound(
            "openai",
            Operation::Embeddings,
            r#"{"model":"text-embedding-3-small","input":"x"}"#,
        );
        assert_eq!((embedded.output, embedded.cost.is_some()), (0, true));
    }

    #[test]
    fn an_unknown_price_is_unknown_and_not_nothing() {
        let unknown = bound("openai", Operation::Chat, r#"{"model":"nobody-knows","messages":[]}"#);
        assert_eq!((unknown.cost, unknown.output), (None, 131_072));
        let unread = bound("nvidia", Operation::Chat, "no json");
        assert_eq!((unread.cost, unread.unread), (None, true));
        assert!(!unknown.unread && bound("ollama", Operation::Chat, "no json").cost.is_some());
    }

    /// What can't be read may be the dearest there is.
    #[test]
    fn a_body_that_was_not_read_is_bounded_by_the_dearest_model() {
        let unread = bound("openai", Operation::Chat, "no json");
        assert!(unread.unread && unread.output_asked, "nothing can be written into it");
        for model in ["gpt-5", "o1", "gpt-4o"] {
            let known = bound("openai", Operation::Chat, &format!(r#"{{"model":"{model}"}}"#));
            assert!(unread.output >= known.output && unread.cost > known.cost, "{model}");
        }
    }

    #[test]
    fn the_same_prompt_is_known_again_and_no_other() {
        let key = foldhash::quality::RandomState::default();
        let long = "x".repeat(1 << 20);
        let other = format!("{}y", &long[1..]);
        assert_eq!(prompt_hash(&key, long.as_bytes()), prompt_hash(&key, long.as_bytes()));
        assert_ne!(prompt_hash(&key, long.as_bytes()), prompt_hash(&key, other.as_bytes()));
        assert_ne!(prompt_hash(&key, b"a"), prompt_hash(&key, b"b"));
    }
}
