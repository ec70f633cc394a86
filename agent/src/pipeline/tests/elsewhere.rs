//! Calls taken to another provider.

use hyper::StatusCode;

use super::*;
use crate::llm::price::{Card, Override, Rate};
use crate::llm::providers::{Base, Format, Provider as Known};
use crate::llm::translate::{Wire, grammar};
use crate::policy::Enforcement;
use crate::policy::reliability::{Chain, Hop};
use crate::policy::settings::OnBreach;
use crate::record::Billing;

/// A provider without TLS.
pub(super) fn known(name: &str, format: Format, prefix: &str, free: bool) -> Known {
    let host: Arc<str> = Arc::from(format!("{name}.test"));
    Known {
        name: name.into(),
        hosts: vec![Arc::clone(&host)],
        format,
        base: Base { tls: false, host, port: 8080, prefix: prefix.into() },
        inject_usage: false,
        free,
        prices: None,
    }
}

pub(super) fn setup(hops: &[(&str, &str)]) -> Setup {
    let mut setup = Setup {
        providers: vec![
            known("other", Format::OpenAi, "/api", false),
            known("claude", Format::Anthropic, "", false),
            known("local", Format::OpenAi, "", true),
        ],
        credentials: Credentials::new(
            ["other", "claude"].map(|name| (Arc::from(name), Secret::new("sk-own"))),
        )
        .unwrap(),
        ..Setup::default()
    };
    setup.settings.chains = vec![Chain {
        policy: "failover.gpt-4o-mini".into(),
        model: "gpt-4o-mini".into(),
        hops: hops
            .iter()
            .map(|(provider, model)| Hop { provider: (*provider).into(), model: (*model).into() })
            .collect(),
        allow_loss: Vec::new(),
        enforcement: Enforcement::Enforce,
    }];
    setup.settings.reachable = ["other", "claude", "local"].map(Arc::from).to_vec();
    setup
}

fn credentialled() -> Request<Outgoing> {
    let mut request = call(ASK);
    for (name, value) in [
        ("cookie", "session=1"),
        ("openai-organization", "org"),
        ("x-api-key", "sk-client"),
        ("accept-encoding", "gzip"),
    ] {
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    request
}

#[tokio::test(start_paused = true)]
async fn another_provider_gets_its_own_key_and_none_of_the_clients() {
    let (provider, asked) = scripted([failed(503, "x"), json(ANSWER)]);
    let scene = acting(provider, setup(&[("other", "large")]));
    let response = handle(Arc::clone(&scene.context), credentialled()).await;
    let (parts, body) = response.into_parts();
    assert_eq!(parts.status, StatusCode::OK);
    assert_eq!(parts.headers["x-weir-provider-served"], "other");
    assert_eq!(body.collect().await.unwrap().to_bytes(), ANSWER);
    let asked = asked.lock();
    let moved = &asked[1];
    assert_eq!(moved.uri().path(), "/api/v1/chat/completions");
    assert_eq!(moved.headers()[header::HOST], "other.test:8080");
    assert_eq!(moved.headers()[header::AUTHORIZATION], "Bearer sk-own");
    assert_eq!(moved.headers()[header::ACCEPT_ENCODING], "identity");
    for name in ["cookie", "openai-organization", "x-api-key"] {
        assert!(!moved.headers().contains_key(name), "{name}");
    }
    assert_eq!(moved.body(), &ASK.replace("gpt-4o-mini", "large"));
    let record = scene.records.only();
    let providers: Vec<_> = record.attempts.iter().map(|attempt| &*attempt.provider).collect();
    assert_eq!(providers, ["openai", "other"]);
    assert_eq!(record.billing, Billing::Metered);
    assert_eq!(record.cost, None, "its price is unknown, which is not zero");
}

/// What is asked of another provider is paid for with our key, not by the client's plan.
#[tokio::test(start_paused = true)]
async fn a_plans_call_that_moves_uses_the_budget_up() {
    let mut setup = setup(&[("other", "large")]);
    let (provider, model) = (Arc::from("other"), Arc::from("large"));
    let output = "100".parse::<Rate>().ok();
    let base = Card { input: Some(Rate::FREE), output, ..Card::default() };
    let own = Override { provider, model, from: None, base, above: Vec::new() };
    setup.prices = Prices::embedded().with_overrides(vec![own]);
    let rules = vec![policies::rule("budgets", policies::daily_cents(10_000), OnBreach::Deny)];
    setup.limits = policies::settings(rules);
    // A thousand times a ten thousandth of a dollar.
    let large =
        r#"{"model":"large","choices":[],"usage":{"prompt_tokens":10,"completion_tokens":1000}}"#;
    let answers = [json(ANSWER), failed(503, "x"), json(large)];
    let (provider, _) = scripted(answers);
    let scene = acting(provider, setup);
    for spent in [0, 100_000_000] {
        let mut request = call(ASK);
        let plan = "Bearer eyJhbGciOiJSUzI1NiJ9.e30.x".parse().unwrap();
        request.headers_mut().insert(header::AUTHORIZATION, plan);
        let response = handle(Arc::clone(&scene.context), request).await;
        response.into_body().collect().await.unwrap();
        assert_eq!(policies::budget(&scene), (spent, 0));
    }
    let settled = scene.records.settled.lock();
    let billings: Vec<_> = settled.iter().map(|record| record.billing).collect();
    assert_eq!(billings, [Billing::Subscription, Billing::Metered]);
    assert_eq!(settled[1].cost.map(|cost| cost.0), Some(100_000_000));
}

#[tokio::test(start_paused = true)]
async fn a_chain_may_end_at_a_local_model_that_wants_no_key() {
    let answers = [failed(503, "x"), failed(503, "x"), json(ANSWER)];
    let (provider, asked) = scripted(answers);
    let scene = acting(provider, setup(&[("other", "large"), ("local", "llama3")]));
    let (parts, _body) = scene.ask(ASK).await;
    assert_eq!(parts.headers["x-weir-model-served"], "llama3");
    let asked = asked.lock();
    assert!(!asked[2].headers().contains_key(header::AUTHORIZATION));
    assert_eq!(scene.records.only().cost.map(|cost| cost.0), Some(0), "it is free");
}

#[tokio::test(start_paused = true)]
async fn a_provider_without_a_key_is_left_out_and_the_same_is_tried_again() {
    let mut setup = setup(&[("other", "large")]);
    setup.credentials = Credentials::default();
    setup.settings.reachable = Vec::new();
    let (provider, asked) = scripted([failed(503, "x"), json(ANSWER)]);
    let scene = acting(provider, setup);
    let (parts, _body) = scene.ask(ASK).await;
    assert_eq!((parts.status, asked.lock().len()), (StatusCode::OK, 2));
    let actions: Vec<_> = scene.decisions().into_iter().map(|(_, action)| action).collect();
    assert_eq!(actions, ["skip", "retry"]);
}

#[tokio::test(start_paused = true)]
async fn p12_a_hop_that_would_lose_something_is_left_out_and_said() {
    let (provider, asked) = scripted([failed(503, "x"), json(ANSWER)]);
    let scene = acting(provider, setup(&[("claude", "claude-opus-4-6")]));
    // Nothing but Anthropic's own format knows of it.
    let body = r#"{"model":"gpt-4o-mini","n":3,"logprobs":true,"messages":[{"role":"user","content":"hi"}]}"#;
    let (parts, _body) = scene.ask(body).await;
    assert_eq!((parts.status, asked.lock().len()), (StatusCode::OK, 2));
    let actions: Vec<_> = scene.decisions().into_iter().map(|(_, action)| action).collect();
    assert_eq!(actions, ["failover", "skip", "retry"]);
}

pub(super) const CLAUDE: &str = r#"{"id":"msg_1","type":"message","role":"assistant","model":"claude-opus-4-6","content":[{"type":"text","text":"hello"}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":10,"output_tokens":5}}"#;

#[tokio::test(start_paused = true)]
async fn an_answer_of_another_format_becomes_the_clients() {
    let (provider, asked) = scripted([failed(503, "x"), json(CLAUDE)]);
    let scene = acting(provider, setup(&[("claude", "claude-opus-4-6")]));
    let (parts, body) = scene.ask(ASK).await;
    assert_eq!(parts.status, StatusCode::OK);
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body["choices"][0]["message"]["content"], "hello");
    let asked = asked.lock();
    assert_eq!(asked[1].uri().path(), "/v1/messages");
    assert_eq!(asked[1].headers()["x-api-key"], "sk-own");
    assert_eq!(asked[1].headers()["anthropic-version"], "2023-06-01");
    let record = scene.records.only();
    assert_eq!((record.usage.input, record.usage.output), (10, 5));
}

