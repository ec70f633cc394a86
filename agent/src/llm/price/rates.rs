//! Prices as people write and read them: per million tokens, by kind and prompt size.

use std::sync::Arc;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::bill::{Bill, kinds};
use super::catalogue::{Key, Model, Price, PriceSet};
use super::rate::Rate;
use crate::llm::usage::Usage;

/// Dollars per million tokens of each kind. A kind that is absent costs what the wider kind does:
/// cached and audio input what `input` does, reasoning and audio output what `output` does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Card {
    /// Uncached input.
    pub input: Option<Rate>,
    /// Input read from the cache.
    pub cache_read: Option<Rate>,
    /// Input written to the cache for 5 minutes.
    pub cache_write_5m: Option<Rate>,
    /// Input written to the cache for an hour.
    pub cache_write_1h: Option<Rate>,
    /// Visible output.
    pub output: Option<Rate>,
    /// Reasoning output.
    pub reasoning: Option<Rate>,
    /// Audio input.
    pub audio_input: Option<Rate>,
    /// Audio output.
    pub audio_output: Option<Rate>,
}

/// A price of the configuration's own, in place of whatever the catalogue says of the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    /// The provider's name.
    pub provider: Arc<str>,
    /// The model's name, in any case; a trailing `*` stands for any ending.
    pub model: Arc<str>,
    /// From when on it holds; `None` for always.
    pub from: Option<SystemTime>,
    /// The prices of calls of any size and tier.
    pub base: Card,
    /// Prices of every token of a call with more than so many input tokens; what a card leaves
    /// out stays as it is below.
    pub above: Vec<(u64, Card)>,
}

/// The prices of one model, every kind filled in that has one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rates {
    /// The model's name in the price list.
    pub model: Arc<str>,
    /// Version of the catalogue, or `local`.
    pub version: Arc<str>,
    /// Prices per million tokens.
    pub base: Card,
    /// Prices of every token of a call with more than so many input tokens, ascending.
    pub above: Vec<(u64, Card)>,
    /// Service tiers with prices of their own.
    pub tiers: Vec<(Arc<str>, Card)>,
    /// Dollars per thousand requests, on top.
    pub per_thousand_requests: Option<Rate>,
    /// Dollars per thousand web searches, on top.
    pub per_thousand_web_searches: Option<Rate>,
    /// What else the price list charges for, by its own names: not part of a call's cost.
    pub not_applied: Vec<Arc<str>>,
    /// Tokens the model can take in, where known.
    pub context_window: Option<u64>,
}

/// A model with a price.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed<'a> {
    /// The provider's id in the price list.
    pub provider: &'a str,
    /// The model's id there.
    pub model: &'a str,
    /// Its name for people, where there is one.
    pub name: Option<&'a str>,
}

/// An [`Override`], ready to be applied.
#[derive(Debug)]
pub(super) struct Compiled {
    provider: Arc<str>,
    model: Arc<str>,
    from: Option<SystemTime>,
    pub(super) prices: PriceSet,
}

impl Compiled {
    pub(super) fn covers(&self, provider: &str, model: &str, at: SystemTime) -> bool {
        *self.provider == *provider
            && self.from.is_none_or(|from| at >= from)
            && match self.model.strip_suffix('*') {
                Some(stem) => {
                    model.get(..stem.len()).is_some_and(|start| start.eq_ignore_ascii_case(stem))
                }
                None => self.model.eq_ignore_ascii_case(model),
            }
    }

    pub(super) fn listed(&self) -> Listed<'_> {
        Listed { provider: &self.provider, model: &self.model, name: None }
    }
}

impl From<Override> for Compiled {
    fn from(own: Override) -> Self {
        let Override { provider, model, from, base, mut above } = own;
        above.sort_unstable_by_key(|(start, _)| *start);
        let mut prices = PriceSet::default();
        for (key, of) in COLUMNS {
            let (mut now, mut tiers) = (*of(&mut { base }), Vec::new());
            let first = now;
            for (start, mut card) in above.iter().copied() {
                now = of(&mut card).or(now);
                if let Some(rate) = now {
                    tiers.push((start, rate));
                }
            }
            // A kind priced only above some size costs that from the first token on.
            let lowest = tiers.first().map(|(_, rate)| *rate);
            prices.by_key[key as usize] =
                first.or(lowest).map(|base| Price::tiered(base, tiers.into()));
        }
        Self { provider, model, from, prices }
    }
}

/// The column of a card in which a key of the catalogue stands.
type Column = fn(&mut Card) -> &mut Option<Rate>;

const COLUMNS: [(Key, Column); 8] = [
    (Key::Input, |card| &mut card.input),
    (Key::CacheRead, |card| &mut card.cache_read),
    (Key::CacheWrite, |card| &mut card.cache_write_5m),
    (Key::CacheWrite1h, |card| &mut card.cache_write_1h),
    (Key::Output, |card| &mut card.output),
    (Key::Reasoning, |card| &mut card.reasoning),
    (Key::AudioInput, |card| &mut card.audio_input),
    (Key::AudioOutput, |card| &mut card.audio_output),
];

impl Rates {
    pub(super) fn of_override(own: &Compiled, version: &Arc<str>) -> Self {
        Self::of(Arc::clone(&own.model), &own.prices, version)
    }

    pub(super) fn of_model(model: &Model, at: SystemTime, version: &Arc<str>) -> Option<Self> {
        let standard = model.standard(at)?;
        let mut rates = Self::of(Arc::from(&*model.id), standard, version);
        rates.context_window = model.context_window;
        rates.tiers = model
            .tiers(at)
            .map(|tier| (tier.into(), card(&Bill::new(standard, model.variant(tier, at)), 0)))
            .collect();
        Some(rates)
    }

    fn of(model: Arc<str>, prices: &PriceSet, version: &Arc<str>) -> Self {
        let bill = Bill::new(prices, None);
        let mut starts: Vec<u64> = prices
            .by_key
            .iter()
            .flatten()
            .flat_map(|price| price.tiers.iter().map(|(start, _)| *start))
            .collect();
        starts.sort_unstable();
        starts.dedup();
        Self {
            model,
            version: Arc::clone(version),
            base: card(&bill, 0),
            above: starts.into_iter().map(|at| (at, card(&bill, at.saturating_add(1)))).collect(),
            tiers: Vec::new(),
            per_thousand_requests: bill.rate(&[Key::Request], 0),
            per_thousand_web_searches: bill.rate(&[Key::WebSearch], 0),
            not_applied: prices.others.iter().map(|other| Arc::from(&**other)).collect(),
            context_window: None,
        }
    }
}

/// The card for a prompt of `prompt` tokens.
fn card(bill: &Bill<'_>, prompt: u64) -> Card {
    let mut card = Card::default();
    for (_, keys) in kinds(&Usage::default()) {
        for (key, column) in COLUMNS {
            if keys.first() == Some(&key) {
                *column(&mut card) = bill.rate(keys, prompt);
            }
        }
    }
    card
}
