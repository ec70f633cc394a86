//! Calls to which nothing happens that policies care about.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::{Request, StatusCode, header};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use super::*;
use crate::record::{Flag, Kind, Outcome, UsageSource};

#[tokio::test]
async fn a_unary_call_is_passed_on_unchanged_and_recorded_once() {
    let scene = scene(Provider(|_request| json(ANSWER)), Records::default());
    let response = handle(Arc::clone(&scene.context), call(ASK)).await;
    assert_eq!(response.status(), StatusCode::OK);
    let id = response.headers()[headers::CALL_ID].to_str().unwrap().to_owned();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, ANSWER);
    let record = scene.records.only();
    assert_eq!(record.call_id.to_string(), id);
    assert_eq!(record.kind, Kind::Call);
    assert_eq!(record.outcome, Outcome::Ok);
    assert_eq!(record.model.as_deref(), Some("gpt-4o-mini"));
    assert_eq!(record.model_served.as_deref(), Some("gpt-4o-mini-2024-07-18"));
    assert_eq!((record.usage.input, record.usage.output), (1000, 500));
    assert_eq!(record.usage_source, UsageSource::Reported);
    assert_eq!(record.cost.map(|cost| cost.0), Some(ANSWER_COST));
    assert_eq!(record.attempts.len(), 1);
    assert_eq!(scene.records.opened.lock().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_last_bytes_wait_for_the_record_but_not_for_ever() {
    let records = Records { withhold: true, ..Records::default() };
    let scene = scene(Provider(|_request| json(ANSWER)), records);
    let asked = Instant::now();
    let response = handle(Arc::clone(&scene.context), call(ASK)).await;
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, ANSWER);
    let waited = asked.elapsed();
    assert!(waited >= Duration::from_millis(50), "released before its record was safe");
    assert!(waited < Duration::from_millis(60), "held for longer than the bound");
    assert_eq!(scene.records.unconfirmed.load(Relaxed), 1, "and that is counted");
}

#[tokio::test]
async fn a_client_that_leaves_before_the_answer_has_still_asked() {
    let (reached, asked) = oneshot::channel();
    let reached = Arc::new(Mutex::new(Some(reached)));
    let (_never, chunks) = mpsc::channel(1);
    let chunks = Arc::new(Mutex::new(Some(chunks)));
    let provider = Provider(move |_request: Request<Bytes>| {
        reached.lock().take().expect("asked once").send(()).expect("the test waits");
        // No chunk ever comes, and without one hyper sends no head.
        events(chunks.lock().take().expect("asked once"))
    });
    let scene = scene(provider, Records::default());
    let mut waiting = Box::pin(handle(Arc::clone(&scene.context), call(ASK)));
    tokio::select! {
        _answer = &mut waiting => {}
        _asked = asked => {}
    }
    drop(waiting);
    let record = scene.records.only();
    assert_eq!(record.outcome, Outcome::ClientAbort);
    assert_eq!(record.usage_source, UsageSource::Estimated);
    assert!(record.cost.is_some_and(|cost| cost.0 > 0), "sent is not free: {:?}", record.cost);
}

#[tokio::test]
async fn a_stream_flows_and_its_terminal_event_waits() {
    let (send, chunks) = mpsc::channel(8);
    let chunks = Arc::new(Mutex::new(Some(chunks)));
    let provider =
        Provider(move |_request: Request<Bytes>| events(chunks.lock().take().expect("asked once")));
    let records = Records { withhold: true, ..Records::default() };
    let scene = scene(provider, records);
    send.send(Ok(frame(CHUNK))).await.unwrap();
    let response = handle(Arc::clone(&scene.context), call(ASK_STREAM)).await;
    let mut body = response.into_body();
    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(first, CHUNK, "a chunk is forwarded when it arrives");
    send.send(Ok(frame(USAGE))).await.unwrap();
    let usage = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(usage, USAGE, "the client asked for the usage chunk: it stays");
    assert!(scene.records.settled.lock().is_empty());
    send.send(Ok(frame(DONE))).await.unwrap();
    {
        let waiting = body.frame();
        tokio::pin!(waiting);
        tokio::select! {
            biased;
            _released = &mut waiting => panic!("released before the record was safe"),
            () = tokio::time::sleep(Duration::from_millis(10)) => {}
        }
        for tell in scene.records.withheld.lock().drain(..) {
            tell.send(Durability::Kept).unwrap();
        }
        let done = waiting.await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(done, DONE);
    }
    let record = scene.records.only();
    assert_eq!(record.cost.map(|cost| cost.0), Some(ANSWER_COST), "streamed costs as unary does");
    assert!(record.stream && record.ttft.is_some());
}

