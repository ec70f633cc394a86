//! A call on a socket that is open already: it is made as it is, where it is, or not at all.

use std::sync::Arc;

use super::downgrade;
use super::watch::Watch;
use crate::pipeline::exchange::Exchange;
use crate::pipeline::reject::Reject;
use crate::policy::reliability::{Gate, Sought};

/// Whether a breaker lets the call pass; what it comes to is told through what is returned.
pub(in crate::pipeline) fn as_asked(exchange: &mut Exchange) -> Result<Watch, Reject> {
    downgrade::impossible(exchange);
    let policies = Arc::clone(&exchange.rules.policies);
    let parties = &exchange.context.parties;
    let sought = Sought {
        provider: &parties.provider.name,
        model: exchange.ask.as_ref().and_then(|ask| ask.model.as_ref()),
        workload: &parties.subject.workload.name,
        repeatable: false,
        movable: false,
        tries_before: 0,
        acting: policies.is_acting(),
    };
    let now = exchange.context.clock.now();
    let (mut course, gate) = {
        let mut reliability = policies.reliability.lock();
        let course = reliability.begin(&sought, now);
        let gate = reliability.gate(&course, now);
        (course, gate)
    };
    let mut tell = |action: &str, blocked: &crate::policy::reliability::Blocked| {
        let rule = format!("breaker.{}", blocked.breaker);
        exchange.decide(&rule, action.to_owned(), blocked.reason.clone());
    };
    match gate {
        Gate::Pass { permit, would } => {
            if let Some(blocked) = would {
                tell("would-refuse", &blocked);
            }
            course.tries();
            Ok(Watch::new(course, permit))
        }
        Gate::Reject(blocked) => {
            tell("refuse", &blocked);
            Err(Reject::Open(Box::new(blocked)))
        }
    }
}
