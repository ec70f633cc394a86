//! What rules say, in words.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use super::call::Amount;
use super::settings::{Cap, Guard, Limit, Over, Per, Quantity, Rule, Says, UnknownPrice};
use crate::llm::usage::NanoUsd;
use crate::record;

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

/// What is said of a call whose body could not be read.
pub(super) const UNREAD: &str = "Its body could not be read, so it counts as the most that can be \
     asked for there: send it uncompressed, as JSON, and smaller than limits.request_body";

/// `5 req/min`, `$10.00/day`.
pub(super) fn cap(cap: &Cap) -> String {
    let mut text = record::Amount(cap.of, cap.limit.get()).to_string();
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
