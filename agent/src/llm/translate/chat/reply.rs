//! A whole chat completion.

use super::{stop_of, stop_word};
use crate::llm::translate::Wire;
use crate::llm::translate::doc::{Members, Node};
use crate::llm::translate::ids;
use crate::llm::translate::ir::{Call, Head, Piece, Reply};
use crate::llm::translate::json::{Json, object};
use crate::llm::translate::usage;

/// Reads a completion; `None` where it has no choice.
pub(in crate::llm::translate) fn read(body: Node<'_>) -> Option<Reply> {
    let fields = body.members();
    let choice = fields.get("choices")?.items().first()?.members();
    let message = choice.get("message")?.members();
    let head = head(&fields);
    let mut pieces = Vec::new();
    if let Some(thought) = thought(&message) {
        pieces.push(Piece::Thought(thought));
    }
    let texts = ["content", "refusal"].iter().filter_map(|key| message.get(key));
    for text in texts.filter_map(text) {
        pieces.push(Piece::Text(text));
    }
    for (index, call) in
        message.get("tool_calls").map(Node::items).unwrap_or_default().iter().enumerate()
    {
        let function = call.get("function")?.members();
        let name = function.text("name")?.into_owned();
        let given = call.get("id").and_then(Node::text).filter(|id| !id.is_empty());
        let id = match given {
            Some(id) => id.into_owned(),
            None => ids::made(&[head.id.as_deref().unwrap_or_default(), &index.to_string(), &name]),
        };
        let arguments = function.text("arguments").unwrap_or_default();
        pieces.push(Piece::Call(Call { id, name, arguments: arguments.into_owned() }));
    }
    let stop = choice.text("finish_reason").map(|word| stop_of(&word)).unwrap_or_default();
    Some(Reply { head, pieces, stop, ..Reply::default() })
}

/// What a completion or one of its chunks begins with.
pub(super) fn head(fields: &Members<'_>) -> Head {
    let text = |key| fields.text(key).filter(|text| !text.is_empty()).map(Into::into);
    Head {
        id: text("id"),
        model: text("model"),
        created: fields.get("created").and_then(Node::count),
    }
}

/// What the model thought, under the names in use.
pub(super) fn thought(message: &Members<'_>) -> Option<String> {
    let thought = message.text("reasoning_content").or_else(|| message.text("reasoning"))?;
    Some(thought.into_owned()).filter(|thought| !thought.is_empty())
}

/// Content: a string, or with some a list of parts.
pub(super) fn text(content: Node<'_>) -> Option<String> {
    let text = match content.text() {
        Some(text) => text.into_owned(),
        None => {
            let texts = content.items().into_iter().filter_map(|item| item.get("text")?.text());
            texts.collect()
        }
    };
    Some(text).filter(|text| !text.is_empty())
}

/// Writes a completion.
pub(in crate::llm::translate) fn write(reply: &Reply) -> Json {
    let (mut text, mut thought, mut calls) = (None::<String>, String::new(), Vec::new());
    for piece in &reply.pieces {
        match piece {
            Piece::Text(piece) => text.get_or_insert_default().push_str(piece),
            Piece::Thought(piece) => thought.push_str(piece),
            Piece::Call(call) => calls.push(object! {
                "id": &call.id,
                "type": "function",
                "function": object! { "name": &call.name, "arguments": &call.arguments },
            }),
        }
    }
    if calls.is_empty() {
        text.get_or_insert_default();
    }
    let mut message = object! { "role": "assistant", "content": text, "refusal": Json::Null };
    if !thought.is_empty() {
        message.set("reasoning_content", thought);
    }
    if !calls.is_empty() {
        message.set("tool_calls", calls);
    }
    object! {
        "id": reply.head.id.as_deref().unwrap_or("chatcmpl-weir"),
        "object": "chat.completion",
        "created": reply.head.created.unwrap_or(0),
        "model": reply.head.model.as_deref().unwrap_or_default(),
        "choices": vec![object! {
            "index": 0_u64,
            "message": message,
            "logprobs": Json::Null,
            "finish_reason": stop_word(&reply.stop),
        }],
        "usage": usage::write(Wire::Chat, &reply.usage),
    }
}
