//! `OpenAI`'s wire format, as it and its many imitators speak it: chat completions, completions,
//! embeddings and responses, whole or as events.
//!
//! Cached and audio tokens are counted inside the input, reasoning and audio inside the output.

mod chat;
mod responses;

use std::borrow::Cow;

use serde::de::MapAccess;

pub(super) use self::chat::read as read_chat;
pub(super) use self::responses::read as read_responses;
use super::json::{Shape, Text, Value};
use super::reading::{Counts, Facts};
use super::usage::Usage;

/// What an event turned out to be, beyond what it says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// It carries usage and no choice: what `include_usage` adds to a stream.
    pub(super) usage_only: bool,
}

/// Counts made disjoint. Where the parts exceed the whole, the whole is believed: it is billed.
pub(super) fn normalise(counts: &Counts) -> Usage {
    let mut left = counts.input.unwrap_or(0);
    let mut part_of = |count: Option<u64>| {
        let part = count.unwrap_or(0).min(left);
        left -= part;
        part
    };
    let cache_read = part_of(counts.cache_read);
    let cache_write_5m = part_of(counts.cache_write);
    let audio_input = part_of(counts.audio_input);
    let input = left;

    let (output, reasoning) = (counts.output.unwrap_or(0), counts.reasoning.unwrap_or(0));
    // xAI counts reasoning beside the output in chat completions; the total tells.
    let beside = counts.total.is_some_and(|total| {
        let input = counts.input.unwrap_or(0);
        reasoning > 0 && total == input.saturating_add(output).saturating_add(reasoning)
    });
    let mut left = if beside { output.saturating_add(reasoning) } else { output };
    let reasoning = reasoning.min(left);
    left -= reasoning;
    let audio_output = counts.audio_output.unwrap_or(0).min(left);
    Usage {
        input,
        cache_read,
        cache_write_5m,
        output: left - audio_output,
        reasoning,
        audio_input,
        audio_output,
        ..Usage::default()
    }
}

/// Usage under the names of all `OpenAI` APIs, and under those some imitators use.
///
/// Boxed, as most events have none: what is read of an event stays small.
#[derive(Default)]
struct Reported(Option<Box<Counts>>);

impl Reported {
    fn tell(&self, facts: &mut Facts) {
        if let Some(counts) = &self.0 {
            facts.count(counts, true);
        }
    }
}

impl<'de> Shape<'de> for Reported {
    fn member<A: MapAccess<'de>>(
        &mut self,
        key: &str,
        value: Value<'_, A>,
    ) -> Result<(), A::Error> {
        let counts = self.0.get_or_insert_default();
        match key {
            "prompt_tokens" | "input_tokens" => value.into(&mut counts.input),
            "completion_tokens" | "output_tokens" => value.into(&mut counts.output),
            "total_tokens" => value.into(&mut counts.total),
            // The last of the names is that of realtime sessions.
            "prompt_tokens_details" | "input_tokens_details" | "input_token_details" => {
                let mut details = Details::default();
                value.into(&mut details)?;
                counts.cache_read = details.cached.or(counts.cache_read);
                counts.cache_write = details.cache_write;
                // Cached audio is counted in both.
                let cached = details.cached_audio.0.unwrap_or(0);
                counts.audio_input = details.audio.map(|audio| audio.saturating_sub(cached));
                Ok(())
            }
            "completion_tokens_details" | "output_tokens_details" | "output_token_details" => {
                let mut details = Details::default();
                value.into(&mut details)?;
                counts.reasoning = details.reasoning;
                counts.audio_output = details.audio;
                Ok(())
            }
            // DeepSeek's and Moonshot's own names.
            "prompt_cache_hit_tokens" | "cached_tokens" => {
                let mut cached = None;
                value.into(&mut cached)?;
                counts.cache_read = counts.cache_read.or(cached);
                Ok(())
            }
            _ => value.skip(),
        }
    }
}

#[derive(Default)]
struct Details {
    cached: Option<u64>,
    cache_write: Option<u64>,
    audio: Option<u64>,
    cached_audio: CachedAudio,
    reasoning: Option<u64>,
}

/// How much of what was cached is audio; only realtime sessions say.
#[derive(Default)]
struct CachedAudio(Option<u64>);

impl<'de> Shape<'de> for CachedAudio {
    fn member<A: MapAccess<'de>>(
        &mut self,
        key: &str,
        value: Value<'_, A>,
    ) -> Result<(), A::Error> {
        match key {
            "audio_tokens" => value.into(&mut self.0),
            _ => value.skip(),
        }
    }
}

impl<'de> Shape<'de> for Details {
    fn member<A: MapAccess<'de>>(
        &mut self,
        key: &str,
        value: Value<'_, A>,
    ) -> Result<(), A::Error> {
        match key {
            "cached_tokens" => value.into(&mut self.cached),
            "cache_write_tokens" => value.into(&mut self.cache_write),
            "audio_tokens" => value.into(&mut self.audio),
            "cached_tokens_details" => value.into(&mut self.cached_audio),
            "reasoning_tokens" => value.into(&mut self.reasoning),
            _ => value.skip(),
        }
    }
}

/// An error, unless it is null.
#[derive(Default)]
struct Failure<'de>(Option<Categories<'de>>);

#[derive(Default)]
struct Categories<'de> {
    code: Option<Cow<'de, str>>,
    kind: Option<Cow<'de, str>>,
}

impl<'de> Shape<'de> for Failure<'de> {
    // Some send a bare string.
    fn text(&mut self, _: Text<'de, '_>) {
        self.0 = Some(Categories::default());
    }

    fn member<A: MapAccess<'de>>(
        &mut self,
        key: &str,
        value: Value<'_, A>,
    ) -> Result<(), A::Error> {
        let categories = self.0.get_or_insert_default();
        match key {
            "code" => value.into(&mut categories.code),
            "type" => value.into(&mut categories.kind),
            _ => value.skip(),
        }
    }
}
