//! Providers asked how they are.

use std::time::Duration;

use super::*;
use crate::policy::reliability::HealthChecks;
use crate::policy::view::BreakerState;

#[tokio::test(start_paused = true)]
async fn only_providers_with_a_key_are_asked_and_with_that_key() {
    let (provider, asked) = scripted([json("{}"), json(ANSWER), json(ANSWER), json(ANSWER)]);
    let mut setup = Setup {
        credentials: Credentials::new([(Arc::from("other"), Secret::new("sk-own"))]).unwrap(),
        providers: vec![elsewhere::known(
            "other",
            crate::llm::providers::Format::OpenAi,
            "",
            false,
        )],
        ..Setup::default()
    };
    setup.settings.general.health_checks = Some(HealthChecks { interval: Duration::from_secs(30) });
    let scene = acting(provider, setup);
    let context = &scene.context;
    let drain = Drain::new();
    drain.spawn(crate::pipeline::health::watch(
        Arc::clone(&context.rules),
        Arc::clone(context.link.pool()),
        Arc::clone(&context.clock),
        drain.clone(),
    ));
    tokio::time::sleep(Duration::from_secs(20)).await;
    drain.signal();
    let asked = asked.lock();
    assert_eq!(asked.len(), 1, "only where there is a key, and once in an interval");
    assert_eq!(asked[0].uri().path(), "/v1/models");
    assert_eq!(asked[0].headers()[header::AUTHORIZATION], "Bearer sk-own");
    let views = context.rules.load().policies.reliability.lock().breakers(context.clock.now());
    assert!(views.iter().all(|view| view.state == BreakerState::Closed));
}
