//! The configuration replaced while a call is on its way.

use std::time::Duration;

use super::policies::{cap, rule, settings};
use super::*;
use crate::llm::call::Ask;
use crate::pipeline::admit::admit;
use crate::policy::settings::{OnBreach, Over, Quantity};

fn tokens(limit: u64) -> policy::Settings {
    let minute = Over::Sliding(Duration::from_mins(1));
    let cap = cap("tokens_per_minute", Quantity::Tokens, minute, limit);
    settings(vec![rule("rate_limits", cap, OnBreach::Deny)])
}

fn replace(scene: &Scene, environment: &str, limits: policy::Settings) {
    let shared = &scene.context.rules;
    let old = shared.load_full();
    let new = Rules {
        environment: Arc::from(environment),
        providers: old.providers.clone(),
        prices: Prices::embedded(),
        request_body: old.request_body,
        room: old.room.clone(),
        endpoints: old.endpoints.clone(),
        credentials: Credentials::default(),
        containers: Containers::default(),
        tracing: old.tracing,
        policies: Arc::clone(&old.policies),
    };
    let now = scene.context.clock.now();
    old.policies.replace((limits, Settings::default()), now, || shared.store(Arc::new(new)));
}

/// A call whose body has been read.
fn begun(scene: &Scene) -> Exchange {
    let mut exchange = Exchange::open(Arc::clone(&scene.context), &call(ASK));
    exchange.asked(Ask::parse(exchange.route, ASK.as_bytes()).unwrap());
    exchange
}

#[tokio::test]
async fn a_call_goes_by_the_configuration_that_decides_on_it() {
    let scene = acting(Nobody, Setup { limits: tokens(1_000_000), ..Setup::default() });
    let mut exchange = begun(&scene);
    replace(&scene, "narrow", tokens(1));
    let refused = admit(&mut exchange, call(ASK)).await;
    assert!(matches!(refused, Err(Reject::Denied(_))), "{refused:?}");
    assert_eq!(&*exchange.rules.environment, "narrow", "limits and snapshot are of one make");

    replace(&scene, "wide", tokens(1_000_000));
    let mut exchange = begun(&scene);
    admit(&mut exchange, call(ASK)).await.unwrap();
    replace(&scene, "later", tokens(1));
    assert_eq!(&*exchange.rules.environment, "wide", "once decided on, to its end");
    let of = |engine: &policy::Engine| engine.usage(None, scene.context.clock.now())[0].figure.used;
    let reserved = of(&scene.context.rules.load().policies.engine.lock());
    assert!(reserved > policy::Amount::Count(0), "what it has reserved is known to the new limit");
    drop(exchange);
    let settled = of(&scene.context.rules.load().policies.engine.lock());
    assert_eq!(settled, policy::Amount::Count(0), "and settled there: it was never sent");
}
