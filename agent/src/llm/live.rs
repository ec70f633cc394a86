//! What is said over a WebSocket: the events of `OpenAI`'s Responses and Realtime APIs, as far as
//! they tell which call they belong to.
//!
//! Responses: <https://developers.openai.com/api/reference/resources/responses/websocket-events>.
//! Realtime: <https://developers.openai.com/api/reference/resources/realtime/client-events> and
//! `server-events` beside it. What an event says of its response is read by the same reader as
//! that of a stream over HTTP.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use serde::de::MapAccess;
use serde_json::value::RawValue;

use super::call::Operation;
use super::json::{self, Shape, Value};

/// Names longer than this are not kept.
const MAX_NAME: usize = 256;

/// Which of the two a socket speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Api {
    /// Responses.
    Responses,
    /// Realtime.
    Realtime,
}

impl Api {
    /// The one that is spoken where this operation is asked for over a WebSocket.
    pub fn of(operation: Operation) -> Option<Self> {
        match operation {
            Operation::Responses => Some(Self::Responses),
            Operation::Realtime => Some(Self::Realtime),
            _ => None,
        }
    }

    /// The operation of its calls.
    pub fn operation(self) -> Operation {
        match self {
            Self::Responses => Operation::Responses,
            Self::Realtime => Operation::Realtime,
        }
    }
}

/// What an event does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Deed {
    /// The client asks for a response.
    Create,
    /// A response begins.
    Begin,
    /// A response is over.
    End,
    /// Something failed.
    Fail,
    /// The settings of the session, as they are now.
    Session,
    /// Something outside a response was billed: the transcript of what a user said.
    Beside,
    /// Anything else.
    #[default]
    Other,
}

/// An event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Event {
    /// What it does.
    pub deed: Deed,
    /// Its lane, where it names one.
    pub stream: Option<Arc<str>>,
    /// How its sender calls it.
    pub id: Option<Arc<str>>,
    /// The response it belongs to, where it says so.
    pub response: Option<Arc<str>>,
    /// Of an error: the client's event it is about.
    pub about: Option<Arc<str>>,
    /// Of an error: the status that it would have over HTTP.
    pub status: Option<u16>,
    /// Of a session: its model.
    pub model: Option<Arc<str>>,
    /// Of a session: the most output of one response.
    pub max_output: Option<u64>,
    /// Where the member of a `response.create` stands that holds its parameters, if one does.
    pub asked: Option<Range<usize>>,
}

impl Event {
    /// Reads a message; `None` where it is none of these APIs'.
    pub fn read(message: &[u8]) -> Option<Self> {
        let said: Said<'_> = json::read(message).ok()?;
        let kind = said.kind?;
        let deed = match &*kind {
            "response.create" => Deed::Create,
            "response.created" => Deed::Begin,
            "response.completed"
            | "response.failed"
            | "response.incomplete"
            | "response.cancelled"
            | "response.done" => Deed::End,
            "error" => Deed::Fail,
            "session.created" | "session.updated" => Deed::Session,
            "conversation.item.input_audio_transcription.completed" => Deed::Beside,
            _ => Deed::Other,
        };
        let inner = said.response.filter(|raw| raw.get().starts_with('{'));
        let asked = inner.filter(|_| deed == Deed::Create).map(|raw| span(message, raw));
        let response = match inner {
            Some(raw) if deed != Deed::Create => {
                json::read::<Named<'_>>(raw.get().as_bytes()).ok().and_then(|named| named.id)
            }
            _ => None,
        };
        Some(Self {
            deed,
            stream: name(said.stream),
            id: name(said.id),
            response: name(response.or(said.response_id)),
            about: name(said.error.event_id),
            status: said.status.and_then(|status| u16::try_from(status).ok()),
            model: name(said.session.model),
            max_output: said.session.max_output,
            asked,
        })
    }
}

/// The message with other parameters than those of a `response.create`, byte for byte the same
/// elsewhere.
pub fn with_asked(message: &Bytes, at: Option<&Range<usize>>, asked: &[u8]) -> Bytes {
    let mut changed = BytesMut::with_capacity(message.len() + asked.len() + 16);
    if let Some(at) = at {
        changed.extend_from_slice(&message[..at.start]);
        changed.extend_from_slice(asked);
        changed.extend_from_slice(&message[at.end..]);
    } else {
        // An object with at least a type: another member can stand before it.
        let open = message.iter().position(|byte| *byte == b'{').map_or(0, |at| at + 1);
        changed.extend_from_slice(&message[..open]);
        changed.extend_from_slice(b"\"response\":");
        changed.extend_from_slice(asked);
        changed.extend_from_slice(b",");
        changed.extend_from_slice(&message[open..]);
    }
    changed.freeze()
}

fn name(text: Option<Cow<'_, str>>) -> Option<Arc<str>> {
    text.filter(|text| !text.is_empty() && text.len() <= MAX_NAME).map(Arc::from)
}

/// Where a value that was borrowed from `document` stands in it.
fn span(document: &[u8], value: &RawValue) -> Range<usize> {
    let start = value.get().as_ptr() as usize - document.as_ptr() as usize;
    start..start + value.get().len()
}

#[derive(Default)]
struct Said<'de> {
    kind: Option<Cow<'de, str>>,
    stream: Option<Cow<'de, str>>,
    id: Option<Cow<'de, str>>,
    response: Option<&'de RawValue>,
    response_id: Option<Cow<'de, str>>,
    status: Option<u64>,
    error: Named<'de>,
    session: Session<'de>,
}

