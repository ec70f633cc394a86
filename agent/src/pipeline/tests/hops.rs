//! Calls that are taken elsewhere, and the rules about where they arrive.

use hyper::StatusCode;

use super::elsewhere::setup;
use super::policies::{CENTS, actions, daily_cents, rule, settings};
use super::*;
use crate::llm::price::{Card, Override, Rate};
use crate::policy::selector::{Pattern, Selector};
use crate::policy::settings::{Guard, OnBreach, Rule, Says, UnknownPrice};
use crate::record::Flag;

fn guard(guard: Guard, selector: Selector) -> Rule {
    let name = "guardrails.curl".into();
    let rule = rule("guardrails", daily_cents(1), OnBreach::Deny);
    Rule { name, selector, says: Says::Guard(guard), ..rule }
}

/// `other/large` at ten cents per thousand tokens of output.
fn priced() -> Prices {
    let output = "100".parse::<Rate>().ok();
    let base = Card { input: Some(Rate::FREE), output, ..Card::default() };
    let (provider, model) = (Arc::from("other"), Arc::from("large"));
    Prices::embedded().with_overrides(vec![Override {
        provider,
        model,
        from: None,
        base,
        above: Vec::new(),
    }])
}

const TWO: [(&str, &str); 2] = [("other", "large"), ("local", "llama3")];

fn skips(scene: &Scene) -> Vec<String> {
    let skips = actions(&scene.records.only());
    skips.into_iter().filter(|(_, action)| action == "skip").map(|(rule, _)| rule).collect()
}

#[tokio::test(start_paused = true)]
async fn a_hop_that_a_guardrail_forbids_is_left_out_for_the_next() {
    let deny = Guard { deny_models: vec![Pattern::new("large")], ..Guard::default() };
    let host = Guard { deny_hosts: vec![Pattern::new("other.test")], ..Guard::default() };
    for forbidden in [deny, host] {
        let (provider, asked) = scripted([failed(503, "x"), json(ANSWER)]);
        let mut setup = setup(&TWO);
        setup.limits = settings(vec![guard(forbidden, Selector::default())]);
        let scene = acting(provider, setup);
        let (parts, _body) = scene.ask(ASK).await;
        assert_eq!(parts.status, StatusCode::OK);
        assert_eq!(parts.headers["x-weir-model-served"], "llama3");
        assert_eq!(asked.lock()[1].headers()[header::HOST], "local.test:8080");
        assert_eq!(skips(&scene), ["guardrails.curl"]);
        assert_eq!(scene.records.only().attempts.len(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_hop_of_unknown_price_is_left_out_where_that_is_denied() {
    let (provider, asked) = scripted([failed(503, "x"), json(ANSWER)]);
    let mut setup = setup(&TWO);
    setup.limits = policy::Settings { unknown_price: UnknownPrice::Deny, ..settings(Vec::new()) };
    let scene = acting(provider, setup);
    let (parts, _body) = scene.ask(ASK).await;
    assert_eq!(parts.headers["x-weir-model-served"], "llama3");
    assert_eq!(asked.lock().len(), 2);
    let record = scene.records.only();
    let said = record.decisions.iter().find(|said| &*said.rule == "unknown_price").unwrap();
    assert_eq!(&*said.action, "skip");
    assert_eq!(said.detail, "other/large: The price of model large is unknown".into());
}

/// A downgrade to what a guardrail forbids is not made; the call is, as it was asked.
#[tokio::test(start_paused = true)]
async fn a_policy_does_not_downgrade_to_what_another_forbids() {
    let (provider, asked) = scripted([json(ANSWER)]);
    let mut setup = setup(&[]);
    setup.settings.chains.clear();
    let deny = Guard { deny_models: vec![Pattern::new("large")], ..Guard::default() };
    let down = OnBreach::Downgrade(Arc::from("other/large"));
    setup.limits = settings(vec![
        guard(deny, Selector::default()),
        // Less than any call can come to.
        rule(
            "budgets",
            policies::cap(
                "daily_limit_usd",
                policy::settings::Quantity::Usd,
                policy::settings::Over::Day,
                1,
            ),
            down,
        ),
    ]);
    let scene = acting(provider, setup);
    let (parts, _body) = scene.ask(ASK).await;
    assert_eq!(parts.status, StatusCode::OK);
    assert!(!parts.headers.contains_key("x-weir-model-served"));
    assert_eq!(asked.lock()[0].body(), ASK);
    assert_eq!(skips(&scene), ["guardrails.curl", "budgets.curl"]);
}

/// Used of the limit that is about the other provider only.
fn used_there(scene: &Scene) -> (i64, i64) {
    let rules = scene.context.rules.load();
    let budgets = rules.policies.engine.lock().budgets(scene.context.clock.now());
    budgets.first().map_or((0, 0), |it| (it.spent.0, it.reserved.0))
}

#[tokio::test(start_paused = true)]
async fn a_budget_about_the_next_provider_counts_what_is_asked_there() {
    let large =
        r#"{"model":"large","choices":[],"usage":{"prompt_tokens":10,"completion_tokens":1000}}"#;
    let body = r#"{"model":"gpt-4o-mini","max_tokens":1000,"messages":[]}"#;
    let there = Selector { provider: vec![Pattern::new("other")], ..Selector::default() };
    // The second call finds ten of fifteen cents spent, and goes further.
    let answers = [failed(503, "x"), json(large), failed(503, "x"), json(ANSWER), json(ANSWER)];
    let (provider, asked) = scripted(answers);
    let mut setup = setup(&TWO);
    setup.prices = priced();
    let limit = rule("budgets", daily_cents(15), OnBreach::Deny);
    setup.limits = settings(vec![Rule { selector: there, ..limit }]);
    let scene = acting(provider, setup);
    for served in ["large", "llama3"] {
        let (parts, _body) = scene.ask(body).await;
        assert_eq!(parts.headers["x-weir-model-served"], served);
        assert_eq!(used_there(&scene), (10 * CENTS, 0), "{served}");
    }
    // What is not taken there costs it nothing.
    let (parts, _body) = scene.ask(body).await;
    assert!(!parts.headers.contains_key("x-weir-model-served"));
    assert_eq!((used_there(&scene), asked.lock().len()), ((10 * CENTS, 0), 5));
}

#[tokio::test(start_paused = true)]
async fn the_output_of_a_hop_is_bounded_as_rules_about_it_say() {
    let (provider, asked) = scripted([failed(503, "x"), json(ANSWER)]);
    let mut setup = setup(&TWO[..1]);
    let most = Guard { max_output_tokens: Some(77), ..Guard::default() };
    let about = Selector { model: vec![Pattern::new("large")], ..Selector::default() };
    setup.limits = settings(vec![guard(most, about)]);
    let scene = acting(provider, setup);
    scene.ask(ASK).await;
    let asked = asked.lock();
    let sent = |place: usize| -> serde_json::Value {
        serde_json::from_slice(asked[place].body()).unwrap()
    };
    assert_eq!((sent(0)["max_tokens"].as_u64(), sent(1)["max_tokens"].as_u64()), (None, Some(77)));
    assert!(scene.records.only().flags.contains(&Flag::OutputCapped));
}
