//! Error budgets, latencies and spikes, as written.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr as _;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::limits::RawMatch;
use crate::config::amount::{Count, Dollars};
use crate::config::value::Price;

/// Why a word is none of these sections'.
#[derive(Debug, thiserror::Error)]
pub(in crate::config) enum WatchingError {
    #[error("`{0}` is not a share: write percent as a decimal number from 0.0001 to 100 (`0.1`)")]
    Percentage(String),
    #[error("`{0}` is not a factor: write a decimal number with at most two decimals (`3`, `2.5`)")]
    Factor(String),
}

/// A share in percent, in millionths of the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "f64", rename = "Percentage")]
pub(in crate::config) struct Percentage(pub(in crate::config) u32);

impl TryFrom<String> for Percentage {
    type Error = WatchingError;

    fn try_from(word: String) -> Result<Self, WatchingError> {
        let digits = word.strip_suffix('%').unwrap_or(&word).trim_end();
        // A millionth of the whole is a ten-thousandth of a percent.
        let millionths = decimal(digits, 100_000).filter(|it| (1..=1_000_000).contains(it));
        millionths.map(Self).ok_or(WatchingError::Percentage(word))
    }
}

impl From<Percentage> for String {
    fn from(share: Percentage) -> Self {
        let digits = format!("{}.{:04}", share.0 / 10_000, share.0 % 10_000);
        digits.trim_end_matches('0').trim_end_matches('.').to_owned()
    }
}

/// How many times something, in percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "f64", rename = "Factor")]
pub(in crate::config) struct Factor(pub(in crate::config) u32);

impl TryFrom<String> for Factor {
    type Error = WatchingError;

    fn try_from(word: String) -> Result<Self, WatchingError> {
        decimal(&word, 10_000_000).map(Self).ok_or(WatchingError::Factor(word))
    }
}

impl From<Factor> for String {
    fn from(factor: Factor) -> Self {
        let digits = format!("{}.{:02}", factor.0 / 100, factor.0 % 100);
        digits.trim_end_matches('0').trim_end_matches('.').to_owned()
    }
}

/// A decimal number in units of so many billionths, where it is a whole number of them.
fn decimal(word: &str, unit: i64) -> Option<u32> {
    let billionths = Price::from_str(word).ok()?.0.0;
    (billionths % unit == 0).then(|| u32::try_from(billionths / unit).ok())?
}

/// A rule that can be written as its one figure.
pub(in crate::config) trait Shortly: Sized {
    /// What is expected where neither it nor a map is found.
    const EXPECTED: &'static str;

    /// The rule that says this and nothing else.
    fn of(figure: &str) -> Result<Self, String>;
}

/// A rule: its one figure, or a map.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(transparent)]
pub(in crate::config) struct Short<T>(pub(in crate::config) T);

impl<'de, T: Shortly + Deserialize<'de>> Deserialize<'de> for Short<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Either<T>(PhantomData<T>);

        impl<'de, T: Shortly + Deserialize<'de>> Visitor<'de> for Either<T> {
            type Value = Short<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(T::EXPECTED)
            }

            fn visit_str<E: de::Error>(self, word: &str) -> Result<Self::Value, E> {
                T::of(word).map(Short).map_err(E::custom)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Short)
            }
        }

        from.deserialize_any(Either(PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for Short<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("FigureOr{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let map = generator.subschema_for::<T>();
        json_schema!({"anyOf": [{"type": "number"}, map]})
    }
}

#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Error budget")]
pub(in crate::config) struct RawErrorBudget {
    /// The share of the task's calls that may fail, in percent. People are told when 80 % of it
    /// are used in the last 100 calls of a workload, and when all of it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) target_percent: Option<Percentage>,
    /// Calls that there must be before anybody is told: 2 to 100, by default 20.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) minimum_calls: Option<Count>,
    /// Which calls the task consists of; without it, those its key names.
    #[serde(rename = "match", skip_serializing_if = "Option::is_none")]
    pub(in crate::config) matching: Option<RawMatch>,
}

impl Shortly for RawErrorBudget {
    const EXPECTED: &'static str = "percent, or a map of keys";

    fn of(figure: &str) -> Result<Self, String> {
        let target = Percentage::try_from(figure.to_owned()).map_err(|wrong| wrong.to_string())?;
        Ok(Self { target_percent: Some(target), ..Self::default() })
    }
}

#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "SLA")]
pub(in crate::config) struct RawSla {
    /// Milliseconds that 95 of 100 calls of a workload and model may take: 10000 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) p95_ms: Option<Count>,
    /// Which calls it is about; without it, those its key names.
    #[serde(rename = "match", skip_serializing_if = "Option::is_none")]
    pub(in crate::config) matching: Option<RawMatch>,
}

impl Shortly for RawSla {
    const EXPECTED: &'static str = "milliseconds, or a map of keys";

    fn of(figure: &str) -> Result<Self, String> {
        let most = Count::try_from(figure.to_owned()).map_err(|wrong| wrong.to_string())?;
        Ok(Self { p95_ms: Some(most), ..Self::default() })
    }
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Spikes")]
pub(in crate::config) struct RawSpikes {
    /// Whether people are told that a workload spends far more than it usually does.
    pub(in crate::config) enabled: bool,
    /// How many times its usual hour that is, more than 1.
    pub(in crate::config) factor: Factor,
    /// Hours that cost less than this are never unusual.
    pub(in crate::config) floor_usd: Dollars,
    /// Whose spending is watched; without it, everyone's.
    #[serde(rename = "match", skip_serializing_if = "Option::is_none")]
    pub(in crate::config) matching: Option<RawMatch>,
}

impl Default for RawSpikes {
    fn default() -> Self {
        let five = crate::llm::usage::NanoUsd(5 * crate::llm::usage::NanoUsd::DOLLAR.0);
        Self { enabled: true, factor: Factor(300), floor_usd: Dollars(five), matching: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_exact_and_print_as_they_read() {
        for (word, millionths) in [("0.1", 1_000), ("5", 50_000), ("100", 1_000_000), ("0.0001", 1)]
        {
            let read = Percentage::try_from(word.to_owned()).unwrap();
            assert_eq!((read.0, &*String::from(read)), (millionths, word));
        }
        assert_eq!(Percentage::try_from("2.5 %".to_owned()).unwrap().0, 25_000);
        for word in ["", "0", "100.1", "-1", "0.00001", "five", "1e2"] {
            assert!(Percentage::try_from(word.to_owned()).is_err(), "{word}");
        }
        for (word, percent) in [("3", 300), ("2.5", 250), ("1.05", 105)] {
            let read = Factor::try_from(word.to_owned()).unwrap();
            assert_eq!((read.0, &*String::from(read)), (percent, word));
        }
        for word in ["", "x3", "1.001", "-3"] {
            assert!(Factor::try_from(word.to_owned()).is_err(), "{word}");
        }
    }
}