impl<'de> Shape<'de> for Said<'de> {
    fn member<A: MapAccess<'de>>(
        &mut self,
        key: &str,
        value: Value<'_, A>,
    ) -> Result<(), A::Error> {
        match key {
            "type" => value.into(&mut self.kind),
            "stream_id" => value.into(&mut self.stream),
            "event_id" => value.into(&mut self.id),
            "response" => value.raw().map(|raw| self.response = Some(raw)),
            "response_id" => value.into(&mut self.response_id),
            "status" | "status_code" => value.into(&mut self.status),
            "error" => value.into(&mut self.error),
            "session" => value.into(&mut self.session),
            _ => value.skip(),
        }
    }
}

/// A response or an error, as far as it names something.
#[derive(Default)]
struct Named<'de> {
    id: Option<Cow<'de, str>>,
    event_id: Option<Cow<'de, str>>,
}

impl<'de> Shape<'de> for Named<'de> {
    fn member<A: MapAccess<'de>>(
        &mut self,
        key: &str,
        value: Value<'_, A>,
    ) -> Result<(), A::Error> {
        match key {
            "id" => value.into(&mut self.id),
            "event_id" => value.into(&mut self.event_id),
            _ => value.skip(),
        }
    }
}

#[derive(Default)]
struct Session<'de> {
    model: Option<Cow<'de, str>>,
    /// `inf` is no number, and no limit.
    max_output: Option<u64>,
}

impl<'de> Shape<'de> for Session<'de> {
    fn member<A: MapAccess<'de>>(
        &mut self,
        key: &str,
        value: Value<'_, A>,
    ) -> Result<(), A::Error> {
        match key {
            "model" => value.into(&mut self.model),
            // The older name is the beta's.
            "max_output_tokens" | "max_response_output_tokens" => value.into(&mut self.max_output),
            _ => value.skip(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(message: &str) -> Event {
        Event::read(message.as_bytes()).expect("an event")
    }

    fn asked(message: &str) -> Option<&str> {
        read(message).asked.map(|at| &message[at])
    }

    #[test]
    fn what_is_asked_may_stand_in_a_member() {
        let flat = r#"{"type":"response.create","model":"gpt-5","input":[],"stream_id":"a"}"#;
        assert_eq!((asked(flat), read(flat).deed), (None, Deed::Create));
        assert_eq!(read(flat).stream.as_deref(), Some("a"));
        let nested =
            r#"{"event_id":"e1","type":"response.create","response":{"instructions":"x"}}"#;
        assert_eq!(asked(nested), Some(r#"{"instructions":"x"}"#));
        assert_eq!(read(nested).id.as_deref(), Some("e1"));
        let bare = r#"{"type":"response.create"}"#;
        assert_eq!((asked(bare), read(bare).deed), (None, Deed::Create));
        assert_eq!(asked(r#"{"type":"response.create","response":null}"#), None);
    }

    #[test]
    fn only_what_is_asked_changes() {
        for (message, expected) in [
            (
                r#" {"type":"response.create","response":{"a":1},"b":2}"#,
                r#" {"type":"response.create","response":{"c":3},"b":2}"#,
            ),
            (r#" {"type":"response.create"}"#, r#" {"response":{"c":3},"type":"response.create"}"#),
        ] {
            let at = read(message).asked;
            let message = Bytes::copy_from_slice(message.as_bytes());
            assert_eq!(with_asked(&message, at.as_ref(), br#"{"c":3}"#), expected);
        }
    }

    #[test]
    fn a_response_is_named_by_its_events() {
        for (message, deed, response) in [
            (r#"{"type":"response.created","response":{"id":"r1"}}"#, Deed::Begin, Some("r1")),
            (r#"{"type":"response.completed","response":{"id":"r1"}}"#, Deed::End, Some("r1")),
            (r#"{"type":"response.done","response":{"id":"r1"}}"#, Deed::End, Some("r1")),
            (
                r#"{"type":"response.output_text.delta","response_id":"r1","delta":"x"}"#,
                Deed::Other,
                Some("r1"),
            ),
            (r#"{"type":"response.output_text.delta","delta":"x"}"#, Deed::Other, None),
            (r#"{"type":"rate_limits.updated"}"#, Deed::Other, None),
        ] {
            let event = read(message);
            assert_eq!((event.deed, event.response.as_deref()), (deed, response), "{message}");
        }
    }

    #[test]
    fn errors_and_sessions_say_what_they_are_about() {
        let error = read(r#"{"type":"error","status":429,"error":{"event_id":"e1","code":"x"}}"#);
        assert_eq!(
            (error.deed, error.about.as_deref(), error.status),
            (Deed::Fail, Some("e1"), Some(429))
        );
        let session = read(
            r#"{"type":"session.updated","session":{"model":"gpt-realtime","max_output_tokens":"inf"}}"#,
        );
        assert_eq!(
            (session.deed, session.model.as_deref(), session.max_output),
            (Deed::Session, Some("gpt-realtime"), None)
        );
    }

    #[test]
    fn other_messages_are_none_of_ours() {
        for message in ["", "hello", "[1]", "{}", r#"{"type":3}"#, r#"{"type":"x""#] {
            assert_eq!(Event::read(message.as_bytes()), None, "{message}");
        }
        assert_eq!(read(r#"{"type":"x","status":"ok","error":"no"}"#).deed, Deed::Other);
    }
}
