//! `prices`, and those that stand with their provider.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Check;
use crate::config::checked::{PriceOverride, Rates};
use crate::config::problem::Trail;
use crate::config::raw::RawPrice;
use crate::config::value::{OneOrMany, Price};

impl Check<'_> {
    pub(super) fn prices(
        &mut self,
        raw: BTreeMap<String, OneOrMany<RawPrice>>,
        prices: &mut Vec<PriceOverride>,
    ) {
        let trail = Trail::default().key("prices");
        for (key, list) in raw {
            match key
                .split_once('/')
                .filter(|(provider, model)| !provider.is_empty() && !model.is_empty())
            {
                Some((provider, model)) => {
                    self.price_list(provider, model, &list, (&trail.key(&key), prices));
                }
                None => self.problem(&trail.key(&key), "the key must be PROVIDER/MODEL".to_owned()),
            }
        }
    }

    pub(super) fn model_prices(
        &mut self,
        provider: &str,
        raw: BTreeMap<String, OneOrMany<RawPrice>>,
        trail: &Trail,
        prices: &mut Vec<PriceOverride>,
    ) {
        for (model, list) in raw {
            self.price_list(provider, &model, &list, (&trail.key(&model), prices));
        }
    }

    fn price_list(
        &mut self,
        provider: &str,
        model: &str,
        list: &OneOrMany<RawPrice>,
        (trail, prices): (&Trail, &mut Vec<PriceOverride>),
    ) {
        let same = |price: &&PriceOverride| *price.provider == *provider && *price.model == *model;
        if prices.iter().any(|price| same(&price)) {
            let what = format!("`{provider}/{model}` has prices in two places");
            self.problem(trail, what);
            return;
        }
        let first = prices.len();
        for (item, price) in self.items(trail, &list.0) {
            // A single price list stands at the model itself.
            let at = if self.kept.find(&item).is_some() { item } else { trail.clone() };
            let from = price.from.map(|day| day.0);
            if prices[first..].iter().any(|other| other.from == from) {
                self.problem(&at, "two price lists hold from the same day".to_owned());
            }
            let Some(rates) = rates(price) else {
                self.missing(&at, &["input"], "needs `input`");
                continue;
            };
            prices.push(PriceOverride {
                provider: Arc::from(provider),
                model: Arc::from(model),
                from,
                rates,
            });
        }
        prices[first..].sort_by_key(|price| price.from);
    }
}

/// `None` without an input price: nothing to fall back on. A model without output (embeddings)
/// may leave that out; its output then costs what input does, and there is none.
fn rates(price: &RawPrice) -> Option<Rates> {
    let input = price.input?.0;
    let output = price.output.map_or(input, |price| price.0);
    let or = |price: Option<Price>, wider| price.map_or(wider, |price| price.0);
    Some(Rates {
        input,
        cache_read: or(price.cache_read, input),
        cache_write_5m: or(price.cache_write_5m, input),
        cache_write_1h: or(price.cache_write_1h, or(price.cache_write_5m, input)),
        output,
        reasoning: or(price.reasoning, output),
        audio_input: or(price.audio_input, input),
        audio_output: or(price.audio_output, output),
    })
}
