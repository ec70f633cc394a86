//! A provider's stream of a message, read.

use super::reply::head;
use super::stop_of;
use crate::llm::translate::doc::{Members, Node};
use crate::llm::translate::fault;
use crate::llm::translate::ir::Event;

/// Reads events. Blocks come one after the other.
#[derive(Debug, Default)]
pub(in crate::llm::translate) struct Provider {
    /// The input a call began with, should no piece of it follow.
    call: Option<String>,
}

impl Provider {
    /// Reads one event.
    pub(in crate::llm::translate) fn read(&mut self, event: Node<'_>, each: &mut Vec<Event>) {
        let fields = event.members();
        let inner = |key| fields.get(key).map(Node::members).unwrap_or_default();
        match fields.text("type").as_deref() {
            Some("message_start") => each.push(Event::Begin(head(&inner("message")))),
            Some("content_block_start") => self.block(&inner("content_block"), each),
            Some("content_block_delta") => self.delta(&inner("delta"), each),
            Some("content_block_stop") => self.close(each),
            Some("message_delta") => {
                self.close(each);
                let delta = inner("delta");
                if let Some(word) = delta.text("stop_reason") {
                    let sequence = delta.text("stop_sequence").map(|text| text.into_owned());
                    each.push(Event::Stop(stop_of(&word, sequence)));
                }
            }
            Some("message_stop") => each.push(Event::End),
            Some("error") => each.push(Event::Failed(fault::read(event, None))),
            _ => {}
        }
    }

    fn block(&mut self, block: &Members<'_>, each: &mut Vec<Event>) {
        self.close(each);
        match block.text("type").as_deref() {
            Some("tool_use") => {
                let text = |key| block.text(key).unwrap_or_default().into_owned();
                self.call = Some(block.get("input").map_or("{}", Node::raw).to_owned());
                each.push(Event::CallBegin { id: text("id"), name: text("name") });
            }
            Some(key @ ("text" | "thinking")) => say(key, block, each),
            _ => {}
        }
    }

    fn delta(&mut self, delta: &Members<'_>, each: &mut Vec<Event>) {
        match delta.text("type").as_deref() {
            Some("text_delta") => say("text", delta, each),
            Some("thinking_delta") => say("thinking", delta, each),
            Some("input_json_delta") => {
                let piece = delta.text("partial_json").filter(|piece| !piece.is_empty());
                if let (Some(piece), Some(whole)) = (piece, &mut self.call) {
                    // The pieces are the whole input, not what is added to the first one.
                    whole.clear();
                    each.push(Event::CallArguments(piece.into_owned()));
                }
            }
            _ => {}
        }
    }

    fn close(&mut self, each: &mut Vec<Event>) {
        if let Some(whole) = self.call.take() {
            if !whole.is_empty() {
                each.push(Event::CallArguments(whole));
            }
            each.push(Event::CallEnd);
        }
    }
}

fn say(key: &str, fields: &Members<'_>, each: &mut Vec<Event>) {
    if let Some(text) = fields.text(key).filter(|text| !text.is_empty()) {
        let text = text.into_owned();
        each.push(if key == "text" { Event::Text(text) } else { Event::Thought(text) });
    }
}
