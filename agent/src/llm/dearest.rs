//! The most that any call to a provider can come to, for calls that can't be read.

use std::time::SystemTime;

use super::maxima::Maxima;
use super::price::{Prices, Query, Worst};
use super::providers::Provider;
use super::usage::Usage;

/// Service tiers that a call may ask for in what can't be read; none is the usual one.
const TIERS: [Option<&str>; 2] = [None, Some("priority")];

/// The most a call can come to, of one model or of any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Dearest {
    /// Input tokens.
    pub input: u64,
    /// Output tokens of one answer.
    pub output: u64,
    /// What it can cost; `None` where no price is known.
    pub worst: Option<Worst>,
}

impl Dearest {
    /// Of a model.
    pub fn of_model(prices: &Prices, provider: &Provider, model: &str, at: SystemTime) -> Self {
        let Maxima { context, output } = Maxima::of(prices, provider, model);
        let usage = Usage { input: context, output, ..Usage::default() };
        let worst = TIERS.into_iter().filter_map(|tier| {
            prices.worst(&Query { provider, model, at, tier, usage: &usage }).ok()
        });
        Self { input: context, output, worst: worst.max() }
    }

    /// Of all models that the price lists have of a provider, each figure by itself.
    pub fn of_provider(prices: &Prices, provider: &Provider, at: SystemTime) -> Self {
        let is_its = |id: &str| provider.prices.as_deref() == Some(id) || *provider.name == *id;
        let models = prices.models().filter(|listed| is_its(listed.provider));
        let all = models.map(|listed| Self::of_model(prices, provider, listed.model, at));
        let known = all.filter(|dearest| dearest.worst.is_some());
        known.reduce(Self::or).unwrap_or_else(|| Self::of_model(prices, provider, "", at))
    }

    /// The larger of each figure.
    fn or(self, other: Self) -> Self {
        Self {
            input: self.input.max(other.input),
            output: self.output.max(other.output),
            worst: self.worst.into_iter().chain(other.worst).reduce(|one, other| Worst {
                total: one.total.max(other.total),
                input: one.input.max(other.input),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::llm::providers::Providers;

    #[test]
    fn no_model_of_the_provider_is_dearer() {
        let (prices, providers) = (Prices::embedded(), Providers::builtin());
        let at = SystemTime::UNIX_EPOCH + Duration::from_hours(24 * 365 * 56);
        for (name, models) in [
            ("openai", &["gpt-4o", "gpt-5", "o1", "gpt-4o-mini"][..]),
            ("anthropic", &["claude-opus-4-6", "claude-haiku-4-5"]),
            ("gemini", &["gemini-2.5-pro", "gemini-2.5-flash"]),
        ] {
            let provider = providers.by_name(name).unwrap();
            let all = Dearest::of_provider(&prices, provider, at);
            for model in models {
                let one = Dearest::of_model(&prices, provider, model, at);
                assert!(one.worst.is_some_and(|worst| worst.total.0 > 0), "{model}");
                assert_eq!(all, all.or(one), "{model}");
            }
        }
    }

    #[test]
    fn a_provider_without_prices_has_none_and_a_free_one_costs_nothing() {
        let (prices, providers) = (Prices::embedded(), Providers::builtin());
        let of = |name| {
            let provider = providers.by_name(name).unwrap();
            Dearest::of_provider(&prices, provider, SystemTime::UNIX_EPOCH)
        };
        let unknown = of("nvidia");
        assert!(unknown.worst.is_none() && unknown.output > 0, "{unknown:?}");
        assert_eq!(of("ollama").worst, Some(Worst::default()));
    }
}
