//! Policies on the whole path: what they refuse reaches nobody, what they reserve is settled once.

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use hyper::StatusCode;

use super::*;
use crate::clock::Now;
use crate::llm::price::{Card, Override, Rate};
use crate::llm::usage::NanoUsd;
use crate::policy::selector::{Pattern, Selector};
use crate::policy::settings::{Cap, Limit, OnBreach, Over, Per, Quantity, Rule, Says, Watch};
use crate::policy::{Amount, Enforcement};
use crate::record::{Billing, Flag, Outcome};

/// The embedded prices, and a model whose thousand output tokens cost ten cents.
pub(super) fn prices() -> Prices {
    let base =
        Card { input: Some(Rate::FREE), output: "100".parse::<Rate>().ok(), ..Card::default() };
    let (provider, model) = (Arc::from("openai"), Arc::from("dime"));
    let own = Override { provider, model, from: None, base, above: Vec::new() };
    Prices::embedded().with_overrides(vec![own])
}

pub(super) const DIME: &str = r#"{"model":"dime","max_tokens":1000,"messages":[]}"#;
pub(super) const DIME_OPEN: &str = r#"{"model":"dime","messages":[]}"#;
pub(super) const DIME_STREAM: &str =
    r#"{"model":"dime","stream":true,"stream_options":{"include_usage":true},"max_tokens":1000}"#;
pub(super) const DIME_ANSWER: &str = r#"{"model":"dime","choices":[{"index":0,"message":{"content":"x"},"finish_reason":"stop"}],"usage":{"prompt_tokens":10,"completion_tokens":1000}}"#;
pub(super) const CENTS: i64 = 10_000_000;

pub(super) fn per_minute(limit: u64) -> Cap {
    let over = Over::Sliding(Duration::from_mins(1));
    cap("requests_per_minute", Quantity::Requests, over, limit)
}

pub(super) fn daily_cents(cents: u64) -> Cap {
    let nanos = cents * u64::try_from(CENTS).unwrap();
    cap("daily_limit_usd", Quantity::Usd, Over::Day, nanos)
}

pub(super) fn cap(unit: &'static str, of: Quantity, over: Over, limit: u64) -> Cap {
    Cap { unit, of, over, limit: NonZeroU64::new(limit).unwrap() }
}

/// A rule for `curl`, which is who calls here.
pub(super) fn rule(section: &str, cap: Cap, on_breach: OnBreach) -> Rule {
    let watch = Watch { alert_at: vec![80], forecast: false, spike_percent: None };
    let watch = (section == "budgets").then_some(watch);
    let limit = Limit { caps: vec![cap], on_breach, cut_streams: false, watch };
    Rule {
        name: format!("{section}.curl").into(),
        about: "curl".into(),
        enforcement: Enforcement::Enforce,
        selector: Selector { workload: vec![Pattern::new("curl")], ..Selector::default() },
        per: Per::All,
        says: Says::Limit(limit),
    }
}

pub(super) fn settings(rules: Vec<Rule>) -> policy::Settings {
    policy::Settings { rules, ..policy::Settings::default() }
}

/// A clock that is moved by hand.
#[derive(Debug)]
pub(super) struct Hand(Mutex<Now>);

impl Hand {
    fn at_noon() -> Arc<Self> {
        let noon = "2026-10-01T12:00:00Z".parse::<jiff::Timestamp>().unwrap();
        let mono: Instant = clock::System.now().mono;
        Arc::new(Self(Mutex::new(Now { mono, wall: noon.into() })))
    }

    fn pass(&self, time: Duration) {
        let mut now = self.0.lock();
        now.mono += time;
        now.wall += time;
    }
}

impl Clock for Hand {
    fn now(&self) -> Now {
        *self.0.lock()
    }
}

/// A provider that keeps what it was asked, and answers so.
pub(super) fn keeper(answer: &'static str) -> (impl Connect + 'static, Arc<Mutex<Vec<Bytes>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    let provider = Provider(move |request: Request<Bytes>| {
        seen.lock().push(request.into_body());
        json(answer)
    });
    (provider, asked)
}

pub(super) fn under(connect: impl Connect + 'static, rules: Vec<Rule>) -> (Scene, Arc<Hand>) {
    let clock = Hand::at_noon();
    let hand = Arc::clone(&clock) as Arc<dyn Clock>;
    (scene_under(connect, Records::default(), settings(rules), hand), clock)
}

pub(super) async fn ask(
    scene: &Scene,
    body: &str,
) -> (StatusCode, http::HeaderMap, serde_json::Value) {
    let response = handle(Arc::clone(&scene.context), call(body)).await;
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (parts.status, parts.headers, serde_json::from_slice(&body).unwrap_or_default())
}

