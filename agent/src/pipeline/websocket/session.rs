//! What both directions of a socket know together: its calls, its settings, how it ends.

use std::sync::Arc;

use hyper::Request;
use hyper::http::request::Parts;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::calls::Calls;
use super::frame::{self, text};
use super::pipe::{Outbox, Side};
use crate::llm::call::{Ask, Kind, Route};
use crate::llm::live::Api;
use crate::llm::meter::Meter;
use crate::pipeline::dispatch::Watch;
use crate::pipeline::exchange::Exchange;
use crate::pipeline::room::Claim;
use crate::record::{Flag, Outcome};

/// A provider's message that is longer is passed on unread.
const LONGEST_ANSWER: usize = 16 << 20;

/// One socket.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) api: Api,
    /// The request that opened the socket: its calls are made with the same credential.
    pub(super) head: Parts,
    pub(super) shared: Mutex<Shared>,
    to_provider: Outbox,
    to_client: Outbox,
    calm: Notify,
}

/// What changes.
#[derive(Debug)]
pub(super) struct Shared {
    /// The record of the socket.
    pub(super) socket: Exchange,
    pub(super) calls: Calls<Call>,
    /// The session's model and most output, where the API has sessions.
    pub(super) model: Option<Arc<str>>,
    pub(super) max_output: Option<u64>,
    /// Who ended the talk, and whether by breaking off.
    ended: Option<(Side, bool)>,
}

/// One call in progress.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) exchange: Exchange,
    pub(super) meter: Meter,
    /// How it begins is still to be told to the breakers.
    pub(super) watch: Option<Watch>,
    /// A policy refused what the provider had begun by itself.
    pub(super) denied: bool,
}

impl Session {
    pub(super) fn new(socket: Exchange, api: Api, head: Parts) -> Self {
        let query = head.uri.query().unwrap_or_default();
        let model = query.split('&').find_map(|pair| pair.strip_prefix("model="));
        let model = model.filter(|model| !model.is_empty() && model.len() <= 256).map(Arc::from);
        let shared = Shared { socket, calls: Calls::new(), model, max_output: None, ended: None };
        Self {
            api,
            head,
            shared: Mutex::new(shared),
            to_provider: Outbox::default(),
            to_client: Outbox::default(),
            calm: Notify::new(),
        }
    }

    /// Bytes of a message of this side that are read.
    pub(super) fn limit(&self, from: Side) -> usize {
        match from {
            Side::Client => self.shared.lock().socket.rules.request_body,
            Side::Provider => LONGEST_ANSWER,
        }
    }

    pub(super) fn claim(&self) -> Claim {
        self.shared.lock().socket.rules.room.claim()
    }

    /// Our own messages in the direction in which `from` talks.
    pub(super) fn outbox(&self, from: Side) -> &Outbox {
        match from {
            Side::Client => &self.to_provider,
            Side::Provider => &self.to_client,
        }
    }

    /// Says something to the client.
    pub(super) fn tell(&self, message: &str) {
        self.to_client.put(text(message.as_bytes(), None));
    }

    /// Says something to the provider.
    pub(super) fn order(&self, message: &str) {
        self.to_provider.put(text(message.as_bytes(), Some(mask())));
    }

    /// Ends the talk towards both.
    pub(super) fn close(&self, code: u16, reason: &str) {
        self.to_provider.put(frame::close(code, reason, Some(mask())));
        self.to_client.put(frame::close(code, reason, None));
    }

    /// Bytes passed that belong to no call.
    pub(super) fn passed(&self, from: Side, bytes: usize) {
        self.shared.lock().socket.note(|record| match from {
            Side::Client => record.bytes_in += bytes as u64,
            Side::Provider => record.bytes_out += bytes as u64,
        });
    }

    /// Something was said that is not metered: the socket itself counts as opaque.
    pub(super) fn unread(&self, why: &str) {
        self.shared.lock().unread(why);
    }

