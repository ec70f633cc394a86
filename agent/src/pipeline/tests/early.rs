//! Streams that fail before their first content, and after it.

use hyper::StatusCode;
use tokio::sync::mpsc;

use super::*;
use crate::policy::Enforcement;
use crate::policy::reliability::{Chain, Hop};
use crate::record::Outcome;

const ROLE: &str = "data: {\"model\":\"gpt-4o\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n";
const OVERLOADED: &str = "data: {\"error\":{\"message\":\"busy\",\"type\":\"server_error\",\"code\":\"overloaded_error\"}}\n\n";
const ASK_LARGE: &str =
    r#"{ "model":"gpt-4o" ,"stream":true,"stream_options":{"include_usage":true},"messages":[]}"#;

fn with_chain(models: &[&str]) -> Setup {
    let mut setup = Setup::default();
    setup.settings.chains = vec![Chain {
        policy: "failover.gpt-4o".into(),
        model: "gpt-4o".into(),
        hops: models
            .iter()
            .map(|model| Hop { provider: "openai".into(), model: (*model).into() })
            .collect(),
        allow_loss: Vec::new(),
        enforcement: Enforcement::Enforce,
    }];
    setup
}

#[tokio::test(start_paused = true)]
async fn p7_p8_an_early_error_fails_over_and_the_client_sees_one_clean_stream() {
    let answers = [stream(&[ROLE, OVERLOADED]), stream(&[ROLE, CHUNK, USAGE, DONE])];
    let (provider, asked) = scripted(answers);
    let scene = acting(provider, with_chain(&["gpt-4o-mini"]));
    let (parts, body) = scene.ask(ASK_LARGE).await;
    assert_eq!(parts.status, StatusCode::OK);
    assert_eq!(body, [ROLE, CHUNK, USAGE, DONE].concat());
    assert_eq!(parts.headers["x-weir-model-served"], "gpt-4o-mini");
    assert_eq!(parts.headers["x-weir-provider-served"], "openai");
    let asked = asked.lock();
    let bodies: Vec<_> = asked.iter().map(|request| request.body().clone()).collect();
    assert_eq!(bodies, [ASK_LARGE.to_owned(), ASK_LARGE.replace("gpt-4o", "gpt-4o-mini")]);
    let record = scene.records.only();
    assert_eq!(record.model.as_deref(), Some("gpt-4o"));
    assert_eq!(record.model_served.as_deref(), Some("gpt-4o-mini-2024-07-18"));
    let outcomes: Vec<_> = record.attempts.iter().map(|attempt| attempt.outcome).collect();
    assert_eq!(outcomes, [Outcome::StreamError, Outcome::Ok]);
    assert_eq!(record.cost.map(|cost| cost.0), Some(ANSWER_COST), "at the price of who answered");
    let decisions = scene.decisions();
    assert_eq!(decisions, [("failover.gpt-4o".to_owned(), "failover".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn an_early_error_without_a_chain_is_tried_again() {
    let answers = [stream(&[OVERLOADED]), stream(&[ROLE]), stream(&[CHUNK, USAGE, DONE])];
    let (provider, asked) = scripted(answers);
    let scene = acting(provider, Setup::default());
    let (_parts, body) = scene.ask(ASK_STREAM).await;
    assert_eq!(body, [CHUNK, USAGE, DONE].concat());
    assert_eq!(asked.lock().len(), 3, "an error, then a stream that ended before it began");
}

#[tokio::test(start_paused = true)]
async fn p7_never_after_the_first_content() {
    let (provider, asked) = scripted([stream(&[ROLE, CHUNK, OVERLOADED]), json(ANSWER)]);
    let scene = acting(provider, with_chain(&["gpt-4o-mini"]));
    let (_parts, body) = scene.ask(ASK_LARGE).await;
    assert_eq!(body, [ROLE, CHUNK, OVERLOADED].concat());
    assert_eq!(asked.lock().len(), 1);
    assert_eq!(scene.records.only().outcome, Outcome::StreamError);
}

#[tokio::test(start_paused = true)]
async fn p7_a_reset_after_content_is_the_clients_to_see() {
    let (send, chunks) = mpsc::channel(8);
    send.try_send(Ok(frame(CHUNK))).unwrap();
    let (provider, asked) = scripted([events(chunks), json(ANSWER)]);
    let scene = acting(provider, with_chain(&["gpt-4o-mini"]));
    let response = handle(Arc::clone(&scene.context), call(ASK_LARGE)).await;
    let mut body = response.into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), CHUNK);
    send.send(Err(io::Error::other("cut"))).await.unwrap();
    assert!(body.frame().await.unwrap().is_err());
    assert_eq!(asked.lock().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_was_held_back_goes_out_in_order_however_it_was_split() {
    let whole = [ROLE, CHUNK, USAGE, DONE].concat();
    for at in 1..whole.len() {
        let (send, chunks) = mpsc::channel(2);
        let (head, tail) = whole.split_at(at);
        for piece in [head, tail] {
            let piece = Bytes::copy_from_slice(piece.as_bytes());
            send.try_send(Ok(Frame::data(piece))).unwrap();
        }
        drop(send);
        let (provider, _asked) = scripted([events(chunks)]);
        let scene = acting(provider, Setup::default());
        let (_parts, body) = scene.ask(ASK_STREAM).await;
        assert_eq!(body, whole, "split at {at}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_model_that_thinks_first_does_not_keep_its_client_waiting_for_the_head() {
    let (send, chunks) = mpsc::channel(8);
    send.try_send(Ok(frame(ROLE))).unwrap();
    let (provider, _asked) = scripted([events(chunks)]);
    let scene = acting(provider, Setup::default());
    let began = Instant::now();
    let response = handle(Arc::clone(&scene.context), call(ASK_STREAM)).await;
    assert_eq!(began.elapsed().as_secs(), 5, "held for a bounded time");
    let mut body = response.into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), ROLE);
    drop(send);
}

#[tokio::test(start_paused = true)]
async fn with_nothing_left_to_try_nothing_is_held_back() {
    let (send, chunks) = mpsc::channel(8);
    send.try_send(Ok(frame(ROLE))).unwrap();
    let (provider, _asked) = scripted([events(chunks)]);
    let mut setup = Setup::default();
    setup.settings.general.retry.attempts = 1;
    let scene = acting(provider, setup);
    let began = Instant::now();
    let response = handle(Arc::clone(&scene.context), call(ASK_STREAM)).await;
    assert!(began.elapsed().is_zero());
    let mut body = response.into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), ROLE);
    send.send(Ok(frame(OVERLOADED))).await.unwrap();
    drop(send);
    body.collect().await.unwrap();
    let breakers =
        scene.context.rules.load().policies.reliability.lock().breakers(scene.context.clock.now());
    assert_eq!(breakers[0].failures, 1, "the breaker is told all the same");
}

#[tokio::test(start_paused = true)]
async fn p11_tries_are_bounded_over_retries_and_hops_and_the_last_error_is_told() {
    let answers = [failed(503, "one"), failed(503, "two"), failed(503, "three"), json(ANSWER)];
    let (provider, asked) = scripted(answers);
    let scene = acting(provider, with_chain(&["a", "b", "c", "d"]));
    let (parts, body) = scene.ask(ASK_LARGE).await;
    assert_eq!((parts.status.as_u16(), asked.lock().len()), (503, 3));
    assert!(String::from_utf8_lossy(&body).contains("three"));
    assert_eq!(parts.headers["x-weir-model-served"], "b");
    let record = scene.records.only();
    let models: Vec<_> = record.attempts.iter().map(|it| it.model.as_deref().unwrap()).collect();
    assert_eq!(models, ["gpt-4o", "a", "b"]);
    assert_eq!(scene.records.notices.lock().len(), 1, "escalated once");
}
