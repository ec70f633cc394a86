//! Asking the provider, and what follows when it fails.
//!
//! For each try: *gate* (is a breaker open?), *attempt*, *verdict* (what kind of failure is it?),
//! then a wait and the same again, or another model. Nothing of a failed try has reached the
//! client: the first content of an answer ends all of this. Every try begins from the request as
//! it was handed in, never from what an earlier try made of it.

mod downgrade;
mod attempt;
mod original;
mod balanced;
mod repeat;
mod told;
mod ready;
mod socket;
mod watch;

use std::sync::Arc;

use http::response;
use hyper::body::Incoming;
use hyper::{Request, Response};

pub(super) use self::downgrade::Downgrade;
pub use self::repeat::Repeated;
pub(super) use self::socket::as_asked;
pub use self::watch::Watch;

use self::attempt::{Bad, Care, Ended, Left, Reply};
use self::original::{Original, Way};
use super::bridge::Bridge;
use super::source::Source;
use super::{Exchange, Policies, Reject, headers};
use crate::clock::Now;
use crate::llm::call::{Kind, Route};
use crate::llm::translate::{self, Wire};
use crate::policy::reliability::{
    Blocked, Course, Gate, Permit, Reliability, Sought, Step, Timeouts,
};
use crate::record::Outcome;
use crate::upstream::{Link, Outgoing};

/// A response on its way to the client.
#[derive(Debug)]
pub struct Answer {
    /// Its head.
    pub parts: response::Parts,
    /// Its body, as the provider sends it.
    pub source: Source,
    /// What the body is read as.
    pub route: Route,
    /// How it becomes what the client expects, where that is something else.
    pub bridge: Option<Bridge>,
    /// What is still to be told of how it begins.
    pub watch: Option<Watch>,
    /// The client may ask again if it does not end well.
    pub repeated: Option<Repeated>,
}

impl Answer {
    /// A response that is passed on as it is.
    pub fn plain(exchange: &Exchange, response: Response<Incoming>) -> Self {
        let (parts, body) = response.into_parts();
        Self {
            parts,
            source: Source::new(body),
            route: exchange.route,
            bridge: None,
            watch: None,
            repeated: None,
        }
    }
}

/// Sends the request once, over a link of its own if there is one, and waits for the head of the
/// answer.
pub async fn once(
    exchange: &mut Exchange,
    mut request: Request<Outgoing>,
    own: Option<&Link>,
) -> Result<Response<Incoming>, Reject> {
    downgrade::impossible(exchange);
    exchange.attempt();
    exchange.trace(&mut request);
    // Ends with the last byte of the response, or with the call.
    exchange.wait_begins();
    let context = Arc::clone(&exchange.context);
    let link = own.unwrap_or(&context.link);
    let response = link.send(request).await.inspect_err(|failure| {
        let unsent = failure.is_unsent();
        exchange.note(|record| {
            if let Some(attempt) = record.attempts.last_mut().filter(|_| unsent) {
                attempt.outcome = Outcome::ConnectError;
            }
        });
    })?;
    exchange.claim = None;
    exchange.answered(response.status().as_u16());
    Ok(response)
}

/// Sends a request until an answer begins that is worth giving to the client, or nothing is left
/// to try.
pub async fn send(exchange: &mut Exchange, request: Request<Outgoing>) -> Result<Answer, Reject> {
    if exchange.route.kind != Kind::Call {
        let response = once(exchange, request, None).await?;
        return Ok(Answer::plain(exchange, response));
    }
    let (mut dispatch, mut ready) = Dispatch::prepare(exchange, request)?;
    let answer = loop {
        let bad = match dispatch.attempt(&mut ready).await {
            Ended::Good(reply) => break Ok(dispatch.good(ready, *reply)),
            Ended::Bad(bad) => bad,
        };
        dispatch.failed(&ready, &bad);
        // Boxed: every call would carry the room for what few need.
        match Box::pin(dispatch.after(&bad)).await {
            Some(next) => ready = next,
            None => break dispatch.give(ready, bad),
        }
    };
    exchange.claim = None;
    answer
}

/// What the breakers say of a try, and how long it may take.
type Gated = (Gate, Timeouts);

