//! How a stream begins, told to the breakers once that is known; and failures nobody else is told
//! of.

use std::sync::Arc;

use crate::llm::meter::Reading;
use crate::pipeline::exchange::Exchange;
use crate::policy::reliability::verdict::Escalation;
use crate::policy::reliability::{Class, Course, Failed, Failure, Permit, RETRY, classify};
use crate::record::{Notice, Outcome, Topic};

/// A try whose answer has begun with a head that says nothing yet.
#[derive(Debug)]
pub struct Watch(Box<(Course, Permit)>);

impl Watch {
    pub(super) fn new(course: Course, permit: Permit) -> Self {
        Self(Box::new((course, permit)))
    }

    /// The first content came.
    pub(in crate::pipeline) fn well(self, exchange: &Exchange) {
        let (course, permit) = *self.0;
        well(exchange, &course, permit);
    }

    /// The answer is over, and there was no content.
    pub(in crate::pipeline) fn over(
        self,
        exchange: &mut Exchange,
        reading: Option<&Reading>,
        outcome: Outcome,
    ) {
        let error = reading.and_then(|reading| reading.error.as_ref());
        let failed = match (error, outcome) {
            (Some(error), _) => Failed::Event { code: &error.code },
            (None, Outcome::UpstreamCut) => Failed::Broken,
            (None, _) => return self.well(exchange),
        };
        let Some(class) = classify(failed) else { return };
        let what = error.map_or("the stream broke off", |error| &error.message);
        let failure = Failure { class, retry_after: None, what, random: 0.0 };
        let (course, permit) = *self.0;
        report(exchange, &course, permit, Some(&failure));
        if course.is_acting() && class.escalation() != Escalation::Never {
            escalate(exchange, &course, class, what);
        }
    }
}

/// A try has begun well.
pub(super) fn well(exchange: &Exchange, course: &Course, permit: Permit) {
    report(exchange, course, permit, None);
}

/// Tells the breakers what a try came to.
pub(super) fn report(
    exchange: &Exchange,
    course: &Course,
    permit: Permit,
    failure: Option<&Failure<'_>>,
) {
    let now = exchange.context.clock.now();
    let policies = &exchange.rules.policies;
    let notices = policies.reliability.lock().report(course, permit, failure, now);
    for notice in notices {
        exchange.context.sink.notice(notice);
    }
}

/// Tells people of a call that failed for good.
pub(super) fn escalate(exchange: &Exchange, course: &Course, class: Class, what: &str) {
    let subject = &exchange.context.parties.subject;
    let policy = course.policy().map_or_else(|| Arc::from(RETRY), Arc::clone);
    let asked = &course.target;
    exchange.context.sink.notice(Notice {
        at: exchange.context.clock.now().wall,
        topic: Topic::Escalation,
        policy,
        subject: Arc::clone(&subject.workload.name),
        uid: Some(subject.process.uid),
        call_id: exchange.call_id(),
        message: format!(
            "A call of {} to {}/{} failed after {} tries: {what}",
            subject.workload.name,
            asked.provider,
            asked.model,
            course.tried(),
        ),
        spent: None,
        limit: None,
        class: Some(Arc::from(class.as_str())),
        finding: None,
    });
}
