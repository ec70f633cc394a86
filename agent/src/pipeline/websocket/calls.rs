//! Which call a message belongs to.
//!
//! A client asks with `response.create`; the provider says `response.created` when it begins, and
//! names the response from then on. What is asked in one lane (a `stream_id`; without one, the
//! lane that has no name) is answered in turn; lanes run side by side
//! (<https://developers.openai.com/api/docs/guides/websocket-mode>). Realtime has no lanes: there,
//! only what is outside the conversation runs side by side, and is told apart by the response's id.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::llm::live::Event;

/// The calls of one socket that are not over.
#[derive(Debug)]
pub(super) struct Calls<C> {
    waiting: VecDeque<Waiting<C>>,
    open: Vec<Open<C>>,
}

/// What was asked, and has not begun.
#[derive(Debug)]
struct Waiting<C> {
    lane: Lane,
    /// How the client calls its message.
    event: Option<Arc<str>>,
    call: C,
}

/// What has begun.
#[derive(Debug)]
struct Open<C> {
    stream: Option<Arc<str>>,
    response: Option<Arc<str>>,
    call: C,
}

/// Where an answer is to be looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Lane {
    /// In the lane of this name, or in the one without.
    Named(Option<Arc<str>>),
    /// The message was not read.
    Unknown,
}

impl<C> Calls<C> {
    /// Calls that may be in progress on one socket; providers allow fewer.
    pub(super) const MOST: usize = 64;