/// Begins the call's course, and asks for its first try where that is what was `asked` for: both
/// under one lock.
fn begin(
    exchange: &Exchange,
    request: &Request<Outgoing>,
    repeated: &Repeated,
    asked: bool,
) -> (Course, Option<Gated>) {
    let parties = &exchange.context.parties;
    let policies = &exchange.rules.policies;
    let sought = Sought {
        provider: &parties.provider.name,
        model: exchange.ask.as_ref().and_then(|ask| ask.model.as_ref()),
        workload: &parties.subject.workload.name,
        repeatable: matches!(request.body(), Outgoing::Whole(_)),
        movable: Wire::of(exchange.route.operation).is_some(),
        tries_before: repeated.tries_before(),
        acting: policies.is_acting(),
    };
    let now = exchange.context.clock.now();
    let mut reliability = policies.reliability.lock();
    let course = reliability.begin(&sought, now);
    let gated = asked.then(|| gate(&mut reliability, &course, now));
    (course, gated)
}

fn gate(reliability: &mut Reliability, course: &Course, now: Now) -> Gated {
    (reliability.gate(course, now), reliability.timeouts(course))
}

/// One call between its tries.
struct Dispatch<'e> {
    exchange: &'e mut Exchange,
    policies: Arc<Policies>,
    course: Course,
    original: Original,
    repeated: Repeated,
    /// The endpoint that failed last.
    failed_at: Option<Arc<str>>,
}

/// A try that may be made.
struct Ready {
    way: Way,
    permit: Permit,
    timeouts: Timeouts,
}

impl<'e> Dispatch<'e> {
    /// Begins a call's dispatch, and finds its first try.
    fn prepare(
        exchange: &'e mut Exchange,
        request: Request<Outgoing>,
    ) -> Result<(Self, Ready), Reject> {
        let repeated = repeat::recognise(exchange, &request);
        let policies = Arc::clone(&exchange.rules.policies);
        let downgrade = exchange.downgrade.take();
        let (course, gate) = begin(exchange, &request, &repeated, downgrade.is_none());
        let original = Original::new(request);
        // Ends with the last byte of the response, or with the call: waits in between are for the
        // provider's sake too.
        exchange.wait_begins();
        let mut dispatch = Self { exchange, policies, course, original, repeated, failed_at: None };
        let cheaper = downgrade.and_then(|downgrade| dispatch.downgraded(&downgrade));
        let ready = match cheaper {
            Some(ready) => ready,
            None => dispatch.first(gate)?,
        };
        Ok((dispatch, ready))
    }

    /// The first try: what the client asked for, or, where a breaker is open, what can take its
    /// place.
    fn first(&mut self, gated: Option<Gated>) -> Result<Ready, Reject> {
        let gated = gated.unwrap_or_else(|| self.gate());
        let blocked = match self.pass(gated) {
            Ok((permit, timeouts)) => {
                return Ok(Ready { way: Original::asked(self.exchange), permit, timeouts });
            }
            Err(blocked) => blocked,
        };
        let mut why = format!("the circuit breaker of {} is open", blocked.breaker);
        let mut first = true;
        loop {
            let (hop, notes) = self.policies.reliability.lock().instead(&mut self.course, &why);
            if std::mem::take(&mut first) {
                self.blocked(if hop.is_some() { "skip" } else { "refuse" }, &blocked);
            }
            self.note(notes);
            if hop.is_none() {
                return Err(Reject::Open(Box::new(blocked)));
            }
            match self.ready() {
                Ok(ready) => return Ok(ready),
                Err(not) => why = self.not_ready(&not, "skip"),
            }
        }
    }

    /// One try.
    async fn attempt(&mut self, ready: &mut Ready) -> Ended {
        self.course.tries();
        self.exchange.attempt();
        self.repeated.tries(self.course.tried());
        let more = self.course.has_more();
        let mut request = self.original.request(&mut ready.way, more);
        let context = Arc::clone(&self.exchange.context);
        let endpoint = self.endpoint(&mut ready.way, &mut request);
        self.exchange.trace(&mut request);
        let link = ready.way.link.as_ref().unwrap_or(&context.link);
        let care = Care {
            timeouts: ready.timeouts,
            more,
            wires: ready.way.wires,
            route: ready.way.route,
            format: context.parties.provider.format,
        };
        let wall = context.clock.now().wall;
        let ended = attempt::run(link, request, &care, wall).await;
        if let Some(endpoint) = endpoint {
            self.endpoint_told(&endpoint, &ended);
        }
        let reply = match &ended {
            Ended::Good(reply) | Ended::Bad(Bad { left: Left::Reply(reply), .. }) => Some(reply),
            Ended::Bad(_) => None,
        };
        if let Some(reply) = reply {
            self.exchange.answered(reply.parts.status.as_u16());
        }
        ended
    }

