//! A stream of a response, written for a client.

use super::reply::{function_call, incomplete, item_id, message, opening, output_text, status};
use crate::llm::translate::Wire;
use crate::llm::translate::fault;
use crate::llm::translate::ir::{Call, Event, Fault, Head, Stop};
use crate::llm::translate::json::{Json, object};
use crate::llm::translate::usage;
use crate::llm::usage::Usage;

/// Writes events, each with its number; keeps all of the output, as the last one repeats it.
#[derive(Debug, Default)]
pub(in crate::llm::translate) struct Client {
    head: Head,
    sequence: u64,
    begun: bool,
    output: Vec<Json>,
    open: Option<Item>,
}

/// The output item under way.
#[derive(Debug)]
enum Item {
    Text(String),
    Call(Call),
}

impl Client {
    /// Writes what happens between the beginning and the end.
    pub(in crate::llm::translate) fn write(&mut self, event: Event, out: &mut String) {
        match event {
            Event::Begin(head) => {
                self.head = head;
                self.begun = true;
                for kind in ["response.created", "response.in_progress"] {
                    let response = self.response("in_progress", Json::Null, Json::Null);
                    self.event(kind, object! { "response": response }, out);
                }
            }
            Event::Text(piece) => self.text(&piece, out),
            Event::CallBegin { id, name } => {
                self.close(out);
                let call = Call { id, name, arguments: String::new() };
                let mut item = function_call(&self.item_id("fc"), &call);
                in_progress(&mut item);
                self.item("response.output_item.added", item, out);
                self.open = Some(Item::Call(call));
            }
            Event::CallArguments(piece) => {
                if let Some(Item::Call(call)) = &mut self.open {
                    call.arguments.push_str(&piece);
                    let id = self.item_id("fc");
                    let data = object! {
                        "item_id": id,
                        "output_index": self.output.len() as u64,
                        "delta": piece,
                    };
                    self.event("response.function_call_arguments.delta", data, out);
                }
            }
            Event::CallEnd => self.close(out),
            Event::Thought(_) | Event::Stop(_) | Event::End | Event::Failed(_) => {}
        }
    }

    fn text(&mut self, piece: &str, out: &mut String) {
        let id = self.item_id("msg");
        if let Some(Item::Text(text)) = &mut self.open {
            text.push_str(piece);
        } else {
            self.close(out);
            let mut item = message(&id, "");
            in_progress(&mut item);
            self.item("response.output_item.added", item, out);
            self.part("response.content_part.added", &id, ("part", output_text("")), out);
            self.open = Some(Item::Text(piece.to_owned()));
        }
        self.part("response.output_text.delta", &id, ("delta", piece.into()), out);
    }

    /// Ends the item under way.
    fn close(&mut self, out: &mut String) {
        let item = match self.open.take() {
            None => return,
            Some(Item::Text(text)) => {
                let id = self.item_id("msg");
                self.part("response.output_text.done", &id, ("text", (&text).into()), out);
                self.part("response.content_part.done", &id, ("part", output_text(&text)), out);
                message(&id, &text)
            }
            Some(Item::Call(call)) => {
                let id = self.item_id("fc");
                let data = object! {
                    "item_id": &id,
                    "output_index": self.output.len() as u64,
                    "name": &call.name,
                    "arguments": &call.arguments,
                };
                self.event("response.function_call_arguments.done", data, out);
                function_call(&id, &call)
            }
        };
        self.item("response.output_item.done", item.clone(), out);
        self.output.push(item);
    }

    fn item_id(&self, stem: &str) -> String {
        item_id(&self.head, self.output.len(), stem)
    }

    fn item(&mut self, kind: &'static str, item: Json, out: &mut String) {
        let data = object! { "output_index": self.output.len() as u64, "item": item };
        self.event(kind, data, out);
    }

    fn part(
        &mut self,
        kind: &'static str,
        id: &str,
        (key, value): (&'static str, Json),
        out: &mut String,
    ) {
        let mut data = object! {
            "item_id": id,
            "output_index": self.output.len() as u64,
            "content_index": 0_u64,
        };
        data.set(key, value);
        if kind.starts_with("response.output_text") {
            data.set("logprobs", Vec::new());
        }
        self.event(kind, data, out);
    }

    fn response(&self, status: &'static str, incomplete: Json, error: Json) -> Json {
        let mut response = opening(&self.head, status);
        response.set("incomplete_details", incomplete);
        response.set("error", error);
        response.set("output", self.output.clone());
        response
    }

    fn event(&mut self, kind: &'static str, data: Json, out: &mut String) {
        let mut event = object! { "type": kind, "sequence_number": self.sequence };
        self.sequence += 1;
        if let (Json::Object(all), Json::Object(members)) = (&mut event, data) {
            all.extend(members);
        }
        out.push_str("event: ");
        out.push_str(kind);
        out.push_str("\ndata: ");
        out.push_str(&event.to_string());
        out.push_str("\n\n");
    }

    /// Writes the end.
    pub(in crate::llm::translate) fn end(&mut self, stop: &Stop, usage: &Usage, out: &mut String) {
        self.close(out);
        let mut response = self.response(status(stop), incomplete(stop), Json::Null);
        response.set("usage", usage::write(Wire::Responses, usage));
        let kind = match status(stop) {
            "completed" => "response.completed",
            _ => "response.incomplete",
        };
        self.event(kind, object! { "response": response }, out);
    }

    /// Writes an error, which ends the stream.
    pub(in crate::llm::translate) fn fail(&mut self, failure: &Fault, out: &mut String) {
        let (kind, code) = fault::openai(failure.kind);
        let code = code.unwrap_or(kind);
        if self.begun {
            let error = object! { "code": code, "message": &failure.message };
            let mut response = self.response("failed", Json::Null, error);
            response.set("usage", Json::Null);
            self.event("response.failed", object! { "response": response }, out);
        } else {
            let data = object! {
                "code": code,
                "message": &failure.message,
                "param": Json::Null,
            };
            self.event("error", data, out);
        }
    }
}

/// An item that has begun has no content yet.
fn in_progress(item: &mut Json) {
    let Json::Object(members) = item else { return };
    for (key, value) in members {
        match &**key {
            "status" => *value = "in_progress".into(),
            "content" => *value = Json::List(Vec::new()),
            _ => {}
        }
    }
}
