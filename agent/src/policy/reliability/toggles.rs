//! How far each policy goes, what it did, and how that is shown.

use std::collections::HashMap;
use std::sync::Arc;

use super::{RETRY, Reliability, breaker_policy};
use crate::policy::Enforcement;
use crate::policy::view::PolicyView;

/// Changes of enforcement by hand, and counts, by policy.
#[derive(Debug, Default)]
pub(super) struct Toggles {
    set: HashMap<Arc<str>, Enforcement>,
    counts: HashMap<Arc<str>, Counts>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    passed: u64,
    acted: u64,
    shadowed: u64,
}

/// What a policy did.
#[derive(Debug, Clone, Copy)]
pub(super) enum Done {
    Passed,
    Acted,
    Shadowed,
}

impl Toggles {
    /// How far a policy goes now.
    pub(super) fn effective(&self, policy: &str, configured: Enforcement) -> Enforcement {
        if self.set.is_empty() {
            return configured;
        }
        self.set.get(policy).copied().unwrap_or(configured)
    }

    pub(super) fn set(&mut self, policy: &str, enforcement: Option<Enforcement>) {
        match enforcement {
            Some(enforcement) => drop(self.set.insert(Arc::from(policy), enforcement)),
            None => drop(self.set.remove(policy)),
        }
    }

    /// Counts. Policies are the configuration's and the breakers': their number is bounded.
    pub(super) fn count(&mut self, policy: &str, done: Done) {
        if !self.counts.contains_key(policy) {
            self.counts.insert(Arc::from(policy), Counts::default());
        }
        let Some(counts) = self.counts.get_mut(policy) else { return };
        match done {
            Done::Passed => counts.passed += 1,
            Done::Acted => counts.acted += 1,
            Done::Shadowed => counts.shadowed += 1,
        }
    }

    fn view(&self, name: Arc<str>, configured: Enforcement) -> PolicyView {
        let counts = self.counts.get(&name).copied().unwrap_or_default();
        PolicyView {
            enforcement: self.effective(&name, configured),
            configured,
            about: String::new(),
            summary: String::new(),
            passed: counts.passed,
            acted: counts.acted,
            shadowed: counts.shadowed,
            name,
        }
    }
}

/// All policies of reliability.
pub(super) fn views(of: &Reliability) -> Vec<PolicyView> {
    let Reliability { settings, toggles, .. } = of;
    let retry = &settings.general.retry;
    let mut views = vec![PolicyView {
        about: "*".to_owned(),
        summary: format!(
            "{} tries, {} from {:?} to {:?}, within {:?}, at most {} % of calls",
            retry.attempts,
            retry.strategy.as_str(),
            retry.base,
            retry.max,
            retry.total_timeout,
            retry.budget_percent,
        ),
        passed: of.calls,
        ..toggles.view(Arc::from(RETRY), settings.retries)
    }];
    views.extend(settings.chains.iter().map(|chain| {
        let hops = chain.hops.iter().map(|hop| {
            // A provider nobody has a key for is left out when it comes to it.
            let reachable = settings.reachable.contains(&hop.provider);
            let note = if reachable { "" } else { " (with the client's key only)" };
            format!("{}/{}{note}", hop.provider, hop.model)
        });
        let hops: Vec<_> = hops.collect();
        PolicyView {
            about: format!("model:{}", chain.model),
            summary: format!("{}, at most {} of them", hops.join(", "), settings.max_hops),
            ..toggles.view(Arc::clone(&chain.policy), chain.enforcement)
        }
    }));
    for (provider, model) in of.breakers.names() {
        let breaker = &settings.rules(provider).breaker;
        let name = match model {
            None => breaker_policy(provider),
            Some(model) => breaker_policy(&format!("{provider}/{model}")),
        };
        views.push(PolicyView {
            about: match model {
                None => format!("provider:{provider}"),
                Some(model) => format!("provider:{provider} model:{model}"),
            },
            summary: format!(
                "{} failures in a row, or {} % of at least {} calls in {:?}; open for {:?}",
                breaker.failures,
                breaker.failure_percent,
                breaker.minimum_calls,
                breaker.window,
                breaker.open,
            ),
            passed: of.breakers.passed(provider, model),
            ..toggles.view(name, settings.breakers)
        });
    }
    views
}