/// Used of the first limit.
pub(super) fn used(scene: &Scene) -> Amount {
    let rules = scene.context.rules.load();
    let now = scene.context.clock.now();
    let usage = rules.policies.engine.lock().usage(None, now);
    usage.first().map_or(Amount::Count(0), |usage| usage.figure.used)
}

/// Spent and reserved of the first budget.
pub(super) fn budget(scene: &Scene) -> (i64, i64) {
    let rules = scene.context.rules.load();
    let budgets = rules.policies.engine.lock().budgets(scene.context.clock.now());
    budgets.first().map_or((0, 0), |it| (it.spent.0, it.reserved.0))
}

pub(super) fn actions(record: &Record) -> Vec<(String, String)> {
    let of_policies = record.decisions.iter().filter(|it| it.rule.contains('.'));
    of_policies.map(|it| (it.rule.to_string(), it.action.to_string())).collect()
}

#[tokio::test]
async fn a_refused_call_reaches_no_provider_and_uses_nothing_up() {
    let (provider, asked) = keeper(ANSWER);
    let (scene, _) = under(provider, vec![rule("rate_limits", per_minute(1), OnBreach::Deny)]);
    assert_eq!(ask(&scene, ASK).await.0, StatusCode::OK);
    for _ in 0..3 {
        let (status, headers, body) = ask(&scene, ASK).await;
        assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
        assert!(headers.contains_key(headers::CALL_ID));
        // A second more, and the SDKs would not wait.
        let wait = headers[header::RETRY_AFTER].to_str().unwrap();
        assert_eq!(wait, "60");
        assert!(!headers.contains_key("x-should-retry"));
        assert_eq!(headers[header::CONTENT_TYPE], "application/json");
        let error = &body["error"];
        assert_eq!(error["type"], "rate_limit_exceeded");
        assert_eq!(error["message"], "Rate limit exceeded for agent: curl (1 req/min)");
        assert_eq!(
            (&error["policy"], &error["subject"]),
            (&"rate_limits.curl".into(), &"curl".into())
        );
        assert_eq!(error["retry_after_seconds"].to_string(), wait);
        assert_eq!(error["current_usage"]["requests_per_minute"], 1);
        assert_eq!(error["limits"]["requests_per_minute"], 1);
    }
    assert_eq!(asked.lock().len(), 1);
    assert_eq!(used(&scene), Amount::Count(1));
    let settled = scene.records.settled.lock();
    let refused = settled.last().unwrap();
    assert_eq!((refused.outcome, refused.status), (Outcome::Refused, Some(429)));
    assert_eq!((refused.attempts.len(), refused.cost), (0, Some(NanoUsd(0))));
    assert_eq!(actions(refused), [("rate_limits.curl".to_owned(), "refuse".to_owned())]);
    assert_eq!(scene.records.opened.lock().len(), 1, "nobody hears of a refused call before");
}

/// A client that waits as long as it is told succeeds.
#[tokio::test]
async fn who_waits_as_told_succeeds() {
    let (provider, _) = keeper(ANSWER);
    let (scene, clock) = under(provider, vec![rule("rate_limits", per_minute(2), OnBreach::Deny)]);
    ask(&scene, ASK).await;
    clock.pass(Duration::from_millis(1_500));
    ask(&scene, ASK).await;
    clock.pass(Duration::from_millis(700));
    let (status, headers, _) = ask(&scene, ASK).await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
    let wait: u64 = headers[header::RETRY_AFTER].to_str().unwrap().parse().unwrap();
    clock.pass(Duration::from_secs(wait - 1));
    assert_eq!(ask(&scene, ASK).await.0, StatusCode::TOO_MANY_REQUESTS, "not earlier");
    clock.pass(Duration::from_secs(1));
    assert_eq!(ask(&scene, ASK).await.0, StatusCode::OK);
}

/// P4: a thousand calls of ten cents at once against five dollars.
#[tokio::test]
async fn a_thousand_calls_at_once_do_not_pass_a_budget() {
    let (provider, asked) = keeper(DIME_ANSWER);
    let (scene, _) = under(provider, vec![rule("budgets", daily_cents(500), OnBreach::Deny)]);
    let calls = (0..1_000).map(|_| ask(&scene, DIME));
    let answers = join_all(calls).await;
    let count = |status| answers.iter().filter(|answer| answer.0 == status).count();
    assert_eq!(count(StatusCode::OK), 50);
    assert_eq!(count(StatusCode::TOO_MANY_REQUESTS), 950);
    assert_eq!(asked.lock().len(), 50);
    assert_eq!(budget(&scene), (500 * CENTS, 0), "all of it is spent and no cent more");
    let settled = scene.records.settled.lock();
    assert_eq!(settled.len(), 1_000);
    let spent: i64 = settled.iter().filter_map(|record| record.cost).map(|cost| cost.0).sum();
    assert_eq!(spent, 500 * CENTS);
}

