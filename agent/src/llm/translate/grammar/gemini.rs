//! Chunks of content.

use super::{Broken, OVER, UNENDED, require};
use crate::llm::translate::doc::{Members, Node};

#[derive(Debug, Default)]
pub(super) struct Rules {
    id: Option<String>,
    over: bool,
}

/// The members of a part that hold what it says.
const DATA: [&str; 7] = [
    "text",
    "functionCall",
    "functionResponse",
    "inlineData",
    "fileData",
    "executableCode",
    "codeExecutionResult",
];

impl Rules {
    pub(super) fn take(&mut self, chunk: Node<'_>) -> Result<(), Broken> {
        require(!self.over, OVER)?;
        let fields = chunk.members();
        if let Some(error) = fields.get("error") {
            self.over = true;
            let error = error.members();
            let told = error.get("code").and_then(Node::count).is_some()
                && error.text("message").is_some()
                && error.text("status").is_some();
            return require(told, "an error does not say what it is");
        }
        if let Some(id) = fields.text("responseId") {
            require(self.id.as_deref().is_none_or(|known| *known == *id), "the id changes")?;
            self.id = Some(id.into_owned());
        }
        let feedback = fields.get("promptFeedback").map(Node::members).unwrap_or_default();
        let blocked = feedback.get("blockReason").is_some();
        let candidates = fields.get("candidates").map(Node::items).unwrap_or_default();
        let counted = fields.get("usageMetadata").is_some();
        require(blocked || counted || !candidates.is_empty(), "a chunk says nothing")?;
        let mut ended = blocked;
        for candidate in candidates {
            let candidate = candidate.members();
            for part in parts(&candidate) {
                self::part(&part.members())?;
            }
            ended |= candidate.text("finishReason").is_some();
        }
        self.over = ended;
        Ok(())
    }

    pub(super) fn end(&self) -> Result<(), Broken> {
        require(self.over, UNENDED)
    }
}

fn parts<'a>(candidate: &Members<'a>) -> Vec<Node<'a>> {
    let content = candidate.get("content").and_then(|content| content.get("parts"));
    content.map(Node::items).unwrap_or_default()
}

fn part(part: &Members<'_>) -> Result<(), Broken> {
    let said = DATA.iter().filter(|key| part.get(key).is_some()).count();
    let signed = part.get("thoughtSignature").is_some();
    require(said == 1 || said == 0 && signed, "a part says nothing, or two things")?;
    if let Some(call) = part.get("functionCall") {
        let call = call.members();
        let named = call.text("name").is_some_and(|name| !name.is_empty());
        require(named, "a call has no name")?;
        let arguments = call.get("args").is_none_or(Node::is_object);
        require(arguments, "a call's arguments are no object")?;
    }
    Ok(())
}
