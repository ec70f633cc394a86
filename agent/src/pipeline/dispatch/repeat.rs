//! Calls that the client's SDK makes again by itself: recognised, and remembered if they fail.

use std::sync::Arc;

use hyper::Request;

use crate::pipeline::exchange::Exchange;
use crate::pipeline::{Context, Policies};
use crate::policy::reliability::{Earlier, Print};
use crate::record::CallId;
use crate::upstream::Outgoing;

/// The number of the SDK's try; sent by the SDKs of `OpenAI` and Anthropic from 0 on.
const COUNT: &str = "x-stainless-retry-count";

/// A call whose client tries again by itself if it fails, also in the middle of the answer; dropped
/// without success, it is remembered. Nothing for other clients.
#[derive(Debug)]
pub struct Repeated {
    open: Option<Open>,
    tries_before: u32,
}

#[derive(Debug)]
struct Open {
    context: Arc<Context>,
    policies: Arc<Policies>,
    print: Print,
    call: CallId,
    tries: u32,
}

/// Looks whether a call repeats one that failed, and says so in its record.
pub(super) fn recognise(exchange: &mut Exchange, request: &Request<Outgoing>) -> Repeated {
    let nothing = Repeated { open: None, tries_before: 0 };
    let count = request.headers().get(COUNT).and_then(|value| value.to_str().ok());
    let Some(count) = count.and_then(|count| count.parse::<u32>().ok()) else { return nothing };
    let (Outgoing::Whole(body), Some(call)) = (request.body(), exchange.call_id()) else {
        return nothing;
    };
    let policies = Arc::clone(&exchange.rules.policies);
    let process = &exchange.context.parties.subject.process;
    let model = exchange.ask.as_ref().and_then(|ask| ask.model.as_deref());
    let print = Print::of(process, model, exchange.prompt(body));
    let context = Arc::clone(&exchange.context);
    let open = Open { context, policies, print, call, tries: 0 };
    let earlier = (count > 0).then(|| open.earlier()).flatten();
    if let Some(earlier) = earlier {
        exchange.note(|record| record.retry_of = Some(earlier.call));
    }
    // One that began before the agent did has made its tries all the same.
    let tries_before = earlier.map_or(count, |earlier| earlier.tries);
    Repeated { open: Some(open), tries_before }
}

impl Repeated {
    /// Tries the client has made of it before.
    pub(super) fn tries_before(&self) -> u32 {
        self.tries_before
    }

    /// So many tries have been made of it by now.
    pub(super) fn tries(&mut self, tries: u32) {
        if let Some(open) = &mut self.open {
            open.tries = tries;
        }
    }

    /// There is an answer that nobody will ask for again.
    pub(in crate::pipeline) fn succeeded(mut self) {
        self.open = None;
    }
}

impl Open {
    fn earlier(&self) -> Option<Earlier> {
        let now = self.context.clock.now();
        self.policies.reliability.lock().earlier(self.print, now)
    }
}

impl Drop for Repeated {
    fn drop(&mut self) {
        let Some(open) = &self.open else { return };
        let now = open.context.clock.now();
        let earlier = Earlier { call: open.call, tries: open.tries };
        open.policies.reliability.lock().remember(open.print, earlier, now);
    }
}