    /// Takes note of a failure, before anything else is tried.
    fn failed(&mut self, ready: &Ready, bad: &Bad) {
        self.exchange.attempt_failed(bad.outcome);
        watch::report(self.exchange, &self.course, ready.permit, Some(&bad.failure()));
    }

    /// What comes next: a try that may be made, after the wait it takes; `None` where there is
    /// none.
    async fn after(&mut self, bad: &Bad) -> Option<Ready> {
        let mut escalated = false;
        loop {
            let before = self.course.clone();
            let now = self.exchange.context.clock.now();
            let failure = bad.failure();
            let next = self.policies.reliability.lock().after(&mut self.course, &failure, now);
            self.note(next.notes);
            if next.escalate && !escalated {
                escalated = true;
                watch::escalate(self.exchange, &self.course, bad.class, &bad.what);
            }
            match next.step {
                Step::GiveUp => return None,
                Step::Retry(wait) => {
                    let same = Original::asked(self.exchange);
                    let ready = match self.cover(&same, false) {
                        Ok(_most) => {
                            tokio::time::sleep(wait).await;
                            self.ready()
                        }
                        // Nobody is kept waiting for a try that will not be made.
                        Err(not) => Err(not),
                    };
                    return ready.map_err(|not| self.not_ready(&not, "refuse")).ok();
                }
                Step::Hop(_) => match self.ready() {
                    Ok(ready) => return Some(ready),
                    Err(not) => {
                        self.not_ready(&not, "skip");
                        // Back to where it failed: there may be a model after this one, or the
                        // same may be tried again.
                        self.course.back_to(before);
                    }
                },
            }
        }
    }

    fn gate(&self) -> Gated {
        let now = self.exchange.context.clock.now();
        gate(&mut self.policies.reliability.lock(), &self.course, now)
    }

    /// Notes what the breakers say.
    fn pass(&mut self, (gate, timeouts): Gated) -> Result<(Permit, Timeouts), Blocked> {
        let (permit, would) = match gate {
            Gate::Pass { permit, would } => (permit, would),
            Gate::Reject(blocked) => return Err(blocked),
        };
        if let Some(blocked) = would {
            self.blocked("would-refuse", &blocked);
        }
        if permit.is_probe() {
            self.probe();
        }
        Ok((permit, timeouts))
    }

    fn good(mut self, ready: Ready, reply: Reply) -> Answer {
        let (begun, permit) = (reply.begun, ready.permit);
        let bridge = ready.way.wires.map(|(from, to)| {
            if let Some(whole) = reply.whole {
                return Bridge::Whole(whole);
            }
            let usage = self.exchange.ask.as_ref().is_some_and(|ask| ask.usage_wanted);
            Bridge::Events(Box::new(translate::Stream::new(from, to, usage)))
        });
        let mut answer = self.answer(ready.way, (reply.parts, reply.source), bridge);
        if begun {
            watch::well(self.exchange, &self.course, permit);
        } else {
            answer.watch = Some(Watch::new(self.course, permit));
        }
        answer.repeated = Some(self.repeated);
        answer
    }

    /// Gives the client what the last try left.
    fn give(&mut self, ready: Ready, bad: Bad) -> Result<Answer, Reject> {
        match bad.left {
            Left::Failure(failure) => Err(failure.into()),
            Left::Reply(reply) => {
                let bridge = ready.way.wires.map(|(from, to)| {
                    let (status, body) = (reply.parts.status.as_u16(), reply.source.bytes_ahead());
                    Bridge::Whole(translate::error(from, to, status, &body))
                });
                Ok(self.answer(ready.way, (reply.parts, reply.source), bridge))
            }
        }
    }

    fn answer(
        &mut self,
        way: Way,
        (mut parts, mut source): (response::Parts, Source),
        bridge: Option<Bridge>,
    ) -> Answer {
        if let Some(serving) = &way.serving {
            headers::served(&mut parts.headers, &serving.provider.name, &serving.model);
            let own = &self.exchange.context.parties.provider;
            let (model, other) = (Arc::clone(&serving.model), serving.provider.name != own.name);
            self.exchange.note(|record| {
                record.model_served = Some(model);
                if other {
                    // It is our key that pays.
                    record.billing = crate::record::Billing::Metered;
                }
            });
        }
        if let Some(link) = way.link {
            source.keep(link);
        }
        Answer { parts, source, route: way.route, bridge, watch: None, repeated: None }
    }
}
