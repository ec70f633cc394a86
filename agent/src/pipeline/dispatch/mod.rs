//! Asking the provider, and what follows when it fails.
//!
//! For each try: *gate* (is a breaker open?), *attempt*, *verdict* (what kind of failure is it?),
//! then a wait and the same again, or another model. Nothing of a failed try has reached the
//! client: the first content of an answer ends all of this. Every try begins from the request as
//! it was handed in, never from what an earlier try made of it.

mod attempt;
mod original;
mod repeat;
mod watch;

use std::sync::Arc;

use http::response;
use hyper::body::Incoming;
use hyper::{Request, Response};

pub use self::watch::Watch;

use self::attempt::{Bad, Care, Ended, Left, Reply};
use self::original::{Original, Way};
use self::repeat::Repeated;
use super::bridge::Bridge;
use super::source::Source;
use super::{Exchange, Policies, Reject, headers};
use crate::llm::call::{Kind, Route};
use crate::llm::translate::{self, Wire};
use crate::policy::reliability::{
    Blocked, Course, Gate, Hop, Note, Permit, Sought, Step, Timeouts, breaker_policy,
};
use crate::record::Outcome;
use crate::upstream::Outgoing;

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
}

impl Answer {
    /// A response that is passed on as it is.
    pub fn plain(exchange: &Exchange, response: Response<Incoming>) -> Self {
        let (parts, body) = response.into_parts();
        Self { parts, source: Source::new(body), route: exchange.route, bridge: None, watch: None }
    }
}

/// Sends the request once, and waits for the head of the answer.
pub async fn once(
    exchange: &mut Exchange,
    request: Request<Outgoing>,
) -> Result<Response<Incoming>, Reject> {
    exchange.attempt();
    // Ends with the last byte of the response, or with the call.
    exchange.wait_begins();
    let context = Arc::clone(&exchange.context);
    let response = context.link.send(request).await.inspect_err(|failure| {
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
        let response = once(exchange, request).await?;
        return Ok(Answer::plain(exchange, response));
    }
    let repeated = repeat::recognise(exchange, &request);
    let policies = Arc::clone(&exchange.rules.policies);
    let course = begin(exchange, &policies, &request, &repeated);
    let original = Original::new(request);
    // Ends with the last byte of the response, or with the call: waits in between are for the
    // provider's sake too.
    exchange.wait_begins();
    let mut dispatch = Dispatch { exchange, policies, course, original, repeated };
    let ready = dispatch.first()?;
    let answer = dispatch.run(ready).await;
    exchange.claim = None;
    answer
}

fn begin(
    exchange: &Exchange,
    policies: &Policies,
    request: &Request<Outgoing>,
    repeated: &Repeated,
) -> Course {
    let parties = &exchange.context.parties;
    let sought = Sought {
        provider: &parties.provider.name,
        model: exchange.ask.as_ref().and_then(|ask| ask.model.as_ref()),
        workload: &parties.subject.workload.name,
        repeatable: matches!(request.body(), Outgoing::Whole(_)),
        movable: Wire::of(exchange.route.operation).is_some(),
        tries_before: repeated.tries_before(),
        acting: policies.is_acting(),
    };
    policies.reliability.lock().begin(&sought, exchange.context.clock.now())
}

/// One call between its tries.
struct Dispatch<'e> {
    exchange: &'e mut Exchange,
    policies: Arc<Policies>,
    course: Course,
    original: Original,
    repeated: Repeated,
}

/// A try that may be made.
struct Ready {
    way: Way,
    permit: Permit,
}