    /// Begins a call.
    pub(super) fn begin(&self, shared: &Shared) -> Exchange {
        let route = Route { operation: self.api.operation(), kind: Kind::Call };
        let mut request = Request::new(());
        request.method_mut().clone_from(&self.head.method);
        request.uri_mut().clone_from(&self.head.uri);
        request.headers_mut().clone_from(&self.head.headers);
        let context = Arc::clone(&shared.socket.context);
        let mut exchange = Exchange::open_as(context, &request, route);
        exchange.note(|record| record.stream = true);
        exchange
    }

    /// Takes the figures from what is asked.
    pub(super) fn understand(&self, shared: &Shared, exchange: &mut Exchange, asked: &[u8]) {
        let mut ask = match Ask::parse(exchange.route, asked) {
            Ok(ask) => ask,
            Err(unparsed) => {
                exchange.flag(Flag::BodyUnparsed);
                exchange.decide("classify", "unparsed".to_owned(), unparsed.to_string());
                return;
            }
        };
        ask.stream = true;
        if self.api == Api::Realtime {
            ask.model.clone_from(&shared.model);
            ask.max_output = ask.max_output.or(shared.max_output);
            // The conversation is the provider's.
            ask.input_open = true;
        }
        exchange.asked(ask);
    }

    /// Resolves when no call is in progress.
    pub(super) async fn quiet(&self) {
        loop {
            let calm = self.calm.notified();
            if self.shared.lock().calls.is_empty() {
                return;
            }
            calm.await;
        }
    }

    /// A call is over.
    pub(super) fn relax(&self) {
        self.calm.notify_waiters();
    }

    /// This side has nothing more to say. The first one to say so has ended the socket.
    pub(super) fn ended(&self, side: Side, error: Option<&std::io::Error>) {
        let mut shared = self.shared.lock();
        if shared.ended.is_none() {
            shared.ended = Some((side, error.is_some()));
            if let Some(error) = error {
                shared.socket.note(|record| record.error = Some(error.to_string()));
            }
        }
    }

    /// Settles everything. `instead` is how it ended where neither side ended it.
    pub(super) fn finish(&self, instead: Option<Outcome>) {
        let mut shared = self.shared.lock();
        let (side, broke) = shared.ended.unwrap_or((Side::Client, false));
        let cut = instead.unwrap_or(match side {
            Side::Client => Outcome::ClientAbort,
            Side::Provider => Outcome::UpstreamCut,
        });
        let left: Vec<_> = shared.calls.rest().collect();
        for (call, begun) in left {
            call.cut(cut, begun);
        }
        let outcome = if broke { cut } else { instead.unwrap_or(Outcome::Ok) };
        drop(shared.socket.settle(outcome, None));
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // As the net: without effect where it was finished.
        self.finish(Some(if std::thread::panicking() { Outcome::Internal } else { Outcome::Lost }));
    }
}

impl Shared {
    pub(super) fn unread(&mut self, why: &str) {
        let is_new = self.socket.peek(|record| record.kind != Kind::Opaque) == Some(true);
        if is_new {
            self.socket.note(|record| record.kind = Kind::Opaque);
            self.socket.flag(Flag::BodyUnparsed);
            self.socket.decide("classify", "opaque".to_owned(), why.to_owned());
        }
    }
}

impl Call {
    pub(super) fn new(exchange: Exchange, watch: Option<Watch>) -> Self {
        let meter = Meter::messages(exchange.route);
        Self { exchange, meter, watch, denied: false }
    }

    /// The socket ended before the call.
    fn cut(mut self, outcome: Outcome, begun: bool) {
        let reading = self.meter.reading();
        if let Some(watch) = self.watch.take().filter(|_| outcome == Outcome::UpstreamCut) {
            watch.over(&mut self.exchange, Some(&reading), outcome);
        }
        drop(self.exchange.settle(outcome, begun.then_some(&reading)));
    }
}

/// What a client's frames are masked with has to be random (RFC 6455 §10.3).
fn mask() -> [u8; 4] {
    fastrand::u32(..).to_ne_bytes()
}
