//! A stream of a message, written for a client.

use super::reply::opening;
use super::stop_words;
use crate::llm::translate::Wire;
use crate::llm::translate::fault;
use crate::llm::translate::ids;
use crate::llm::translate::ir::{Event, Fault, Stop};
use crate::llm::translate::json::{Json, object};
use crate::llm::translate::usage;
use crate::llm::usage::Usage;

/// Writes events: one block after the other, each begun and ended.
#[derive(Debug, Default)]
pub(in crate::llm::translate) struct Client {
    blocks: u64,
    open: Option<Block>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Block {
    Text,
    Call,
}

impl Client {
    /// Writes what happens between the beginning and the end.
    pub(in crate::llm::translate) fn write(&mut self, event: Event, out: &mut String) {
        match event {
            Event::Begin(head) => {
                let mut message = opening(&head, Vec::new());
                message.set("stop_reason", Json::Null);
                message.set("stop_sequence", Json::Null);
                // Other providers count at the end; `message_delta` then has all of it.
                message.set("usage", usage::write(Wire::Messages, &Usage::default()));
                event_of("message_start", object! { "message": message }, out);
            }
            Event::Text(text) => {
                if self.open != Some(Block::Text) {
                    self.begin(Block::Text, object! { "type": "text", "text": "" }, out);
                }
                self.delta(object! { "type": "text_delta", "text": text }, out);
            }
            Event::CallBegin { id, name } => {
                let block = object! {
                    "type": "tool_use",
                    "id": ids::plain(&id),
                    "name": name,
                    "input": object! {},
                };
                self.begin(Block::Call, block, out);
            }
            Event::CallArguments(piece) => {
                self.delta(object! { "type": "input_json_delta", "partial_json": piece }, out);
            }
            Event::CallEnd => self.close(out),
            // Thoughts would need a signature, and only Anthropic signs.
            Event::Thought(_) | Event::Stop(_) | Event::End | Event::Failed(_) => {}
        }
    }

    fn begin(&mut self, block: Block, content: Json, out: &mut String) {
        self.close(out);
        self.open = Some(block);
        let data = object! { "index": self.blocks, "content_block": content };
        event_of("content_block_start", data, out);
    }

    fn delta(&self, delta: Json, out: &mut String) {
        event_of("content_block_delta", object! { "index": self.blocks, "delta": delta }, out);
    }

    fn close(&mut self, out: &mut String) {
        if self.open.take().is_some() {
            event_of("content_block_stop", object! { "index": self.blocks }, out);
            self.blocks += 1;
        }
    }

    /// Writes the end.
    pub(in crate::llm::translate) fn end(&mut self, stop: &Stop, usage: &Usage, out: &mut String) {
        self.close(out);
        let (reason, sequence) = stop_words(stop);
        let data = object! {
            "delta": object! { "stop_reason": reason, "stop_sequence": sequence },
            "usage": usage::write(Wire::Messages, usage),
        };
        event_of("message_delta", data, out);
        event_of("message_stop", object! {}, out);
    }

    /// Writes an error, which ends the stream wherever it stands.
    pub(in crate::llm::translate) fn fail(&mut self, failure: &Fault, out: &mut String) {
        out.push_str("event: error\ndata: ");
        out.push_str(&fault::write(Wire::Messages, failure).to_string());
        out.push_str("\n\n");
    }
}

fn event_of(kind: &'static str, data: Json, out: &mut String) {
    let mut event = object! { "type": kind };
    if let (Json::Object(all), Json::Object(members)) = (&mut event, data) {
        all.extend(members);
    }
    out.push_str("event: ");
    out.push_str(kind);
    out.push_str("\ndata: ");
    out.push_str(&event.to_string());
    out.push_str("\n\n");
}
