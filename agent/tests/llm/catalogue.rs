//! The price catalogue: every model against the crate the data comes from, and the rules beside.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use agent::llm::price::{Card, Override, Prices, Query, Unpriced};
use agent::llm::providers::Provider;
use agent::llm::usage::{NanoUsd, Usage};
use genai_prices::{Calculator, ErrorKind, PriceRequest, UsageKey};

use crate::transcript::{now, provider};

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

/// A provider priced by this part of the catalogue.
fn priced_as(id: &str) -> Provider {
    Provider { name: "any".into(), prices: Some(id.into()), ..(*provider("openai")).clone() }
}

fn cost(
    provider: &Provider,
    model: &str,
    tier: Option<&str>,
    usage: &Usage,
) -> Result<i64, Unpriced> {
    let query = Query { provider, model, at: now(), tier, usage };
    Prices::embedded().cost(&query).map(|priced| priced.cost.0)
}

/// Our counts in the crate's overlapping terms.
fn theirs(usage: &Usage) -> genai_prices::Usage {
    let cached = usage.cache_read + usage.cache_write_5m + usage.cache_write_1h;
    [
        (UsageKey::INPUT_TOKENS, usage.input + cached + usage.audio_input),
        (UsageKey::CACHE_READ_TOKENS, usage.cache_read),
        (UsageKey::CACHE_WRITE_TOKENS, usage.cache_write_5m + usage.cache_write_1h),
        (UsageKey::CACHE_WRITE_5M_TOKENS, usage.cache_write_5m),
        (UsageKey::CACHE_WRITE_1H_TOKENS, usage.cache_write_1h),
        (UsageKey::INPUT_AUDIO_TOKENS, usage.audio_input),
        (UsageKey::CACHE_AUDIO_READ_TOKENS, 0),
        (UsageKey::OUTPUT_TOKENS, usage.output + usage.reasoning + usage.audio_output),
        (UsageKey::OUTPUT_REASONING_TOKENS, usage.reasoning),
        (UsageKey::OUTPUT_AUDIO_TOKENS, usage.audio_output),
    ]
    .into_iter()
    .map(|(key, count)| (key, f64::from(u32::try_from(count).unwrap())))
    .collect()
}

#[test]
fn every_model_costs_what_the_crate_says() {
    let crate_prices = Calculator::bundled();
    let prices = Prices::embedded();
    let text = Usage { input: 1_234, output: 567, ..Usage::default() };
    let usages = [
        text,
        Usage { cache_read: 10_000, reasoning: 321, ..text },
        Usage { cache_write_5m: 5_000, cache_write_1h: 3_000, ..text },
        Usage { cache_read: 290_000, cache_write_5m: 7, ..text },
        Usage { audio_input: 500, audio_output: 300, ..text },
        Usage { input: 1_100_000, output: 1, ..Usage::default() },
    ];
    // Before and after the dated prices, by day and by night, and on New Year's Day.
    let times = [1_735_700_000, 1_793_491_200, 1_793_525_400, 1_798_761_600].map(at);
    let (mut compared, mut refused) = (0, BTreeMap::<&str, u32>::new());
    for listed in prices.models() {
        let provider = priced_as(listed.provider);
        for (usage, at) in usages.iter().flat_map(|usage| times.map(|at| (usage, at))) {
            for tier in [None, Some("batch"), Some("flex"), Some("priority")] {
                let ours = prices.cost(&Query {
                    provider: &provider,
                    model: listed.model,
                    at,
                    tier,
                    usage,
                });
                let their_usage = theirs(usage);
                let mut request = PriceRequest::new(listed.model, &their_usage)
                    .with_provider_id(listed.provider)
                    .with_timestamp(at);
                if let Some(tier) = tier {
                    let key = if tier == "batch" { "processing" } else { "service_tier" };
                    request = request.with_price_context(key, tier);
                }
                let ours = match ours {
                    Ok(known) => known.cost.0,
                    Err(why) => {
                        *refused.entry(why.as_str()).or_default() += 1;
                        continue;
                    }
                };
                // A few ids are not among the names their own rules take: only we find those.
                let Ok(theirs) = crate_prices.calculate(&request) else { continue };
                let their_cost = theirs.total_price * 1e9;
                #[expect(clippy::cast_precision_loss, reason = "compared within a nano-dollar")]
                let difference = (ours as f64 - their_cost).abs();
                assert!(
                    difference <= 1.0 + their_cost * 1e-12,
                    "{}/{} {tier:?} {usage:?}: {ours} against {their_cost}",
                    listed.provider,
                    listed.model,
                );
                compared += 1;
            }
        }
    }
    assert!(compared > 45_000, "{compared}");
    // Everything else says why: no model of the list is unknown to the list.
    assert_eq!(
        refused.keys().copied().collect::<Vec<_>>(),
        ["not_by_token", "unknown_rate", "unknown_tier"]
    );
}

