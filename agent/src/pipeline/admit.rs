//! Whether a call may be made: asks the policies, and does what they say.
//!
//! Stands behind *inspect*, which knows what is asked, and before *dispatch*, so that a refused
//! call reaches no provider. What is reserved here is the exchange's, which settles it.

use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::header::{self, HeaderValue};

use super::bound::Asked;
use super::dispatch::Downgrade;
use super::outstanding::Held;
use super::reservation::Reservation;
use super::{Exchange, Reject, count};
use crate::llm::call::{Kind, cap_output, path_model};
use crate::policy::engine::Spent;
use crate::policy::{Actual, Admission, Bound, Call, Ticket, Verdict};
use crate::record::{Billing, Flag};
use crate::upstream::Outgoing;

/// Lets a call pass, makes it wait, changes it, or refuses it. Requests that are no calls pass.
pub async fn admit(
    exchange: &mut Exchange,
    mut request: Request<Outgoing>,
) -> Result<Request<Outgoing>, Reject> {
    if exchange.route.kind == Kind::Request {
        return Ok(request);
    }
    if exchange.ask.is_none() && exchange.route.kind == Kind::Call {
        let named = path_model(request.uri().path()).map(|path| Arc::from(path.model));
        exchange.note(|record| record.model = record.model.take().or(named));
    }
    let mut countable = count::is_countable(exchange, &request);
    let (admission, bound) = loop {
        match ask(exchange, &request, countable) {
            Said::Decided(admission, bound) => break (admission, bound),
            Said::Outdated => renew(exchange),
            Said::Tight => {
                // Asked again, and this time for good.
                countable = false;
                count::count(exchange, &request).await;
            }
        }
    };
    let (delay, max_output) = follow(exchange, admission, bound)?;
    if !delay.is_zero() {
        exchange.wait_begins();
        // A client that leaves ends this wait, and what was reserved is given back.
        tokio::time::sleep(delay).await;
        exchange.wait_ends();
    }
    if let Some(tokens) = max_output {
        cap(exchange, &mut request, tokens);
    }
    Ok(request)
}

/// The same for a call that the provider has begun by itself: there is nothing left to wait for,
/// or to change, and no prompt to count.
pub fn begun(exchange: &mut Exchange, request: &Request<Outgoing>) -> Result<(), Reject> {
    let (admission, bound) = loop {
        match ask(exchange, request, false) {
            Said::Decided(admission, bound) => break (admission, bound),
            // Nothing is tight that can't be counted.
            Said::Outdated | Said::Tight => renew(exchange),
        }
    };
    follow(exchange, admission, bound).map(|_late| ())
}

/// From here on the call goes by the configuration that decides on it.
fn renew(exchange: &mut Exchange) {
    exchange.rules = exchange.context.rules.load_full();
}

/// Does what the policies say. Left to the caller: how long the call waits, and how much it may be
/// told to say.
fn follow(
    exchange: &mut Exchange,
    admission: Admission,
    bound: Bound,
) -> Result<(Duration, Option<u64>), Reject> {
    let by = admission.decisions.iter().find(|decision| &*decision.action == "downgrade");
    let by = by.map(|decision| Arc::clone(&decision.rule));
    exchange.decided(admission.decisions);
    exchange.tell(admission.notices);
    match admission.verdict {
        Verdict::Pass { ticket, delay, max_output, downgrade } => {
            if !is_ours(exchange, &ticket, &bound) {
                let now = exchange.context.clock.now();
                // Nothing was sent, so there is nothing that people should be told of.
                let mut engine = exchange.rules.policies.engine.lock();
                drop(engine.settle(ticket, &Actual::default(), now));
                drop(engine);
                return Err(Reject::Replaced);
            }
            exchange.reserve(Reservation::new(ticket, bound));
            // How to get there is for *dispatch* to find out.
            exchange.downgrade =
                downgrade.zip(by).map(|(target, policy)| Downgrade { policy, target });
            Ok((delay, max_output))
        }
        Verdict::Refuse(denied) => Err(Reject::Denied(denied)),
        Verdict::Freeze(denied) => {
            let context = &exchange.context;
            context.sink.freeze(&context.parties.subject, &denied.policy);
            Err(Reject::Denied(denied))
        }
    }
}

