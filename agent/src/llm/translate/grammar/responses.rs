//! Events of a response.

use std::borrow::Cow;

use super::{Broken, OVER, UNENDED, require};
use crate::llm::translate::doc::{Members, Node};

#[derive(Debug, Default)]
pub(super) struct Rules {
    sequence: u64,
    begun: bool,
    /// Items whose end has come, by id.
    done: Vec<String>,
    open: Option<Item>,
    over: bool,
}

#[derive(Debug)]
struct Item {
    id: String,
    kind: String,
    /// Parts begun, and whether the last one is open.
    parts: u64,
    part_open: bool,
    /// What the deltas of the part or of the arguments add up to.
    said: String,
}

impl Rules {
    pub(super) fn take(&mut self, event: Node<'_>) -> Result<(), Broken> {
        require(!self.over, OVER)?;
        let fields = event.members();
        let kind = fields.text("type").unwrap_or_default();
        let number = fields.get("sequence_number").and_then(Node::count);
        require(number == Some(self.sequence), "the sequence number is not the next")?;
        self.sequence += 1;
        match &*kind {
            "error" => {
                self.over = true;
                return require(fields.text("message").is_some(), "an error has no message");
            }
            "response.created" => {
                require(!self.begun, "the response begins twice")?;
                self.begun = true;
                return response(&fields, &["in_progress", "queued"]).map(drop);
            }
            _ => require(self.begun, "the response has not begun")?,
        }
        match &*kind {
            "response.in_progress" | "response.queued" => response(&fields, &[]).map(drop),
            "response.output_item.added" => self.add(&fields),
            "response.output_item.done" => self.finish(&fields),
            "response.completed" => self.complete(&fields, "completed"),
            "response.incomplete" => self.complete(&fields, "incomplete"),
            "response.failed" => {
                self.over = true;
                let response = response(&fields, &["failed"])?;
                let told = response.get("error").and_then(|error| error.get("message"));
                require(told.is_some(), "a failure does not say what it is")
            }
            kind => self.within(kind, &fields),
        }
    }

    fn add(&mut self, fields: &Members<'_>) -> Result<(), Broken> {
        require(self.open.is_none(), "an item begins inside another")?;
        self.index(fields)?;
        let item = fields.get("item").ok_or("an item is missing")?.members();
        let text = |key| item.text(key).map(Cow::into_owned);
        let id = text("id").filter(|id| !id.is_empty()).ok_or("an item has no id")?;
        require(!self.done.contains(&id), "two items have one id")?;
        let kind = text("type").ok_or("an item has no type")?;
        self.open = Some(Item { id, kind, parts: 0, part_open: false, said: String::new() });
        Ok(())
    }

    fn finish(&mut self, fields: &Members<'_>) -> Result<(), Broken> {
        self.index(fields)?;
        let open = self.open.take().ok_or("an item ends that has not begun")?;
        require(!open.part_open, "an item ends inside a part")?;
        let item = fields.get("item").ok_or("an item is missing")?.members();
        require(item.text("id").as_deref() == Some(&*open.id), "an item's id changes")?;
        if open.kind == "function_call" {
            let whole = item.text("arguments").unwrap_or_default();
            require(*whole == *open.said, "the arguments are not what was streamed")?;
            let named = item.text("name").is_some_and(|name| !name.is_empty());
            let called = item.text("call_id").is_some_and(|id| !id.is_empty());
            require(named && called, "a call has no name or no id")?;
        }
        if open.kind == "message" {
            let content = item.get("content").map(Node::items).unwrap_or_default();
            require(content.len() as u64 == open.parts, "a message lacks parts")?;
        }
        self.done.push(open.id);
        Ok(())
    }

    /// Events of the item under way.
    fn within(&mut self, kind: &str, fields: &Members<'_>) -> Result<(), Broken> {
        self.index(fields)?;
        let open = self.open.as_mut().ok_or("an event comes outside of an item")?;
        let item = fields.text("item_id");
        require(item.as_deref() == Some(&*open.id), "the event is of another item")?;
        let part = fields.get("content_index").and_then(Node::count);
        let in_part = part.is_some_and(|part| part + 1 == open.parts) && open.part_open;
        match kind {
            "response.content_part.added" => {
                let next = part == Some(open.parts) && !open.part_open;
                require(next, "a part begins out of turn")?;
                open.parts += 1;
                open.part_open = true;
                open.said.clear();
            }
            "response.output_text.delta" | "response.refusal.delta" => {
                require(in_part, "a text comes outside of a part")?;
                open.said.push_str(&fields.text("delta").ok_or("a delta is empty")?);
            }
            "response.output_text.done" => {
                require(in_part, "a text ends outside of a part")?;
                let same = fields.text("text").is_some_and(|text| *text == *open.said);
                require(same, "the text is not what was streamed")?;
            }
            "response.content_part.done" => {
                require(in_part, "a part ends that has not begun")?;
                open.part_open = false;
            }
            "response.function_call_arguments.delta" => {
                open.said.push_str(&fields.text("delta").ok_or("a delta is empty")?);
            }
            "response.function_call_arguments.done" => {
                let same = fields.text("arguments").is_some_and(|text| *text == *open.said);
                require(same, "the arguments are not what was streamed")?;
            }
            // What else happens inside an item is its own business.
            _ => {}
        }
        Ok(())
    }

    fn complete(&mut self, fields: &Members<'_>, status: &str) -> Result<(), Broken> {
        self.over = true;
        require(self.open.is_none(), "the response ends inside an item")?;
        let response = response(fields, &[status])?;
        let output = response.get("output").map(Node::items).unwrap_or_default();
        let ids = output.iter().filter_map(|item| item.get("id")?.text());
        require(
            ids.eq(self.done.iter().map(String::as_str)),
            "the output is not what was streamed",
        )?;
        let usage = response.get("usage").and_then(|usage| usage.get("total_tokens"));
        require(usage.is_some(), "the response has no usage")
    }

    fn index(&self, fields: &Members<'_>) -> Result<(), Broken> {
        let index = fields.get("output_index").and_then(Node::count);
        require(index == Some(self.done.len() as u64), "the output index is not the item's")
    }

    pub(super) fn end(&self) -> Result<(), Broken> {
        require(self.over, UNENDED)
    }
}

fn response<'a>(fields: &Members<'a>, statuses: &[&str]) -> Result<Members<'a>, Broken> {
    let response = fields.get("response").ok_or("the response is missing")?.members();
    require(response.text("id").is_some_and(|id| !id.is_empty()), "the response has no id")?;
    let status = response.text("status").unwrap_or_default();
    require(statuses.is_empty() || statuses.contains(&&*status), "the status is another")?;
    Ok(response)
}
