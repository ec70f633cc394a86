//! What providers say of their own limits: the header fields of an answer.
//!
//! | fields | meaning |
//! |---|---|
//! | `x-ratelimit-{limit,remaining,reset}-{requests,tokens}` | `OpenAI` and hosts of its format; `reset` is a span (`6m0s`, `12ms`) |
//! | `anthropic-ratelimit-{requests,tokens,input-tokens,output-tokens}-{limit,remaining,reset}` | Anthropic's API; `reset` is an RFC 3339 time |
//! | `anthropic-ratelimit-unified-{5h,7d}-{utilization,reset}` | Anthropic's plans; a share from 0 to 1, `reset` in seconds since 1970 |
//! | `x-codex-{primary,secondary}-{used-percent,window-minutes,reset-at,reset-after-seconds}` | `OpenAI`'s plans; percent, `reset-at` in seconds since 1970 |

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::HeaderMap;

/// One of a provider's limits on an account.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quota {
    /// Which: `requests`, `tokens`, `input_tokens`, `output_tokens`, `5h`, `7d`, …
    pub kind: &'static str,
    /// The share that is left, 0 to 1.
    pub remaining: f64,
    /// What is left of what, where the provider gives numbers.
    pub count: Option<(u64, u64)>,
    /// When there is all of it again.
    pub resets_at: Option<SystemTime>,
}

/// How all of these fields begin.
const FAMILIES: [&str; 3] = ["x-ratelimit-", "anthropic-ratelimit-", "x-codex-"];

/// Kinds with fields for limit, rest and reset, and how these fields begin and end.
const COUNTED: [(&str, [&str; 3]); 6] = [
    ("requests", OPENAI_REQUESTS),
    ("tokens", OPENAI_TOKENS),
    (
        "requests",
        [
            "anthropic-ratelimit-requests-limit",
            "anthropic-ratelimit-requests-remaining",
            "anthropic-ratelimit-requests-reset",
        ],
    ),
    (
        "tokens",
        [
            "anthropic-ratelimit-tokens-limit",
            "anthropic-ratelimit-tokens-remaining",
            "anthropic-ratelimit-tokens-reset",
        ],
    ),
    (
        "input_tokens",
        [
            "anthropic-ratelimit-input-tokens-limit",
            "anthropic-ratelimit-input-tokens-remaining",
            "anthropic-ratelimit-input-tokens-reset",
        ],
    ),
    (
        "output_tokens",
        [
            "anthropic-ratelimit-output-tokens-limit",
            "anthropic-ratelimit-output-tokens-remaining",
            "anthropic-ratelimit-output-tokens-reset",
        ],
    ),
];
const OPENAI_REQUESTS: [&str; 3] =
    ["x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"];
const OPENAI_TOKENS: [&str; 3] =
    ["x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"];

/// Kinds of Anthropic's plans: share used, and reset.
const UNIFIED: [(&str, &str, &str); 2] = [
    ("5h", "anthropic-ratelimit-unified-5h-utilization", "anthropic-ratelimit-unified-5h-reset"),
    ("7d", "anthropic-ratelimit-unified-7d-utilization", "anthropic-ratelimit-unified-7d-reset"),
];

/// Windows of `OpenAI`'s plans: percent used, minutes, reset as a time and as a span.
const CODEX: [(&str, [&str; 4]); 2] = [
    (
        "primary",
        [
            "x-codex-primary-used-percent",
            "x-codex-primary-window-minutes",
            "x-codex-primary-reset-at",
            "x-codex-primary-reset-after-seconds",
        ],
    ),
    (
        "secondary",
        [
            "x-codex-secondary-used-percent",
            "x-codex-secondary-window-minutes",
            "x-codex-secondary-reset-at",
            "x-codex-secondary-reset-after-seconds",
        ],
    ),
];

