//! A stream on its way from a provider's format to a client's.

use std::collections::HashSet;

use bytes::Bytes;

use super::doc::Node;
use super::ir::{Event, Fault, FaultKind, Head, Stop};
use super::{Wire, chat, gemini, ids, messages, responses};
use crate::llm::dialect::Dialect;
use crate::llm::reading::Facts;
use crate::llm::sse::{Events, Part, Taken};

/// Translates a stream of events on its way. Where the pieces it comes in end does not matter.
///
/// What goes out begins once, ends once, and says that it failed where the provider's stream fails
/// or breaks off.
#[derive(Debug)]
pub struct Stream {
    events: Events,
    /// The data of the event that has begun.
    data: Option<Vec<u8>>,
    reader: Reader,
    writer: Writer,
    /// Where the counts are read.
    dialect: Dialect,
    facts: Facts,
    begun: bool,
    /// The arguments of the call under way.
    arguments: String,
    /// Whether a call's arguments were no JSON, which is no answer unless it was cut short.
    torn: bool,
    /// Ids of calls so far.
    ids: HashSet<String>,
    stop: Option<Stop>,
    over: bool,
}

#[derive(Debug)]
enum Reader {
    Chat(chat::Provider),
    Messages(messages::Provider),
    Gemini(gemini::Provider),
    /// The format is only a client's.
    None,
}

#[derive(Debug)]
enum Writer {
    Chat(chat::Client),
    Responses(responses::Client),
    Messages(messages::Client),
    Gemini(gemini::Client),
}

impl Stream {
    /// Begins. `include_usage`: whether a client of chat completions asked for the chunk with the
    /// usage.
    pub fn new(from: Wire, to: Wire, include_usage: bool) -> Self {
        let reader = match from {
            Wire::Chat => Reader::Chat(chat::Provider::default()),
            Wire::Messages => Reader::Messages(messages::Provider::default()),
            Wire::Gemini => Reader::Gemini(gemini::Provider::default()),
            Wire::Responses => Reader::None,
        };
        let writer = match to {
            Wire::Chat => Writer::Chat(chat::Client::new(include_usage)),
            Wire::Responses => Writer::Responses(responses::Client::default()),
            Wire::Messages => Writer::Messages(messages::Client::default()),
            Wire::Gemini => Writer::Gemini(gemini::Client::default()),
        };
        Self {
            events: Events::default(),
            data: None,
            reader,
            writer,
            dialect: from.dialect(),
            facts: Facts::default(),
            begun: false,
            arguments: String::new(),
            torn: false,
            ids: HashSet::new(),
            stop: None,
            over: false,
        }
    }

    /// Takes the next piece of the provider's stream, which may end anywhere; returns what can go
    /// to the client.
    pub fn feed(&mut self, bytes: &[u8]) -> Bytes {
        let mut events = std::mem::take(&mut self.events);
        let mut out = String::new();
        events.feed(bytes, 0, |part| self.part(part, &mut out));
        self.events = events;
        out.into()
    }

    /// The provider's stream is over; returns the rest. A stream that was cut off ends in an error
    /// of the client's protocol.
    pub fn end(&mut self) -> Bytes {
        let mut events = std::mem::take(&mut self.events);
        let mut out = String::new();
        events.finish(|part| self.part(part, &mut out));
        self.event(&mut out);
        // Messages say that they are over; of the others some don't, once they have said why.
        let may_end = !matches!(self.reader, Reader::Messages(_));
        if self.stop.is_some() && may_end {
            self.finish(&mut out);
        }
        self.fail(&broken("the provider's stream broke off"), &mut out);
        out.into()
    }

    fn part(&mut self, part: Part<'_>, out: &mut String) -> Taken {
        match part {
            // Told again with every line it gets.
            Part::Data(data) => self.data = Some(data.to_vec()),
            Part::End(_) => self.event(out),
        }
        Taken::No
    }

