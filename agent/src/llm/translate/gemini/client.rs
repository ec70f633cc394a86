//! A stream of content, written for a client.

use super::reply::{close, part};
use super::stop_word;
use crate::llm::translate::Wire;
use crate::llm::translate::fault;
use crate::llm::translate::ir::{Call, Event, Fault, Head, Piece, Stop};
use crate::llm::translate::json::{Json, object};
use crate::llm::translate::usage;
use crate::llm::usage::Usage;

/// Writes chunks. A call is one part of one chunk, so that its arguments are gathered first.
#[derive(Debug, Default)]
pub(in crate::llm::translate) struct Client {
    head: Head,
    call: Option<Call>,
}

impl Client {
    /// Writes what happens between the beginning and the end.
    pub(in crate::llm::translate) fn write(&mut self, event: Event, out: &mut String) {
        match event {
            Event::Begin(head) => self.head = head,
            Event::Text(text) => self.piece(&Piece::Text(text), out),
            Event::Thought(text) => self.piece(&Piece::Thought(text), out),
            Event::CallBegin { id, name } => {
                self.call = Some(Call { id, name, arguments: String::new() });
            }
            Event::CallArguments(piece) => {
                if let Some(call) = &mut self.call {
                    call.arguments.push_str(&piece);
                }
            }
            Event::CallEnd => {
                if let Some(call) = self.call.take() {
                    self.piece(&Piece::Call(call), out);
                }
            }
            Event::Stop(_) | Event::End | Event::Failed(_) => {}
        }
    }

    fn piece(&self, piece: &Piece, out: &mut String) {
        let candidate = object! {
            "content": object! { "parts": vec![part(piece)], "role": "model" },
            "index": 0_u64,
        };
        let mut chunk = object! { "candidates": vec![candidate] };
        close(&mut chunk, &self.head);
        event_of(&chunk, out);
    }

    /// Writes the end.
    pub(in crate::llm::translate) fn end(&mut self, stop: &Stop, usage: &Usage, out: &mut String) {
        let candidate = object! {
            "content": object! { "parts": vec![object! { "text": "" }], "role": "model" },
            "finishReason": stop_word(stop),
            "index": 0_u64,
        };
        let mut chunk = object! {
            "candidates": vec![candidate],
            "usageMetadata": usage::write(Wire::Gemini, usage),
        };
        close(&mut chunk, &self.head);
        event_of(&chunk, out);
    }

    /// Writes an error, which ends the stream.
    pub(in crate::llm::translate) fn fail(&mut self, failure: &Fault, out: &mut String) {
        event_of(&fault::write(Wire::Gemini, failure), out);
    }
}

fn event_of(data: &Json, out: &mut String) {
    out.push_str("data: ");
    out.push_str(&data.to_string());
    out.push_str("\r\n\r\n");
}
