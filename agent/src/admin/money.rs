//! Money and tokens as the API writes them.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::llm::usage::{NanoUsd, Usage};
use crate::record::Treatment;

/// Dollars as a decimal string (`"0.0145"`): exact, where a JSON number would not be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, JsonSchema)]
#[schemars(with = "String", extend("pattern" = r"^-?\d+\.\d{2,9}$"))]
pub struct Usd(pub NanoUsd);

impl fmt::Display for Usd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The text is no decimal number of dollars.
#[derive(Debug, thiserror::Error)]
#[error("not a decimal number of dollars")]
pub struct NotUsd;

impl FromStr for Usd {
    type Err = NotUsd;

    fn from_str(text: &str) -> Result<Self, NotUsd> {
        let (sign, digits) = text.strip_prefix('-').map_or((1, text), |digits| (-1, digits));
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        if fraction.len() > 9 || [whole, fraction].concat().bytes().any(|b| !b.is_ascii_digit()) {
            return Err(NotUsd);
        }
        let whole: i64 = whole.parse().map_err(|_| NotUsd)?;
        let nanos: i64 = format!("{fraction:0<9}").parse().map_err(|_| NotUsd)?;
        let total = whole.checked_mul(1_000_000_000).and_then(|whole| whole.checked_add(nanos));
        total.map(|total| Self(NanoUsd(sign * total))).ok_or(NotUsd)
    }
}

impl Serialize for Usd {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Usd {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(de::Error::custom)
    }
}

/// Tokens by kind; the kinds are disjoint.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Tokens {
    /// Uncached input.
    pub input_tokens: u64,
    /// Input read from the provider's cache.
    pub cache_read_tokens: u64,
    /// Input written to the provider's cache for 5 minutes.
    pub cache_write_5m_tokens: u64,
    /// Input written to the provider's cache for 1 hour.
    pub cache_write_1h_tokens: u64,
    /// Visible output.
    pub output_tokens: u64,
    /// Reasoning output.
    pub reasoning_tokens: u64,
    /// Audio input.
    pub audio_input_tokens: u64,
    /// Audio output.
    pub audio_output_tokens: u64,
}

impl Tokens {
    /// Everything sent, cached or not.
    pub fn sent(&self) -> u64 {
        self.input_tokens + self.cached() + self.audio_input_tokens
    }

    /// Everything read from or written to a provider's cache.
    pub fn cached(&self) -> u64 {
        self.cache_read_tokens + self.cache_write_5m_tokens + self.cache_write_1h_tokens
    }

    /// Everything received.
    pub fn received(&self) -> u64 {
        self.output_tokens + self.reasoning_tokens + self.audio_output_tokens
    }
}

impl From<Usage> for Tokens {
    fn from(usage: Usage) -> Self {
        Self {
            input_tokens: usage.input,
            cache_read_tokens: usage.cache_read,
            cache_write_5m_tokens: usage.cache_write_5m,
            cache_write_1h_tokens: usage.cache_write_1h,
            output_tokens: usage.output,
            reasoning_tokens: usage.reasoning,
            audio_input_tokens: usage.audio_input,
            audio_output_tokens: usage.audio_output,
        }
    }
}

/// The share of what was seen that was metered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Coverage {
    /// Connections to LLM hosts whose calls were read.
    pub metered: u64,
    /// All connections to LLM hosts.
    pub total: u64,
    /// The rest, by reason.
    pub reasons: Vec<Reason>,
}

/// Why connections were not metered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reason {
    /// How they were treated.
    pub treatment: Treatment,
    /// Why: `untrusted`, `observe`, `no_sni`, ….
    pub reason: String,
    /// How many there were.
    pub count: u64,
}

impl Coverage {
    /// From 0 to 1; `None` where nothing was seen.
    pub fn ratio(&self) -> Option<f64> {
        #[expect(clippy::cast_precision_loss, reason = "a share, shown to the percent")]
        let ratio = self.metered as f64 / self.total as f64;
        (self.total > 0).then_some(ratio)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_come_back_as_they_went() {
        for nanos in [0, 1, 14_500_000, -3_000_000_000, i64::MAX] {
            let text = Usd(NanoUsd(nanos)).to_string();
            assert_eq!(text.parse::<Usd>().unwrap(), Usd(NanoUsd(nanos)), "{text}");
        }
        for text in ["", "-", ".5", "1e3", "1.0000000001", "99999999999", "+1", "1.-5"] {
            assert!(text.parse::<Usd>().is_err(), "{text}");
        }
    }

    #[test]
    fn nothing_seen_is_not_full_coverage() {
        assert_eq!(Coverage::default().ratio(), None);
        assert_eq!(Coverage { metered: 3, total: 4, reasons: Vec::new() }.ratio(), Some(0.75));
    }
}