/// What an answer's head says of limits. Fields that can't be read say nothing.
pub fn read(headers: &HeaderMap, now: SystemTime) -> Vec<Quota> {
    // One look at the names is cheaper than thirty look-ups: most answers have none of them, and
    // the others those of one family.
    let has = |family| headers.keys().any(|name| name.as_str().starts_with(family));
    let families = FAMILIES.map(|family| has(family).then_some(family));
    if families == [None; 3] {
        return Vec::new();
    }
    let text = |name: &str| {
        families.iter().flatten().find(|family| name.starts_with(**family))?;
        headers.get(name)?.to_str().ok().map(str::trim)
    };
    let counted = COUNTED.iter().filter_map(|(kind, [limit, rest, reset])| {
        let limit: u64 = text(limit)?.parse().ok()?;
        let rest: u64 = text(rest)?.parse().ok()?;
        let resets_at = text(reset).and_then(|text| point(text, now));
        Some(Quota { kind, remaining: ratio(rest, limit), count: Some((rest, limit)), resets_at })
    });
    let unified = UNIFIED.iter().filter_map(|(kind, used, reset)| {
        let resets_at = text(reset).and_then(|text| point(text, now));
        Some(share(kind, text(used)?.parse().ok()?, resets_at))
    });
    let codex = CODEX.iter().filter_map(|(name, [used, minutes, at, after])| {
        let used: f64 = text(used)?.parse().ok()?;
        let kind = match text(minutes)? {
            // Sent for a window the plan does not have.
            "0" => return None,
            "300" => "5h",
            "10080" => "7d",
            _ => *name,
        };
        let after = || near(now.checked_add(Duration::from_secs(text(after)?.parse().ok()?))?, now);
        let resets_at = text(at).and_then(|text| point(text, now)).or_else(after);
        Some(share(kind, used / 100.0, resets_at))
    });
    counted.chain(unified).chain(codex).collect()
}

fn share(kind: &'static str, used: f64, resets_at: Option<SystemTime>) -> Quota {
    let used = if used.is_finite() { used.clamp(0.0, 1.0) } else { 1.0 };
    Quota { kind, remaining: 1.0 - used, count: None, resets_at }
}

fn ratio(rest: u64, limit: u64) -> f64 {
    if limit == 0 {
        return 0.0;
    }
    #[expect(clippy::cast_precision_loss, reason = "a share needs no more")]
    (rest as f64 / limit as f64).min(1.0)
}

/// A point in time: seconds since 1970, an RFC 3339 time, or a span from now (`1h2m3.5s`, `12ms`).
fn point(text: &str, now: SystemTime) -> Option<SystemTime> {
    let at = if let Ok(seconds) = text.parse::<u64>() {
        UNIX_EPOCH.checked_add(Duration::from_secs(seconds))?
    } else if let Ok(at) = text.parse::<jiff::Timestamp>() {
        SystemTime::from(at)
    } else {
        now.checked_add(span(text)?)?
    };
    near(at, now)
}

/// No limit lasts a year: anything further away is no time.
fn near(at: SystemTime, now: SystemTime) -> Option<SystemTime> {
    const YEAR: Duration = Duration::from_hours(366 * 24);
    (at <= now + YEAR).then_some(at)
}

