//! Chat completions, completions and embeddings.

use std::borrow::Cow;

use serde::de::{MapAccess, SeqAccess};

use super::{Failure, Reported, Seen};
use crate::llm::json::{self, Shape, Value, Volume};
use crate::llm::reading::{Facts, keep};

/// Reads one event of a stream of chat completions or completions, or a whole body.
pub(in crate::llm) fn read(document: &[u8], facts: &mut Facts) -> serde_json::Result<Seen> {
    let chat: Chat<'_> = json::read(document)?;
    keep(&mut facts.response_id, chat.id);
    keep(&mut facts.model, chat.model);
    keep(&mut facts.service_tier, chat.service_tier);
    keep(&mut facts.finish_reason, chat.choices.finish_reason);
    facts.said(chat.choices.said);
    // Some put the usage beside the choices, some inside one, some in a member of their own.
    for usage in [&chat.groq.usage, &chat.choices.usage, &chat.usage] {
        usage.tell(facts);
    }
    if let Some(error) = chat.error.0 {
        facts.failed([error.code, error.kind]);
        facts.terminal = true;
    }
    let no_choice = chat.choices.listed && chat.choices.count == 0;
    Ok(Seen { usage_only: no_choice && chat.usage.0.is_some_and(|counts| counts.any()) })
}

#[derive(Default)]
struct Chat<'de> {
    id: Option<Cow<'de, str>>,
    model: Option<Cow<'de, str>>,
    service_tier: Option<Cow<'de, str>>,
    choices: Choices<'de>,
    usage: Reported,
    groq: Groq,
    error: Failure<'de>,
}

impl<'de> Shape<'de> for Chat<'de> {
    fn member<A: MapAccess<'de>>(
        &mut self,
        key: &str,
        value: Value<'_, A>,
    ) -> Result<(), A::Error> {
        match key {
            "id" => value.into(&mut self.id),
            "model" => value.into(&mut self.model),
            "service_tier" => value.into(&mut self.service_tier),
            "choices" => value.into(&mut self.choices),
            "usage" => value.into(&mut self.usage),
            "x_groq" => value.into(&mut self.groq),
            "error" => value.into(&mut self.error),
            _ => value.skip(),
        }
    }
}

/// The choices together: how much they say, and why the first one ended.
#[derive(Default)]
struct Choices<'de> {
    /// Whether there is a list, with whatever in it.
    listed: bool,
    count: u64,
    said: u64,
    finish_reason: Option<Cow<'de, str>>,
    usage: Reported,
}

impl<'de> Shape<'de> for Choices<'de> {
    fn item<A: SeqAccess<'de>>(&mut self, items: &mut A) -> Result<bool, A::Error> {
        self.listed = true;
        let mut choice = Choice::default();
        if !json::add_item(items, &mut choice)? {
            return Ok(false);
        }
        self.count += 1;
        self.said += choice.said.0;
        self.finish_reason = self.finish_reason.take().or(choice.finish_reason);
        if choice.usage.0.is_some() {
            self.usage = choice.usage;
        }
        Ok(true)
    }
}

#[derive(Default)]
struct Choice<'de> {
    finish_reason: Option<Cow<'de, str>>,
    said: Said,
    usage: Reported,
}

impl<'de> Shape<'de> for Choice<'de> {
    fn member<A: MapAccess<'de>>(
        &mut self,
        key: &str,
        value: Value<'_, A>,
    ) -> Result<(), A::Error> {
        match key {
            "finish_reason" => value.into(&mut self.finish_reason),
            "delta" | "message" => value.add_to(&mut self.said),
            "text" => {
                let mut text = Volume::default();
                value.into(&mut text)?;
                self.said.0 += text.0;
                Ok(())
            }
            "usage" => value.into(&mut self.usage),
            _ => value.skip(),
        }
    }
}

/// The bytes of output in a message or a part of one.
#[derive(Default)]
struct Said(u64);

impl<'de> Shape<'de> for Said {
    fn member<A: MapAccess<'de>>(
        &mut self,
        key: &str,
        value: Value<'_, A>,
    ) -> Result<(), A::Error> {
        let mut said = Volume::default();
        match key {
            // Of audio only the transcript: the rest is base64.
            "audio" => return value.add_to(self),
            "content" | "reasoning" | "reasoning_content" | "refusal" | "tool_calls"
            | "function_call" | "transcript" => value.into(&mut said)?,
            _ => value.skip()?,
        }
        self.0 += said.0;
        Ok(())
    }
}

/// Usage inside a member of Groq's own.
#[derive(Default)]
struct Groq {
    usage: Reported,
}

impl<'de> Shape<'de> for Groq {
    fn member<A: MapAccess<'de>>(
        &mut self,
        key: &str,
        value: Value<'_, A>,
    ) -> Result<(), A::Error> {
        match key {
            "usage" => value.into(&mut self.usage),
            _ => value.skip(),
        }
    }
}
