//! Words of limits and budgets: counts, dollars, times of day, how far a rule goes.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::SeqAccessDeserializer;
use serde::de::{self, IntoDeserializer, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::value::Price;
use crate::llm::usage::NanoUsd;
use crate::policy;
use crate::policy::selector::Hours;

/// Why a word is none of a limit's.
#[derive(Debug, thiserror::Error)]
pub(super) enum AmountError {
    #[error("`{0}` is not a whole number")]
    Count(String),
    #[error("`{0}` is not an amount: write dollars as a decimal number (`10.00`)")]
    Dollars(String),
    #[error("`{0}` is not a time of day: write FROM-TO (`09:00-17:30`)")]
    Hours(String),
    #[error("`{0}` is not a whole number of percent")]
    Percent(String),
    #[error("{0}")]
    Enforcement(#[from] policy::enforcement::Unknown),
}

/// A number of requests or tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "u64")]
#[schemars(with = "u64", rename = "Count")]
pub(super) struct Count(pub(super) u64);

impl TryFrom<String> for Count {
    type Error = AmountError;

    fn try_from(word: String) -> Result<Self, AmountError> {
        let digits = word.replace('_', "");
        let is_number = digits.bytes().all(|digit| digit.is_ascii_digit());
        match digits.parse() {
            Ok(count) if is_number => Ok(Self(count)),
            _ => Err(AmountError::Count(word)),
        }
    }
}

impl From<Count> for u64 {
    fn from(count: Count) -> Self {
        count.0
    }
}

/// A share in percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "u16")]
#[schemars(with = "u16", rename = "Percent")]
pub(super) struct Percent(pub(super) u16);

impl TryFrom<String> for Percent {
    type Error = AmountError;

    fn try_from(word: String) -> Result<Self, AmountError> {
        let digits = word.strip_suffix('%').unwrap_or(&word).trim_end();
        digits.parse().map(Self).map_err(|_| AmountError::Percent(word))
    }
}

impl From<Percent> for u16 {
    fn from(percent: Percent) -> Self {
        percent.0
    }
}

/// A word, or a list of words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(super) struct Words<T>(pub(super) Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Words<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Either<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Either<T> {
            type Value = Words<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a word, or a list of words")
            }

            fn visit_str<E: de::Error>(self, word: &str) -> Result<Self::Value, E> {
                T::deserialize(word.into_deserializer()).map(|one| Words(vec![one]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(seq)).map(Words)
            }
        }

        from.deserialize_any(Either(PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for Words<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("Words{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<T>();
        json_schema!({"anyOf": [one, {"type": "array", "items": one}]})
    }
}

/// An amount of money in dollars, exact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "f64", rename = "Dollars")]
pub(super) struct Dollars(pub(super) NanoUsd);

impl TryFrom<String> for Dollars {
    type Error = AmountError;

    fn try_from(word: String) -> Result<Self, AmountError> {
        let price = Price::from_str(word.strip_prefix('$').unwrap_or(&word));
        price.map(|Price(nanos)| Self(nanos)).map_err(|_| AmountError::Dollars(word))
    }
}

impl From<Dollars> for String {
    fn from(dollars: Dollars) -> Self {
        dollars.0.to_string()
    }
}

/// A part of the day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", rename = "TimeOfDay")]
pub(super) struct TimeOfDay(pub(super) Hours);

impl TryFrom<String> for TimeOfDay {
    type Error = AmountError;

    fn try_from(word: String) -> Result<Self, AmountError> {
        let minute = |text: &str| {
            let (hour, minute) = text.trim().split_once(':')?;
            let two = |text: &str, most: u16| {
                let fits = text.len() == 2 && text.bytes().all(|digit| digit.is_ascii_digit());
                text.parse().ok().filter(|number: &u16| fits && *number < most)
            };
            Some(two(hour, 25)? * 60 + two(minute, 60)?).filter(|minute| *minute <= 24 * 60)
        };
        let hours = word.split_once('-').and_then(|(from, to)| {
            Some(Hours { from: minute(from).filter(|from| *from < 24 * 60)?, to: minute(to)? })
        });
        hours.map(Self).ok_or(AmountError::Hours(word))
    }
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Hours { from, to } = self.0;
        write!(f, "{:02}:{:02}-{:02}:{:02}", from / 60, from % 60, to / 60, to % 60)
    }
}

impl From<TimeOfDay> for String {
    fn from(time: TimeOfDay) -> Self {
        time.to_string()
    }
}

/// How far a rule goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", rename = "Enforcement")]
pub(super) struct Enforcement(pub(super) policy::Enforcement);

impl TryFrom<String> for Enforcement {
    type Error = AmountError;

    fn try_from(word: String) -> Result<Self, AmountError> {
        Ok(Self(word.parse()?))
    }
}

impl From<Enforcement> for String {
    fn from(enforcement: Enforcement) -> Self {
        enforcement.0.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_limits() {
        let count = |word: &str| Count::try_from(word.to_owned()).ok().map(|count| count.0);
        assert_eq!(
            (count("1_000"), count("0"), count("-1"), count("+1")),
            (Some(1000), Some(0), None, None)
        );
        let dollars = |word: &str| Dollars::try_from(word.to_owned()).ok().map(String::from);
        assert_eq!((dollars("$10"), dollars("0.5")), (Some("10.00".into()), Some("0.50".into())));
        assert_eq!((dollars("-5"), dollars("10 USD")), (None, None));
        let time = |word: &str| TimeOfDay::try_from(word.to_owned()).ok().map(String::from);
        assert_eq!(time("22:00 - 06:30").as_deref(), Some("22:00-06:30"));
        assert_eq!(time("00:00-24:00").as_deref(), Some("00:00-24:00"));
        for wrong in ["9-17", "09:00", "24:00-25:00", "09:60-10:00", "ab:cd-10:00", "+9:00-10:00"] {
            assert_eq!(time(wrong), None, "{wrong}");
        }
    }
}
