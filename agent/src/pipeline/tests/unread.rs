//! Calls whose bodies are not read: what they could come to at most counts.

use hyper::StatusCode;

use super::policies::{CENTS, budget, daily_cents, rule, settings, under};
use super::*;
use crate::policy::settings::{Guard, OnBreach, Rule, Says, UnknownPrice};
use crate::record::Flag;

/// More than the scenes' limit.
fn large() -> String {
    format!(r#"{{"model":"gpt-4o-mini","max_tokens":5,"messages":["{}"]}}"#, "x".repeat(2000))
}

async fn answer(scene: &Scene, request: Request<Outgoing>) -> (StatusCode, serde_json::Value) {
    let response = handle(Arc::clone(&scene.context), request).await;
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (parts.status, serde_json::from_slice(&body).unwrap_or_default())
}

fn encoded() -> Request<Outgoing> {
    let mut request = call(ASK);
    request.headers_mut().insert(header::CONTENT_ENCODING, "gzip".parse().unwrap());
    request
}

#[tokio::test]
async fn a_dollar_limit_counts_the_dearest_that_can_be_asked_for() {
    for (request, flag) in [(call(&large()), Flag::BodyUnread), (encoded(), Flag::BodyUnparsed)] {
        let (provider, asked) = policies::keeper(ANSWER);
        let (scene, _) = under(provider, vec![rule("budgets", daily_cents(100), OnBreach::Deny)]);
        let (status, body) = answer(&scene, request).await;
        assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
        let message = body["error"]["message"].as_str().unwrap();
        assert!(message.starts_with("Budget exceeded for agent: curl"), "{message}");
        assert!(message.contains("send it uncompressed"), "{message}");
        assert!(asked.lock().is_empty());
        assert!(scene.records.only().flags.contains(&flag));
        assert_eq!(budget(&scene), (0, 0), "nothing is left reserved");
    }
}

/// Where the answer tells what it came to, that is what counts in the end.
#[tokio::test]
async fn what_it_came_to_takes_the_place_of_the_bound() {
    let (provider, _) = policies::keeper(ANSWER);
    let (scene, _) =
        under(provider, vec![rule("budgets", daily_cents(10_000_000), OnBreach::Deny)]);
    assert_eq!(answer(&scene, encoded()).await.0, StatusCode::OK);
    assert_eq!(budget(&scene), (ANSWER_COST, 0));
    // Nothing of one over the limit is read, nor its answer metered: the bound stays.
    assert_eq!(answer(&scene, call(&large())).await.0, StatusCode::OK);
    let (spent, reserved) = budget(&scene);
    assert!(spent > 100 * CENTS && reserved == 0, "{spent}");
}

#[tokio::test]
async fn no_limit_of_the_output_is_taken_as_kept() {
    let (provider, asked) = policies::keeper(ANSWER);
    let guard = Guard { max_output_tokens: Some(1_000_000), ..Guard::default() };
    let base = rule("guardrails", daily_cents(1), OnBreach::Deny);
    let (scene, _) = under(provider, vec![Rule { says: Says::Guard(guard), ..base }]);
    let (status, body) = answer(&scene, call(&large())).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    let message = body["error"]["message"].as_str().unwrap();
    assert!(message.starts_with("Output can't be held to 1000000 tokens. "), "{message}");
    assert!(message.contains("smaller than limits.request_body"), "{message}");
    assert!(asked.lock().is_empty());
    assert_eq!(answer(&scene, call(ASK)).await.0, StatusCode::OK);
}

#[tokio::test]
async fn what_has_no_known_price_is_refused_where_that_is_denied() {
    let (provider, _) = policies::keeper(ANSWER);
    let limits = policy::Settings { unknown_price: UnknownPrice::Deny, ..settings(Vec::new()) };
    let clock: Arc<dyn Clock> = Arc::new(clock::System);
    let scene = scene_under(provider, Records::default(), limits, clock);
    let (status, body) = answer(&scene, encoded()).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert!(body["error"]["message"].as_str().unwrap().contains("send it uncompressed"));
}