#[tokio::test]
async fn what_was_reserved_and_not_used_is_given_back() {
    let (provider, _) = keeper(
        r#"{"model":"dime","choices":[],"usage":{"prompt_tokens":10,"completion_tokens":100}}"#,
    );
    let (scene, _) = under(provider, vec![rule("budgets", daily_cents(10), OnBreach::Deny)]);
    assert_eq!(ask(&scene, DIME).await.0, StatusCode::OK);
    assert_eq!(budget(&scene), (CENTS, 0), "a tenth of what was reserved");
    let (status, _, body) = ask(&scene, DIME).await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(body["error"]["code"], "budget_exceeded");
    assert_eq!(body["error"]["limits"]["daily_limit_usd"], "0.10");
}

/// Dollars of a flat plan are notional: they are recorded, and use no budget up.
#[tokio::test]
async fn a_plans_calls_pass_a_spent_budget_and_leave_it_as_it_is() {
    let (provider, asked) = keeper(DIME_ANSWER);
    let (scene, _) = under(provider, vec![rule("budgets", daily_cents(10), OnBreach::Deny)]);
    let plan = async || {
        let mut request = call(DIME);
        let token = "Bearer eyJhbGciOiJSUzI1NiJ9.e30.x".parse().unwrap();
        request.headers_mut().insert(header::AUTHORIZATION, token);
        let response = handle(Arc::clone(&scene.context), request).await;
        let (parts, body) = response.into_parts();
        body.collect().await.unwrap();
        parts.status
    };
    assert_eq!([plan().await, plan().await], [StatusCode::OK; 2]);
    assert_eq!(budget(&scene), (0, 0));
    assert_eq!(ask(&scene, DIME).await.0, StatusCode::OK, "an API key has all of it");
    assert_eq!(ask(&scene, DIME).await.0, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(plan().await, StatusCode::OK);
    assert_eq!(budget(&scene), (10 * CENTS, 0));
    assert_eq!(asked.lock().len(), 4);
    let settled = scene.records.settled.lock();
    let last = settled.last().unwrap();
    assert_eq!((last.billing, last.cost), (Billing::Subscription, Some(NanoUsd(10 * CENTS))));
    let said = last.decisions.iter().find(|it| &*it.rule == "budgets.curl").unwrap();
    assert!(said.detail.to_string().contains("a subscription pays"), "{}", said.detail);
}

/// A call that could not be sent is not charged for, whatever was reserved.
#[tokio::test(start_paused = true)]
async fn a_provider_that_is_not_there_costs_nothing() {
    let rules = vec![
        rule("rate_limits", per_minute(1), OnBreach::Deny),
        rule("budgets", daily_cents(10), OnBreach::Deny),
    ];
    let (scene, _) = under(Nobody, rules);
    for _ in 0..3 {
        // Not there, and then known not to be; never too many requests.
        let status = ask(&scene, DIME).await.0;
        assert!(status.is_server_error(), "{status}");
    }
    assert_eq!(budget(&scene), (0, 0));
}

/// P6: a client that leaves in the middle of a stream pays for what it saw.
#[tokio::test(start_paused = true)]
async fn a_throttled_call_waits_and_who_leaves_meanwhile_uses_nothing() {
    let (provider, asked) = keeper(ANSWER);
    let throttle = OnBreach::Throttle(Duration::from_secs(90));
    let (scene, _) = under(provider, vec![rule("rate_limits", per_minute(1), throttle)]);
    assert_eq!(ask(&scene, ASK).await.0, StatusCode::OK);
    let began = tokio::time::Instant::now();
    let left = tokio::time::timeout(Duration::from_secs(5), ask(&scene, ASK)).await;
    assert!(left.is_err(), "it waits");
    assert_eq!(asked.lock().len(), 1);
    assert_eq!(scene.records.settled.lock().last().unwrap().outcome, Outcome::ClientAbort);
    assert_eq!(used(&scene), Amount::Count(1), "who left has used nothing up");
    assert_eq!(ask(&scene, ASK).await.0, StatusCode::OK);
    assert!(began.elapsed() >= Duration::from_mins(1), "{:?}", began.elapsed());
    let settled = scene.records.settled.lock();
    assert_eq!(actions(settled.last().unwrap())[0].1, "delay");
}

/// Where the client sets no limit, the call gets as much output as the budget still buys.
#[tokio::test]
async fn an_open_end_is_capped_by_what_the_budget_buys() {
    let (provider, asked) = keeper(DIME_ANSWER);
    let (scene, _) = under(provider, vec![rule("budgets", daily_cents(15), OnBreach::Deny)]);
    assert_eq!(ask(&scene, DIME_OPEN).await.0, StatusCode::OK);
    let sent: serde_json::Value = serde_json::from_slice(&asked.lock()[0]).unwrap();
    let most = sent["max_completion_tokens"].as_u64().unwrap();
    assert!((1_400..=1_500).contains(&most), "{sent}");
    let record = scene.records.only();
    assert!(record.flags.contains(&Flag::OutputCapped));
    assert_eq!(budget(&scene), (10 * CENTS, 0));
}

/// P1: a stream that runs past what was reserved for it is seen while it runs.
#[tokio::test]
async fn a_shadow_and_a_meter_count_what_would_be_refused() {
    for metering in [false, true] {
        let (provider, asked) = keeper(ANSWER);
        let mut shadow = rule("rate_limits", per_minute(1), OnBreach::Deny);
        if !metering {
            shadow.enforcement = Enforcement::Shadow;
        }
        let (scene, _) = under(provider, vec![shadow]);
        scene.context.rules.load().policies.act(!metering);
        for _ in 0..3 {
            assert_eq!(ask(&scene, ASK).await.0, StatusCode::OK);
        }
        assert_eq!(asked.lock().len(), 3);
        let settled = scene.records.settled.lock();
        let said: Vec<_> = settled.iter().map(|record| actions(record)[0].1.clone()).collect();
        assert_eq!(said, ["pass", "would-refuse", "would-refuse"], "metering: {metering}");
    }
}

#[tokio::test]
async fn a_downgraded_call_asks_the_other_model_and_is_priced_by_it() {
    let (provider, asked) =
        keeper(r#"{"choices":[],"usage":{"prompt_tokens":1000,"completion_tokens":500}}"#);
    let to = OnBreach::Downgrade(Arc::from("gpt-4o-mini"));
    let (scene, _) = under(provider, vec![rule("budgets", daily_cents(1), to)]);
    let body = r#"{"model":"gpt-4o","max_tokens":5000,"messages":[]}"#;
    assert_eq!(ask(&scene, body).await.0, StatusCode::OK);
    assert_eq!(asked.lock()[0], body.replace("gpt-4o", "gpt-4o-mini"));
    let record = scene.records.only();
    assert_eq!(record.model.as_deref(), Some("gpt-4o"));
    assert_eq!(record.cost.map(|cost| cost.0), Some(ANSWER_COST));
}

/// P5: what is not understood is governed too, and what is no call is not.
#[tokio::test]
async fn no_path_is_a_way_around() {
    let (provider, asked) = keeper(ANSWER);
    let (scene, _) = under(provider, vec![rule("rate_limits", per_minute(1), OnBreach::Deny)]);
    let request = |method: &str, path: &str, body: &'static str| {
        Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "api.openai.com")
            .body(Outgoing::whole(Bytes::from_static(body.as_bytes())))
            .unwrap()
    };
    let status = async |request| {
        let response = handle(Arc::clone(&scene.context), request).await;
        let status = response.status();
        response.into_body().collect().await.unwrap();
        status
    };
    assert_eq!(status(request("POST", "/v1/threads/t/runs", "{}")).await, StatusCode::OK);
    let too_many = StatusCode::TOO_MANY_REQUESTS;
    assert_eq!(status(request("POST", "/v1/threads/t/runs", "{}")).await, too_many);
    assert_eq!(status(request("POST", "/v1/chat/completions", "no json")).await, too_many);
    assert_eq!(status(call(&format!(r#"{{"x":"{}"}}"#, "y".repeat(4096)))).await, too_many);
    let mut upgrade = request("GET", "/v1/live", "");
    upgrade.headers_mut().insert(header::UPGRADE, "websocket".parse().unwrap());
    upgrade.headers_mut().insert(header::CONNECTION, "upgrade".parse().unwrap());
    assert_eq!(status(upgrade).await, too_many);
    assert_eq!(status(request("GET", "/v1/models", "")).await, StatusCode::OK);
    assert_eq!(asked.lock().len(), 2);
}

#[tokio::test]
async fn what_the_provider_says_of_an_account_is_known_by_a_hash() {
    let provider = Provider(|_: Request<Bytes>| {
        let mut answer = json(ANSWER);
        for (name, value) in
            [("x-ratelimit-limit-requests", "100"), ("x-ratelimit-remaining-requests", "25")]
        {
            answer.headers_mut().insert(name, value.parse().unwrap());
        }
        answer
    });
    let (scene, _) = under(provider, Vec::new());
    ask(&scene, ASK).await;
    let record = scene.records.only();
    let accounts = scene.context.rules.load().policies.accounts.all();
    assert_eq!(accounts.len(), 1);
    assert_eq!(Some(&accounts[0].account), record.account.as_ref());
    assert!((accounts[0].quotas[0].remaining - 0.25).abs() < 1e-9);
    assert!(!format!("{accounts:?}{record:?}").contains("sk-test"));
}
