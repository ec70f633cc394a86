//! Whole content.

use super::{stop_of, stop_word};
use crate::llm::translate::Wire;
use crate::llm::translate::doc::{Members, Node};
use crate::llm::translate::ids;
use crate::llm::translate::ir::{Call, Head, Piece, Reply, Stop};
use crate::llm::translate::json::{Json, object};
use crate::llm::translate::{turns, usage};

/// Reads content; `None` where there is none, or where the model failed to make any.
pub(in crate::llm::translate) fn read(body: Node<'_>) -> Option<Reply> {
    let fields = body.members();
    let head = head(&fields);
    let candidate = fields.get("candidates").and_then(|all| all.items().first().copied());
    let Some(candidate) = candidate.map(Node::members) else {
        fields.camel("promptFeedback")?.members().camel("blockReason")?;
        return Some(Reply { head, stop: Stop::Filter, ..Reply::default() });
    };
    let mut pieces = Vec::new();
    for part in parts(&candidate) {
        pieces.extend(piece(&part.members(), &head, pieces.len()));
    }
    let called = pieces.iter().any(|piece| matches!(piece, Piece::Call(_)));
    let word = candidate.camel("finishReason").and_then(Node::text).unwrap_or_default();
    let stop = stop_of(&word, called)?;
    Some(Reply { head, pieces, stop, ..Reply::default() })
}

/// What an answer begins with.
pub(super) fn head(fields: &Members<'_>) -> Head {
    let text = |key| fields.camel(key).and_then(Node::text).map(|text| text.into_owned());
    Head { id: text("responseId"), model: text("modelVersion"), created: None }
}

/// The parts of a candidate.
pub(super) fn parts<'a>(candidate: &Members<'a>) -> Vec<Node<'a>> {
    let content = candidate.get("content").and_then(|content| content.get("parts"));
    content.map(Node::items).unwrap_or_default()
}

/// One part; `at` tells calls of one name apart.
pub(super) fn piece(part: &Members<'_>, head: &Head, at: usize) -> Option<Piece> {
    if let Some(text) = part.text("text").filter(|text| !text.is_empty()) {
        let thought = part.get("thought").and_then(Node::boolean) == Some(true);
        let text = text.into_owned();
        return Some(if thought { Piece::Thought(text) } else { Piece::Text(text) });
    }
    let call = part.camel("functionCall")?.members();
    let name = call.text("name")?.into_owned();
    let arguments = call.get("args").map_or("{}", Node::raw).to_owned();
    let id = match call.text("id").filter(|id| !id.is_empty()) {
        Some(id) => id.into_owned(),
        None => {
            let whose = head.id.as_deref().unwrap_or_default();
            ids::made(&[whose, &at.to_string(), &name, &arguments])
        }
    };
    Some(Piece::Call(Call { id, name, arguments }))
}

/// Writes content.
pub(in crate::llm::translate) fn write(reply: &Reply) -> Json {
    let parts: Vec<Json> = reply.pieces.iter().map(part).collect();
    let mut body = object! {
        "candidates": vec![object! {
            "content": object! { "parts": parts, "role": "model" },
            "finishReason": stop_word(&reply.stop),
            "index": 0_u64,
        }],
        "usageMetadata": usage::write(Wire::Gemini, &reply.usage),
    };
    close(&mut body, &reply.head);
    body
}

/// A part as a client gets it.
pub(super) fn part(piece: &Piece) -> Json {
    match piece {
        Piece::Text(text) => object! { "text": text },
        Piece::Thought(text) => object! { "text": text, "thought": true },
        Piece::Call(call) => object! {
            "functionCall": object! {
                "id": &call.id,
                "name": &call.name,
                "args": turns::arguments(&call.arguments),
            },
        },
    }
}

/// The members that end every answer and every chunk.
pub(super) fn close(body: &mut Json, head: &Head) {
    body.set("modelVersion", head.model.as_deref().unwrap_or_default());
    body.set("responseId", head.id.as_deref().unwrap_or("weir"));
}