/// A span as Go writes it.
fn span(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        let unit = &rest[digits..];
        let (seconds, length) = match unit.as_bytes() {
            [b'm', b's', ..] => (0.001, 2),
            [b'u', b's', ..] => (0.000_001, 2),
            [b'n', b's', ..] => (0.000_000_001, 2),
            [b'd', ..] => (86_400.0, 1),
            [b'h', ..] => (3_600.0, 1),
            [b'm', ..] => (60.0, 1),
            [b's', ..] => (1.0, 1),
            _ => return None,
        };
        total += number * seconds;
        rest = &unit[length..];
    }
    Duration::try_from_secs_f64(total).ok().filter(|_| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let field = |(name, value): &(&'static str, &'static str)| {
            (http::HeaderName::from_static(name), http::HeaderValue::from_static(value))
        };
        fields.iter().map(field).collect()
    }

    fn now() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_790_000_000)
    }

    #[test]
    fn each_providers_own_words_are_read() {
        let openai = headers(&[
            ("x-ratelimit-limit-requests", "5000"),
            ("x-ratelimit-remaining-requests", "4999"),
            ("x-ratelimit-reset-requests", "12ms"),
            ("x-ratelimit-limit-tokens", "160000"),
            ("x-ratelimit-remaining-tokens", "40000"),
            ("x-ratelimit-reset-tokens", "6m0.5s"),
        ]);
        let read_openai = read(&openai, now());
        assert_eq!(read_openai.len(), 2);
        assert_eq!(read_openai[0].count, Some((4999, 5000)));
        assert_eq!(read_openai[1].kind, "tokens");
        assert!((read_openai[1].remaining - 0.25).abs() < 1e-9);
        assert_eq!(read_openai[1].resets_at, Some(now() + Duration::from_millis(360_500)));
        let anthropic = headers(&[
            ("anthropic-ratelimit-input-tokens-limit", "80000"),
            ("anthropic-ratelimit-input-tokens-remaining", "20000"),
            ("anthropic-ratelimit-input-tokens-reset", "2026-09-21T14:13:21Z"),
            ("anthropic-ratelimit-unified-5h-utilization", "0.42"),
            ("anthropic-ratelimit-unified-5h-reset", "1790000600"),
            ("anthropic-ratelimit-unified-7d-utilization", "1.03"),
        ]);
        let anthropic = read(&anthropic, now());
        let kinds: Vec<_> = anthropic.iter().map(|quota| quota.kind).collect();
        assert_eq!(kinds, ["input_tokens", "5h", "7d"]);
        assert_eq!(anthropic[0].resets_at, Some(now() + Duration::from_secs(1)));
        assert!((anthropic[1].remaining - 0.58).abs() < 1e-9);
        assert_eq!(anthropic[1].resets_at, Some(now() + Duration::from_mins(10)));
        assert!(anthropic[2].remaining.abs() < 1e-9, "over the plan is nothing left");
        let codex = headers(&[
            ("x-codex-primary-used-percent", "24.5"),
            ("x-codex-primary-window-minutes", "300"),
            ("x-codex-primary-reset-after-seconds", "60"),
            ("x-codex-secondary-used-percent", "0"),
            ("x-codex-secondary-window-minutes", "0"),
            ("x-codex-secondary-reset-at", ""),
        ]);
        let codex = read(&codex, now());
        assert_eq!(codex.len(), 1);
        assert_eq!(
            (codex[0].kind, codex[0].resets_at),
            ("5h", Some(now() + Duration::from_mins(1)))
        );
    }

    #[test]
    fn nonsense_says_nothing() {
        for fields in [
            &[("x-ratelimit-limit-requests", "many"), ("x-ratelimit-remaining-requests", "1")][..],
            &[("anthropic-ratelimit-unified-5h-utilization", "")],
            &[("x-ratelimit-remaining-requests", "1")],
            &[("content-type", "text/plain")],
        ] {
            assert_eq!(read(&headers(fields), now()), [], "{fields:?}");
        }
        let fields = [
            ("anthropic-ratelimit-unified-5h-utilization", "NaN"),
            ("anthropic-ratelimit-unified-5h-reset", "99999999999999"),
        ];
        let quota = read(&headers(&fields), now())[0];
        assert_eq!((quota.remaining, quota.resets_at), (0.0, None));
        for after in [u64::MAX, 400 * 86_400] {
            let after = after.to_string();
            let mut fields = headers(&[
                ("x-codex-primary-used-percent", "1"),
                ("x-codex-primary-window-minutes", "300"),
            ]);
            fields.insert("x-codex-primary-reset-after-seconds", after.parse().unwrap());
            assert_eq!(read(&fields, now())[0].resets_at, None, "{after}");
        }
        for text in ["", "s", "1", "1x", "1.2.3s", "-1s"] {
            assert_eq!(span(text), None, "{text}");
        }
    }
}