    pub(super) fn new() -> Self {
        Self { waiting: VecDeque::new(), open: Vec::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.open.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() + self.open.len() >= Self::MOST
    }

    /// A call is asked for.
    pub(super) fn asked(&mut self, lane: Lane, event: Option<Arc<str>>, call: C) {
        self.waiting.push_back(Waiting { lane, event, call });
    }

    /// The call that asked for the response that begins; `None` where nobody did.
    pub(super) fn next(&mut self, said: &Event) -> Option<C> {
        let lane = Lane::Named(said.stream.clone());
        let own = self.waiting.iter().position(|waiting| waiting.lane == lane);
        let any = || self.waiting.iter().position(|waiting| waiting.lane == Lane::Unknown);
        let asked = own.or_else(any).and_then(|at| self.waiting.remove(at));
        asked.map(|waiting| waiting.call)
    }

    /// A response begins, and is this call's.
    pub(super) fn begins(&mut self, said: &Event, call: C) {
        let (stream, response) = (said.stream.clone(), said.response.clone());
        self.open.push(Open { stream, response, call });
    }

    /// The call that an event of a response belongs to.
    pub(super) fn of(&mut self, said: &Event) -> Option<&mut C> {
        let at = self.place(said)?;
        Some(&mut self.open[at].call)
    }

    /// The call that ends with this event.
    pub(super) fn ends(&mut self, said: &Event) -> Option<C> {
        let at = self.place(said)?;
        Some(self.open.remove(at).call)
    }

    /// The call that ends with this error, if it is about one: the message it names; else, in a
    /// lane, the call that waits to begin there, or the one that runs.
    pub(super) fn fails(&mut self, said: &Event, in_lane: bool) -> Option<C> {
        if said.response.is_some() {
            return self.ends(said);
        }
        let named = said.about.as_ref().and_then(|about| {
            self.waiting.iter().position(|waiting| waiting.event.as_ref() == Some(about))
        });
        let lane = Lane::Named(said.stream.clone());
        let first = || {
            let of_lane = |waiting: &Waiting<C>| waiting.lane == lane;
            in_lane.then(|| self.waiting.iter().position(of_lane)).flatten()
        };
        if let Some(at) = named.or_else(first) {
            return self.waiting.remove(at).map(|waiting| waiting.call);
        }
        if in_lane { self.ends(said) } else { None }
    }

    /// All that are left, when the socket is over: with whether each had begun.
    pub(super) fn rest(&mut self) -> impl Iterator<Item = (C, bool)> {
        let open = std::mem::take(&mut self.open).into_iter().map(|open| (open.call, true));
        let waiting = std::mem::take(&mut self.waiting).into_iter();
        open.chain(waiting.map(|waiting| (waiting.call, false)))
    }

    fn place(&self, said: &Event) -> Option<usize> {
        match &said.response {
            Some(_) => self.open.iter().position(|open| open.response == said.response),
            // Without a name an event is of what runs in its lane.
            None => self.open.iter().rposition(|open| open.stream == said.stream),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(stream: Option<&str>, response: Option<&str>) -> Event {
        Event {
            stream: stream.map(Arc::from),
            response: response.map(Arc::from),
            ..Event::default()
        }
    }

    fn begin(calls: &mut Calls<&'static str>, said: &Event, unasked: &'static str) -> &'static str {
        let call = calls.next(said).unwrap_or(unasked);
        calls.begins(said, call);
        call
    }

    fn named(lane: Option<&str>) -> Lane {
        Lane::Named(lane.map(Arc::from))
    }

    #[test]
    fn what_is_asked_in_a_lane_is_answered_in_turn() {
        let mut calls = Calls::new();
        for call in ["first", "second"] {
            calls.asked(named(None), None, call);
        }
        assert_eq!(begin(&mut calls, &said(None, Some("r1")), "nobody's"), "first");
        assert_eq!(calls.of(&said(None, None)).copied(), Some("first"), "deltas name no response");
        assert_eq!(calls.ends(&said(None, Some("r1"))), Some("first"));
        assert_eq!(calls.of(&said(None, None)), None);
        assert_eq!(begin(&mut calls, &said(None, Some("r2")), "nobody's"), "second");
        assert_eq!(begin(&mut calls, &said(None, Some("r3")), "nobody's"), "nobody's");
        assert_eq!(calls.rest().collect::<Vec<_>>(), [("second", true), ("nobody's", true)]);
        assert!(calls.is_empty());
    }

    #[test]
    fn lanes_run_side_by_side() {
        let mut calls = Calls::new();
        calls.asked(named(Some("a")), None, "a1");
        calls.asked(named(Some("b")), None, "b1");
        calls.asked(named(Some("a")), None, "a2");
        assert_eq!(begin(&mut calls, &said(Some("b"), Some("r2")), "x"), "b1");
        assert_eq!(begin(&mut calls, &said(Some("a"), Some("r1")), "x"), "a1");
        assert_eq!(calls.of(&said(Some("b"), None)).copied(), Some("b1"));
        assert_eq!(calls.of(&said(Some("a"), None)).copied(), Some("a1"));
        assert_eq!(calls.ends(&said(Some("b"), Some("r2"))), Some("b1"));
        assert_eq!(calls.ends(&said(Some("b"), Some("r9"))), None, "another response");
        assert_eq!(calls.ends(&said(Some("a"), Some("r1"))), Some("a1"));
        assert_eq!(calls.rest().collect::<Vec<_>>(), [("a2", false)]);
    }

    #[test]
    fn an_error_ends_what_it_is_about() {
        let mut calls = Calls::new();
        calls.asked(named(None), Some(Arc::from("e1")), "first");
        calls.asked(named(None), Some(Arc::from("e2")), "second");
        let about = |event: &str| Event { about: Some(Arc::from(event)), ..Event::default() };
        assert_eq!(calls.fails(&about("e2"), false), Some("second"));
        assert_eq!(calls.fails(&about("e7"), false), None, "about something else");
        assert_eq!(calls.fails(&said(None, None), false), None);
        assert_eq!(calls.fails(&said(Some("a"), None), true), None, "another lane");
        assert_eq!(calls.fails(&said(None, None), true), Some("first"));
        calls.asked(named(None), None, "third");
        begin(&mut calls, &said(None, Some("r3")), "x");
        assert_eq!(calls.fails(&said(None, None), true), Some("third"));
    }

    #[test]
    fn what_was_not_read_is_found_in_any_lane() {
        let mut calls = Calls::new();
        calls.asked(Lane::Unknown, None, "unread");
        calls.asked(named(Some("a")), None, "read");
        assert_eq!(begin(&mut calls, &said(Some("a"), Some("r1")), "x"), "read");
        assert_eq!(begin(&mut calls, &said(Some("b"), Some("r2")), "x"), "unread");
    }
}
