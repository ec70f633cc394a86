//! Providers that fail and come back.

use std::time::Duration;

use hyper::StatusCode;
use tokio::sync::mpsc;

use super::*;
use crate::record::{Flag, Outcome, Topic};

fn retry_after(mut answer: Answer, name: &'static str, value: &'static str) -> Answer {
    answer.headers_mut().insert(name, header::HeaderValue::from_static(value));
    answer
}

fn pairs(found: &[(String, String)]) -> Vec<(&str, &str)> {
    found.iter().map(|(rule, action)| (rule.as_str(), action.as_str())).collect()
}

#[tokio::test(start_paused = true)]
async fn twice_unavailable_then_an_answer() {
    let answers = [failed(503, "x"), failed(503, "x"), json(ANSWER)];
    let (provider, asked) = scripted(answers);
    let scene = acting(provider, Setup::default());
    let began = Instant::now();
    let (parts, body) = scene.ask(ASK).await;
    assert_eq!((parts.status, &body[..]), (StatusCode::OK, ANSWER.as_bytes()));
    assert_eq!(began.elapsed().as_millis() / 100, 15, "0.5 s and 1 s");
    let asked = asked.lock();
    assert_eq!(asked.len(), 3);
    assert!(asked.iter().all(|request| request.body() == ASK), "each from the original");
    let record = scene.records.only();
    assert_eq!((record.outcome, record.status), (Outcome::Ok, Some(200)));
    let statuses: Vec<_> = record.attempts.iter().map(|attempt| attempt.status).collect();
    assert_eq!(statuses, [Some(503), Some(503), Some(200)]);
    let costs: Vec<_> = record.attempts.iter().map(|attempt| attempt.cost.unwrap().0).collect();
    assert_eq!(costs, [0, 0, ANSWER_COST]);
    assert_eq!(record.cost.map(|cost| cost.0), Some(ANSWER_COST));
    assert_eq!(pairs(&scene.decisions()), [("retry", "retry"); 2]);
    assert!(scene.records.notices.lock().is_empty(), "nothing to escalate");
}

