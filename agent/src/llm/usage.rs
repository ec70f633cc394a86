//! Tokens by kind. The kinds are disjoint: their sum is the number of tokens billed.

use serde::{Deserialize, Serialize};

/// Token counts of one call or attempt, in disjoint kinds.
///
/// Providers report overlapping figures (`OpenAI` counts cached tokens inside `prompt_tokens`,
/// Anthropic does not); the wire formats convert to this shape once, so that nothing downstream
/// can count a token twice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// Uncached text (and image) input.
    pub input: u64,
    /// Input read from the provider's cache.
    pub cache_read: u64,
    /// Input written to the provider's cache with the default (5 minute) lifetime.
    pub cache_write_5m: u64,
    /// Input written to the provider's cache with the 1 hour lifetime.
    pub cache_write_1h: u64,
    /// Visible output, without reasoning.
    pub output: u64,
    /// Reasoning (thinking) output, where the provider says how much it was.
    pub reasoning: u64,
    /// Uncached audio input.
    pub audio_input: u64,
    /// Audio output.
    pub audio_output: u64,
}

impl Usage {
    /// All tokens of all kinds.
    pub fn total(&self) -> u64 {
        [
            self.input,
            self.cache_read,
            self.cache_write_5m,
            self.cache_write_1h,
            self.output,
            self.reasoning,
            self.audio_input,
            self.audio_output,
        ]
        .into_iter()
        .fold(0, u64::saturating_add)
    }
}

/// An amount of money in billionths of a US dollar: exact in ledger, metrics and budgets.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct NanoUsd(pub i64);

impl NanoUsd {
    /// One US dollar.
    pub const DOLLAR: Self = Self(1_000_000_000);

    /// Adds, stopping at the largest representable amount (about nine billion dollars).
    #[must_use]
    pub fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

/// Dollars as a decimal string without trailing zeros, at least two decimals: `0.0145`, `3.00`.
impl std::fmt::Display for NanoUsd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let nanos = self.0.unsigned_abs();
        let fraction = format!("{:09}", nanos % 1_000_000_000);
        let kept = fraction.trim_end_matches('0').len().max(2);
        write!(f, "{sign}{}.{}", nanos / 1_000_000_000, &fraction[..kept])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_prints_as_exact_decimal() {
        assert_eq!(NanoUsd(14_500_000).to_string(), "0.0145");
        assert_eq!(NanoUsd(3_000_000_000).to_string(), "3.00");
        assert_eq!(NanoUsd(-1_063_761_250).to_string(), "-1.06376125");
        assert_eq!(NanoUsd(1).to_string(), "0.000000001");
    }

    #[test]
    fn total_saturates() {
        let usage = Usage { input: u64::MAX, output: 1, ..Usage::default() };
        assert_eq!(usage.total(), u64::MAX);
    }
}
