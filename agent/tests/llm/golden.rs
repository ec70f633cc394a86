//! Each transcript is read to the counts and the price worked out by hand, streamed and whole
//! alike.

use agent::llm::meter::{Encoding, Reading};
use agent::llm::price::{Prices, Query};
use agent::llm::usage::{NanoUsd, Usage};

use crate::transcript::{forward, golden, now, options, provider, read};

struct Case {
    file: &'static str,
    provider: &'static str,
    model: &'static str,
    finish: &'static str,
    usage: Usage,
    /// Nano-dollars: tokens times dollars per million, times a thousand.
    cost: i64,
}

const NONE: Usage = Usage {
    input: 0,
    cache_read: 0,
    cache_write_5m: 0,
    cache_write_1h: 0,
    output: 0,
    reasoning: 0,
    audio_input: 0,
    audio_output: 0,
};

const CASES: [Case; 23] = [
    Case {
        file: "chat-plain",
        provider: "openai",
        model: "gpt-4o-2024-08-06",
        finish: "stop",
        usage: Usage { input: 27, output: 9, ..NONE },
        cost: 27 * 2_500 + 9 * 10_000,
    },
    Case {
        file: "chat-cached",
        provider: "openai",
        model: "gpt-4o-2024-11-20",
        finish: "stop",
        usage: Usage { input: 86, cache_read: 1920, output: 300, ..NONE },
        cost: 86 * 2_500 + 1920 * 1_250 + 300 * 10_000,
    },
    Case {
        file: "chat-reasoning",
        provider: "openai",
        model: "o4-mini-2025-04-16",
        finish: "stop",
        usage: Usage { input: 75, output: 162, reasoning: 1024, ..NONE },
        cost: 75 * 1_100 + 1186 * 4_400,
    },
    Case {
        file: "chat-tools",
        provider: "openai",
        model: "gpt-4.1-2025-04-14",
        finish: "tool_calls",
        usage: Usage { input: 82, output: 17, ..NONE },
        cost: 82 * 2_000 + 17 * 8_000,
    },
    Case {
        file: "chat-audio",
        provider: "openai",
        model: "gpt-audio-2025-08-28",
        finish: "stop",
        usage: Usage { input: 26, audio_input: 40, output: 40, audio_output: 140, ..NONE },
        cost: 26 * 2_500 + 40 * 32_000 + 40 * 10_000 + 140 * 64_000,
    },
    Case {
        file: "chat-flex",
        provider: "openai",
        model: "o4-mini-2025-04-16",
        finish: "stop",
        usage: Usage { input: 600, cache_read: 400, output: 244, reasoning: 256, ..NONE },
        cost: 600 * 550 + 400 * 138 + 500 * 2_200,
    },
    Case {
        file: "chat-usage-with-choice",
        provider: "mistral",
        model: "mistral-small-2603",
        finish: "stop",
        usage: Usage { input: 1200, output: 300, ..NONE },
        cost: 1200 * 150 + 300 * 600,
    },
    Case {
        file: "chat-reasoning-beside",
        provider: "x-ai",
        model: "grok-3-mini",
        finish: "stop",
        usage: Usage { input: 33, cache_read: 8, output: 104, reasoning: 399, ..NONE },
        cost: 33 * 300 + 8 * 75 + (104 + 399) * 500,
    },
    Case {
        file: "completions",
        provider: "openai",
        model: "gpt-3.5-turbo-instruct:20230824-v2",
        finish: "length",
        usage: Usage { input: 5, output: 7, ..NONE },
        cost: 5 * 1_500 + 7 * 2_000,
    },
    Case {
        file: "responses-plain",
        provider: "openai",
        model: "gpt-5-2025-08-07",
        finish: "completed",
        usage: Usage { input: 1024, cache_read: 1024, output: 108, reasoning: 192, ..NONE },
        cost: 1024 * 1_250 + 1024 * 125 + 300 * 10_000,
    },
    Case {
        file: "responses-tools",
        provider: "openai",
        model: "gpt-4.1-2025-04-14",
        finish: "completed",
        usage: Usage { input: 328, output: 52, ..NONE },
        cost: 328 * 2_000 + 52 * 8_000,
    },
    Case {
        file: "responses-incomplete",
        provider: "openai",
        model: "gpt-5-2025-08-07",
        finish: "max_output_tokens",
        usage: Usage { input: 100, output: 16, reasoning: 48, ..NONE },
        cost: 100 * 1_250 + 64 * 10_000,
    },
    Case {
        file: "messages-plain",
        provider: "anthropic",
        model: "claude-sonnet-4-5-20250929",
        finish: "end_turn",
        usage: Usage { input: 25, output: 150, ..NONE },
        cost: 25 * 3_000 + 150 * 15_000,
    },
    Case {
        file: "messages-cache",
        provider: "anthropic",
        model: "claude-sonnet-4-20250514",
        finish: "end_turn",
        usage: Usage {
            input: 12,
            cache_read: 1800,
            cache_write_5m: 456,
            cache_write_1h: 100,
            output: 503,
            ..NONE
        },
        cost: 12 * 3_000 + 1800 * 300 + 456 * 3_750 + 100 * 6_000 + 503 * 15_000,
    },
    // A real bill: $1.06376125, for which a gateway that counted cached tokens twice charged
    // $1.8598 (maximhq/bifrost #3451).
    Case {
        file: "messages-cache-write",
        provider: "anthropic",
        model: "claude-opus-4-6",
        finish: "end_turn",
        usage: Usage { input: 6, cache_write_5m: 159_217, output: 2745, ..NONE },
        cost: 1_063_761_250,
    },
    Case {
        file: "messages-thinking",
        provider: "anthropic",
        model: "claude-opus-4-5-20251101",
        finish: "end_turn",
        usage: Usage { input: 90, output: 30, reasoning: 380, ..NONE },
        cost: 90 * 5_000 + 410 * 25_000,
    },
    Case {
        file: "messages-tools",
        provider: "anthropic",
        model: "claude-haiku-4-5-20251001",
        finish: "tool_use",
        usage: Usage { input: 472, output: 89, ..NONE },
        cost: 472 * 1_000 + 89 * 5_000,
    },
    // Several deltas repeat the counts from the beginning: the last one counts, not the sum.
    Case {
        file: "messages-search",
        provider: "anthropic",
        model: "claude-sonnet-4-5-20250929",
        finish: "end_turn",
        usage: Usage { input: 10_682, output: 510, ..NONE },
        cost: 10_682 * 3_000 + 510 * 15_000,
    },
    Case {
        file: "gemini-plain",
        provider: "gemini",
        model: "gemini-2.5-flash",
        finish: "STOP",
        usage: Usage { input: 12, output: 7, ..NONE },
        cost: 12 * 300 + 7 * 2_500,
    },
    // Thoughts are counted beside the candidates, cached tokens inside the prompt.
    Case {
        file: "gemini-thinking",
        provider: "gemini",
        model: "gemini-2.5-pro",
        finish: "STOP",
        usage: Usage { input: 928, cache_read: 3072, output: 20, reasoning: 300, ..NONE },
        cost: 928 * 1_250 + 3072 * 125 + 320 * 10_000,
    },
    // What the provider's own tools put into the prompt is counted beside it.
    Case {
        file: "gemini-tools",
        provider: "gemini",
        model: "gemini-2.5-flash",
        finish: "STOP",
        usage: Usage { input: 95, output: 31, reasoning: 44, ..NONE },
        cost: 95 * 300 + 75 * 2_500,
    },
    Case {
        file: "gemini-audio",
        provider: "gemini",
        model: "gemini-2.5-flash",
        finish: "STOP",
        usage: Usage { input: 26, audio_input: 500, output: 10, ..NONE },
        cost: 26 * 300 + 500 * 1_000 + 10 * 2_500,
    },
    Case {
        file: "gemini-blocked",
        provider: "gemini",
        model: "gemini-2.5-flash",
        finish: "PROHIBITED_CONTENT",
        usage: Usage { input: 9, ..NONE },
        cost: 9 * 300,
    },
];

