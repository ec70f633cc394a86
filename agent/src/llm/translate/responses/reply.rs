//! A whole response.

use crate::llm::translate::Wire;
use crate::llm::translate::ir::{Call, Head, Piece, Reply, Stop};
use crate::llm::translate::json::{Json, object};
use crate::llm::translate::usage;

/// Writes a response. Thoughts stay out: a client would send them back, and only `OpenAI` could
/// read them.
pub(in crate::llm::translate) fn write(reply: &Reply) -> Json {
    let mut output = Vec::new();
    for piece in &reply.pieces {
        let at = output.len();
        match piece {
            Piece::Text(text) => output.push(message(&item_id(&reply.head, at, "msg"), text)),
            Piece::Call(call) => output.push(function_call(&item_id(&reply.head, at, "fc"), call)),
            Piece::Thought(_) => {}
        }
    }
    let mut response = opening(&reply.head, status(&reply.stop));
    response.set("incomplete_details", incomplete(&reply.stop));
    response.set("error", Json::Null);
    response.set("output", output);
    response.set("usage", usage::write(Wire::Responses, &reply.usage));
    response
}

/// A response up to what it comes to. The settings are what an SDK's types require.
pub(super) fn opening(head: &Head, status: &'static str) -> Json {
    object! {
        "id": id(head),
        "object": "response",
        "created_at": head.created.unwrap_or(0),
        "status": status,
        "model": head.model.as_deref().unwrap_or_default(),
        "instructions": Json::Null,
        "metadata": object! {},
        "parallel_tool_calls": true,
        "temperature": Json::Null,
        "tool_choice": "auto",
        "tools": Vec::new(),
        "top_p": Json::Null,
    }
}

pub(super) fn id(head: &Head) -> &str {
    head.id.as_deref().unwrap_or("resp_weir")
}

/// The id of an output item, by its place.
pub(super) fn item_id(head: &Head, at: usize, stem: &str) -> String {
    format!("{stem}_{}_{at}", id(head))
}

pub(super) fn status(stop: &Stop) -> &'static str {
    match stop {
        Stop::Length | Stop::Filter => "incomplete",
        Stop::End | Stop::Sequence(_) | Stop::Calls => "completed",
    }
}

pub(super) fn incomplete(stop: &Stop) -> Json {
    match stop {
        Stop::Length => object! { "reason": "max_output_tokens" },
        Stop::Filter => object! { "reason": "content_filter" },
        Stop::End | Stop::Sequence(_) | Stop::Calls => Json::Null,
    }
}

/// A finished message.
pub(super) fn message(id: &str, text: &str) -> Json {
    object! {
        "id": id,
        "type": "message",
        "status": "completed",
        "role": "assistant",
        "content": vec![output_text(text)],
    }
}

pub(super) fn output_text(text: &str) -> Json {
    object! {
        "type": "output_text",
        "text": text,
        "annotations": Vec::new(),
        "logprobs": Vec::new(),
    }
}

/// A finished call.
pub(super) fn function_call(id: &str, call: &Call) -> Json {
    object! {
        "id": id,
        "type": "function_call",
        "status": "completed",
        "call_id": &call.id,
        "name": &call.name,
        "arguments": &call.arguments,
    }
}
