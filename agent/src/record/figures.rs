//! What a decision rests on. Limits leave their figures, not a text of them: a call meets dozens,
//! the words around the figures are the same for every call, and most are never read.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::llm::usage::NanoUsd;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quantity {
    /// Calls.
    Requests,
    /// Tokens.
    Tokens,
    /// Money, in nano-dollars.
    Usd,
}

/// The figures a decision rests on, for a human.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Detail {
    /// In words.
    Text(String),
    /// How the limits of a policy stood.
    Figures(Box<Figures>),
}

/// How the limits of a policy stood when a call met them; prints as
/// `requests_per_minute 2 -> 3 of 5; daily_limit_usd $1.50 -> $1.52 of $10.00`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figures {
    /// The limits.
    pub limits: Arc<Limits>,
    /// Used of each of them before the call.
    pub used: Box<[u64]>,
    /// What the call was counted with; `None` where it was not made.
    pub more: Option<More>,
    /// What else is to be said.
    pub remark: Option<Box<str>>,
}

/// The limits of a policy: what is the same for all calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// The policy.
    pub policy: Arc<str>,
    /// Key in the configuration, what is counted, and how much of it is allowed.
    pub of: Vec<(Arc<str>, Quantity, u64)>,
}

/// What a call is counted with beside being one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct More {
    /// Tokens.
    pub tokens: u64,
    /// Nano-dollars; `None` where its price is not known.
    pub usd: Option<u64>,
}

impl More {
    /// How much of a quantity.
    fn of(self, quantity: Quantity) -> Option<u64> {
        match quantity {
            Quantity::Requests => Some(1),
            Quantity::Tokens => Some(self.tokens),
            Quantity::Usd => self.usd,
        }
    }
}

impl From<String> for Detail {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Detail {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl fmt::Display for Detail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Figures(figures) => figures.fmt(f),
        }
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, ((unit, of, limit), used)) in self.limits.of.iter().zip(&self.used).enumerate()
        {
            let between = if place == 0 { "" } else { "; " };
            let used_then = self.more.map(|more| more.of(*of));
            write!(f, "{between}{unit} {}", Amount(*of, *used))?;
            match used_then {
                None => {}
                Some(None) => f.write_str(" -> ?")?,
                Some(Some(more)) => write!(f, " -> {}", Amount(*of, used.saturating_add(more)))?,
            }
            write!(f, " of {}", Amount(*of, *limit))?;
        }
        match &self.remark {
            Some(remark) => write!(f, "; {remark}"),
            None => Ok(()),
        }
    }
}

/// So much of a quantity.
pub(crate) struct Amount(pub(crate) Quantity, pub(crate) u64);

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Quantity::Usd => write!(f, "${}", NanoUsd(i64::try_from(self.1).unwrap_or(i64::MAX))),
            Quantity::Requests | Quantity::Tokens => self.1.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(more: Option<More>, remark: Option<&str>) -> String {
        let of = vec![
            ("requests_per_minute".into(), Quantity::Requests, 5),
            ("tokens_per_day".into(), Quantity::Tokens, 1_000),
            ("daily_limit_usd".into(), Quantity::Usd, 10_000_000_000),
        ];
        let limits = Arc::new(Limits { policy: "rate_limits.x".into(), of });
        let used = Box::new([2, 40, 1_500_000_000]);
        Figures { limits, used, more, remark: remark.map(Into::into) }.to_string()
    }

    #[test]
    fn figures_say_before_after_and_limit() {
        assert_eq!(
            figures(Some(More { tokens: 60, usd: Some(14_500_000) }), None),
            "requests_per_minute 2 -> 3 of 5; tokens_per_day 40 -> 100 of 1000; \
             daily_limit_usd $1.50 -> $1.5145 of $10.00"
        );
        assert!(
            figures(Some(More { tokens: 60, usd: None }), None).ends_with("$1.50 -> ? of $10.00")
        );
        assert_eq!(
            figures(None, Some("output capped at 9")),
            "requests_per_minute 2 of 5; tokens_per_day 40 of 1000; daily_limit_usd $1.50 of \
             $10.00; output capped at 9"
        );
    }
}