#[tokio::test(start_paused = true)]
async fn p10_retry_after_is_waited_for() {
    for (name, value, seconds) in
        [("retry-after", "7", 7), ("retry-after-ms", "2000", 2), ("x-other", "9", 0)]
    {
        let answers = [retry_after(failed(429, "rate_limit_exceeded"), name, value), json(ANSWER)];
        let (provider, asked) = scripted(answers);
        let scene = acting(provider, Setup::default());
        let began = Instant::now();
        let (parts, _body) = scene.ask(ASK).await;
        assert_eq!((parts.status, asked.lock().len()), (StatusCode::OK, 2));
        assert_eq!(began.elapsed().as_secs(), seconds, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_retry_after_beyond_the_calls_time_is_the_clients_to_wait() {
    let (provider, asked) = scripted([retry_after(failed(429, "x"), "retry-after", "3600")]);
    let scene = acting(provider, Setup::default());
    let (parts, body) = scene.ask(ASK).await;
    assert_eq!((parts.status, asked.lock().len()), (StatusCode::TOO_MANY_REQUESTS, 1));
    assert_eq!(parts.headers["retry-after"], "3600");
    assert!(body.starts_with(b"{\"error\""), "the provider's own words");
    assert_eq!(scene.records.only().outcome, Outcome::RateLimited);
}

#[tokio::test(start_paused = true)]
async fn what_retrying_cannot_mend_is_not_retried() {
    for (status, code) in
        [(400, "x"), (401, "x"), (403, "x"), (404, "x"), (422, "x"), (429, "insufficient_quota")]
    {
        let (provider, asked) = scripted([failed(status, code), json(ANSWER)]);
        let scene = acting(provider, Setup::default());
        let (parts, _body) = scene.ask(ASK).await;
        assert_eq!((parts.status.as_u16(), asked.lock().len()), (status, 1));
        let notices = scene.records.notices.lock();
        let [notice] = &notices[..] else { panic!("{notices:?}") };
        assert_eq!(notice.topic, Topic::Escalation);
        assert_eq!(notice.call_id, Some(scene.records.only().call_id));
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_breaks_before_the_head_is_tried_again_and_its_cost_guessed() {
    let (provider, asked) = scripted([instead(Instead::Reset), json(ANSWER)]);
    let scene = acting(provider, Setup::default());
    let (parts, body) = scene.ask(ASK).await;
    assert_eq!((parts.status, &body[..]), (StatusCode::OK, ANSWER.as_bytes()));
    assert_eq!(asked.lock().len(), 2);
    let record = scene.records.only();
    let [broken, good] = &record.attempts[..] else { panic!("{:?}", record.attempts) };
    assert_eq!((broken.outcome, broken.status), (Outcome::UpstreamCut, None));
    let guess = broken.cost.expect("its price is known").0;
    assert!(guess > 0, "what was sent may be charged for");
    assert_eq!(good.cost.map(|cost| cost.0), Some(ANSWER_COST));
    assert_eq!(record.cost.map(|cost| cost.0), Some(guess + ANSWER_COST));
}

#[tokio::test(start_paused = true)]
async fn nobody_there_is_told_after_all_tries_and_escalated() {
    let scene = acting(Nobody, Setup::default());
    let (parts, _body) = scene.ask(ASK).await;
    assert_eq!(parts.status, StatusCode::BAD_GATEWAY);
    let record = scene.records.only();
    assert_eq!((record.outcome, record.attempts.len()), (Outcome::ConnectError, 3));
    assert_eq!(record.cost.map(|cost| cost.0), Some(0), "nothing was sent");
    let notices = scene.records.notices.lock();
    let [notice] = &notices[..] else { panic!("{notices:?}") };
    assert_eq!((notice.topic, notice.class.as_deref()), (Topic::Escalation, Some("connect")));
}

#[tokio::test(start_paused = true)]
async fn a_silent_provider_is_given_up_on_and_asked_again() {
    let (provider, asked) = scripted([instead(Instead::Silence), json(ANSWER)]);
    let mut setup = Setup::default();
    setup.settings.general.timeouts.first_byte = Some(Duration::from_secs(10));
    let scene = acting(provider, setup);
    let began = Instant::now();
    let (parts, _body) = scene.ask(ASK).await;
    assert_eq!((parts.status, asked.lock().len()), (StatusCode::OK, 2));
    assert_eq!(began.elapsed().as_millis() / 100, 105);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_falls_silent_is_cut() {
    let (send, chunks) = mpsc::channel(8);
    send.try_send(Ok(frame(CHUNK))).unwrap();
    let (provider, asked) = scripted([events(chunks)]);
    let mut setup = Setup::default();
    setup.settings.general.timeouts.idle = Some(Duration::from_secs(10));
    let scene = acting(provider, setup);
    let response = handle(Arc::clone(&scene.context), call(ASK_STREAM)).await;
    let mut body = response.into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), CHUNK);
    let began = Instant::now();
    assert!(body.frame().await.unwrap().is_err());
    assert_eq!(began.elapsed().as_secs(), 10);
    assert_eq!(asked.lock().len(), 1, "never after the first content");
    let record = scene.records.only();
    assert_eq!(record.outcome, Outcome::UpstreamCut);
    assert!(record.error.as_ref().unwrap().contains("said nothing for 10s"));
    drop(send);
}

#[tokio::test(start_paused = true)]
async fn what_only_meters_changes_nothing() {
    let (provider, asked) = scripted([failed(503, "x"), json(ANSWER)]);
    let scene = acting(provider, Setup { acting: false, ..Setup::default() });
    let began = Instant::now();
    let (parts, _body) = scene.ask(ASK).await;
    assert_eq!((parts.status.as_u16(), asked.lock().len()), (503, 1));
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert_eq!(pairs(&scene.decisions()), [("retry", "would-retry")]);
    assert!(scene.records.notices.lock().is_empty());
}

#[tokio::test(start_paused = true)]
async fn p11_the_hosts_budget_bounds_retries() {
    let (provider, asked) = scripted([]);
    let mut setup = Setup::default();
    setup.settings.general.retry.budget_percent = 0;
    setup.settings.breakers = policy::Enforcement::Off;
    let scene = acting(provider, setup);
    // Side by side: the budget comes back with time.
    let calls = (0..30).map(|_| scene.ask(ASK));
    for (parts, _body) in futures_util::future::join_all(calls).await {
        assert_eq!(parts.status.as_u16(), 500);
    }
    let asked = asked.lock().len();
    assert!((40..=42).contains(&asked), "30 calls, and 10 retries and what came in 1.5 s: {asked}");
}

#[tokio::test(start_paused = true)]
async fn p11_an_sdks_own_retry_is_linked_and_not_multiplied() {
    let (provider, asked) = scripted([]);
    let mut setup = Setup::default();
    setup.settings.breakers = policy::Enforcement::Off;
    let scene = acting(provider, setup);
    for count in ["0", "1", "2"] {
        let mut request = call(ASK);
        request.headers_mut().insert("x-stainless-retry-count", count.parse().unwrap());
        let response = handle(Arc::clone(&scene.context), request).await;
        assert_eq!(response.status().as_u16(), 500);
        response.into_body().collect().await.unwrap();
    }
    assert_eq!(asked.lock().len(), 3 + 1 + 1, "not nine");
    let settled = scene.records.settled.lock();
    let links: Vec<_> = settled.iter().map(|record| record.retry_of).collect();
    assert_eq!(links, [None, Some(settled[0].call_id), Some(settled[1].call_id)]);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_not_kept_is_sent_once() {
    let (provider, asked) = scripted([failed(503, "x"), json(ANSWER)]);
    let scene = acting(provider, Setup::default());
    let mut request = call(ASK);
    request.headers_mut().insert(header::CONTENT_ENCODING, "gzip".parse().unwrap());
    let (parts, _body) = request.into_parts();
    let request = Request::from_parts(parts, Outgoing::Empty);
    let response = handle(Arc::clone(&scene.context), request).await;
    assert_eq!((response.status().as_u16(), asked.lock().len()), (503, 1));
    response.into_body().collect().await.unwrap();
    assert!(scene.records.only().flags.contains(&Flag::BodyUnparsed));
}
