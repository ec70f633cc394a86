//! A provider's stream of chunks, read.

use std::collections::VecDeque;

use super::reply::{head, text, thought};
use super::stop_of;
use crate::llm::translate::doc::{Members, Node};
use crate::llm::translate::fault;
use crate::llm::translate::ids;
use crate::llm::translate::ir::Event;

/// Calls at once, and what of them waits for its turn: more is no stream of a model.
const MOST_CALLS: usize = 1_024;

/// Reads chunks. Calls may come interleaved; they go out one after the other.
#[derive(Debug, Default)]
pub(in crate::llm::translate) struct Provider {
    id: String,
    begun: bool,
    calls: Vec<Pending>,
    /// What comes behind a call that is not yet whole.
    after: VecDeque<Event>,
}

/// A call whose end has not come.
#[derive(Debug)]
struct Pending {
    index: u64,
    id: Option<String>,
    name: String,
    /// Not yet passed on.
    arguments: String,
    open: bool,
    closed: bool,
    extent: Extent,
}

impl Provider {
    /// Reads one chunk.
    pub(in crate::llm::translate) fn read(&mut self, chunk: Node<'_>, each: &mut Vec<Event>) {
        let fields = chunk.members();
        if fields.get("error").is_some() {
            each.push(Event::Failed(fault::read(chunk, None)));
            return;
        }
        let head = head(&fields);
        if !self.begun && fields.get("choices").is_some() {
            self.begun = true;
            self.id = head.id.clone().unwrap_or_default();
            each.push(Event::Begin(head));
        }
        for choice in fields.get("choices").map(Node::items).unwrap_or_default() {
            let choice = choice.members();
            if choice.get("index").and_then(Node::count).unwrap_or(0) == 0 {
                self.choice(&choice, each);
            }
        }
    }

    fn choice(&mut self, choice: &Members<'_>, each: &mut Vec<Event>) {
        let delta = choice.get("delta").map(Node::members).unwrap_or_default();
        if let Some(thought) = thought(&delta) {
            self.say(Event::Thought(thought), each);
        }
        for key in ["content", "refusal"] {
            if let Some(text) = delta.get(key).and_then(text) {
                self.say(Event::Text(text), each);
            }
        }
        for call in delta.get("tool_calls").map(Node::items).unwrap_or_default() {
            self.call(&call.members());
        }
        self.advance(false, each);
        if let Some(word) = choice.text("finish_reason") {
            self.advance(true, each);
            each.push(Event::Stop(stop_of(&word)));
        }
    }

    /// Text goes out at once, unless a call is under way.
    fn say(&mut self, event: Event, each: &mut Vec<Event>) {
        self.advance(false, each);
        if self.calls.iter().any(|call| !call.closed) {
            self.after.push_back(event);
        } else {
            each.push(event);
        }
    }

    fn call(&mut self, call: &Members<'_>) {
        let function = call.get("function").map(Node::members).unwrap_or_default();
        // Some leave the index out: then an id begins a call, and its absence goes on with it.
        let id = call.text("id").filter(|id| !id.is_empty());
        let last = self.calls.last().map_or(0, |call| call.index);
        let next = last + u64::from(id.is_some() && !self.calls.is_empty());
        let index = call.get("index").and_then(Node::count).unwrap_or(next);
        let at = match self.calls.iter().position(|known| known.index == index) {
            Some(at) => at,
            None if self.calls.len() < MOST_CALLS => {
                self.calls.push(Pending {
                    index,
                    id: None,
                    name: String::new(),
                    arguments: String::new(),
                    open: false,
                    closed: false,
                    extent: Extent::default(),
                });
                self.calls.len() - 1
            }
            None => return,
        };
        let known = &mut self.calls[at];
        if known.id.is_none() {
            known.id = id.map(|id| id.into_owned());
        }
        if let Some(name) = function.text("name").filter(|_| !known.open) {
            // Once whole, or in pieces.
            if known.name != name {
                known.name.push_str(&name);
            }
        }
        if let Some(piece) = function.text("arguments").filter(|_| !known.closed) {
            known.extent.take(&piece);
            known.arguments.push_str(&piece);
        }
    }

    /// Passes on what may go: of the first call that is not whole all there is; a call ends when
    /// its arguments are complete and another thing follows, or when the answer ends.
    fn advance(&mut self, over: bool, each: &mut Vec<Event>) {
        for at in 0..self.calls.len() {
            let follows = over || at + 1 < self.calls.len() || !self.after.is_empty();
            let call = &mut self.calls[at];
            if call.closed {
                continue;
            }
            if !call.open && (!call.name.is_empty() || over) {
                call.open = true;
                let index = call.index.to_string();
                let id = call.id.take();
                let id = id.unwrap_or_else(|| ids::made(&[&self.id, &index, &call.name]));
                each.push(Event::CallBegin { id, name: call.name.clone() });
            }
            if call.open && !call.arguments.is_empty() {
                each.push(Event::CallArguments(std::mem::take(&mut call.arguments)));
            }
            let done = over || follows && call.extent.is_complete();
            if !done {
                return;
            }
            call.closed = true;
            each.push(Event::CallEnd);
        }
        each.extend(self.after.drain(..));
    }
}

/// How far a JSON text has come.
#[derive(Debug, Default)]
struct Extent {
    depth: u32,
    in_string: bool,
    escaped: bool,
    begun: bool,
}

impl Extent {
    fn take(&mut self, piece: &str) {
        for byte in piece.bytes() {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.in_string => self.escaped = true,
                b'"' => self.in_string = !self.in_string,
                _ if self.in_string => {}
                b'{' | b'[' => {
                    self.depth += 1;
                    self.begun = true;
                }
                b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
        }
    }

    fn is_complete(&self) -> bool {
        self.begun && self.depth == 0 && !self.in_string
    }
}