impl Dispatch<'_> {
    /// The first try: what the client asked for, or, where a breaker is open, what can take its
    /// place.
    fn first(&mut self) -> Result<Ready, Reject> {
        let way = Original::asked(self.exchange, self.timeouts());
        let blocked = match self.gate() {
            Ok(permit) => return Ok(Ready { way, permit }),
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
                Err(not) => why = self.not_ready(not, "skip"),
            }
        }
    }

    async fn run(&mut self, mut ready: Ready) -> Result<Answer, Reject> {
        loop {
            let bad = match self.attempt(&mut ready).await {
                Ended::Good(reply) => return Ok(self.good(ready, *reply)),
                Ended::Bad(bad) => bad,
            };
            self.failed(&ready, &bad);
            let Some(next) = self.after(&bad).await else { return self.give(ready, bad) };
            ready = next;
        }
    }

    /// One try.
    async fn attempt(&mut self, ready: &mut Ready) -> Ended {
        self.course.tries();
        self.exchange.serving.clone_from(&ready.way.serving);
        self.exchange.attempt();
        self.repeated.tries(self.course.tried());
        let more = self.course.has_more();
        let request = self.original.request(&mut ready.way, more);
        let context = Arc::clone(&self.exchange.context);
        let link = ready.way.link.as_ref().unwrap_or(&context.link);
        let care = Care {
            timeouts: ready.way.timeouts,
            more,
            wires: ready.way.wires,
            route: ready.way.route,
            format: context.parties.provider.format,
        };
        let wall = context.clock.now().wall;
        let ended = attempt::run(link, request, &care, wall).await;
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
        let failure = bad.failure();
        let now = self.exchange.context.clock.now();
        let mut reliability = self.policies.reliability.lock();
        let notices = reliability.report(&self.course, ready.permit, Some(&failure), now);
        drop(reliability);
        for notice in notices {
            self.exchange.context.sink.notice(notice);
        }
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
                    tokio::time::sleep(wait).await;
                    return match self.ready() {
                        Ok(ready) => Some(ready),
                        Err(not) => {
                            self.not_ready(not, "refuse");
                            None
                        }
                    };
                }
                Step::Hop(_) => match self.ready() {
                    Ok(ready) => return Some(ready),
                    Err(not) => {
                        self.not_ready(not, "skip");
                        // Back to where it failed: there may be a model after this one, or the
                        // same may be tried again.
                        self.course.back_to(before);
                    }
                },
            }
        }
    }

    /// A try at the course's target, where one may be made now.
    fn ready(&mut self) -> Result<Ready, NotReady> {
        let timeouts = self.timeouts();
        let way = if self.course.is_elsewhere() {
            let loss = self.policies.reliability.lock().allowed_loss(&self.course);
            let hop = self.course.target.clone();
            self.original
                .elsewhere(self.exchange, &hop, &loss, timeouts)
                .map_err(NotReady::NoWay)?
        } else {
            Original::asked(self.exchange, timeouts)
        };
        let permit = self.gate().map_err(NotReady::Blocked)?;
        Ok(Ready { way, permit })
    }

    fn gate(&mut self) -> Result<Permit, Blocked> {
        let now = self.exchange.context.clock.now();
        let gate = self.policies.reliability.lock().gate(&self.course, now);
        let (permit, would) = match gate {
            Gate::Pass { permit, would } => (permit, would),
            Gate::Reject(blocked) => return Err(blocked),
        };
        if let Some(blocked) = would {
            self.blocked("would-refuse", &blocked);
        }
        if permit.is_probe() {
            let Hop { provider, model } = &self.course.target;
            let policy = breaker_policy(provider);
            let detail = format!("{provider}/{model} is asked to see whether it works again");
            self.exchange.decide(&policy, "probe".to_owned(), detail);
        }
        Ok(permit)
    }

    /// How long the target may take; none where policies do not act.
    fn timeouts(&self) -> Timeouts {
        if !self.course.is_acting() {
            return Timeouts::default();
        }
        let reliability = self.policies.reliability.lock();
        reliability.settings().rules(&self.course.target.provider).timeouts
    }

    fn good(&mut self, ready: Ready, reply: Reply) -> Answer {
        self.repeated.succeeded();
        let known = reply.begun;
        let watch = Watch::new(self.course.clone(), ready.permit);
        let watch = if known {
            watch.well(self.exchange);
            None
        } else {
            Some(watch)
        };
        let bridge = ready.way.wires.map(|(from, to)| {
            if let Some(whole) = reply.whole {
                return Bridge::Whole(whole);
            }
            let usage = self.exchange.ask.as_ref().is_some_and(|ask| ask.usage_wanted);
            Bridge::Events(Box::new(translate::Stream::new(from, to, usage)))
        });
        self.answer(ready.way, (reply.parts, reply.source), bridge, watch)
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
                Ok(self.answer(ready.way, (reply.parts, reply.source), bridge, None))
            }
        }
    }

    fn answer(
        &mut self,
        way: Way,
        (mut parts, mut source): (response::Parts, Source),
        bridge: Option<Bridge>,
        watch: Option<Watch>,
    ) -> Answer {
        if let Some(serving) = &way.serving {
            headers::served(&mut parts.headers, &serving.provider.name, &serving.model);
            let (model, other) = (Arc::clone(&serving.model), way.link.is_some());
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
        Answer { parts, source, route: way.route, bridge, watch }
    }

    /// Notes why a try can't be made, and says it in a few words.
    fn not_ready(&mut self, not: NotReady, action: &str) -> String {
        match not {
            NotReady::Blocked(blocked) => {
                self.blocked(action, &blocked);
                format!("the circuit breaker of {} is open", blocked.breaker)
            }
            NotReady::NoWay(why) => {
                let Hop { provider, model } = &self.course.target;
                let detail = format!("{provider}/{model}: {why}");
                let policy = self.course.policy().map_or_else(|| Arc::from("failover"), Arc::clone);
                self.exchange.decide(&policy, "skip".to_owned(), detail);
                why
            }
        }
    }

    fn blocked(&mut self, action: &str, blocked: &Blocked) {
        let Blocked { breaker, reason, retry_after } = blocked;
        let until = match retry_after {
            Some(wait) => format!("for another {} s", wait.as_secs()),
            None => "until it is reset".to_owned(),
        };
        let policy = breaker_policy(breaker);
        self.exchange.decide(&policy, action.to_owned(), format!("open {until}: {reason}"));
    }

    fn note(&mut self, notes: Vec<Note>) {
        for Note { policy, action, detail } in notes {
            self.exchange.decide(&policy, action.to_owned(), detail);
        }
    }
}

/// Why a try can't be made.
enum NotReady {
    Blocked(Blocked),
    /// What is in the way.
    NoWay(String),
}
