//! A stream of chunks, written for a client.

use super::stop_word;
use crate::llm::translate::Wire;
use crate::llm::translate::fault;
use crate::llm::translate::ir::{Event, Fault, Head, Stop};
use crate::llm::translate::json::{Json, object};
use crate::llm::translate::usage;
use crate::llm::usage::Usage;

/// Writes chunks.
#[derive(Debug, Default)]
pub(in crate::llm::translate) struct Client {
    include_usage: bool,
    head: Head,
    calls: u64,
}

impl Client {
    pub(in crate::llm::translate) fn new(include_usage: bool) -> Self {
        Self { include_usage, ..Self::default() }
    }

    /// Writes what happens between the beginning and the end.
    pub(in crate::llm::translate) fn write(&mut self, event: Event, out: &mut String) {
        let delta = match event {
            Event::Begin(head) => {
                self.head = head;
                object! { "role": "assistant", "content": "" }
            }
            Event::Text(text) => object! { "content": text },
            Event::Thought(thought) => object! { "reasoning_content": thought },
            Event::CallBegin { id, name } => {
                self.calls += 1;
                let function = object! { "name": name, "arguments": "" };
                self.call(object! {
                    "index": self.calls - 1,
                    "id": id,
                    "type": "function",
                    "function": function,
                })
            }
            Event::CallArguments(piece) => self.call(object! {
                "index": self.calls.saturating_sub(1),
                "function": object! { "arguments": piece },
            }),
            Event::CallEnd | Event::Stop(_) | Event::End | Event::Failed(_) => return,
        };
        let chunk = self.chunk(delta, Json::Null);
        event_of(&chunk, out);
    }

    fn call(&self, call: Json) -> Json {
        object! { "tool_calls": vec![call] }
    }

    fn chunk(&self, delta: Json, finish_reason: Json) -> Json {
        let mut chunk = self.opening();
        chunk.set(
            "choices",
            vec![object! {
                "index": 0_u64,
                "delta": delta,
                "logprobs": Json::Null,
                "finish_reason": finish_reason,
            }],
        );
        chunk
    }

    fn opening(&self) -> Json {
        object! {
            "id": self.head.id.as_deref().unwrap_or("chatcmpl-weir"),
            "object": "chat.completion.chunk",
            "created": self.head.created.unwrap_or(0),
            "model": self.head.model.as_deref().unwrap_or_default(),
        }
    }

    /// Writes the end.
    pub(in crate::llm::translate) fn end(&mut self, stop: &Stop, usage: &Usage, out: &mut String) {
        event_of(&self.chunk(object! {}, stop_word(stop).into()), out);
        if self.include_usage {
            let mut chunk = self.opening();
            chunk.set("choices", Vec::new());
            chunk.set("usage", usage::write(Wire::Chat, usage));
            event_of(&chunk, out);
        }
        out.push_str("data: [DONE]\n\n");
    }

    /// Writes an error, which ends the stream without a `[DONE]`.
    pub(in crate::llm::translate) fn fail(&mut self, failure: &Fault, out: &mut String) {
        event_of(&fault::write(Wire::Chat, failure), out);
    }
}

fn event_of(data: &Json, out: &mut String) {
    out.push_str("data: ");
    out.push_str(&data.to_string());
    out.push_str("\n\n");
}