#[tokio::test]
async fn usage_is_asked_for_and_the_chunk_it_causes_is_hidden() {
    let asked = Arc::new(Mutex::new(None));
    let seen = Arc::clone(&asked);
    let provider = Provider(move |request: Request<Bytes>| {
        *seen.lock() = Some(request.into_body());
        let (send, chunks) = mpsc::channel(8);
        for text in [CHUNK, USAGE, DONE] {
            send.try_send(Ok(frame(text))).expect("room");
        }
        events(chunks)
    });
    let scene = scene(provider, Records::default());
    let body = r#"{"model":"gpt-4o-mini","stream":true,"messages":[]}"#;
    let response = handle(Arc::clone(&scene.context), call(body)).await;
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, [CHUNK, DONE].concat());
    let asked: serde_json::Value =
        serde_json::from_slice(asked.lock().as_ref().expect("asked")).unwrap();
    assert_eq!(asked["stream_options"]["include_usage"], true);
    let record = scene.records.only();
    assert!(record.flags.contains(&Flag::UsageInjected));
    assert_eq!(record.cost.map(|cost| cost.0), Some(ANSWER_COST));
}

#[tokio::test]
async fn a_client_that_leaves_mid_stream_is_settled_by_estimate() {
    let (send, chunks) = mpsc::channel(8);
    let chunks = Arc::new(Mutex::new(Some(chunks)));
    let provider =
        Provider(move |_request: Request<Bytes>| events(chunks.lock().take().expect("asked once")));
    let scene = scene(provider, Records::default());
    send.send(Ok(frame(CHUNK))).await.unwrap();
    let response = handle(Arc::clone(&scene.context), call(ASK_STREAM)).await;
    let mut body = response.into_body();
    body.frame().await.unwrap().unwrap();
    drop(body);
    let record = scene.records.only();
    assert_eq!(record.outcome, Outcome::ClientAbort);
    assert_eq!(record.usage_source, UsageSource::Estimated);
    assert!(record.usage.output > 0 && record.cost.is_some_and(|cost| cost.0 > 0));
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_not_made_to_look_whole() {
    let (send, chunks) = mpsc::channel(8);
    let chunks = Arc::new(Mutex::new(Some(chunks)));
    let provider =
        Provider(move |_request: Request<Bytes>| events(chunks.lock().take().expect("asked once")));
    let scene = scene(provider, Records::default());
    send.send(Ok(frame(CHUNK))).await.unwrap();
    let response = handle(Arc::clone(&scene.context), call(ASK_STREAM)).await;
    let mut body = response.into_body();
    body.frame().await.unwrap().unwrap();
    send.send(Err(io::Error::other("cut"))).await.unwrap();
    let end = body.frame().await.expect("an end that says what it is");
    assert!(end.is_err(), "the client must see the cut");
    let record = scene.records.only();
    assert_eq!(record.outcome, Outcome::UpstreamCut);
    assert_eq!(record.usage_source, UsageSource::Estimated);
}

#[tokio::test]
async fn a_request_for_another_host_is_misdirected() {
    let scene = scene(Nobody, Records::default());
    let mut request = call(ASK);
    request.headers_mut().insert(header::HOST, "api.anthropic.com".parse().unwrap());
    let response = handle(Arc::clone(&scene.context), request).await;
    assert_eq!(response.status(), StatusCode::MISDIRECTED_REQUEST);
    let record = scene.records.only();
    assert_eq!(record.outcome, Outcome::Refused);
    assert_eq!(record.cost.map(|cost| cost.0), Some(0), "a refused call costs nothing");
}

#[tokio::test]
async fn an_unreachable_provider_is_told_in_its_own_dialect() {
    let scene = scene(Nobody, Records::default());
    let response = handle(Arc::clone(&scene.context), call(ASK)).await;
    assert_eq!(response.status(), StatusCode::BAD_GATEWAY);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body["error"]["type"], "upstream_unreachable");
    assert_eq!(scene.records.only().outcome, Outcome::ConnectError);
}

#[tokio::test]
async fn a_body_over_the_limit_goes_through_unread() {
    let length = Arc::new(Mutex::new(0));
    let seen = Arc::clone(&length);
    let provider = Provider(move |request: Request<Bytes>| {
        *seen.lock() = request.body().len();
        json(ANSWER)
    });
    let scene = scene(provider, Records::default());
    let long = format!(r#"{{"model":"gpt-4o-mini","x":"{}"}}"#, "y".repeat(4096));
    let response = handle(Arc::clone(&scene.context), call(&long)).await;
    assert_eq!(response.status(), StatusCode::OK);
    response.into_body().collect().await.unwrap();
    assert_eq!(*length.lock(), long.len(), "nothing was cut");
    let record = scene.records.only();
    assert_eq!(record.kind, Kind::Opaque);
    assert!(record.flags.contains(&Flag::BodyUnread));
    assert_eq!(record.cost, None, "unread is unknown, not free");
}

#[tokio::test]
async fn an_error_status_costs_nothing_and_keeps_its_body() {
    let provider = Provider(|_request: Request<Bytes>| {
        let mut response = json(r#"{"error":{"message":"slow down"}}"#);
        *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
        response
    });
    let scene = scene(provider, Records::default());
    let response = handle(Arc::clone(&scene.context), call(ASK)).await;
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    response.into_body().collect().await.unwrap();
    let record = scene.records.only();
    assert_eq!(record.outcome, Outcome::RateLimited);
    assert_eq!(record.cost.map(|cost| cost.0), Some(0));
}
