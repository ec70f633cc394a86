//! A price per million tokens, exact: an integer, never a float.

use std::str::FromStr;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::llm::usage::NanoUsd;

/// Dollars per million of something (tokens, mostly), in units of 10⁻¹² dollars.
///
/// Twelve decimals hold every price of the catalogue; what is longer there is the noise of a
/// binary float (`0.18000000000000002`) and is rounded away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rate(u64);

/// Decimals a [`Rate`] keeps.
const DECIMALS: i32 = 12;
/// Units of a [`Rate`] in one dollar.
const UNITS: u64 = 1_000_000_000_000;
/// No price per million is above this many dollars; guards the arithmetic, not a judgement.
const MAX_DOLLARS: u64 = 10_000_000;

/// A text or number that is no price.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a price: expected a decimal number of dollars from 0 to 10000000")]
pub struct NotAPrice;

impl Rate {
    /// Nothing to pay.
    pub const FREE: Self = Self(0);

    /// What `count` of it costs, in units of 10⁻¹⁸ dollars, unrounded.
    pub(super) fn times(self, count: u64) -> u128 {
        u128::from(self.0) * u128::from(count)
    }
}

/// Rounds a sum of [`Rate::times`] to nano-dollars, half up; the only rounding of a call's price.
pub(super) fn round(sum: u128) -> NanoUsd {
    const PER_NANO: u128 = 1_000_000_000;
    NanoUsd(i64::try_from(sum.saturating_add(PER_NANO / 2) / PER_NANO).unwrap_or(i64::MAX))
}

/// Reads a plain decimal (`3`, `0.075`), with or without an exponent (`1e-05`).
impl FromStr for Rate {
    type Err = NotAPrice;

    fn from_str(text: &str) -> Result<Self, NotAPrice> {
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse().map_err(|_| NotAPrice)?),
            None => (text, 0_i16),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) {
            return Err(NotAPrice);
        }
        // The digits as one number, and how many of them stand right of the point of `UNITS`.
        let shift = i32::from(exponent) + DECIMALS
            - i32::try_from(fraction.len()).map_err(|_| NotAPrice)?;
        let digits: String = [whole, fraction].concat();
        let digits = digits.trim_start_matches('0');
        if digits.is_empty() {
            return Ok(Self(0));
        }
        let units = if shift >= 0 {
            let zeros = usize::try_from(shift).map_err(|_| NotAPrice)?;
            if digits.len() + zeros > 30 {
                return Err(NotAPrice);
            }
            format!("{digits}{}", "0".repeat(zeros)).parse::<u128>().map_err(|_| NotAPrice)?
        } else {
            let dropped = usize::try_from(-shift).map_err(|_| NotAPrice)?;
            let kept = digits.len().saturating_sub(dropped);
            let round_up = dropped <= digits.len() && digits.as_bytes()[kept] >= b'5';
            let kept = if kept == 0 { "0" } else { &digits[..kept] };
            if kept.len() > 30 {
                return Err(NotAPrice);
            }
            kept.parse::<u128>().map_err(|_| NotAPrice)? + u128::from(round_up)
        };
        u64::try_from(units)
            .ok()
            .filter(|units| *units <= MAX_DOLLARS * UNITS)
            .map(Self)
            .ok_or(NotAPrice)
    }
}

/// Dollars without trailing zeros, at least two decimals: `3.00`, `0.075`.
impl std::fmt::Display for Rate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let fraction = format!("{:012}", self.0 % UNITS);
        let kept = fraction.trim_end_matches('0').len().max(2);
        write!(f, "{}.{}", self.0 / UNITS, &fraction[..kept])
    }
}

/// Written as a decimal string, as all money is.
impl Serialize for Rate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Read from a decimal string or a number.
impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RateVisitor)
    }
}

struct RateVisitor;

impl Visitor<'_> for RateVisitor {
    type Value = Rate;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("dollars per million, such as 3 or \"0.075\"")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Rate, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, whole: u64) -> Result<Rate, E> {
        whole.to_string().parse().map_err(E::custom)
    }

    fn visit_i64<E: de::Error>(self, whole: i64) -> Result<Rate, E> {
        whole.to_string().parse().map_err(E::custom)
    }

    /// The shortest text that reads back as this float is the decimal that was written.
    fn visit_f64<E: de::Error>(self, float: f64) -> Result<Rate, E> {
        float.to_string().parse().map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn units(text: &str) -> Option<u64> {
        text.parse::<Rate>().ok().map(|rate| rate.0)
    }

    #[test]
    fn decimals_are_exact() {
        assert_eq!(units("3"), Some(3_000_000_000_000));
        assert_eq!(units("0.003625"), Some(3_625_000_000));
        assert_eq!(units("0.18000000000000002"), Some(180_000_000_000));
        assert_eq!(units("0.041666666666666664"), Some(41_666_666_667));
        assert_eq!(units("1e-05"), Some(10_000_000));
        assert_eq!(units("1.5E2"), Some(150_000_000_000_000));
        assert_eq!(units("0.0000000000004"), Some(0));
        assert_eq!(units("0.0000000000005"), Some(1));
        assert_eq!(units("0"), Some(0));
    }

    #[test]
    fn what_is_no_price_is_refused() {
        for text in ["", "-1", "+1", ".5", "1.2.3", "1e", "NaN", "inf", "10000001", "1e400", "0x1"]
        {
            assert_eq!(units(text), None, "{text}");
        }
    }

    #[test]
    fn it_prints_what_it_reads() {
        for (text, shown) in [("3", "3.00"), ("0.075", "0.075"), ("0.0001", "0.0001")] {
            assert_eq!(text.parse::<Rate>().unwrap().to_string(), shown);
        }
        let read: Vec<Rate> = serde_json::from_str(r#"[3, 0.075, "0.0001"]"#).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), r#"["3.00","0.075","0.0001"]"#);
    }

    #[test]
    fn a_sum_is_rounded_once_and_saturates() {
        let rate: Rate = "0.3".parse().unwrap();
        // 3 tokens at 0.3 $/M are 900 nano-dollars; 1 token at 0.0005 $/M is half of one.
        assert_eq!(round(rate.times(3)), NanoUsd(900));
        assert_eq!(round("0.0005".parse::<Rate>().unwrap().times(1)), NanoUsd(1));
        assert_eq!(round("0.00049".parse::<Rate>().unwrap().times(1)), NanoUsd(0));
        assert_eq!(round(u128::MAX), NanoUsd(i64::MAX));
    }
}