const CLAUDE_EVENTS: [&str; 6] = [
    "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"claude-opus-4-6\",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,\"usage\":{\"input_tokens\":10,\"output_tokens\":1}}}\n\n",
    "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n",
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"hello\"}}\n\n",
    "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n",
    "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\",\"stop_sequence\":null},\"usage\":{\"output_tokens\":5}}\n\n",
    "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
];

#[tokio::test(start_paused = true)]
async fn p7_p12_a_stream_of_another_format_becomes_one_legal_stream_of_the_clients() {
    let overloaded = stream(&[
        "data: {\"error\":{\"type\":\"server_error\",\"code\":\"server_is_overloaded\"}}\n\n",
    ]);
    let (provider, _asked) = scripted([overloaded, stream(&CLAUDE_EVENTS)]);
    let scene = acting(provider, setup(&[("claude", "claude-opus-4-6")]));
    let body =
        r#"{"model":"gpt-4o-mini","stream":true,"messages":[{"role":"user","content":"hi"}]}"#;
    let (parts, body) = scene.ask(body).await;
    assert_eq!(parts.headers["x-weir-provider-served"], "claude");
    assert!(parts.headers[header::CONTENT_TYPE].to_str().unwrap().starts_with("text/event-stream"));
    grammar::check(Wire::Chat, &body).expect("a legal stream");
    let text = String::from_utf8_lossy(&body);
    assert!(text.contains("hello") && text.ends_with("data: [DONE]\n\n"), "{text}");
    let record = scene.records.only();
    assert_eq!((record.usage.input, record.usage.output), (10, 5));
    assert_eq!(record.model_served.as_deref(), Some("claude-opus-4-6"));
}

#[tokio::test(start_paused = true)]
async fn the_last_hops_error_is_told_in_the_clients_dialect() {
    let mut refused =
        json(r#"{"type":"error","error":{"type":"overloaded_error","message":"busy"}}"#);
    *refused.status_mut() = StatusCode::from_u16(529).unwrap();
    let mut setup = setup(&[("claude", "claude-opus-4-6")]);
    setup.settings.general.retry.attempts = 2;
    let (provider, _asked) = scripted([failed(503, "x"), refused]);
    let scene = acting(provider, setup);
    let (parts, body) = scene.ask(ASK).await;
    assert_eq!(parts.status.as_u16(), 529);
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert!(body["error"]["message"].is_string() && body.get("type").is_none(), "{body}");
    assert_eq!(scene.records.only().status, Some(529));
}