/// The price of what was read, from the model that answered.
fn cost(provider_name: &str, reading: &Reading) -> NanoUsd {
    let provider = provider(provider_name);
    let query = Query {
        provider: &provider,
        model: reading.model.as_deref().unwrap(),
        at: now(),
        tier: reading.service_tier.as_deref(),
        usage: &reading.usage.unwrap(),
    };
    Prices::embedded().cost(&query).unwrap().cost
}

#[test]
fn streamed_and_whole_are_read_and_priced_the_same() {
    for case in CASES {
        for (file, sse) in [(".json", false), (".sse", true)] {
            let file = [case.file, file].concat();
            let reading = read(&file);
            assert_eq!(reading.usage, Some(case.usage), "{file}");
            assert_eq!(reading.estimate, case.usage, "{file}");
            assert_eq!(reading.model.as_deref(), Some(case.model), "{file}");
            assert_eq!(reading.finish_reason.as_deref(), Some(case.finish), "{file}");
            assert_eq!((reading.terminal, reading.error.is_some()), (sse, false), "{file}");
            assert!(reading.response_id.is_some(), "{file}");
            assert_eq!(cost(case.provider, &reading), NanoUsd(case.cost), "{file}");
        }
    }
    assert_eq!(NanoUsd(1_063_761_250).to_string(), "1.06376125");
}

