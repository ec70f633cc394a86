//! Calls that a policy takes to a cheaper model from the start.
//!
//! The policy lets the call be made: where the other model can't be asked, the call is made as it
//! was asked, and its record says so.

use std::sync::Arc;

use super::{Dispatch, Ready};
use crate::pipeline::exchange::Exchange;
use crate::policy::reliability::Hop;

/// What a policy wants to be asked instead.
#[derive(Debug, Clone)]
pub(in crate::pipeline) struct Downgrade {
    /// The policy: `budgets.batch-agent`.
    pub(in crate::pipeline) policy: Arc<str>,
    /// `MODEL`, `PROVIDER/MODEL` or `tier:NAME`.
    pub(in crate::pipeline) target: Arc<str>,
}

/// A request that is sent once and as it is can't be taken anywhere else.
pub(super) fn impossible(exchange: &mut Exchange) {
    if let Some(Downgrade { policy, target }) = exchange.downgrade.take() {
        let detail = format!("made as asked: it can't be asked of {target}");
        exchange.decide(&policy, "skip".to_owned(), detail);
    }
}

impl Dispatch<'_> {
    /// The first try at the first model that can be asked instead; `None` where there is none.
    pub(super) fn downgraded(&mut self, downgrade: &Downgrade) -> Option<Ready> {
        let mut why = Vec::new();
        for hop in self.cheaper(&downgrade.target) {
            let name = format!("{}/{}", hop.provider, hop.model);
            if hop == self.course.target {
                why.push(format!("{name} is what was asked for"));
                break;
            }
            let diverted = self.policies.reliability.lock().divert(&self.course, &hop);
            let asked = std::mem::replace(&mut self.course, diverted);
            match self.ready() {
                Ok(ready) => return Some(ready),
                Err(not) => {
                    why.push(format!("{name}: {}", not.why()));
                    self.course = asked;
                }
            }
        }
        let detail = format!("made as asked: {}", why.join("; "));
        self.exchange.decide(&downgrade.policy, "skip".to_owned(), detail);
        None
    }

    /// The models behind a policy's word. One that the call's own provider has is asked there.
    fn cheaper(&self, target: &str) -> Vec<Hop> {
        if let Some(tier) = target.strip_prefix("tier:") {
            let reliability = self.policies.reliability.lock();
            return reliability.tier(tier).unwrap_or_default().to_vec();
        }
        let rules = &self.exchange.rules;
        let own = &self.exchange.context.parties.provider;
        let (mut provider, mut model) = (own, target);
        if rules.prices.context_window(own, target).is_none() {
            let named = target.split_once('/').filter(|(_, model)| !model.is_empty());
            let named =
                named.and_then(|(name, model)| Some((rules.providers.by_name(name)?, model)));
            let family = || Some((rules.providers.for_gateway("", Some(target))?, target));
            (provider, model) = named.or_else(family).unwrap_or((own, target));
        }
        vec![Hop { provider: Arc::clone(&provider.name), model: Arc::from(model) }]
    }
}
