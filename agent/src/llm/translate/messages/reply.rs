//! A whole message.

use super::{stop_of, stop_words};
use crate::llm::translate::Wire;
use crate::llm::translate::doc::{Members, Node};
use crate::llm::translate::ids;
use crate::llm::translate::ir::{Call, Head, Piece, Reply};
use crate::llm::translate::json::{Json, object};
use crate::llm::translate::{turns, usage};

/// Reads a message; `None` where it is none.
pub(in crate::llm::translate) fn read(body: Node<'_>) -> Option<Reply> {
    let fields = body.members();
    let mut pieces = Vec::new();
    for block in fields.get("content")?.items() {
        let block = block.members();
        let text = |key| block.text(key).map(|text| text.into_owned());
        match text("type").as_deref() {
            Some("text") => pieces.push(Piece::Text(text("text")?)),
            Some("thinking") => pieces.push(Piece::Thought(text("thinking")?)),
            Some("tool_use") => pieces.push(Piece::Call(Call {
                id: text("id")?,
                name: text("name")?,
                arguments: block.get("input").map_or("{}", Node::raw).to_owned(),
            })),
            // The provider's own tools were asked for by nobody who came this way.
            _ => {}
        }
    }
    let sequence = fields.text("stop_sequence").map(|text| text.into_owned());
    let stop = fields.text("stop_reason").map(|word| stop_of(&word, sequence)).unwrap_or_default();
    Some(Reply { head: head(&fields), pieces, stop, ..Reply::default() })
}

/// What a message begins with.
pub(super) fn head(message: &Members<'_>) -> Head {
    let text = |key| message.text(key).map(|text| text.into_owned());
    Head { id: text("id"), model: text("model"), created: None }
}

/// Writes a message. Thoughts stay out: theirs would need a signature, and only Anthropic signs.
pub(in crate::llm::translate) fn write(reply: &Reply) -> Json {
    let mut content = Vec::new();
    for piece in &reply.pieces {
        match piece {
            Piece::Text(text) if text.is_empty() => {}
            Piece::Text(text) => content.push(object! { "type": "text", "text": text }),
            Piece::Thought(_) => {}
            Piece::Call(call) => content.push(object! {
                "type": "tool_use",
                "id": ids::plain(&call.id),
                "name": &call.name,
                "input": turns::arguments(&call.arguments),
            }),
        }
    }
    let mut message = opening(&reply.head, content);
    let (reason, sequence) = stop_words(&reply.stop);
    message.set("stop_reason", reason);
    message.set("stop_sequence", sequence);
    message.set("usage", usage::write(Wire::Messages, &reply.usage));
    message
}

/// A message up to its content.
pub(super) fn opening(head: &Head, content: Vec<Json>) -> Json {
    object! {
        "id": head.id.as_deref().unwrap_or("msg_weir"),
        "type": "message",
        "role": "assistant",
        "model": head.model.as_deref().unwrap_or_default(),
        "content": content,
    }
}
