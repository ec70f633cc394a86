//! What the provider says: each event goes to the call it belongs to; the one that ends a call
//! waits for its record.

use std::future::poll_fn;
use std::sync::Arc;

use bytes::Bytes;
use hyper::Request;
use serde_json::json;

use super::frame::Message;
use super::pipe::{Next, Side};
use super::refuse;
use super::session::{Call, Session, Shared};
use crate::llm::live::{Api, Deed, Event};
use crate::pipeline::wait::Settling;
use crate::pipeline::{admit, dispatch, relay};
use crate::record::Outcome;
use crate::upstream::Outgoing;

/// Close code of a server whose policy was violated (RFC 6455 §7.4.1).
const POLICY: u16 = 1008;

/// What an event brought about.
enum Heard {
    /// It belongs to no call.
    Beside,
    /// It belongs to a call that goes on.
    Counted,
    /// It ends a call.
    Over(Option<Settling>),
    /// The call it belongs to may not go on.
    Cut(Option<Settling>, String),
}

impl Session {
    /// What becomes of a provider's message.
    pub(super) async fn answers(&self, message: &Message) -> Next {
        let Some(event) = Event::read(&message.text) else {
            self.passed(Side::Provider, message.raw.len());
            return Next::Pass;
        };
        match self.hear(&event, &message.text) {
            Heard::Beside => {
                self.passed(Side::Provider, message.raw.len());
                Next::Pass
            }
            Heard::Counted => Next::Pass,
            Heard::Over(settling) => {
                self.settled(settling).await;
                Next::Pass
            }
            Heard::Cut(settling, told) => {
                self.settled(settling).await;
                self.tell(&told);
                // The only way to make the provider stop, and to stop its bill.
                self.close(POLICY, "the budget ended this response");
                Next::Drop
            }
        }
    }

    /// Waits until the record is safe: the client takes this event for the end of its call.
    async fn settled(&self, settling: Option<Settling>) {
        if let Some(mut settling) = settling {
            poll_fn(|cx| settling.poll(cx)).await;
        }
        self.relax();
    }

    fn hear(&self, event: &Event, text: &Bytes) -> Heard {
        let mut shared = self.shared.lock();
        let shared = &mut *shared;
        match event.deed {
            Deed::Session => {
                shared.model = event.model.clone().or_else(|| shared.model.take());
                shared.max_output = event.max_output;
                Heard::Beside
            }
            Deed::Beside => {
                shared.unread("transcripts of what is said to the model are not metered");
                Heard::Beside
            }
            Deed::Begin => {
                let asked = shared.calls.next(event);
                if asked.is_none() && shared.calls.is_full() {
                    // Counted when it ends: what it comes to is said there.
                    return Heard::Beside;
                }
                let mut call = asked.unwrap_or_else(|| self.unasked(shared, event));
                call.exchange.answered(200);
                call.take(text);
                shared.calls.begins(event, call);
                Heard::Counted
            }
            Deed::End => {
                let known = shared.calls.ends(event);
                let mut call = known.unwrap_or_else(|| self.unasked(shared, event));
                call.exchange.answered(200);
                call.take(text);
                Heard::Over(call.conclude(Outcome::Ok))
            }
            Deed::Fail => {
                let Some(mut call) = shared.calls.fails(event, self.api == Api::Responses) else {
                    return Heard::Beside;
                };
                let begun = call.exchange.peek(|record| record.status.is_some()) == Some(true);
                if !begun {
                    call.exchange.answered(event.status.filter(|it| *it >= 400).unwrap_or(400));
                }
                call.take(text);
                Heard::Over(call.conclude(Outcome::Ok))
            }
            Deed::Create | Deed::Other => {
                let Some(call) = shared.calls.of(event) else { return Heard::Beside };
                call.take(text);
                if call.exchange.outgrew(text.len(), &call.meter)
                    && let Some(mut call) = shared.calls.ends(event)
                {
                    const WHY: &str =
                        "weir: the budget ended this response: it came to more than is left";
                    call.exchange.note_cut(WHY);
                    let told = refuse::cut(self.api, event, WHY);
                    return Heard::Cut(call.conclude(Outcome::Refused), told);
                }
                Heard::Counted
            }
        }
    }

    /// A call that nobody asked for with a message that was read: what a user said ended, or input
    /// was queued behind another response. It is governed as far as that can be.
    fn unasked(&self, shared: &Shared, event: &Event) -> Call {
        let mut exchange = self.begin(shared);
        self.understand(shared, &mut exchange, b"{}");
        let why = "the provider began it by itself".to_owned();
        exchange.decide("websocket", "unasked".to_owned(), why);
        let mut request = Request::new(Outgoing::Empty);
        request.uri_mut().clone_from(&self.head.uri);
        let denied = admit::begun(&mut exchange, &request).err();
        let watch = dispatch::as_asked(&mut exchange).ok();
        exchange.announce();
        exchange.attempt();
        exchange.wait_begins();
        if let Some(reject) = &denied {
            exchange.note(|record| record.error = Some(reject.to_string()));
            self.tell(&refuse::event(self.api, reject, event, exchange.call_id()));
            if self.api == Api::Realtime {
                let id = event.response.as_deref();
                let stop = json!({ "type": "response.cancel", "response_id": id });
                self.order(&stop.to_string());
            }
        }
        Call { denied: denied.is_some(), ..Call::new(exchange, watch) }
    }
}

impl Call {
    /// Reads an event of the response.
    fn take(&mut self, text: &Bytes) {
        self.exchange.note(|record| record.bytes_out += text.len() as u64);
        if self.meter.feed(text.clone()).content {
            self.exchange.content_began();
            if let Some(watch) = self.watch.take() {
                watch.well(&self.exchange);
            }
        }
    }

    fn conclude(&mut self, outcome: Outcome) -> Option<Settling> {
        let reading = self.meter.reading();
        let outcome = if self.denied { Outcome::Refused } else { outcome };
        let outcome = relay::by_status(outcome, &mut self.exchange);
        if let Some(error) = &reading.error {
            self.exchange.note(|record| {
                record.error.get_or_insert_with(|| error.message.clone());
            });
        }
        if let Some(watch) = self.watch.take() {
            watch.over(&mut self.exchange, Some(&reading), outcome);
        }
        let answer = self.exchange.settle(outcome, Some(&reading))?;
        let sink = Arc::clone(&self.exchange.context.sink);
        Some(Settling::new(answer, sink))
    }
}
