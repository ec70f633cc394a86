//! Turns as Anthropic and Google want them: one side after the other, beginning with the user.

use super::ir::{Part, Role, Turn};
use super::json::{Json, object, on_one_line};

/// Stands where something has to and nothing was said.
pub(super) const NOTHING: &str = "(nothing)";

/// A conversation in turns.
#[derive(Debug)]
pub(super) struct Conversation {
    /// What the system says before anything else.
    pub(super) system: Vec<String>,
    pub(super) exchanges: Vec<Exchange>,
}

/// All that one side says in a row.
#[derive(Debug)]
pub(super) struct Exchange {
    /// The user or the assistant.
    pub(super) role: Role,
    pub(super) parts: Vec<Part>,
}

/// Whether the last word has a tool.
pub(super) fn ends_in_results(turns: &[Turn]) -> bool {
    let last = turns.iter().rev().find(|turn| turn.role != Role::System);
    last.is_some_and(|turn| turn.parts.iter().any(|part| matches!(part, Part::Result(_))))
}

/// Puts turns of one side together, results of tools first, and drops texts without any.
pub(super) fn exchanges(turns: Vec<Turn>) -> Conversation {
    let mut conversation = Conversation { system: Vec::new(), exchanges: Vec::new() };
    let first = turns.iter().position(|turn| turn.role != Role::System).unwrap_or(turns.len());
    for (at, turn) in turns.into_iter().enumerate() {
        if turn.role == Role::System && at < first {
            let text: Vec<String> = turn.parts.into_iter().filter_map(text_of).collect();
            conversation
                .system
                .extend(Some(text.join("\n")).filter(|text| !text.trim().is_empty()));
        } else {
            conversation.add(turn);
        }
    }
    // A conversation of nothing but instructions: these are the question.
    if conversation.exchanges.is_empty() {
        let parts = conversation.system.drain(..).map(Part::Text).collect();
        conversation.exchanges.push(Exchange { role: Role::User, parts });
    }
    if conversation.exchanges.first().is_some_and(|turn| turn.role == Role::Assistant) {
        let parts = vec![Part::Text(NOTHING.to_owned())];
        conversation.exchanges.insert(0, Exchange { role: Role::User, parts });
    }
    for turn in &mut conversation.exchanges {
        turn.parts.sort_by_key(|part| !matches!(part, Part::Result(_)));
    }
    conversation
}

impl Conversation {
    fn add(&mut self, turn: Turn) {
        let in_middle = turn.role == Role::System;
        let role = if in_middle { Role::User } else { turn.role };
        let parts = turn.parts.into_iter().filter_map(|part| match part {
            Part::Text(text) if text.trim().is_empty() => None,
            // What comes in the middle stays there, with its role around it.
            Part::Text(text) if in_middle => {
                Some(Part::Text(format!("<system>\n{text}\n</system>")))
            }
            part => Some(part),
        });
        let parts: Vec<Part> = parts.collect();
        match self.exchanges.last_mut().filter(|last| last.role == role) {
            Some(last) => last.parts.extend(parts),
            None if parts.is_empty() => {}
            None => self.exchanges.push(Exchange { role, parts }),
        }
    }
}

fn text_of(part: Part) -> Option<String> {
    match part {
        Part::Text(text) => Some(text),
        Part::Media(_) | Part::Call(_) | Part::Result(_) => None,
    }
}

/// The arguments of a call as an object. What is none (an answer that was cut off, or a model
/// that wrote something else) is kept as text.
pub(super) fn arguments(text: &str) -> Json {
    if text.trim().is_empty() {
        return object! {};
    }
    match serde_json::from_str::<&serde_json::value::RawValue>(text) {
        Ok(raw) if raw.get().starts_with('{') => Json::Raw(on_one_line(raw.get())),
        _ => object! { "raw_arguments": text },
    }
}
