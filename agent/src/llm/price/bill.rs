//! Applies a set of prices to the tokens of one call.

use super::Unpriced;
use super::catalogue::{Key, Price, PriceSet, Variant};
use super::rate::Rate;
use crate::llm::providers::Provider;
use crate::llm::usage::Usage;

/// Price keys that don't touch what the tokens cost: charged beside them, or not for calls.
const BESIDE_TOKENS: [&str; 1] = ["storage_searches_kcount"];

/// Prices of images in the prompt of a realtime model. They are priced as text, which costs four
/// fifths as much: a spoken conversation that shows an image is no reason to know no price at all.
const REALTIME_IMAGES: [&str; 2] = ["cache_image_read_mtok", "input_image_mtok"];

/// How the names of `OpenAI`'s regional hosts (`eu.api.openai.com`) end.
const REGIONAL: &str = ".api.openai.com";

/// The prices of one model, the ones of a tier before the standard ones.
pub(super) struct Bill<'a> {
    standard: &'a PriceSet,
    variant: Option<&'a Variant>,
}

impl<'a> Bill<'a> {
    pub(super) fn new(standard: &'a PriceSet, variant: Option<&'a Variant>) -> Self {
        Self { standard, variant }
    }

    /// What these tokens cost, in units of 10⁻¹⁸ dollars.
    ///
    /// Where the size of the prompt decides, all of it counts (cached or not), and it decides for
    /// every token of the call.
    pub(super) fn total(&self, usage: &Usage) -> Result<u128, Unpriced> {
        self.check(usage)?;
        let prompt = prompt_size(usage);
        let mut sum = self.rate(&[Key::Request], prompt).map_or(0, |rate| per_thousand(rate, 1));
        for (count, keys) in kinds(usage) {
            if count > 0 {
                let rate = self.rate(keys, prompt).ok_or(Unpriced::UnknownRate)?;
                sum = sum.saturating_add(rate.times(count));
            }
        }
        Ok(sum)
    }

    /// The rate under the first of `keys` that has one: a kind without a price of its own costs
    /// what the wider kind costs.
    pub(super) fn rate(&self, keys: &[Key], prompt: u64) -> Option<Rate> {
        keys.iter().find_map(|key| self.price(*key)).map(|price| price.for_prompt(prompt))
    }

    pub(super) fn price(&self, key: Key) -> Option<&'a Price> {
        let variant = self.variant.and_then(|variant| variant.prices.by_key[key as usize].as_ref());
        variant.or(self.standard.by_key[key as usize].as_ref())
    }

    /// Refuses what token counts alone can't price.
    fn check(&self, usage: &Usage) -> Result<(), Unpriced> {
        let token_keys = [Key::Input, Key::Output, Key::AudioInput, Key::AudioOutput];
        let by_token = token_keys.iter().any(|key| self.price(*key).is_some());
        let is_realtime = self.price(Key::AudioInput).is_some();
        let is_known = |other: &str| {
            BESIDE_TOKENS.contains(&other) || is_realtime && REALTIME_IMAGES.contains(&other)
        };
        if !self.standard.others.iter().all(|other| is_known(other)) {
            return Err(Unpriced::NotByToken);
        }
        if !by_token {
            return Err(Unpriced::UnknownRate);
        }
        // Cached audio is counted with the other cached tokens: fine while both cost the same.
        let prompt = prompt_size(usage);
        if usage.audio_input > 0 && usage.cache_read > 0 {
            let audio = self.rate(&[Key::AudioCacheRead], prompt);
            if audio.is_some() && audio != self.rate(&[Key::CacheRead], prompt) {
                return Err(Unpriced::NotByToken);
            }
        }
        Ok(())
    }
}

/// Each kind of token with the keys it may be priced under, the narrowest first.
pub(super) fn kinds(usage: &Usage) -> [(u64, &'static [Key]); 8] {
    use Key::{
        AudioInput, AudioOutput, CacheRead, CacheWrite, CacheWrite1h, Input, Output, Reasoning,
    };
    [
        (usage.input, &[Input]),
        (usage.cache_read, &[CacheRead, Input]),
        (usage.cache_write_5m, &[CacheWrite, Input]),
        (usage.cache_write_1h, &[CacheWrite1h, CacheWrite, Input]),
        (usage.output, &[Output]),
        (usage.reasoning, &[Reasoning, Output]),
        (usage.audio_input, &[AudioInput, Input]),
        (usage.audio_output, &[AudioOutput, Output]),
    ]
}

/// What `count` of something priced by the thousand costs, in units of 10⁻¹⁸ dollars.
pub(super) fn per_thousand(rate: Rate, count: u64) -> u128 {
    rate.times(count).saturating_mul(1000)
}

/// Whether the answer was computed in a region that costs more.
///
/// `OpenAI` adds 10 % at its regional hosts for models released from 5 March 2026 on, which are
/// GPT-5.4 and its successors (its data residency guide).
pub(super) fn is_regional(provider: &Provider, model: &str) -> bool {
    let version = || {
        let name = model.strip_prefix("gpt-")?;
        let digits = name.split(|next: char| !next.is_ascii_digit() && next != '.').next()?;
        let (major, minor) = digits.split_once('.').unwrap_or((digits, "0"));
        Some((major.parse::<u16>().ok()?, minor.parse::<u16>().ok()?))
    };
    provider.hosts.iter().any(|host| host.ends_with(REGIONAL))
        && version().is_some_and(|version| version >= (5, 4))
}

/// The 10 % that `OpenAI` (regional hosts) and Anthropic (`inference_geo: "us"`, every kind of
/// token) add for a given place.
pub(super) fn with_regional_surcharge(sum: u128) -> u128 {
    sum.saturating_mul(11) / 10
}

fn prompt_size(usage: &Usage) -> u64 {
    let cached = [usage.cache_read, usage.cache_write_5m, usage.cache_write_1h];
    cached.into_iter().fold(usage.input.saturating_add(usage.audio_input), u64::saturating_add)
}
