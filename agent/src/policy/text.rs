//! What rules say, in words.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use super::call::Amount;
use super::gauge::Gauge;
use super::settings::{Cap, Guard, Limit, Over, Per, Quantity, Rule, Says, UnknownPrice};
use crate::llm::usage::NanoUsd;

/// The words of decisions, made once: a call takes several.
#[derive(Debug, Clone)]
pub(super) struct Words {
    acts: [Arc<str>; 7],
    would: [Arc<str>; 7],
}

/// What a rule does to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    Pass,
    Refuse,
    Delay,
    Downgrade,
    Freeze,
    Warn,
    Alert,
}

impl Act {
    /// Whether the call does not go out at once and as it was asked.
    pub(super) fn holds_back(self) -> bool {
        match self {
            Self::Refuse | Self::Delay | Self::Downgrade | Self::Freeze => true,
            Self::Pass | Self::Warn | Self::Alert => false,
        }
    }
}

const ACTS: [&str; 7] = ["pass", "refuse", "delay", "downgrade", "freeze", "warn", "alert"];

impl Words {
    pub(super) fn new() -> Self {
        let would = |word: &str| match word {
            "pass" => Arc::from("pass"),
            word => Arc::from(format!("would-{word}")),
        };
        Self { acts: ACTS.map(Arc::from), would: ACTS.map(would) }
    }

    /// The word for what a rule does, or would do.
    pub(super) fn of(&self, act: Act, in_earnest: bool) -> Arc<str> {
        let words = if in_earnest { &self.acts } else { &self.would };
        Arc::clone(&words[act as usize])
    }
}

/// Two digits at a time: decisions are written on the path of every call, and the detours of
/// formatted printing would be most of what a decision costs.
const PAIRS: &str = "00010203040506070809101112131415161718192021222324252627282930313233343536373839\
                     40414243444546474849505152535455565758596061626364656667686970717273747576777879\
                     8081828384858687888990919293949596979899";

fn pair(number: u64) -> &'static str {
    let at = usize::try_from(number % 100).unwrap_or(0) * 2;
    PAIRS.get(at..at + 2).unwrap_or_default()
}

fn push_number(text: &mut String, number: u64) {
    if number >= 100 {
        push_number(text, number / 100);
        text.push_str(pair(number));
    } else if number >= 10 {
        text.push_str(pair(number));
    } else {
        text.push_str(pair(number).get(1..).unwrap_or_default());
    }
}

/// Dollars as [`NanoUsd`] prints them.
fn push_usd(text: &mut String, nanos: u64) {
    const UNIT: u64 = 1_000_000_000;
    text.push('$');
    push_number(text, nanos / UNIT);
    text.push('.');
    // Ten digits: the last is always 0.
    let fraction = nanos % UNIT * 10;
    let mut left = fraction;
    let mut place = 100_000_000;
    while left > 0 || place == 100_000_000 {
        let digits = pair(left / place);
        left %= place;
        let is_last = left == 0 && place < 100_000_000 && digits.ends_with('0');
        text.push_str(if is_last { digits.get(..1).unwrap_or_default() } else { digits });
        place = (place / 100).max(1);
    }
}

fn push_amount(text: &mut String, of: Quantity, amount: u64) {
    match of {
        Quantity::Usd => push_usd(text, amount),
        Quantity::Requests | Quantity::Tokens => push_number(text, amount),
    }
}

/// An amount as callers are given it.
pub(super) fn amount(of: Quantity, amount: u64) -> Amount {
    match of {
        Quantity::Usd => Amount::Usd(usd(amount)),
        Quantity::Requests | Quantity::Tokens => Amount::Count(amount),
    }
}

/// Nano-dollars as money.
pub(super) fn usd(nanos: u64) -> NanoUsd {
    NanoUsd(i64::try_from(nanos).unwrap_or(i64::MAX))
}

/// What stays the same in what is said of a limit: its unit, and how much it is.
pub(super) fn labels(says: &Says) -> Vec<(String, String)> {
    let Says::Limit(limit) = says else { return Vec::new() };
    let label = |cap: &Cap| {
        let mut limit = " of ".to_owned();
        push_amount(&mut limit, cap.of, cap.limit.get());
        (format!("{} ", cap.unit), limit)
    };
    limit.caps.iter().map(label).collect()
}

/// What a call makes of a figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    /// Nothing: it was not made.
    Same,
    /// So much more.
    More(u64),
    /// More, and nobody knows how much: its price is not known.
    Unknown,
}

/// `requests_per_minute 2 -> 3 of 5`, for `weir explain`: before and after the call.
pub(super) fn push_figure(
    text: &mut String,
    (unit, limit): &(String, String),
    gauge: &Gauge,
    then: Then,
) {
    if !text.is_empty() {
        text.push_str("; ");
    }
    let (of, used) = (gauge.cap.of, gauge.used());
    text.push_str(unit);
    push_amount(text, of, used);
    match then {
        Then::Same => {}
        Then::More(need) => {
            text.push_str(" -> ");
            push_amount(text, of, used.saturating_add(need));
        }
        Then::Unknown => text.push_str(" -> ?"),
    }
    text.push_str(limit);
}

/// `5 req/min`, `$10.00/day`.
pub(super) fn cap(cap: &Cap) -> String {
    let mut text = String::new();
    push_amount(&mut text, cap.of, cap.limit.get());
    match cap.of {
        Quantity::Requests => text.push_str(" req"),
        Quantity::Tokens => text.push_str(" tokens"),
        Quantity::Usd => {}
    }
    text.push('/');
    text.push_str(&per(cap.over));
    text
}

