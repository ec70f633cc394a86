//! What models cost, as `weir price` asks for it.

use std::time::SystemTime;

use crate::admin::SCHEMA_VERSION;
use crate::admin::prices::{PriceQuery, PriceRow, Prices};
use crate::llm::price::{Card, Rate};
use crate::llm::providers::Provider;
use crate::pipeline::Rules;

/// The prices that a query is about, as they are at this time.
pub(super) fn listed(rules: &Rules, query: &PriceQuery, now: SystemTime) -> Prices {
    let (provider, model) = (query.provider.as_deref(), query.model.as_deref());
    let mut rows = Vec::new();
    for listed in rules.prices.models() {
        let named = rules.providers.iter().find(|known| is(known, listed.provider));
        let name = named.map_or(listed.provider, |known| &*known.name);
        if provider.is_some_and(|wanted| wanted != name && wanted != listed.provider) {
            continue;
        }
        if model.is_some_and(|wanted| !wanted.eq_ignore_ascii_case(listed.model)) {
            continue;
        }
        if let Some(rates) = rules.prices.rates(listed.provider, listed.model, now) {
            rows.push(price(name, &rates.model, &rates.version, &rates.base));
        }
    }
    if let (true, Some(model)) = (rows.is_empty(), model) {
        // A dated name or an alias is in no list, and has a price all the same.
        for known in rules.providers.iter() {
            let id = known.prices.as_deref().unwrap_or(&known.name);
            if provider.is_some_and(|wanted| wanted != &*known.name && wanted != id) {
                continue;
            }
            if let Some(rates) = rules.prices.rates(id, model, now) {
                rows.push(price(&known.name, &rates.model, &rates.version, &rates.base));
            }
        }
    }
    let version = Some(rules.prices.dated().to_owned());
    Prices { schema_version: SCHEMA_VERSION, version, rows }
}

fn is(provider: &Provider, id: &str) -> bool {
    provider.prices.as_deref() == Some(id) || *provider.name == *id
}

fn price(provider: &str, model: &str, version: &str, card: &Card) -> PriceRow {
    let usd = |rate: Option<Rate>| rate.and_then(|rate| rate.to_string().parse().ok());
    PriceRow {
        provider: provider.to_owned(),
        model: model.to_owned(),
        source: version.to_owned(),
        from: None,
        input_usd: usd(card.input),
        cache_read_usd: usd(card.cache_read),
        cache_write_5m_usd: usd(card.cache_write_5m),
        cache_write_1h_usd: usd(card.cache_write_1h),
        output_usd: usd(card.output),
        reasoning_usd: usd(card.reasoning),
        audio_input_usd: usd(card.audio_input),
        audio_output_usd: usd(card.audio_output),
        note: None,
    }
}