#[test]
fn the_data_is_the_crates() {
    let prices = Prices::embedded();
    let ours: Vec<_> = prices.models().map(|m| (m.provider, m.model, m.name)).collect();
    let mut providers: Vec<_> = Calculator::bundled().providers().collect();
    providers.sort_unstable_by_key(|provider| provider.id());
    let theirs: Vec<_> = providers
        .iter()
        .flat_map(|provider| provider.models().map(|m| (provider.id(), m.id(), m.name())))
        .collect();
    assert_eq!(ours, theirs, "copy the crate's data/prices.json to llm/price/catalogue.json");
}

#[test]
fn names_mean_the_models_the_crate_finds() {
    let names = [
        "gpt-4o-2024-08-06",
        "gpt-4o-20240806",
        "GPT-4o",
        "gpt-5.6-sol-2026-08-01",
        "o3-mini-high",
        "claude-sonnet-4-20250514",
        "claude-sonnet-4-5@20250929",
        "claude-opus-5-20260812",
        "claude-3-5-haiku-latest",
        "claude-haiku-4-5-20251001",
        "claude-opus-4-6[1m]",
        "ft:gpt-4o-mini-2024-07-18:org::id",
        "gpt-4o-transcribe",
        "gpt-99",
        "llama3",
        "",
        "é",
        "grok-4.7-20260801",
        "models/gemini-2.5-pro",
        "gemini-2.5-pro-tts",
        "omni-moderation-latest",
    ];
    let usage = Usage { input: 1_000_000, ..Usage::default() };
    let their_usage = theirs(&usage);
    for id in ["openai", "anthropic", "x-ai", "google", "azure", "openrouter", "mistral"] {
        for name in names {
            let request =
                PriceRequest::new(name, &their_usage).with_provider_id(id).with_timestamp(now());
            let ours = cost(&priced_as(id), name, None, &usage);
            match Calculator::bundled().calculate(&request) {
                Ok(_) => assert_ne!(ours, Err(Unpriced::UnknownModel), "{id}/{name}"),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::ModelNotFound);
                    assert_eq!(ours, Err(Unpriced::UnknownModel), "{id}/{name}");
                }
            }
        }
    }
}

#[test]
fn unknown_is_never_zero() {
    let usage = Usage { input: 1, output: 1, ..Usage::default() };
    let openai = provider("openai");
    let unpriced =
        |provider: &Provider, model: &str, tier| cost(provider, model, tier, &usage).unwrap_err();
    assert_eq!(unpriced(&openai, "gpt-99", None), Unpriced::UnknownModel);
    assert_eq!(unpriced(&openai, &"x".repeat(10_000), None), Unpriced::UnknownModel);
    assert_eq!(unpriced(&openai, "gpt-4o", Some("scale")), Unpriced::UnknownTier);
    assert_eq!(unpriced(&openai, "text-embedding-3-small", None), Unpriced::UnknownRate);
    assert_eq!(unpriced(&openai, "whisper-1", None), Unpriced::NotByToken);
    assert_eq!(unpriced(&openai, "gpt-image-1", None), Unpriced::NotByToken);
    assert_eq!(unpriced(&openai, "omni-moderation-latest", None), Unpriced::UnknownRate);
    assert_eq!(cost(&priced_as("openrouter"), "qwen/qwen3-coder:free", None, &usage), Ok(0));
    assert_eq!(unpriced(&priced_as("nobody"), "gpt-4o", None), Unpriced::UnknownProvider);
    let unlisted = Provider { prices: None, ..priced_as("") };
    assert_eq!(unpriced(&unlisted, "gpt-4o", None), Unpriced::UnknownProvider);
    let free = Provider { free: true, ..unlisted };
    assert_eq!(cost(&free, "anything", Some("scale"), &usage), Ok(0));
}

#[test]
fn the_size_of_the_prompt_decides_for_every_token() {
    let anthropic = provider("anthropic");
    let prompt = |input, cache_read| Usage { input, cache_read, output: 1_000, ..Usage::default() };
    let of = |usage| cost(&anthropic, "claude-sonnet-4-5-20250929", None, &usage).unwrap();
    // Up to 200,000 tokens, cached ones among them: 3, 0.3 and 15 dollars a million; above: 6,
    // 0.6 and 22.5.
    assert_eq!(of(prompt(100_000, 100_000)), 100_000 * 3_000 + 100_000 * 300 + 1_000 * 15_000);
    assert_eq!(of(prompt(100_001, 100_000)), 100_001 * 6_000 + 100_000 * 600 + 1_000 * 22_500);
}

#[test]
fn prices_change_on_their_day() {
    let usage = Usage { input: 1_000_000, ..Usage::default() };
    let (openai, prices) = (provider("openai"), Prices::embedded());
    let on = |at| {
        let query = Query { provider: &openai, model: "o3", at, tier: None, usage: &usage };
        prices.cost(&query).unwrap().cost.to_string()
    };
    // 10 June 2025.
    assert_eq!(on(at(1_749_513_599)), "10.00");
    assert_eq!(on(at(1_749_513_600)), "2.00");
}

