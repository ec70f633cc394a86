//! Gemini's wire format: content, whole, as events, or as the array a stream is without `alt=sse`.
//!
//! The prompt's count has the cached tokens in it, but not what the provider's own tools put in;
//! thoughts are counted beside the candidates. Every chunk repeats the counts from the beginning.
//! There is no last event: the chunk that says why the output ended is the last.

use std::borrow::Cow;

use serde::de::{MapAccess, SeqAccess};

use super::json::{self, Shape, Value, Volume};
use super::openai;
use super::reading::{Counts, Facts, keep};
use super::usage::Usage;

/// Reads one event of a stream, a whole answer, or a whole stream that is an array.
pub(super) fn read(document: &[u8], facts: &mut Facts) -> serde_json::Result<()> {
    let answers: Answers<'_> = json::read(document)?;
    for answer in answers.0 {
        answer.tell(facts);
    }
    Ok(())
}

/// Counts made disjoint: by now they overlap as `OpenAI`'s do.
pub(super) fn normalise(counts: &Counts) -> Usage {
    openai::normalise(counts)
}

/// One answer, or those of an array.
#[derive(Default)]
struct Answers<'de>(Vec<Answer<'de>>);

impl<'de> Shape<'de> for Answers<'de> {
    fn member<A: MapAccess<'de>>(
        &mut self,
        key: &str,
        value: Value<'_, A>,
    ) -> Result<(), A::Error> {
        if self.0.is_empty() {
            self.0.push(Answer::default());
        }
        match self.0.last_mut() {
            Some(answer) => answer.member(key, value),
            None => value.skip(),
        }
    }

    fn item<A: SeqAccess<'de>>(&mut self, items: &mut A) -> Result<bool, A::Error> {
        let mut answer = Answer::default();
        let more = json::add_item(items, &mut answer)?;
        if more {
            self.0.push(answer);
        }
        Ok(more)
    }
}

#[derive(Default)]
struct Answer<'de> {
    id: Option<Cow<'de, str>>,
    model: Option<Cow<'de, str>>,
    candidates: Candidates<'de>,
    feedback: Feedback<'de>,
    usage: Reported<'de>,
    error: Failure<'de>,
}

impl<'de> Shape<'de> for Answer<'de> {
    fn member<A: MapAccess<'de>>(
        &mut self,
        key: &str,
        value: Value<'_, A>,
    ) -> Result<(), A::Error> {
        match key {
            "responseId" => value.into(&mut self.id),
            "modelVersion" => value.into(&mut self.model),
            "candidates" => value.into(&mut self.candidates),
            "promptFeedback" => value.into(&mut self.feedback),
            "usageMetadata" => value.into(&mut self.usage),
            "error" => value.into(&mut self.error),
            _ => value.skip(),
        }
    }
}

impl Answer<'_> {
    fn tell(self, facts: &mut Facts) {
        keep(&mut facts.response_id, self.id);
        keep(&mut facts.model, self.model);
        let counts = self.usage.counts();
        keep(&mut facts.service_tier, self.usage.service_tier);
        facts.said(self.candidates.said);
        let ended = self.candidates.finish_reason.is_some() || self.feedback.0.is_some();
        keep(&mut facts.finish_reason, self.candidates.finish_reason.or(self.feedback.0));
        let searches = self.candidates.searches;
        if searches > 0 {
            // Up to the second generation a grounded prompt is billed once, however many searches
            // it took.
            let once = facts.model.as_deref().is_some_and(|model| model.starts_with("gemini-2"));
            facts.searched = if once { 1 } else { facts.searched.max(searches) };
        }
        facts.count(&counts, ended);
        // An end without counts: those may follow.
        facts.terminal |= ended && counts.any();
        if let Some(category) = self.error.0 {
            facts.failed([category, None]);
            facts.terminal = true;
        }
    }
}

/// The candidates together: how much they say, and why the first one ended.
#[derive(Default)]
struct Candidates<'de> {
    said: u64,
    searches: u64,
    finish_reason: Option<Cow<'de, str>>,
}

impl<'de> Shape<'de> for Candidates<'de> {
    fn item<A: SeqAccess<'de>>(&mut self, items: &mut A) -> Result<bool, A::Error> {
        let mut candidate = Candidate::default();
        if !json::add_item(items, &mut candidate)? {
            return Ok(false);
        }
        self.said += candidate.content.0;
        self.searches += candidate.grounding.0;
        self.finish_reason = self.finish_reason.take().or(candidate.finish_reason);
        Ok(true)
    }
}

#[derive(Default)]
struct Candidate<'de> {
    content: Said,
    grounding: Queries,
    finish_reason: Option<Cow<'de, str>>,
}

impl<'de> Shape<'de> for Candidate<'de> {
    fn member<A: MapAccess<'de>>(
        &mut self,
        key: &str,
        value: Value<'_, A>,
    ) -> Result<(), A::Error> {
        match key {
            "content" => value.into(&mut self.content),
            "groundingMetadata" => value.into(&mut self.grounding),
            "finishReason" => value.into(&mut self.finish_reason),
            _ => value.skip(),
        }
    }
}

/// The bytes of output in content or a part of it.
#[derive(Default)]
struct Said(u64);

