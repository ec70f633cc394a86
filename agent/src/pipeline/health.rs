//! Asking providers how they are, at no cost, so that an open breaker need not wait its time out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use hyper::{HeaderMap, Request, header};

use super::{Rules, credentials};
use crate::clock::Clock;
use crate::drain::Drain;
use crate::llm::providers::{Format, Provider};
use crate::upstream::{Destination, Link, Offer, Outgoing, Pool, SocketOptions, Target};

/// How often it is looked which providers are due.
const TICK: Duration = Duration::from_secs(1);
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Asks every provider that is to be asked, and that there is a key for, until the agent stops.
pub async fn watch(
    rules: Arc<ArcSwap<Rules>>,
    pool: Arc<Pool>,
    clock: Arc<dyn Clock>,
    drain: Drain,
) {
    let mut asked: Vec<(Arc<str>, Instant)> = Vec::new();
    loop {
        tokio::select! {
            () = tokio::time::sleep(TICK) => {}
            () = drain.signalled() => return,
        }
        let rules = rules.load_full();
        if !rules.policies.is_acting() {
            continue;
        }
        let now = clock.mono();
        for provider in rules.providers.iter() {
            let interval = {
                let reliability = rules.policies.reliability.lock();
                reliability.settings().rules(&provider.name).health_checks
            };
            let keyed = rules.credentials.get(&provider.name).is_some();
            let Some(checks) = interval.filter(|_| keyed) else { continue };
            let last = asked.iter_mut().find(|(name, _)| *name == provider.name);
            match last {
                Some((_, at)) if now.saturating_duration_since(*at) < checks.interval => continue,
                Some((_, at)) => *at = now,
                None => asked.push((Arc::clone(&provider.name), now)),
            }
            drain.spawn(look(
                Arc::clone(&rules),
                Arc::clone(provider),
                Link::lazy(Arc::clone(&pool), target(provider)),
                Arc::clone(&clock),
            ));
        }
    }
}

/// Asks one provider; a good answer lets its breaker find out early.
async fn look(rules: Arc<Rules>, provider: Arc<Provider>, link: Link, clock: Arc<dyn Clock>) {
    let Some(request) = request(&rules, &provider) else { return };
    let answer = tokio::time::timeout(PATIENCE, link.send(request)).await;
    match answer {
        Ok(Ok(response)) if response.status().is_success() => {
            rules.policies.reliability.lock().hint_well(&provider.name, clock.now());
        }
        Ok(Ok(response)) => {
            tracing::debug!(provider = %provider.name, status = %response.status(), "health check");
        }
        Ok(Err(error)) => tracing::debug!(provider = %provider.name, %error, "health check"),
        Err(_elapsed) => tracing::debug!(provider = %provider.name, "health check: no answer"),
    }
}

/// The list of models, which costs nothing anywhere.
fn request(rules: &Rules, provider: &Provider) -> Option<Request<Outgoing>> {
    let version = if provider.format == Format::Gemini { "v1beta" } else { "v1" };
    let path = format!("{}/{version}/models", provider.base.prefix);
    let mut headers = HeaderMap::new();
    if let Some(secret) = rules.credentials.get(&provider.name) {
        credentials::present(secret, provider.format, &mut headers);
    }
    let mut request = Request::get(path).body(Outgoing::Empty).ok()?;
    headers.insert(header::ACCEPT_ENCODING, header::HeaderValue::from_static("identity"));
    *request.headers_mut() = headers;
    Some(request)
}

fn target(provider: &Provider) -> Target {
    let base = &provider.base;
    Target {
        destination: Destination::Name(Arc::clone(&base.host), base.port),
        host: Arc::clone(&base.host),
        tls: base.tls,
        offer: Offer::Http1,
        options: SocketOptions::default(),
    }
}
