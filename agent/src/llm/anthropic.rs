//! Anthropic's wire format: messages, whole or as events.
//!
//! Input tokens exclude the cached ones. `message_start` tells the input and how long cache
//! writes live; every `message_delta` repeats the counts from the beginning, so the last one wins
//! field by field and what it leaves out stands.

use std::borrow::Cow;

use serde::de::MapAccess;

use super::json::{self, Shape, Value, Volume};
use super::price::US_ONLY;
use super::reading::{Counts, Facts, keep};
use super::usage::Usage;

/// Reads one event of a stream, or a whole message.
pub(super) fn read(document: &[u8], facts: &mut Facts) -> serde_json::Result<()> {
    let event: Event<'_> = json::read(document)?;
    match event.kind.as_deref().unwrap_or_default() {
        "message_start" => event.message.tell(facts, false),
        "content_block_delta" => facts.said(event.delta.said),
        // A tool's name is output too; text and thinking begin empty.
        "content_block_start" => facts.said(event.block.0),
        "message_delta" => {
            keep(&mut facts.finish_reason, event.delta.stop_reason);
            event.top.usage.tell(facts, true);
        }
        "message_stop" => facts.terminal = true,
        "message" => {
            facts.said(event.top.content.0);
            event.top.tell(facts, true);
        }
        "error" => {
            facts.failed([event.error.0, None]);
            facts.terminal = true;
        }
        _ => {}
    }
    Ok(())
}

/// Counts made disjoint.
pub(super) fn normalise(counts: &Counts) -> Usage {
    let cache_write_1h = counts.cache_write_1h.unwrap_or(0);
    // The total may be newer than its parts, or stand alone: what no part claims was written for
    // the default five minutes.
    let unclaimed = counts.cache_write.unwrap_or(0).saturating_sub(cache_write_1h);
    let output = counts.output.unwrap_or(0);
    let reasoning = counts.reasoning.unwrap_or(0).min(output);
    Usage {
        input: counts.input.unwrap_or(0),
        cache_read: counts.cache_read.unwrap_or(0),
        cache_write_5m: counts.cache_write_5m.unwrap_or(0).max(unclaimed),
        cache_write_1h,
        output: output - reasoning,
        reasoning,
        ..Usage::default()
    }
}

#[derive(Default)]
struct Event<'de> {
    kind: Option<Cow<'de, str>>,
    message: Message<'de>,
    delta: Delta<'de>,
    block: Block,
    error: Failure<'de>,
    /// The members of a whole message, or those an event has at the top.
    top: Message<'de>,
}

impl<'de> Shape<'de> for Event<'de> {
    fn member<A: MapAccess<'de>>(
        &mut self,
        key: &str,
        value: Value<'_, A>,
    ) -> Result<(), A::Error> {
        match key {
            "type" => value.into(&mut self.kind),
            "message" => value.into(&mut self.message),
            "delta" => value.into(&mut self.delta),
            "content_block" => value.into(&mut self.block),
            "error" => value.into(&mut self.error),
            _ => self.top.member(key, value),
        }
    }
}

#[derive(Default)]
struct Message<'de> {
    id: Option<Cow<'de, str>>,
    model: Option<Cow<'de, str>>,
    stop_reason: Option<Cow<'de, str>>,
    content: Volume,
    usage: Reported<'de>,
}

impl<'de> Shape<'de> for Message<'de> {
    fn member<A: MapAccess<'de>>(
        &mut self,
        key: &str,
        value: Value<'_, A>,
    ) -> Result<(), A::Error> {
        match key {
            "id" => value.into(&mut self.id),
            "model" => value.into(&mut self.model),
            "stop_reason" => value.into(&mut self.stop_reason),
            "content" => value.into(&mut self.content),
            "usage" => value.into(&mut self.usage),
            _ => value.skip(),
        }
    }
}

impl Message<'_> {
    fn tell(self, facts: &mut Facts, is_final: bool) {
        keep(&mut facts.response_id, self.id);
        keep(&mut facts.model, self.model);
        keep(&mut facts.finish_reason, self.stop_reason);
        self.usage.tell(facts, is_final);
    }
}