/// `min`, `day`, `36h`.
fn per(over: Over) -> String {
    match over {
        Over::Sliding(length) => match length.as_secs() {
            60 => "min".to_owned(),
            3600 => "hour".to_owned(),
            86_400 => "day".to_owned(),
            _ => span(length),
        },
        Over::Day => "day".to_owned(),
        Over::Week => "week".to_owned(),
        Over::Month => "month".to_owned(),
    }
}

/// The period of a budget: `day`, `month`, `24h`.
pub(super) fn period(over: Over) -> Arc<str> {
    match over {
        Over::Sliding(length) => span(length).into(),
        over => per(over).into(),
    }
}

/// `30s`, `36h`, `7d`: the longest unit that comes out even.
pub(super) fn span(length: Duration) -> String {
    let seconds = length.as_secs();
    match seconds {
        s if s >= 2 * 86_400 && s.is_multiple_of(86_400) => format!("{}d", s / 86_400),
        s if s >= 3600 && s.is_multiple_of(3600) => format!("{}h", s / 3600),
        s if s >= 60 && s.is_multiple_of(60) => format!("{}m", s / 60),
        s => format!("{s}s"),
    }
}

/// `agent: batch-agent`, `user: alice`.
pub(super) fn whom(rule: &Rule, key: &str) -> String {
    match (rule.per, key.split_once(':')) {
        (Per::Workload, _) => format!("workload: {key}"),
        (_, Some((kind, name))) => format!("{kind}: {name}"),
        (Per::All, None) if key == "*" => "all calls".to_owned(),
        (_, None) => format!("agent: {key}"),
    }
}

/// `Rate limit exceeded for agent: batch-agent (5 req/min)`.
pub(super) fn exceeded(rule: &Rule, key: &str, broken: &Cap) -> String {
    let what = match broken.of {
        Quantity::Requests => "Rate limit",
        Quantity::Tokens => "Token limit",
        Quantity::Usd => "Budget",
    };
    format!("{what} exceeded for {} ({})", whom(rule, key), cap(broken))
}

/// What a rule says, in one line.
pub(super) fn summary(says: &Says) -> String {
    match says {
        Says::Limit(limit) => of_limit(limit),
        Says::Guard(guard) => of_guard(guard),
        Says::Price(UnknownPrice::AllowAndFlag) => "calls of unknown price are flagged".to_owned(),
        Says::Price(UnknownPrice::Deny) => "calls of unknown price are refused".to_owned(),
        Says::Price(UnknownPrice::AssumeMax { input, output }) => {
            format!("unknown prices are taken as ${input} in, ${output} out per million tokens")
        }
        Says::Loops(loops) => {
            let most = |most: Option<std::num::NonZeroU64>, what| {
                most.map(|most| format!("{most} {what}/min"))
            };
            let parts = [most(loops.identical, "identical prompts"), most(loops.errors, "errors")];
            let parts: Vec<_> = parts.into_iter().flatten().collect();
            format!("{}, then {}", parts.join(", "), loops.on_breach.word())
        }
    }
}

fn of_limit(limit: &Limit) -> String {
    let caps: Vec<_> = limit.caps.iter().map(cap).collect();
    format!("{}, then {}", caps.join(", "), limit.on_breach.word())
}

fn of_guard(guard: &Guard) -> String {
    let mut text = String::new();
    let lists = [
        ("models", &guard.allow_models, &guard.deny_models),
        ("hosts", &guard.allow_hosts, &guard.deny_hosts),
        ("paths", &guard.allow_paths, &guard.deny_paths),
    ];
    let mut add = |part: std::fmt::Arguments<'_>| {
        let comma = if text.is_empty() { "" } else { ", " };
        let _infallible = write!(text, "{comma}{part}");
    };
    for (what, allow, deny) in lists {
        for (word, list) in [("only", allow), ("no", deny)] {
            if !list.is_empty() {
                let names: Vec<_> = list.iter().map(ToString::to_string).collect();
                add(format_args!("{word} {what} {}", names.join(" ")));
            }
        }
    }
    for (what, most) in [
        ("input tokens", guard.max_input_tokens),
        ("output tokens", guard.max_output_tokens),
        ("body bytes", guard.max_body_bytes),
    ] {
        if let Some(most) = most {
            add(format_args!("at most {most} {what}"));
        }
    }
    let _infallible = write!(text, ", else {}", guard.on_breach.word());
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing;

    #[test]
    fn money_reads_as_everywhere_else() {
        for nanos in
            [0, 1, 10, 990, 14_500_000, 100_000_000, 3_000_000_000, 1_063_761_250, 4_294_967_295]
        {
            let mut text = String::new();
            push_usd(&mut text, nanos);
            assert_eq!(text, format!("${}", usd(nanos)));
        }
    }

    #[test]
    fn refusals_name_whom_and_what() {
        let rule = testing::rule("rate_limits", "batch-agent", Says::Guard(Guard::default()));
        assert_eq!(
            exceeded(&rule, "batch-agent", &testing::per_minute(5)),
            "Rate limit exceeded for agent: batch-agent (5 req/min)"
        );
        assert_eq!(
            exceeded(&rule, "user:alice", &testing::daily_usd(10)),
            "Budget exceeded for user: alice ($10.00/day)"
        );
        assert_eq!(whom(&rule, "*"), "all calls");
        let own = Rule { per: Per::Workload, ..rule };
        assert_eq!(whom(&own, "exe:curl"), "workload: exe:curl");
    }

    #[test]
    fn spans_are_short() {
        for (seconds, text) in [(86_400, "24h"), (7 * 86_400, "7d"), (5 * 3600, "5h"), (90, "90s")]
        {
            assert_eq!(span(Duration::from_secs(seconds)), text);
        }
    }
}
