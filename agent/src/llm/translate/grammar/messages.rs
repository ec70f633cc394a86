//! Events of a message.

use std::collections::HashSet;

use super::{Broken, OVER, UNENDED, is_object, require};
use crate::llm::translate::doc::{Members, Node};

#[derive(Debug, Default)]
pub(super) struct Rules {
    begun: bool,
    blocks: u64,
    open: Option<Block>,
    ids: HashSet<String>,
    /// Whether a call's input was no JSON.
    torn: bool,
    stop: Option<String>,
    /// Whether a delta of the message came: no block begins after it.
    closing: bool,
    over: bool,
}

#[derive(Debug)]
struct Block {
    kind: String,
    input: String,
}

impl Rules {
    pub(super) fn take(&mut self, event: Node<'_>) -> Result<(), Broken> {
        require(!self.over, OVER)?;
        let fields = event.members();
        let kind = fields.text("type").unwrap_or_default();
        let inner = |key| fields.get(key).map(Node::members).unwrap_or_default();
        match &*kind {
            "ping" => return Ok(()),
            "error" => {
                self.over = true;
                let error = inner("error");
                let told = error.text("type").is_some() && error.text("message").is_some();
                return require(told, "an error does not say what it is");
            }
            "message_start" => {
                require(!self.begun, "the message begins twice")?;
                self.begun = true;
                return start(&inner("message"));
            }
            _ => require(self.begun, "the message has not begun")?,
        }
        match &*kind {
            "content_block_start" => self.begin(&fields, &inner("content_block")),
            "content_block_delta" => self.delta(&fields, &inner("delta")),
            "content_block_stop" => {
                self.index(&fields)?;
                let block = self.open.take().ok_or("a block ends that has not begun")?;
                self.blocks += 1;
                let call = block.kind == "tool_use";
                self.torn |= call && !block.input.is_empty() && !is_object(&block.input);
                Ok(())
            }
            "message_delta" => {
                require(self.open.is_none(), "the message ends inside a block")?;
                self.closing = true;
                let usage = inner("usage");
                let counted = usage.get("output_tokens").and_then(Node::count);
                require(counted.is_some(), "the end has no usage")?;
                self.stop = inner("delta").text("stop_reason").map(|word| word.into_owned());
                Ok(())
            }
            "message_stop" => {
                self.over = true;
                let stop = self.stop.as_deref().ok_or("the end has no reason")?;
                let cut = matches!(stop, "max_tokens" | "refusal");
                require(cut || !self.torn, "a call's input is no JSON")
            }
            _ => Err("the event is none we know"),
        }
    }

    fn begin(&mut self, fields: &Members<'_>, block: &Members<'_>) -> Result<(), Broken> {
        require(self.open.is_none(), "a block begins inside another")?;
        require(!self.closing, "a block begins after the end")?;
        let kind = block.text("type").ok_or("a block has no type")?.into_owned();
        if kind == "tool_use" {
            let id = block.text("id").unwrap_or_default();
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
            require(!id.is_empty() && id.chars().all(plain), "a call's id is not legal")?;
            require(self.ids.insert(id.into_owned()), "two calls have one id")?;
            let name = block.text("name").filter(|name| !name.is_empty());
            require(name.is_some(), "a call has no name")?;
            require(block.get("input").is_some_and(Node::is_object), "a call has no input")?;
        }
        self.open = Some(Block { kind, input: String::new() });
        self.index(fields)
    }

    fn delta(&mut self, fields: &Members<'_>, delta: &Members<'_>) -> Result<(), Broken> {
        self.index(fields)?;
        let block = self.open.as_mut().ok_or("a delta comes outside of a block")?;
        let (kind, text) = match delta.text("type").as_deref() {
            Some("text_delta") => ("text", delta.text("text")),
            Some("thinking_delta") => ("thinking", delta.text("thinking")),
            Some("signature_delta") => ("thinking", delta.text("signature")),
            Some("input_json_delta") => ("tool_use", delta.text("partial_json")),
            Some("citations_delta") => return Ok(()),
            _ => return Err("the delta is none we know"),
        };
        let fits = block.kind == kind || kind == "tool_use" && block.kind.ends_with("tool_use");
        require(fits, "a delta is of another kind than its block")?;
        block.input.push_str(&text.ok_or("a delta is empty")?);
        Ok(())
    }

    fn index(&self, fields: &Members<'_>) -> Result<(), Broken> {
        let index = fields.get("index").and_then(Node::count);
        require(index == Some(self.blocks), "the index is not that of the block")
    }

    pub(super) fn end(&self) -> Result<(), Broken> {
        require(self.over, UNENDED)
    }
}

fn start(message: &Members<'_>) -> Result<(), Broken> {
    require(message.text("id").is_some_and(|id| !id.is_empty()), "the message has no id")?;
    require(message.text("role").as_deref() == Some("assistant"), "the role is another")?;
    require(message.text("model").is_some(), "the message has no model")?;
    let empty = message.get("content").is_some_and(|content| content.items().is_empty());
    require(empty, "the message begins with content")?;
    let usage = message.get("usage").and_then(|usage| usage.get("input_tokens"));
    require(usage.is_some(), "the message begins without usage")
}