/// A part of a content block; or, of a message, why it ended.
#[derive(Default)]
struct Delta<'de> {
    said: u64,
    stop_reason: Option<Cow<'de, str>>,
}

impl<'de> Shape<'de> for Delta<'de> {
    fn member<A: MapAccess<'de>>(
        &mut self,
        key: &str,
        value: Value<'_, A>,
    ) -> Result<(), A::Error> {
        match key {
            "stop_reason" => value.into(&mut self.stop_reason),
            "text" | "thinking" | "partial_json" => {
                let mut said = Volume::default();
                value.into(&mut said)?;
                self.said += said.0;
                Ok(())
            }
            _ => value.skip(),
        }
    }
}

/// The output in the beginning of a content block.
#[derive(Default)]
struct Block(u64);

impl<'de> Shape<'de> for Block {
    fn member<A: MapAccess<'de>>(
        &mut self,
        key: &str,
        value: Value<'_, A>,
    ) -> Result<(), A::Error> {
        match key {
            "name" | "text" | "thinking" => {
                let mut said = Volume::default();
                value.into(&mut said)?;
                self.0 += said.0;
                Ok(())
            }
            _ => value.skip(),
        }
    }
}

#[derive(Default)]
struct Reported<'de> {
    counts: Counts,
    service_tier: Option<Cow<'de, str>>,
    geo: Option<Cow<'de, str>>,
    speed: Option<Cow<'de, str>>,
}

impl<'de> Shape<'de> for Reported<'de> {
    fn member<A: MapAccess<'de>>(
        &mut self,
        key: &str,
        value: Value<'_, A>,
    ) -> Result<(), A::Error> {
        let counts = &mut self.counts;
        match key {
            "input_tokens" => value.into(&mut counts.input),
            "cache_read_input_tokens" => value.into(&mut counts.cache_read),
            "cache_creation_input_tokens" => value.into(&mut counts.cache_write),
            "output_tokens" => value.into(&mut counts.output),
            "service_tier" => value.into(&mut self.service_tier),
            "inference_geo" => value.into(&mut self.geo),
            "speed" => value.into(&mut self.speed),
            "cache_creation" | "output_tokens_details" | "server_tool_use" => {
                let mut parts = Parts::default();
                value.into(&mut parts)?;
                counts.merge(&parts.0);
                Ok(())
            }
            _ => value.skip(),
        }
    }
}

impl Reported<'_> {
    fn tell(self, facts: &mut Facts, is_final: bool) {
        facts.count(&self.counts, is_final);
        // Fast mode is not a tier by Anthropic's words, but it is one by its price.
        let fast = self.speed.filter(|speed| &**speed == "fast");
        if facts.service_tier.as_deref() != Some("fast") {
            keep(&mut facts.service_tier, fast.or(self.service_tier));
        }
        if self.geo.as_deref() == Some("us") {
            facts.surcharge = Some(US_ONLY);
        }
    }
}

/// The parts of a count.
#[derive(Default)]
struct Parts(Counts);

impl<'de> Shape<'de> for Parts {
    fn member<A: MapAccess<'de>>(
        &mut self,
        key: &str,
        value: Value<'_, A>,
    ) -> Result<(), A::Error> {
        match key {
            "ephemeral_5m_input_tokens" => value.into(&mut self.0.cache_write_5m),
            "ephemeral_1h_input_tokens" => value.into(&mut self.0.cache_write_1h),
            "thinking_tokens" => value.into(&mut self.0.reasoning),
            "web_search_requests" => value.into(&mut self.0.web_searches),
            _ => value.skip(),
        }
    }
}

/// The category of an error.
#[derive(Default)]
struct Failure<'de>(Option<Cow<'de, str>>);

impl<'de> Shape<'de> for Failure<'de> {
    fn member<A: MapAccess<'de>>(
        &mut self,
        key: &str,
        value: Value<'_, A>,
    ) -> Result<(), A::Error> {
        match key {
            "type" => value.into(&mut self.0),
            _ => value.skip(),
        }
    }
}
