//! Chunks of a chat completion.

use std::collections::BTreeMap;

use super::{Broken, OVER, UNENDED, is_object, require};
use crate::llm::translate::doc::{Members, Node};

#[derive(Debug, Default)]
pub(super) struct Rules {
    id: Option<String>,
    choices: BTreeMap<u64, Choice>,
    failed: bool,
    done: bool,
}

#[derive(Debug, Default)]
struct Choice {
    /// Arguments so far.
    calls: Vec<String>,
    finish: Option<String>,
}

impl Rules {
    pub(super) fn done(&mut self) -> Result<(), Broken> {
        require(!self.done && !self.failed, OVER)?;
        self.done = true;
        require(!self.choices.is_empty(), "it ends before it began")?;
        for choice in self.choices.values() {
            choice.whole()?;
        }
        Ok(())
    }

    pub(super) fn take(&mut self, chunk: Node<'_>) -> Result<(), Broken> {
        require(!self.done && !self.failed, OVER)?;
        let fields = chunk.members();
        if let Some(error) = fields.get("error") {
            self.failed = true;
            return require(error.get("message").is_some(), "an error has no message");
        }
        let kind = fields.text("object");
        require(kind.as_deref() == Some("chat.completion.chunk"), "the object is no chunk")?;
        let id = fields.text("id").ok_or("a chunk has no id")?;
        require(self.id.as_deref().is_none_or(|known| *known == *id), "the id changes")?;
        self.id = Some(id.into_owned());
        require(fields.get("created").and_then(Node::count).is_some(), "a chunk has no date")?;
        require(fields.text("model").is_some(), "a chunk has no model")?;
        let choices = fields.get("choices").ok_or("a chunk has no choices")?.items();
        if choices.is_empty() {
            let ended = self.choices.values().all(|choice| choice.finish.is_some());
            return require(ended, "the usage comes before the end");
        }
        for choice in choices {
            self.choice(&choice.members())?;
        }
        Ok(())
    }

    fn choice(&mut self, choice: &Members<'_>) -> Result<(), Broken> {
        let index = choice.get("index").and_then(Node::count).ok_or("a choice has no index")?;
        let delta = choice.get("delta").ok_or("a choice has no delta")?.members();
        let is_new = !self.choices.contains_key(&index);
        let known = self.choices.entry(index).or_default();
        if is_new {
            require(delta.text("role").is_some(), "the first delta has no role")?;
        }
        let says = ["content", "refusal", "tool_calls", "reasoning_content"];
        let says = says.iter().any(|key| delta.get(key).is_some());
        require(known.finish.is_none() || !says, "a choice goes on after its end")?;
        for call in delta.get("tool_calls").map(Node::items).unwrap_or_default() {
            known.call(&call.members())?;
        }
        if let Some(reason) = choice.text("finish_reason") {
            require(known.finish.is_none(), "a choice ends twice")?;
            let reasons = ["stop", "length", "tool_calls", "content_filter", "function_call"];
            require(reasons.contains(&&*reason), "the reason of the end is none we know")?;
            known.finish = Some(reason.into_owned());
        }
        Ok(())
    }

    pub(super) fn end(&self) -> Result<(), Broken> {
        require(self.done || self.failed, UNENDED)
    }
}

impl Choice {
    fn call(&mut self, call: &Members<'_>) -> Result<(), Broken> {
        let index = call.get("index").and_then(Node::count).ok_or("a call has no index")?;
        let index = usize::try_from(index).map_err(|_| "a call's index is out of bounds")?;
        let function = call.get("function").map(Node::members).unwrap_or_default();
        if index == self.calls.len() {
            let id = call.text("id").filter(|id| !id.is_empty());
            require(id.is_some(), "a call begins without an id")?;
            let name = function.text("name").filter(|name| !name.is_empty());
            require(name.is_some(), "a call begins without a name")?;
            self.calls.push(String::new());
        }
        let known = self.calls.get_mut(index).ok_or("a call skips an index")?;
        known.push_str(&function.text("arguments").unwrap_or_default());
        Ok(())
    }

    fn whole(&self) -> Result<(), Broken> {
        let reason = self.finish.as_deref().ok_or("a choice does not end")?;
        let cut = matches!(reason, "length" | "content_filter");
        let whole = cut || self.calls.iter().all(|arguments| is_object(arguments));
        require(whole, "a call's arguments are no JSON")
    }
}