impl<'de> Shape<'de> for Said {
    fn member<A: MapAccess<'de>>(
        &mut self,
        key: &str,
        value: Value<'_, A>,
    ) -> Result<(), A::Error> {
        match key {
            "parts" => value.add_to(self),
            // Of images and audio the size of the base64 says nothing.
            "text" | "functionCall" | "executableCode" => {
                let mut said = Volume::default();
                value.into(&mut said)?;
                self.0 += said.0;
                Ok(())
            }
            _ => value.skip(),
        }
    }

    fn item<A: SeqAccess<'de>>(&mut self, items: &mut A) -> Result<bool, A::Error> {
        json::add_item(items, self)
    }
}

/// How many searches an answer took.
#[derive(Default)]
struct Queries(u64);

impl<'de> Shape<'de> for Queries {
    fn member<A: MapAccess<'de>>(
        &mut self,
        key: &str,
        value: Value<'_, A>,
    ) -> Result<(), A::Error> {
        match key {
            "webSearchQueries" => {
                let mut list = Listed::default();
                value.into(&mut list)?;
                self.0 += list.0;
                Ok(())
            }
            _ => value.skip(),
        }
    }
}

/// The length of a list.
#[derive(Default)]
struct Listed(u64);

impl<'de> Shape<'de> for Listed {
    fn item<A: SeqAccess<'de>>(&mut self, items: &mut A) -> Result<bool, A::Error> {
        let mut ignored = Volume::default();
        let more = json::add_item(items, &mut ignored)?;
        self.0 += u64::from(more);
        Ok(more)
    }
}

/// Why a prompt was not answered.
#[derive(Default)]
struct Feedback<'de>(Option<Cow<'de, str>>);

impl<'de> Shape<'de> for Feedback<'de> {
    fn member<A: MapAccess<'de>>(
        &mut self,
        key: &str,
        value: Value<'_, A>,
    ) -> Result<(), A::Error> {
        match key {
            "blockReason" => value.into(&mut self.0),
            _ => value.skip(),
        }
    }
}

#[derive(Default)]
struct Reported<'de> {
    prompt: Option<u64>,
    by_tools: Option<u64>,
    cached: Option<u64>,
    candidates: Option<u64>,
    thoughts: Option<u64>,
    prompt_audio: Audio,
    cached_audio: Audio,
    said_audio: Audio,
    service_tier: Option<Cow<'de, str>>,
}

impl<'de> Shape<'de> for Reported<'de> {
    fn member<A: MapAccess<'de>>(
        &mut self,
        key: &str,
        value: Value<'_, A>,
    ) -> Result<(), A::Error> {
        match key {
            "promptTokenCount" => value.into(&mut self.prompt),
            "toolUsePromptTokenCount" => value.into(&mut self.by_tools),
            "cachedContentTokenCount" => value.into(&mut self.cached),
            "candidatesTokenCount" => value.into(&mut self.candidates),
            "thoughtsTokenCount" => value.into(&mut self.thoughts),
            "promptTokensDetails" => value.into(&mut self.prompt_audio),
            "cacheTokensDetails" => value.into(&mut self.cached_audio),
            "candidatesTokensDetails" => value.into(&mut self.said_audio),
            "serviceTier" => value.into(&mut self.service_tier),
            _ => value.skip(),
        }
    }
}

impl Reported<'_> {
    fn counts(&self) -> Counts {
        let sum = |one: Option<u64>, other: Option<u64>| match (one, other) {
            (None, None) => None,
            (one, other) => Some(one.unwrap_or(0).saturating_add(other.unwrap_or(0))),
        };
        let audio = self.prompt_audio.tokens.map(|all| {
            // What of it was cached is among the cached tokens.
            all.saturating_sub(self.cached_audio.tokens.unwrap_or(0))
        });
        Counts {
            input: sum(self.prompt, self.by_tools),
            cache_read: self.cached,
            audio_input: audio,
            output: sum(self.candidates, self.thoughts),
            reasoning: self.thoughts,
            audio_output: self.said_audio.tokens,
            ..Counts::default()
        }
    }
}

/// The tokens of audio in a list by modality.
#[derive(Default)]
struct Audio {
    tokens: Option<u64>,
}

impl<'de> Shape<'de> for Audio {
    fn item<A: SeqAccess<'de>>(&mut self, items: &mut A) -> Result<bool, A::Error> {
        let mut detail = Detail::default();
        let more = json::add_item(items, &mut detail)?;
        if detail.modality.as_deref() == Some("AUDIO") {
            let before = self.tokens.unwrap_or(0);
            self.tokens = Some(before.saturating_add(detail.tokens.unwrap_or(0)));
        }
        Ok(more)
    }
}

#[derive(Default)]
struct Detail<'de> {
    modality: Option<Cow<'de, str>>,
    tokens: Option<u64>,
}

impl<'de> Shape<'de> for Detail<'de> {
    fn member<A: MapAccess<'de>>(
        &mut self,
        key: &str,
        value: Value<'_, A>,
    ) -> Result<(), A::Error> {
        match key {
            "modality" => value.into(&mut self.modality),
            "tokenCount" => value.into(&mut self.tokens),
            _ => value.skip(),
        }
    }
}

/// The category of an error.
#[derive(Default)]
struct Failure<'de>(Option<Option<Cow<'de, str>>>);

impl<'de> Shape<'de> for Failure<'de> {
    fn member<A: MapAccess<'de>>(
        &mut self,
        key: &str,
        value: Value<'_, A>,
    ) -> Result<(), A::Error> {
        let category = self.0.get_or_insert_default();
        match key {
            "status" => value.into(category),
            _ => value.skip(),
        }
    }
}
