//! Calls near a limit: their prompt is counted, and only theirs.

use std::num::NonZeroU64;
use std::time::Duration;

use hyper::StatusCode;

use super::policies::rule;
use super::*;
use crate::llm::tokens::{self, Encoding};
use crate::policy::settings::{Cap, OnBreach, Over, Quantity};

fn a_minute(limit: u64) -> Cap {
    Cap {
        unit: "tokens_per_minute",
        of: Quantity::Tokens,
        over: Over::Sliding(Duration::from_mins(1)),
        limit: NonZeroU64::new(limit).unwrap(),
    }
}

/// 900 bytes of prompt, some 160 tokens.
fn prompt(model: &str) -> String {
    let text = "meandering ".repeat(80);
    format!(
        r#"{{"model":"{model}","max_tokens":10,"messages":[{{"role":"user","content":"{text}"}}]}}"#
    )
}

fn limited(limit: u64, answers: usize) -> Scene {
    // The first count loads a vocabulary, which on a busy machine takes longer than a call waits.
    let openai = Arc::clone(Providers::builtin().by_name("openai").unwrap());
    tokens::count(Encoding::of(&openai, "gpt-4o-mini").unwrap(), b"{}").unwrap();
    let (provider, _) = scripted((0..answers).map(|_| json(ANSWER)));
    let limits = policy::Settings {
        rules: vec![rule("rate_limits", a_minute(limit), OnBreach::Deny)],
        ..policy::Settings::default()
    };
    acting(provider, Setup { limits, ..Setup::default() })
}

fn counting(scene: &Scene) -> Vec<(String, String)> {
    let settled = scene.records.settled.lock();
    let decisions = &settled.last().unwrap().decisions;
    let of = decisions.iter().filter(|decision| &*decision.rule == "tokens");
    of.map(|it| (it.action.to_string(), it.detail.to_string())).collect()
}

#[tokio::test]
async fn a_call_that_bytes_would_refuse_passes_by_its_count() {
    let scene = limited(300, 1);
    let body = prompt("gpt-4o-mini");
    let bytes = body.len().div_ceil(3);
    assert!(bytes > 300, "{bytes}");
    let (parts, _) = scene.ask(&body).await;
    assert_eq!(parts.status, StatusCode::OK);
    let said = counting(&scene);
    assert_eq!(said.len(), 1, "{said:?}");
    let (action, detail) = &said[0];
    assert_eq!(action, "count");
    assert!(detail.ends_with(&format!("tokens (bytes said at most {bytes})")), "{detail}");
    let counted: usize = detail.split(' ').nth(1).unwrap().parse().unwrap();
    assert!((150..290).contains(&counted), "{counted}");
}

/// Nothing is near: no vocabulary is touched.
#[tokio::test]
async fn far_from_every_limit_nothing_is_counted() {
    let scene = limited(100_000, 1);
    let (parts, _) = scene.ask(&prompt("gpt-4o-mini")).await;
    assert_eq!(parts.status, StatusCode::OK);
    assert_eq!(counting(&scene), []);
}

/// What no count could let through is refused at once.
#[tokio::test]
async fn far_over_a_limit_nothing_is_counted() {
    let scene = limited(20, 0);
    let (parts, _) = scene.ask(&prompt("gpt-4o-mini")).await;
    assert_eq!(parts.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(counting(&scene), []);
}

#[tokio::test]
async fn a_count_that_does_not_help_refuses_all_the_same() {
    let scene = limited(100, 0);
    let (parts, _) = scene.ask(&prompt("gpt-4o-mini")).await;
    assert_eq!(parts.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(counting(&scene)[0].0, "count");
}

/// A vocabulary that is not public cannot be counted by.
#[tokio::test]
async fn other_models_keep_the_bound_of_their_bytes() {
    let scene = limited(300, 0);
    let (parts, _) = scene.ask(&prompt("some-model")).await;
    assert_eq!(parts.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(counting(&scene), []);
}

#[tokio::test]
async fn a_tool_of_the_providers_own_keeps_it_too() {
    let scene = limited(300, 0);
    let body =
        prompt("gpt-4o-mini").replace("\"messages\"", r#""tools":[{"type":"shell"}],"messages""#);
    let (parts, _) = scene.ask(&body).await;
    assert_eq!(parts.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(counting(&scene)[0].0, "skip");
}

/// Where policies only watch, nothing hangs on a count.
#[tokio::test]
async fn a_limit_on_trial_counts_nothing() {
    let scene = limited(300, 1);
    scene.context.rules.load().policies.act(false);
    let (parts, _) = scene.ask(&prompt("gpt-4o-mini")).await;
    assert_eq!(parts.status, StatusCode::OK);
    assert_eq!(counting(&scene), []);
}
