//! The most a call can cost before it is made: its tokens at the dearest rate they can fall under.

use super::bill::{self, Bill, kinds};
use super::catalogue::Key;
use super::rate::{Rate, round};
use super::{Prices, Query, Unpriced, split_tier, variant};
use crate::llm::usage::{NanoUsd, Usage};

/// The most a call can cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Worst {
    /// With all its output.
    pub total: NanoUsd,
    /// Its input alone.
    pub input: NanoUsd,
}

/// Kinds of input a prompt may turn out to be of, by their place in [`kinds`]: uncached, written
/// to either cache, audio. What is read from a cache is never dearer.
const INPUT: [usize; 4] = [0, 2, 3, 6];
/// Kinds of output.
const OUTPUT: [usize; 3] = [4, 5, 7];

impl Prices {
    /// The most the call can cost: `query.usage.input` and `.output` are taken as of whatever kind
    /// is dearest. Searches by the provider's own tools are not in it.
    pub fn worst(&self, query: &Query<'_>) -> Result<Worst, Unpriced> {
        if query.provider.free {
            return Ok(Worst::default());
        }
        if let Some(own) = self.overriding(&query.provider.name, query.model, query.at) {
            return worst(&Bill::new(&own.prices, None), query.usage, false);
        }
        let (model, own) = self.find(query.provider, query.model)?;
        let (tier, us_only) = split_tier(query.tier);
        let standard = model.standard(query.at).ok_or(Unpriced::UnknownModel)?;
        if model.is_free(standard) {
            return Ok(Worst::default());
        }
        let variant = variant(model, own, tier, query.at)?;
        let regional = us_only || bill::is_regional(query.provider, &model.id);
        worst(&Bill::new(standard, variant), query.usage, regional)
    }
}

fn worst(bill: &Bill<'_>, usage: &Usage, regional: bool) -> Result<Worst, Unpriced> {
    // Refuses what tokens alone cannot price, and a kind without a rate.
    bill.total(&Usage { input: usage.input, output: usage.output, ..Usage::default() })?;
    let kinds = kinds(usage);
    let dearest = |places: &[usize]| -> Rate {
        let rates = places.iter().filter_map(|at| bill.rate(kinds[*at].1, usage.input));
        rates.max().unwrap_or(Rate::FREE)
    };
    let fee = bill.rate(&[Key::Request], usage.input);
    let input = dearest(&INPUT)
        .times(usage.input)
        .saturating_add(fee.map_or(0, |fee| bill::per_thousand(fee, 1)));
    let total = input.saturating_add(dearest(&OUTPUT).times(usage.output));
    let amount = |sum| round(if regional { bill::with_regional_surcharge(sum) } else { sum });
    Ok(Worst { input: amount(input), total: amount(total) })
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use proptest::prelude::*;

    use super::*;
    use crate::llm::providers::{Provider, Providers};

    fn query<'a>(provider: &'a Provider, model: &'a str, usage: &'a Usage) -> Query<'a> {
        let at = SystemTime::UNIX_EPOCH + Duration::from_hours(24 * 365 * 56);
        Query { provider, model, at, tier: None, usage }
    }

    fn usage(input: u64, output: u64) -> Usage {
        Usage { input, output, ..Usage::default() }
    }

    #[test]
    fn the_dearest_kind_of_input_is_taken() {
        let providers = Providers::builtin();
        let (prices, usage) = (Prices::embedded(), usage(1_000_000, 1_000));
        let openai = providers.by_name("openai").unwrap();
        let worst = prices.worst(&query(openai, "gpt-4o-mini", &usage)).unwrap();
        assert_eq!(worst.input, NanoUsd(150_000_000));
        assert_eq!(worst.total, NanoUsd(150_600_000));
        // Anthropic's cache for an hour costs twice the input.
        let anthropic = providers.by_name("anthropic").unwrap();
        let worst = prices.worst(&query(anthropic, "claude-haiku-4-5", &usage)).unwrap();
        assert_eq!(worst.input, NanoUsd(2_000_000_000));
    }

    proptest! {
        /// Whatever kinds the tokens turn out to be of, the call was not dearer than was said.
        #[test]
        fn no_call_costs_more_than_its_worst(
            input in prop::array::uniform4(0_u64..300_000),
            output in prop::array::uniform2(0_u64..100_000),
        ) {
            let providers = Providers::builtin();
            let prices = Prices::embedded();
            for (provider, model) in [
                ("openai", "gpt-5"), ("openai-eu", "gpt-5.4"), ("anthropic", "claude-sonnet-4-5"),
                ("openai", "gpt-4o-audio-preview"), ("anthropic", "claude-opus-4-6"),
            ] {
                let provider = providers.by_name(provider).unwrap();
                let [plain, cache_read, cache_write_5m, cache_write_1h] = input;
                let [said, reasoning] = output;
                let spent = Usage {
                    input: plain, cache_read, cache_write_5m, cache_write_1h,
                    output: said, reasoning, ..Usage::default()
                };
                let bound = usage(input.iter().sum(), output.iter().sum());
                let cost = prices.cost(&query(provider, model, &spent)).unwrap().cost;
                let worst = prices.worst(&query(provider, model, &bound)).unwrap();
                prop_assert!(cost <= worst.total, "{} {:?} {:?}", model, cost, worst);
            }
        }
    }
}