    /// Reads the event that has come to its end.
    fn event(&mut self, out: &mut String) {
        let Some(data) = self.data.take() else { return };
        if self.over {
            return;
        }
        let mut each = Vec::new();
        if data.trim_ascii() == b"[DONE]" {
            each.push(Event::End);
        } else if let Some(node) = Node::parse(&data).filter(|node| node.is_object()) {
            // What can't be read for its counts is still translated.
            drop(self.dialect.read(&data, &mut self.facts));
            match &mut self.reader {
                Reader::Chat(reader) => reader.read(node, &mut each),
                Reader::Messages(reader) => reader.read(node, &mut each),
                Reader::Gemini(reader) => reader.read(node, &mut each),
                Reader::None => each.push(Event::End),
            }
        } else if !data.trim_ascii().is_empty() {
            each.push(Event::Failed(broken("the provider's stream is not what it should be")));
        }
        for event in each {
            self.take(event, out);
        }
    }

    fn take(&mut self, event: Event, out: &mut String) {
        if self.over {
            return;
        }
        match event {
            Event::Begin(_) if self.begun => {}
            Event::Begin(_) => {
                self.begun = true;
                self.writer.write(event, out);
            }
            Event::Failed(failure) => self.fail(&failure, out),
            Event::End if self.stop.is_some() => self.finish(out),
            // An end without a reason is no success.
            Event::End => self.fail(&broken("the provider's stream ended without saying why"), out),
            Event::CallBegin { name, .. } if name.is_empty() => {
                self.fail(&broken("the provider called a tool without saying which"), out)
            }
            Event::Stop(stop) => self.stop = Some(stop),
            // Behind its own end nothing is the answer's any more.
            _ if self.stop.is_some() => {}
            mut event => {
                self.begin(out);
                match &mut event {
                    Event::CallBegin { id, name } => {
                        self.arguments.clear();
                        // A client tells calls apart by their ids.
                        if id.is_empty() || self.ids.contains(id) {
                            *id = ids::made(&[id, name, &self.ids.len().to_string()]);
                        }
                        self.ids.insert(id.clone());
                    }
                    Event::CallArguments(piece) => self.arguments.push_str(piece),
                    // A call without arguments has empty ones: no text is no JSON.
                    Event::CallEnd if self.arguments.trim().is_empty() => {
                        self.writer.write(Event::CallArguments("{}".to_owned()), out);
                    }
                    Event::CallEnd => {
                        let whole = Node::parse(self.arguments.as_bytes());
                        self.torn |= !whole.is_some_and(Node::is_object);
                    }
                    _ => {}
                }
                self.writer.write(event, out);
            }
        }
    }

    fn begin(&mut self, out: &mut String) {
        if !self.begun {
            self.begun = true;
            self.writer.write(Event::Begin(Head::default()), out);
        }
    }

    fn finish(&mut self, out: &mut String) {
        let Some(stop) = self.stop.take().filter(|_| !self.over) else { return };
        if self.torn && !matches!(stop, Stop::Length | Stop::Filter) {
            self.fail(&broken("the provider called a tool with arguments that are no JSON"), out);
            return;
        }
        self.begin(out);
        self.over = true;
        let reading = self.facts.reading(self.dialect.normalise());
        let usage = reading.usage.unwrap_or(reading.estimate);
        match &mut self.writer {
            Writer::Chat(client) => client.end(&stop, &usage, out),
            Writer::Responses(client) => client.end(&stop, &usage, out),
            Writer::Messages(client) => client.end(&stop, &usage, out),
            Writer::Gemini(client) => client.end(&stop, &usage, out),
        }
    }

    fn fail(&mut self, failure: &Fault, out: &mut String) {
        if std::mem::replace(&mut self.over, true) {
            return;
        }
        match &mut self.writer {
            Writer::Chat(client) => client.fail(failure, out),
            Writer::Responses(client) => client.fail(failure, out),
            Writer::Messages(client) => client.fail(failure, out),
            Writer::Gemini(client) => client.fail(failure, out),
        }
    }
}

fn broken(why: &str) -> Fault {
    Fault { kind: FaultKind::Server, message: why.to_owned() }
}

impl Writer {
    fn write(&mut self, event: Event, out: &mut String) {
        match self {
            Self::Chat(client) => client.write(event, out),
            Self::Responses(client) => client.write(event, out),
            Self::Messages(client) => client.write(event, out),
            Self::Gemini(client) => client.write(event, out),
        }
    }
}
