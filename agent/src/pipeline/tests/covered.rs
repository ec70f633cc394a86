//! Further tries of a call, and the limits that have to cover them.

use hyper::StatusCode;

use super::elsewhere::setup;
use super::policies::{CENTS, budget, daily_cents, rule};
use super::*;
use crate::llm::price::{Card, Override};
use crate::policy::Enforcement;
use crate::policy::settings::OnBreach;

/// A model of a tenth of a cent per token read, and ten cents per thousand written.
fn dear(provider: &str, model: &str) -> Prices {
    let rate = |dollars: &str| dollars.parse().ok();
    let base = Card { input: rate("1000"), output: rate("100"), ..Card::default() };
    let (provider, model) = (Arc::from(provider), Arc::from(model));
    let own = Override { provider, model, from: None, base, above: Vec::new() };
    Prices::embedded().with_overrides(vec![own])
}

const DEAR: &str = r#"{"model":"dear","max_tokens":1000,"messages":[]}"#;

fn actions(scene: &Scene) -> Vec<(String, String)> {
    scene.decisions().into_iter().filter(|(rule, _)| rule == "budgets.curl").collect()
}

/// What a try that broke off may have cost is spent: the next one has to fit beside it.
#[tokio::test(start_paused = true)]
async fn p4_a_retry_cannot_pass_the_budget() {
    // 16 tokens are read for 1.6 cents, beside the ten: two tries come to 13.2.
    for (cents, on_breach, tries) in
        [(12, OnBreach::Deny, 1), (12, OnBreach::Alert, 2), (14, OnBreach::Deny, 2)]
    {
        let (provider, asked) = scripted([instead(Instead::Reset), json(ANSWER)]);
        let mut setup = Setup { prices: dear("openai", "dear"), ..Setup::default() };
        let firm = on_breach == OnBreach::Deny;
        let limit = rule("budgets", daily_cents(cents), on_breach);
        setup.limits = policies::settings(vec![limit]);
        let scene = acting(provider, setup);
        let began = Instant::now();
        let (parts, _body) = scene.ask(DEAR).await;
        assert_eq!(asked.lock().len(), tries, "{cents}");
        let (spent, reserved) = budget(&scene);
        assert_eq!(reserved, 0);
        if tries == 1 {
            assert_eq!(parts.status, StatusCode::BAD_GATEWAY, "what the last try left");
            assert!(began.elapsed().is_zero(), "nobody waits for a try that is not made");
            assert!(spent > CENTS && spent <= 12 * CENTS, "{spent}");
            let said: Vec<_> = actions(&scene).into_iter().map(|(_, action)| action).collect();
            assert_eq!(said, ["pass", "refuse"]);
        } else {
            assert_eq!(parts.status, StatusCode::OK);
            assert!(!firm || actions(&scene).len() == 1);
        }
    }
}

/// The same for a model that stands in and is dearer.
#[tokio::test(start_paused = true)]
async fn p4_a_dearer_model_cannot_pass_the_budget() {
    for (enforcement, host) in
        [(Enforcement::Enforce, "api.openai.com"), (Enforcement::Shadow, "other.test:8080")]
    {
        let (provider, asked) = scripted([failed(503, "x"), json(ANSWER)]);
        let mut setup = setup(&[("other", "large")]);
        setup.prices = dear("other", "large");
        let mut limit = rule("budgets", daily_cents(100), OnBreach::Deny);
        limit.enforcement = enforcement;
        setup.limits = policies::settings(vec![limit]);
        let scene = acting(provider, setup);
        let (parts, _body) = scene.ask(ASK).await;
        assert_eq!(parts.status, StatusCode::OK);
        let asked = asked.lock();
        assert_eq!((asked.len(), &asked[1].headers()[header::HOST]), (2, &host.parse().unwrap()));
        let skipped = actions(&scene).iter().any(|(_, action)| action == "skip");
        assert_eq!(skipped, enforcement == Enforcement::Enforce);
        let cost = scene.records.only().cost;
        assert_eq!(cost.is_some_and(|cost| cost.0 == ANSWER_COST), skipped);
    }
}
