//! Circuit breakers on the path.

use std::time::Duration;

use hyper::StatusCode;

use super::*;
use crate::policy::view::BreakerState;
use crate::record::{Outcome, Topic};

/// One try for each call.
fn impatient() -> Setup {
    let mut setup = Setup::default();
    setup.settings.general.retry.attempts = 1;
    setup
}

fn state(scene: &Scene) -> BreakerState {
    let rules = scene.context.rules.load();
    let views = rules.policies.reliability.lock().breakers(scene.context.clock.now());
    views.iter().find(|view| view.name.contains('/')).expect("the model's breaker").state
}

#[tokio::test(start_paused = true)]
async fn it_opens_rejects_half_opens_and_closes() {
    let answers = (0..5).map(|_| failed(500, "x")).chain((0..3).map(|_| json(ANSWER)));
    let (provider, asked) = scripted(answers);
    let scene = acting(provider, impatient());
    for _ in 0..5 {
        assert_eq!(scene.ask(ASK).await.0.status.as_u16(), 500);
    }
    let began = Instant::now();
    let (parts, body) = scene.ask(ASK).await;
    assert!(began.elapsed() < Duration::from_millis(1));
    assert_eq!((parts.status, asked.lock().len()), (StatusCode::SERVICE_UNAVAILABLE, 5));
    assert_eq!(parts.headers["retry-after"], "60");
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body["error"]["breaker"], "openai/gpt-4o-mini");
    assert_eq!(body["error"]["retry_after_seconds"], 60);
    let message = body["error"]["message"].as_str().unwrap();
    assert!(message.contains("5 failures in a row, the last one: status 500"), "{message}");
    {
        let settled = scene.records.settled.lock();
        let record = settled.last().unwrap();
        assert_eq!((record.outcome, record.attempts.len()), (Outcome::Refused, 0));
        assert_eq!(record.cost.map(|cost| cost.0), Some(0));
    }
    let refused = ("breaker.openai/gpt-4o-mini".to_owned(), "refuse".to_owned());
    assert_eq!(scene.decisions(), [refused]);
    tokio::time::advance(Duration::from_mins(1)).await;
    assert_eq!(state(&scene), BreakerState::HalfOpen);
    for _ in 0..3 {
        assert_eq!(scene.ask(ASK).await.0.status, StatusCode::OK);
    }
    assert_eq!(state(&scene), BreakerState::Closed);
    let topics: Vec<_> = scene.records.notices.lock().iter().map(|notice| notice.topic).collect();
    assert!(topics.contains(&Topic::BreakerOpened) && topics.ends_with(&[Topic::BreakerClosed]));
}

#[tokio::test(start_paused = true)]
async fn p10_probes_of_clients_that_leave_do_not_wedge_it() {
    let answers = (0..5)
        .map(|_| failed(500, "x"))
        .chain((0..3).map(|_| instead(Instead::Silence)))
        .chain((0..3).map(|_| json(ANSWER)));
    let (provider, asked) = scripted(answers);
    let scene = acting(provider, impatient());
    for _ in 0..5 {
        scene.ask(ASK).await;
    }
    tokio::time::advance(Duration::from_mins(1)).await;
    for _ in 0..3 {
        let waiting = scene.ask(ASK);
        assert!(tokio::time::timeout(Duration::from_secs(1), waiting).await.is_err());
    }
    assert_eq!(asked.lock().len(), 8);
    assert_eq!(scene.ask(ASK).await.0.status, StatusCode::SERVICE_UNAVAILABLE);
    tokio::time::advance(Duration::from_mins(1)).await;
    for _ in 0..3 {
        assert_eq!(scene.ask(ASK).await.0.status, StatusCode::OK);
    }
    assert_eq!(state(&scene), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn in_meter_mode_an_open_breaker_only_says_so() {
    let (provider, asked) = scripted([]);
    let scene = acting(provider, Setup { acting: false, ..impatient() });
    for _ in 0..7 {
        assert_eq!(scene.ask(ASK).await.0.status.as_u16(), 500);
    }
    assert_eq!(asked.lock().len(), 7);
    let decisions = scene.decisions();
    assert_eq!(decisions[0].1, "would-refuse", "{decisions:?}");
    assert!(scene.records.notices.lock().is_empty());
}
