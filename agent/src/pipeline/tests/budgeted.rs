//! Budgets and streams: what a stream that breaks off or grows comes to.

use hyper::StatusCode;

use super::policies::*;
use super::*;
use crate::policy::settings::{OnBreach, Says};
use crate::record::{Flag, Outcome, UsageSource};

#[tokio::test]
async fn who_leaves_mid_stream_is_charged_by_estimate() {
    let (send, chunks) = mpsc::channel(8);
    let chunks = Arc::new(Mutex::new(Some(chunks)));
    let provider = Provider(move |_: Request<Bytes>| events(chunks.lock().take().unwrap()));
    let (scene, _) = under(provider, vec![rule("budgets", daily_cents(10), OnBreach::Deny)]);
    send.send(Ok(frame(CHUNK))).await.unwrap();
    let response = handle(Arc::clone(&scene.context), call(DIME_STREAM)).await;
    let mut body = response.into_body();
    body.frame().await.unwrap().unwrap();
    assert_eq!(budget(&scene), (0, 10 * CENTS), "reserved while it runs");
    drop(body);
    let record = scene.records.only();
    assert_eq!(record.outcome, Outcome::ClientAbort);
    let cost = record.cost.unwrap().0;
    assert!(cost > 0);
    assert_eq!(budget(&scene), (cost, 0));
}

#[tokio::test]
async fn who_leaves_before_the_first_word_gives_back_what_was_not_used() {
    let (_silent, chunks) = mpsc::channel(1);
    let chunks = Arc::new(Mutex::new(Some(chunks)));
    let provider = Provider(move |_: Request<Bytes>| events(chunks.lock().take().unwrap()));
    let (scene, _) = under(provider, vec![rule("budgets", daily_cents(10), OnBreach::Deny)]);
    let response = handle(Arc::clone(&scene.context), call(DIME_STREAM)).await;
    assert_eq!(budget(&scene), (0, 10 * CENTS));
    drop(response);
    assert_eq!(budget(&scene), (0, 0), "its input is free, and no output is known of");
    assert_eq!(scene.records.only().outcome, Outcome::ClientAbort);
}

#[tokio::test]
async fn a_stream_that_outgrows_its_budget_ends_with_an_event_that_says_so() {
    let (send, chunks) = mpsc::channel(8);
    let chunks = Arc::new(Mutex::new(Some(chunks)));
    let provider = Provider(move |_: Request<Bytes>| events(chunks.lock().take().unwrap()));
    let mut cut = rule("budgets", daily_cents(15), OnBreach::Deny);
    if let Says::Limit(limit) = &mut cut.says {
        limit.cut_streams = true;
    }
    let (scene, _) = under(provider, vec![cut]);
    let long = format!(
        "data: {{\"model\":\"dime\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{}\"}}}}]}}\n\n",
        "x".repeat(6_000)
    );
    let (first, rest) = long.split_at(3_000);
    let pieces =
        [&long, first, rest, &long, &long].map(|text| Bytes::copy_from_slice(text.as_bytes()));
    for piece in pieces {
        send.send(Ok(Frame::data(piece))).await.unwrap();
    }
    let response = handle(Arc::clone(&scene.context), call(DIME_STREAM)).await;
    assert_eq!(response.status(), StatusCode::OK);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let text = String::from_utf8(body.to_vec()).unwrap();
    let events: Vec<_> = text.split_terminator("\n\n").collect();
    let last: serde_json::Value =
        serde_json::from_str(events.last().unwrap().strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!(last["error"]["type"], "rate_limit_exceeded");
    for event in &events {
        let data = event.strip_prefix("data: ").unwrap();
        assert!(serde_json::from_str::<serde_json::Value>(data).is_ok(), "whole events only");
    }
    assert!(events.len() < 5, "it was cut: {} events", events.len());
    let record = scene.records.only();
    assert_eq!(record.outcome, Outcome::Refused);
    assert!(record.flags.contains(&Flag::StreamCut));
    assert_eq!(record.usage_source, UsageSource::Estimated);
    assert_eq!(budget(&scene).0, record.cost.unwrap().0);
}

/// Without `cut_streams` the same stream goes on, and what it came to is counted.
#[tokio::test]
async fn a_stream_that_may_go_on_is_counted_as_it_grows() {
    let (send, chunks) = mpsc::channel(8);
    let chunks = Arc::new(Mutex::new(Some(chunks)));
    let provider = Provider(move |_: Request<Bytes>| events(chunks.lock().take().unwrap()));
    let (scene, _) = under(provider, vec![rule("budgets", daily_cents(15), OnBreach::Deny)]);
    let long = format!(
        "data: {{\"model\":\"dime\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{}\"}}}}]}}\n\n",
        "x".repeat(4_000)
    );
    for _ in 0..3 {
        send.send(Ok(Frame::data(Bytes::from(long.clone())))).await.unwrap();
    }
    let response = handle(Arc::clone(&scene.context), call(DIME_STREAM)).await;
    let mut body = response.into_body();
    let mut seen = 0;
    while seen < 3 * long.len() {
        seen += body.frame().await.unwrap().unwrap().into_data().unwrap().len();
    }
    let (_, reserved) = budget(&scene);
    assert!(reserved >= 20 * CENTS, "2,000 tokens at the last look: {reserved}");
    drop(body);
    assert_eq!(budget(&scene).1, 0);
}
