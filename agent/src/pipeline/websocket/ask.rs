//! What the client says: a `response.create` is a call, everything else passes.

use bytes::Bytes;
use hyper::Request;

use super::calls::Lane;
use super::frame::{self, Message};
use super::pipe::{Next, Side};
use super::session::{Call, Session};
use crate::llm::live::{Api, Deed, Event, with_asked};
use crate::pipeline::dispatch::{self, Watch};
use crate::pipeline::exchange::Exchange;
use crate::pipeline::{Reject, admit};
use crate::record::Flag;
use crate::upstream::Outgoing;

impl Session {
    /// What becomes of a client's message.
    pub(super) async fn asks(&self, message: &Message) -> Next {
        match Event::read(&message.text) {
            Some(event) if event.deed == Deed::Create => self.create(message, event).await,
            _ => {
                self.passed(Side::Client, message.raw.len());
                Next::Pass
            }
        }
    }

    async fn create(&self, message: &Message, event: Event) -> Next {
        // Responses takes what is asked as members of the message itself.
        let whole = (self.api == Api::Responses).then_some(0..message.text.len());
        let at = event.asked.clone().or(whole);
        let nothing = || Bytes::from_static(b"{}");
        let asked = at.clone().map_or_else(nothing, |at| message.text.slice(at));
        let (mut exchange, is_full) = {
            let shared = self.shared.lock();
            let mut exchange = self.begin(&shared);
            exchange.note(|record| record.bytes_in = message.text.len() as u64);
            self.understand(&shared, &mut exchange, &asked);
            (exchange, shared.calls.is_full())
        };
        let admitted = if is_full {
            Err(Reject::SocketFull { most: super::calls::Calls::<Call>::MOST })
        } else {
            self.admit(&mut exchange, Outgoing::whole(asked.clone())).await
        };
        let (sent, watch) = match admitted {
            Ok(admitted) => admitted,
            Err(reject) => {
                self.refuse(exchange, &reject, &event).await;
                return Next::Drop;
            }
        };
        let next = match sent {
            Outgoing::Whole(sent) if sent != asked => {
                let changed = with_asked(&message.text, at.as_ref(), &sent);
                Next::Instead(frame::text(&changed, message.mask))
            }
            _ => Next::Pass,
        };
        self.await_answer(exchange, watch, Lane::Named(event.stream), event.id);
        next
    }

    /// A message that is too long to be read. Returns whether it may pass.
    pub(super) async fn over(&self, from: Side) -> bool {
        match (from, self.api) {
            (Side::Provider, _) => {
                self.unread("a message of the provider is longer than what is read");
                true
            }
            // Mostly sound; should it ask for a response, that one is metered when it begins.
            (Side::Client, Api::Realtime) => {
                self.unread("a message of the client is longer than what is read");
                true
            }
            (Side::Client, Api::Responses) => {
                let mut exchange = self.begin(&self.shared.lock());
                exchange.flag(Flag::BodyUnread);
                let why = "the message is over the limit, or there is no room".to_owned();
                exchange.decide("classify", "unread".to_owned(), why);
                match self.admit(&mut exchange, Outgoing::Empty).await {
                    Ok((_nothing, watch)) => {
                        self.await_answer(exchange, watch, Lane::Unknown, None);
                        true
                    }
                    Err(reject) => {
                        self.refuse(exchange, &reject, &Event::default()).await;
                        false
                    }
                }
            }
        }
    }

    /// Asks the policies, then the breakers. Returns what is to be asked.
    async fn admit(
        &self,
        exchange: &mut Exchange,
        asked: Outgoing,
    ) -> Result<(Outgoing, Watch), Reject> {
        let mut request = Request::new(asked);
        request.uri_mut().clone_from(&self.head.uri);
        let request = admit::admit(exchange, request).await?;
        let watch = dispatch::as_asked(exchange)?;
        Ok((request.into_body(), watch))
    }

    /// The call is as good as sent.
    fn await_answer(
        &self,
        mut exchange: Exchange,
        watch: Watch,
        lane: Lane,
        event: Option<std::sync::Arc<str>>,
    ) {
        // The ledger knows of the call before the provider can charge for it.
        exchange.announce();
        exchange.attempt();
        exchange.wait_begins();
        // Known before it is written: the answer may be quick.
        self.shared.lock().calls.asked(lane, event, Call::new(exchange, Some(watch)));
    }
}