#[test]
fn a_gemini_stream_without_events_is_an_array() {
    assert_eq!(read("gemini-array.json").usage, read("gemini-plain.sse").usage);
}

#[test]
fn embeddings_cost_their_input() {
    let reading = read("embeddings.json");
    assert_eq!(reading.usage, Some(Usage { input: 8, ..NONE }));
    assert_eq!(cost("openai", &reading), NanoUsd(8 * 20));
}

#[test]
fn an_answer_from_a_given_country_carries_its_surcharge() {
    for file in ["messages-us.json", "messages-us.sse"] {
        let reading = read(file);
        assert_eq!(reading.service_tier.as_deref(), Some("standard+us"));
        assert_eq!(cost("anthropic", &reading), NanoUsd((1000 * 5_000 + 100 * 25_000) * 11 / 10));
    }
}

#[test]
fn searches_by_the_provider_are_counted_apart() {
    for (name, provider_name, searches) in
        [("messages-search", "anthropic", 2), ("responses-tools", "openai", 1)]
    {
        for file in [".json", ".sse"] {
            let reading = read(&[name, file].concat());
            assert_eq!(reading.web_searches, searches);
            let provider = provider(provider_name);
            let model = reading.model.as_deref().unwrap();
            let query = Query {
                provider: &provider,
                model,
                at: now(),
                tier: None,
                usage: &Usage::default(),
            };
            let cost = Prices::embedded().web_search_cost(&query, reading.web_searches);
            // Ten dollars a thousand.
            assert_eq!(cost, Ok(NanoUsd(10_000_000 * i64::try_from(searches).unwrap())));
        }
    }
}

#[test]
fn errors_inside_streams_are_seen_and_what_was_said_is_estimated() {
    let cases = [
        ("chat-error.sse", "server_error", 0, 19_u64.div_ceil(4)),
        ("messages-error.sse", "overloaded_error", 300, 1 + 19_u64.div_ceil(4)),
        ("responses-error.sse", "rate_limit_exceeded", 0, 0),
        ("responses-failed.sse", "server_error", 0, 0),
        ("gemini-error.sse", "UNAVAILABLE", 12, 1),
    ];
    for (file, code, input, output) in cases {
        let (forwarded, reading) = forward(options(file), [golden(file)]);
        let error = reading.error.unwrap();
        assert_eq!(&*error.code, code, "{file}");
        assert!(!error.message.contains("secret"), "{file}: {}", error.message);
        assert!(reading.terminal, "{file}");
        assert_eq!(reading.usage, None, "{file}");
        assert_eq!((reading.estimate.input, reading.estimate.output), (input, output), "{file}");
        assert!(!forwarded.held.is_empty(), "{file}: the error waits for its record");
    }
}

#[test]
fn errors_instead_of_answers_are_named_without_their_text() {
    for (file, status, code, message) in [
        ("chat-error.json", 401, "invalid_api_key", "invalid_api_key, invalid_request_error"),
        ("messages-error.json", 429, "rate_limit_error", "rate_limit_error"),
        ("gemini-error.json", 429, "RESOURCE_EXHAUSTED", "RESOURCE_EXHAUSTED"),
        ("responses-failed.json", 200, "server_error", "server_error"),
    ] {
        let options = agent::llm::meter::MeterOptions { status, ..options(file) };
        let (_, reading) = forward(options, [golden(file)]);
        let error = reading.error.unwrap();
        assert_eq!((&*error.code, &*error.message), (code, message), "{file}");
        assert_eq!(
            (reading.usage, reading.terminal, reading.unread),
            (None, false, None),
            "{file}"
        );
    }
}

#[test]
fn encoded_bodies_read_the_same() {
    use std::io::Write;
    for file in ["messages-cache.json", "messages-cache.sse", "chat-reasoning.sse"] {
        let plain = golden(file);
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(&plain).unwrap();
        let body = bytes::Bytes::from(encoder.finish().unwrap());
        let gzip = agent::llm::meter::MeterOptions { encoding: Encoding::Gzip, ..options(file) };
        let pieces = body.chunks(100).map(bytes::Bytes::copy_from_slice);
        let (forwarded, reading) = forward(gzip, pieces);
        assert_eq!(reading, read(file), "{file}");
        assert_eq!([forwarded.released, forwarded.held].concat(), body, "{file}");
    }
}
