//! Whether a stream is legal: events in their order, indexes and ids that fit, an end.
//!
//! What is checked is what SDKs rely on. A stream that ends in an error event is legal; one that
//! just stops is not.

mod chat;
mod messages;
mod responses;
mod gemini;

use super::Wire;
use super::doc::Node;

/// Where and how a stream breaks the rules.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("event {at}: {what}")]
pub struct Violation {
    /// The event, from 0; one past the last where something is missing.
    pub at: usize,
    /// The rule.
    pub what: &'static str,
}

/// Checks a whole stream of server-sent events.
pub fn check(wire: Wire, stream: &[u8]) -> Result<(), Violation> {
    let events = events(stream)?;
    let mut rules = match wire {
        Wire::Chat => Rules::Chat(chat::Rules::default()),
        Wire::Responses => Rules::Responses(responses::Rules::default()),
        Wire::Messages => Rules::Messages(messages::Rules::default()),
        Wire::Gemini => Rules::Gemini(gemini::Rules::default()),
    };
    for (at, event) in events.iter().enumerate() {
        let node = Node::parse(event.data.as_bytes());
        rules.take(event.name, &event.data, node).map_err(|what| Violation { at, what })?;
    }
    rules.end().map_err(|what| Violation { at: events.len(), what })
}

/// What a rule says, where it is broken.
type Broken = &'static str;

enum Rules {
    Chat(chat::Rules),
    Responses(responses::Rules),
    Messages(messages::Rules),
    Gemini(gemini::Rules),
}

impl Rules {
    fn take(
        &mut self,
        name: Option<&str>,
        data: &str,
        node: Option<Node<'_>>,
    ) -> Result<(), Broken> {
        let object = node.filter(|node| node.is_object());
        match self {
            Self::Chat(rules) if data == "[DONE]" => rules.done(),
            Self::Chat(rules) => rules.take(object.ok_or(NOT_JSON)?),
            Self::Responses(rules) => rules.take(named(name, object)?),
            Self::Messages(rules) => rules.take(named(name, object)?),
            Self::Gemini(rules) => rules.take(object.ok_or(NOT_JSON)?),
        }
    }

    fn end(&self) -> Result<(), Broken> {
        match self {
            Self::Chat(rules) => rules.end(),
            Self::Responses(rules) => rules.end(),
            Self::Messages(rules) => rules.end(),
            Self::Gemini(rules) => rules.end(),
        }
    }
}

const NOT_JSON: Broken = "the data is not a JSON object";
const OVER: Broken = "something follows the end";
const UNENDED: Broken = "the stream has no end";

/// The data of an event whose name is its type.
fn named<'a>(name: Option<&str>, object: Option<Node<'a>>) -> Result<Node<'a>, Broken> {
    let object = object.ok_or(NOT_JSON)?;
    let kind = object.get("type").and_then(Node::text).ok_or("the event has no type")?;
    if name.is_some_and(|name| name != kind) {
        return Err("the event's name is not its type");
    }
    Ok(object)
}

/// A text that parses as a JSON object.
fn is_object(text: &str) -> bool {
    Node::parse(text.as_bytes()).is_some_and(Node::is_object)
}

fn require(holds: bool, what: Broken) -> Result<(), Broken> {
    if holds { Ok(()) } else { Err(what) }
}

struct Event<'a> {
    name: Option<&'a str>,
    data: String,
}

/// The events that have data.
fn events(stream: &[u8]) -> Result<Vec<Event<'_>>, Violation> {
    let broken = |at, what| Violation { at, what };
    let text = std::str::from_utf8(stream).map_err(|_| broken(0, "the stream is not UTF-8"))?;
    let (mut events, mut name, mut data) = (Vec::new(), None, None::<String>);
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for line in text.split_inclusive('\n').map(|line| line.trim_end_matches(['\r', '\n'])) {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "" if line.is_empty() => {
                let name = name.take();
                events.extend(data.take().map(|data| Event { name, data }));
            }
            "event" => name = Some(value),
            "data" => match &mut data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => data = Some(value.to_owned()),
            },
            "" | "id" | "retry" => {}
            _ => return Err(broken(events.len(), "a line is no field")),
        }
    }
    if data.is_some() {
        return Err(broken(events.len(), "the last event is cut off"));
    }
    Ok(events)
}

#[cfg(test)]
mod tests;
