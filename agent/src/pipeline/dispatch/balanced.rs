//! Which endpoint of its provider a try goes to, and what it came to there.

use std::sync::Arc;

use hyper::Request;

use super::Dispatch;
use super::attempt::Ended;
use super::original::{Way, link_to};
use crate::llm::providers::Provider;
use crate::pipeline::endpoints::{Credential, Endpoint};
use crate::policy::reliability::{Class, Sign};
use crate::upstream::{Destination, Outgoing, Target};

impl Dispatch<'_> {
    /// Leads a try to one of its provider's endpoints, where that has several and policies act.
    pub(super) fn endpoint(
        &mut self,
        way: &mut Way,
        request: &mut Request<Outgoing>,
    ) -> Option<Arc<Endpoint>> {
        let provider = Arc::clone(self.provider());
        let rules = Arc::clone(&self.exchange.rules);
        let all = rules.endpoints.of(&provider.name);
        if all.is_empty() || !self.course.is_acting() {
            return None;
        }
        let is_own = provider.name == self.exchange.context.parties.provider.name;
        // The client's credential is for the provider it asked; elsewhere it is ours that is sent.
        let ours = rules.credentials.get(&provider.name).is_some();
        let fits = |endpoint: &Endpoint| is_own || ours || endpoint.stands_alone();
        let named = |name: &str| all.iter().find(|endpoint| *endpoint.name == *name);
        let now = self.exchange.context.clock.now();
        let chosen = self.policies.reliability.lock().endpoint(
            &provider.name,
            self.failed_at.as_deref(),
            |name| named(name).is_some_and(|endpoint| fits(endpoint)),
            now,
        );
        // A reload may have taken those away that this call knows of.
        let chosen = chosen.and_then(|name| named(&name).cloned());
        let endpoint = chosen.or_else(|| all.iter().find(|endpoint| fits(endpoint)).cloned())?;
        if !endpoint.address(request, &provider) {
            return None;
        }
        let link = &self.exchange.context.link;
        let at_home = is_own && leads_to(link.target(), &endpoint);
        way.link = (!at_home).then(|| link_to(&endpoint.base, self.exchange));
        let detail = format!("{} ({})", endpoint.name, endpoint.shown());
        self.exchange.decide(&policy(&provider), "use".to_owned(), detail);
        Some(endpoint)
    }

    /// Tells how a try at an endpoint turned out.
    pub(super) fn endpoint_told(&mut self, endpoint: &Endpoint, ended: &Ended) {
        let provider = Arc::clone(self.provider());
        let (sign, what) = match ended {
            Ended::Good(_) => (Sign::Alive, ""),
            // A key of ours that is not accepted is nothing the client could mend.
            Ended::Bad(bad)
                if bad.class == Class::Auth
                    && matches!(endpoint.credential, Credential::Own(_)) =>
            {
                (Sign::Failing, &*bad.what)
            }
            Ended::Bad(bad) => (bad.class.sign(false), &*bad.what),
        };
        self.failed_at = matches!(ended, Ended::Bad(_)).then(|| Arc::clone(&endpoint.name));
        let now = self.exchange.context.clock.now();
        let told = (sign, what);
        let mut reliability = self.policies.reliability.lock();
        let ejected = reliability.endpoint_told(&provider.name, &endpoint.name, told, now);
        drop(reliability);
        if let Some(ejected) = ejected {
            let detail = format!("{}: {what}; left out for {:?}", endpoint.name, ejected.lasts);
            self.exchange.decide(&policy(&provider), "eject".to_owned(), detail);
        }
    }

    /// Who is asked by this try.
    fn provider(&self) -> &Arc<Provider> {
        let serving = self.exchange.serving.as_ref();
        serving.map_or(&self.exchange.context.parties.provider, |serving| &serving.provider)
    }
}

fn policy(provider: &Provider) -> String {
    format!("endpoints.{}", provider.name)
}

/// Whether the client's own connection leads to the endpoint.
fn leads_to(target: &Target, endpoint: &Endpoint) -> bool {
    let port = match &target.destination {
        Destination::Address(address) => address.port(),
        Destination::Name(_, port) => *port,
        Destination::Proxied(way) => way.port,
    };
    let base = &endpoint.base;
    target.host.eq_ignore_ascii_case(&base.host) && target.tls == base.tls && port == base.port
}