#[test]
fn tiers_have_their_own_prices() {
    let usage = Usage { input: 1_000_000, ..Usage::default() };
    let openai = provider("openai");
    let of = |tier| cost(&openai, "o3", tier, &usage).map(NanoUsd).unwrap().to_string();
    assert_eq!(of(None), "2.00");
    assert_eq!(of(Some("default")), "2.00");
    assert_eq!(of(Some("auto")), "2.00");
    assert_eq!(of(Some("flex")), "1.00");
    assert_eq!(of(Some("priority")), "3.50");
    assert_eq!(of(Some("batch")), "1.00");
}

#[test]
fn regional_hosts_cost_more_where_they_do() {
    let usage = Usage { input: 1_000_000, ..Usage::default() };
    let eu = provider("openai-eu");
    let of = |model| cost(&eu, model, None, &usage).map(NanoUsd).unwrap().to_string();
    assert_eq!(of("gpt-4o"), "2.50");
    assert_eq!(of("gpt-5"), "1.25");
    // More than 272,000 tokens: 10 dollars a million, and a tenth on top.
    assert_eq!(of("gpt-5.5"), "11.00");
}

#[test]
fn the_model_that_answered_counts_where_it_has_a_price() {
    let usage = Usage { input: 1_000_000, ..Usage::default() };
    let (openai, prices) = (provider("openai"), Prices::embedded());
    let query = Query { provider: &openai, model: "o3", at: now(), tier: None, usage: &usage };
    let of = |served| prices.cost_served(&query, served).unwrap().cost.to_string();
    assert_eq!(of(Some("gpt-4o-2024-08-06")), "2.50");
    assert_eq!(of(Some("o3-of-next-year")), "2.00");
    assert_eq!(of(None), "2.00");
}

#[test]
fn the_configurations_prices_come_first() {
    let card = |input: &str| Card { input: Some(input.parse().unwrap()), ..Card::default() };
    let mine = |model: &str, base| Override {
        from: None,
        provider: "openai".into(),
        model: model.into(),
        base,
        above: vec![(1_000, Card { output: None, ..card("8") })],
    };
    let with_output = Card { output: Some("10".parse().unwrap()), ..card("4") };
    let prices = Prices::embedded()
        .with_overrides(vec![mine("gpt-*", card("1")), mine("GPT-4o", with_output)]);
    let openai = provider("openai");
    let of = |model, input, output| {
        let usage = Usage { input, output, ..Usage::default() };
        let query =
            Query { provider: &openai, model, at: now(), tier: Some("scale"), usage: &usage };
        prices.cost(&query)
    };
    let local = of("gpt-4o", 1_000, 10).unwrap();
    assert_eq!((local.cost.0, &*local.version), (1_000 * 4_000 + 10 * 10_000, "local"));
    assert_eq!(of("gpt-4o", 1_001, 10).unwrap().cost.0, 1_001 * 8_000 + 10 * 10_000);
    assert_eq!(of("gpt-99", 10, 0).unwrap().cost.0, 10 * 1_000);
    assert_eq!(of("gpt-99", 10, 1), Err(Unpriced::UnknownRate));
    let rates = prices.rates("openai", "gpt-4o", now()).unwrap();
    assert_eq!(rates.base.cache_read.unwrap().to_string(), "4.00");
    assert_eq!(rates.above[0].1.output.unwrap().to_string(), "10.00");
    assert_eq!(prices.models().next().unwrap().model, "gpt-*");
}

#[test]
fn rates_are_shown_as_exact_decimals() {
    let prices = Prices::embedded();
    let rates = prices.rates("anthropic", "claude-haiku-5-5-20261001", now()).unwrap();
    let shown = |card: &Card| serde_json::to_value(card).unwrap();
    assert_eq!(&*rates.model, "claude-haiku-5-5");
    assert_eq!(shown(&rates.base)["cache_write_5m"], "0.125");
    assert_eq!(shown(&rates.base)["cache_write_1h"], "0.20");
    assert_eq!(shown(&rates.base)["reasoning"], "0.50");
    assert_eq!(rates.above.len(), 1);
    assert_eq!((rates.above[0].0, &shown(&rates.above[0].1)["output"]), (100_000, &"2.50".into()));
    assert_eq!(rates.tiers.len(), 1);
    assert_eq!(
        (&*rates.tiers[0].0, &shown(&rates.tiers[0].1)["output"]),
        ("batch", &"0.25".into())
    );
    assert_eq!(rates.per_thousand_web_searches.unwrap().to_string(), "10.00");
    assert!(prices.rates("openai", "gpt-99", now()).is_none());
    assert!(prices.dated().contains("genai-prices"));
}
