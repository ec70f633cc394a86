//! Calls that a budget takes to a cheaper model from the start.

use hyper::StatusCode;

use super::elsewhere::{CLAUDE, setup};
use super::*;
use crate::policy::reliability::Hop;
use crate::policy::settings::OnBreach;

/// A budget of a cent that is spent by any call of this size.
const DEAR: &str =
    r#"{"model":"gpt-4o","max_tokens":5000,"messages":[{"role":"user","content":"hi"}]}"#;

fn hop(provider: &str, model: &str) -> Hop {
    Hop { provider: provider.into(), model: model.into() }
}

/// Calls beyond a cent go to `target`.
fn down_to(target: &str, tier: &[Hop]) -> Setup {
    let mut setup = setup(&[("other", "large")]);
    let to = OnBreach::Downgrade(Arc::from(target));
    let rules = vec![policies::rule("budgets", policies::daily_cents(1), to)];
    setup.limits = policies::settings(rules);
    setup.settings.tiers = vec![(Arc::from("cheap"), tier.to_vec())];
    setup
}

fn said(scene: &Scene, action: &str) -> Vec<String> {
    let record = scene.records.only();
    let of_budget = record.decisions.iter().filter(|it| &*it.rule == "budgets.curl");
    of_budget.filter(|it| &*it.action == action).map(|it| it.detail.to_string()).collect()
}

#[tokio::test(start_paused = true)]
async fn the_same_provider_is_asked_for_the_cheaper_model_again_where_it_fails() {
    let (provider, asked) = scripted([failed(503, "x"), json(ANSWER)]);
    let mut setup = down_to("gpt-4o-mini", &[]);
    setup.settings.chains.clear();
    let scene = acting(provider, setup);
    let (parts, _body) = scene.ask(DEAR).await;
    assert_eq!(parts.status, StatusCode::OK);
    assert_eq!(parts.headers["x-weir-model-served"], "gpt-4o-mini");
    let asked = asked.lock();
    let cheaper = DEAR.replace("gpt-4o", "gpt-4o-mini");
    assert!(asked.len() == 2 && asked.iter().all(|request| request.body() == &cheaper));
    assert_eq!(asked[1].headers()[header::AUTHORIZATION], "Bearer sk-test", "the client's own");
    let record = scene.records.only();
    assert_eq!(record.model.as_deref(), Some("gpt-4o"));
    assert_eq!(record.cost.map(|cost| cost.0), Some(ANSWER_COST));
    assert_eq!((said(&scene, "downgrade").len(), said(&scene, "skip").len()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn the_first_of_a_tier_that_can_be_asked_is() {
    let tier = [hop("gemini", "gemini-2.5-flash"), hop("local", "llama3"), hop("other", "large")];
    let (provider, asked) = scripted([json(ANSWER)]);
    let scene = acting(provider, down_to("tier:cheap", &tier));
    let (parts, _body) = scene.ask(DEAR).await;
    assert_eq!(parts.headers["x-weir-provider-served"], "local");
    let asked = asked.lock();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].headers()[header::HOST], "local.test:8080");
    assert!(!asked[0].headers().contains_key(header::AUTHORIZATION));
    assert_eq!(scene.records.only().cost.map(|cost| cost.0), Some(0), "it is free");
}

#[tokio::test(start_paused = true)]
async fn another_provider_is_asked_in_its_own_format_with_its_own_key() {
    let (provider, asked) = scripted([json(CLAUDE)]);
    let scene = acting(provider, down_to("claude/claude-opus-4-6", &[]));
    let (parts, body) = scene.ask(DEAR).await;
    assert_eq!(parts.status, StatusCode::OK);
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body["choices"][0]["message"]["content"], "hello");
    let asked = asked.lock();
    assert_eq!((asked.len(), asked[0].uri().path()), (1, "/v1/messages"));
    assert_eq!(asked[0].headers()["x-api-key"], "sk-own");
    let record = scene.records.only();
    assert_eq!(&*record.attempts[0].provider, "claude");
    assert_eq!((record.usage.input, record.usage.output), (10, 5));
}

/// What is asked where the cheaper model fails is what stands in for that one.
#[tokio::test(start_paused = true)]
async fn the_cheaper_models_own_chain_follows() {
    let (provider, asked) = scripted([failed(503, "x"), json(ANSWER)]);
    let scene = acting(provider, down_to("gpt-4o-mini", &[]));
    let (parts, _body) = scene.ask(DEAR).await;
    assert_eq!(parts.headers["x-weir-model-served"], "large");
    assert_eq!(asked.lock()[1].headers()[header::HOST], "other.test:8080");
}

/// The budget lets the call be made: it is, and its record says why as it was asked.
#[tokio::test(start_paused = true)]
async fn what_cannot_be_downgraded_is_made_as_asked_and_says_so() {
    let lossy = DEAR.replace("\"messages\"", "\"n\":3,\"logprobs\":true,\"messages\"");
    let in_tier = [hop("openai", "gpt-4o")];
    for (target, body, why) in [
        ("gemini/gemini-2.5-flash", DEAR, "there is no api_key for gemini"),
        ("claude/claude-opus-4-6", lossy.as_str(), "logprobs"),
        ("tier:cheap", DEAR, "openai/gpt-4o is what was asked for"),
    ] {
        let (provider, asked) = scripted([json(ANSWER)]);
        let scene = acting(provider, down_to(target, &in_tier));
        let (parts, _body) = scene.ask(body).await;
        assert_eq!(parts.status, StatusCode::OK);
        assert!(!parts.headers.contains_key("x-weir-model-served"));
        assert_eq!(asked.lock()[0].body(), body);
        let said = said(&scene, "skip");
        let [said] = &said[..] else { panic!("{said:?}") };
        assert!(said.starts_with("made as asked: ") && said.contains(why), "{said}");
    }
}
