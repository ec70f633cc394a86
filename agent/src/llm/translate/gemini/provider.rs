//! A provider's stream of content, read.

use super::reply::{head, parts, piece};
use super::stop_of;
use crate::llm::translate::doc::Node;
use crate::llm::translate::fault;
use crate::llm::translate::ir::{Event, Fault, FaultKind, Head, Piece, Stop};

/// Reads chunks, each of which looks like a whole answer. The stream has no last word: it ends
/// with its body.
#[derive(Debug, Default)]
pub(in crate::llm::translate) struct Provider {
    head: Option<Head>,
    pieces: usize,
    called: bool,
}

impl Provider {
    /// Reads one chunk.
    pub(in crate::llm::translate) fn read(&mut self, chunk: Node<'_>, each: &mut Vec<Event>) {
        let fields = chunk.members();
        if fields.get("error").is_some() {
            each.push(Event::Failed(fault::read(chunk, None)));
            return;
        }
        let head = self.head.get_or_insert_with(|| {
            let head = head(&fields);
            each.push(Event::Begin(head.clone()));
            head
        });
        let candidates = fields.get("candidates").map(Node::items).unwrap_or_default();
        let Some(candidate) = candidates.first().map(|candidate| candidate.members()) else {
            let feedback = fields.camel("promptFeedback").map(Node::members).unwrap_or_default();
            if feedback.camel("blockReason").is_some() {
                each.push(Event::Stop(Stop::Filter));
            }
            return;
        };
        for part in parts(&candidate) {
            let Some(piece) = piece(&part.members(), head, self.pieces) else { continue };
            self.pieces += 1;
            match piece {
                Piece::Text(text) => each.push(Event::Text(text)),
                Piece::Thought(text) => each.push(Event::Thought(text)),
                Piece::Call(call) => {
                    self.called = true;
                    each.push(Event::CallBegin { id: call.id, name: call.name });
                    each.push(Event::CallArguments(call.arguments));
                    each.push(Event::CallEnd);
                }
            }
        }
        if let Some(word) = candidate.camel("finishReason").and_then(Node::text) {
            each.push(match stop_of(&word, self.called) {
                Some(stop) => Event::Stop(stop),
                None => Event::Failed(Fault {
                    kind: FaultKind::Server,
                    message: format!("the model failed to answer: {word}"),
                }),
            });
        }
    }
}
