//! Responses, and the responses of a realtime session.

use std::borrow::Cow;

use serde::de::{MapAccess, SeqAccess};

use super::{Failure, Reported, Seen};
use crate::llm::json::{self, Shape, Value, Volume};
use crate::llm::reading::{Facts, keep};

/// Reads one event of a stream of a response, or a whole response.
pub(in crate::llm) fn read(document: &[u8], facts: &mut Facts) -> serde_json::Result<Seen> {
    let event: Event<'_> = json::read(document)?;
    let kind = event.kind.as_deref().unwrap_or_default();
    match kind {
        // Its transcript comes beside it, and costs nothing.
        "response.audio.delta" | "response.output_audio.delta" => facts.sounded(event.delta.0),
        "error" => {
            let error = event.top.error.0.unwrap_or_default();
            facts.failed([error.code.or(event.code), error.kind]);
            facts.terminal = true;
            return Ok(Seen::default());
        }
        _ if kind.strip_suffix(".delta").is_some() => facts.said(event.delta.0),
        _ => {}
    }
    if kind.is_empty() {
        facts.said(event.top.output.said);
        event.top.tell(facts);
    } else {
        event.response.tell(facts);
    }
    facts.terminal |= matches!(
        kind,
        "response.completed"
            | "response.failed"
            | "response.incomplete"
            | "response.cancelled"
            | "response.done"
    );
    Ok(Seen::default())
}

/// An event of a response's stream; or, where it has no type, a whole response.
#[derive(Default)]
struct Event<'de> {
    kind: Option<Cow<'de, str>>,
    delta: Volume,
    code: Option<Cow<'de, str>>,
    response: Response<'de>,
    top: Response<'de>,
}

impl<'de> Shape<'de> for Event<'de> {
    fn member<A: MapAccess<'de>>(
        &mut self,
        key: &str,
        value: Value<'_, A>,
    ) -> Result<(), A::Error> {
        match key {
            "type" => value.into(&mut self.kind),
            "delta" => value.into(&mut self.delta),
            "code" => value.into(&mut self.code),
            "response" => value.into(&mut self.response),
            _ => self.top.member(key, value),
        }
    }
}

#[derive(Default)]
struct Response<'de> {
    id: Option<Cow<'de, str>>,
    model: Option<Cow<'de, str>>,
    service_tier: Option<Cow<'de, str>>,
    status: Option<Cow<'de, str>>,
    incomplete: Incomplete<'de>,
    output: Output,
    usage: Reported,
    error: Failure<'de>,
}

impl<'de> Shape<'de> for Response<'de> {
    fn member<A: MapAccess<'de>>(
        &mut self,
        key: &str,
        value: Value<'_, A>,
    ) -> Result<(), A::Error> {
        match key {
            "id" => value.into(&mut self.id),
            "model" => value.into(&mut self.model),
            "service_tier" => value.into(&mut self.service_tier),
            "status" => value.into(&mut self.status),
            "incomplete_details" => value.into(&mut self.incomplete),
            "output" => value.into(&mut self.output),
            "usage" => value.into(&mut self.usage),
            "error" => value.into(&mut self.error),
            // Where a realtime response says why it failed.
            "status_details" => {
                let mut details = Self::default();
                value.into(&mut details)?;
                if details.error.0.is_some() {
                    self.error = details.error;
                }
                Ok(())
            }
            _ => value.skip(),
        }
    }
}

impl Response<'_> {
    fn tell(self, facts: &mut Facts) {
        keep(&mut facts.response_id, self.id);
        keep(&mut facts.model, self.model);
        keep(&mut facts.service_tier, self.service_tier);
        let ended = |status: &Cow<'_, str>| !matches!(&**status, "in_progress" | "queued");
        keep(&mut facts.finish_reason, self.incomplete.0.or_else(|| self.status.filter(ended)));
        facts.searched = facts.searched.max(self.output.searches);
        self.usage.tell(facts);
        if let Some(error) = self.error.0 {
            facts.failed([error.code, error.kind]);
        }
    }
}

/// Why a response is incomplete.
#[derive(Default)]
struct Incomplete<'de>(Option<Cow<'de, str>>);

impl<'de> Shape<'de> for Incomplete<'de> {
    fn member<A: MapAccess<'de>>(
        &mut self,
        key: &str,
        value: Value<'_, A>,
    ) -> Result<(), A::Error> {
        match key {
            "reason" => value.into(&mut self.0),
            _ => value.skip(),
        }
    }
}

/// The items of a response's output together.
#[derive(Default)]
struct Output {
    searches: u64,
    said: u64,
}

impl<'de> Shape<'de> for Output {
    fn item<A: SeqAccess<'de>>(&mut self, items: &mut A) -> Result<bool, A::Error> {
        let mut item = Item::default();
        let more = json::add_item(items, &mut item)?;
        self.searches += u64::from(item.kind.as_deref() == Some("web_search_call"));
        self.said += item.said.0;
        Ok(more)
    }
}

#[derive(Default)]
struct Item<'de> {
    kind: Option<Cow<'de, str>>,
    said: Volume,
}

impl<'de> Shape<'de> for Item<'de> {
    fn member<A: MapAccess<'de>>(
        &mut self,
        key: &str,
        value: Value<'_, A>,
    ) -> Result<(), A::Error> {
        match key {
            "type" => value.into(&mut self.kind),
            "content" | "arguments" | "summary" => value.add_to(&mut self.said),
            _ => value.skip(),
        }
    }
}