/// Notes what is held for a call. False where another agent decides by now on calls that limits are
/// about.
fn is_ours(exchange: &Exchange, ticket: &Ticket, bound: &Bound) -> bool {
    if ticket.is_empty() {
        return true;
    }
    let parties = &exchange.context.parties;
    let held = exchange.peek(|record| Held {
        call_id: record.call_id,
        spent: Spent {
            at: record.started_at,
            subject: Arc::clone(&parties.subject),
            agent_name: record.agent_name.clone(),
            environment: Arc::clone(&record.environment),
            provider: Arc::clone(&parties.provider.name),
            model: record.model.clone(),
            requests: 1,
            tokens: bound.input.saturating_add(bound.output),
            cost: bound.cost.unwrap_or_default(),
        },
    });
    held.is_none_or(|held| exchange.rules.policies.outstanding.begin(held))
}

/// What the policies say.
#[expect(
    clippy::large_enum_variant,
    reason = "it is taken apart at once, and a box is paid per call"
)]
enum Said {
    /// Whether the call may be made, and what it may come to.
    Decided(Admission, Bound),
    /// It hangs on the input whether it passes, and that can be counted.
    Tight,
    /// The configuration has been replaced since the call began.
    Outdated,
}

/// The one question to the policies, under their lock.
fn ask(exchange: &Exchange, request: &Request<Outgoing>, countable: bool) -> Said {
    let now = exchange.context.clock.now();
    let parties = &exchange.context.parties;
    let policies = &exchange.rules.policies;
    let body = match request.body() {
        Outgoing::Whole(bytes) => Some(bytes),
        Outgoing::Empty | Outgoing::Through { .. } => None,
    };
    let (body_bytes, agent_name, billing, model) = exchange
        .peek(|record| {
            let model = record.model.clone();
            (record.bytes_in, record.agent_name.clone(), record.billing, model)
        })
        .unwrap_or((0, None, Billing::Unknown, None));
    let ask = exchange.ask.as_ref();
    let asked = Asked {
        prices: &exchange.rules.prices,
        provider: &parties.provider,
        model: model.as_deref(),
        ask,
        kind: exchange.route.kind,
        body_bytes,
        at: now.wall,
    };
    let bound = asked.bound();
    let call = Call {
        subject: &parties.subject,
        agent_name: agent_name.as_deref(),
        environment: &exchange.rules.environment,
        provider: &parties.provider.name,
        host: &parties.host,
        path: request.uri().path(),
        model: model.as_deref(),
        body_bytes,
        bound,
        billing,
        prompt: body.filter(|_| ask.is_some()).map(|body| exchange.prompt(body)),
    };
    let acting = policies.is_acting();
    let mut engine = policies.engine.lock();
    if !Arc::ptr_eq(&exchange.rules, &exchange.context.rules.load()) {
        return Said::Outdated;
    }
    let admission = if countable {
        engine.admit_unless_tight(&call, acting, now)
    } else {
        Some(engine.admit(&call, acting, now))
    };
    drop(engine);
    // What was reserved is compared with what the call comes to, in dollars that are owed.
    admission.map_or(Said::Tight, |admission| Said::Decided(admission, exchange.owed(bound)))
}

/// Writes the most output the call may be given into its body. The limit is for all choices
/// together, a body's for each of them.
fn cap(exchange: &mut Exchange, request: &mut Request<Outgoing>, tokens: u64) {
    let choices = exchange.ask.as_ref().map_or(1, |ask| ask.choices);
    let each = (tokens / choices).max(1);
    let provider = Arc::clone(&exchange.context.parties.provider);
    let operation = exchange.route.operation;
    let changed = change(request, |body| cap_output(body, &provider, operation, each));
    if changed {
        exchange.flag(Flag::OutputCapped);
        exchange.narrow(tokens);
    }
}

/// Replaces a body that was read; false where it was not, or is not what it should be.
pub(super) fn change(
    request: &mut Request<Outgoing>,
    edit: impl FnOnce(&bytes::Bytes) -> Option<bytes::Bytes>,
) -> bool {
    let Outgoing::Whole(body) = request.body() else { return false };
    let Some(changed) = edit(body) else { return false };
    let length = HeaderValue::from(changed.len());
    *request.body_mut() = Outgoing::whole(changed);
    request.headers_mut().insert(header::CONTENT_LENGTH, length);
    true
}
