//! Values written as words: sizes, durations, prices, addresses. Each reads and prints itself.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::llm::usage::NanoUsd;

/// Makes a type read and print itself as the word its `FromStr` and `Display` speak.
macro_rules! word {
    ($type:ty, $name:literal, $pattern:literal) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                String::deserialize(from)?.parse().map_err(de::Error::custom)
            }
        }

        impl Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({"type": ["string", "number", "boolean"], "pattern": $pattern})
            }
        }
    };
}

/// Why a word is none of a value's spellings.
#[derive(Debug, thiserror::Error)]
pub enum WordError {
    /// Of a size.
    #[error("`{0}` is not a size: write bytes, or a number with KiB, MiB or GiB (`64MiB`)")]
    Size(String),
    /// Of a duration.
    #[error("`{0}` is not a duration: write a number with ms, s, m, h or d (`30s`, `90d`)")]
    Duration(String),
    /// Of a listener.
    #[error("`{0}` is not an address: write IP:PORT (`127.0.0.1:4180`) or `off`")]
    Address(String),
    /// Of a toggle.
    #[error("`{0}` is not one of auto, true, false")]
    Toggle(String),
    /// Of `ledger.sync`.
    #[error("`{0}` is not one of 1s, always")]
    Sync(String),
    /// Of a price.
    #[error("`{0}` is not a price: write dollars as a decimal number of at most 9 places (`1.25`)")]
    Price(String),
    /// Of a share.
    #[error("`{0}` is not a share: write a number from 0 to 1 with at most 6 places (`0.1`)")]
    Share(String),
    /// Of a date.
    #[error("`{0}` is not a date: write YEAR-MONTH-DAY (`2026-11-01`)")]
    Date(String),
}

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size(pub(super) u64);

const UNITS: [(&str, u64); 6] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
];

impl FromStr for Size {
    type Err = WordError;

    fn from_str(word: &str) -> Result<Self, WordError> {
        let (number, unit) = UNITS
            .iter()
            .find_map(|(name, unit)| {
                let at = word.len().checked_sub(name.len())?;
                let tail = word.get(at..)?;
                tail.eq_ignore_ascii_case(name).then(|| (word[..at].trim_end(), *unit))
            })
            .unwrap_or_else(|| (word.strip_suffix('B').unwrap_or(word), 1));
        digits(number)
            .and_then(|number| number.checked_mul(unit))
            .map(Self)
            .ok_or_else(|| WordError::Size(word.to_owned()))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match UNITS[..3].iter().find(|(_, unit)| self.0 >= *unit && self.0.is_multiple_of(*unit)) {
            Some((name, unit)) => write!(f, "{}{name}", self.0 / unit),
            None => write!(f, "{}", self.0),
        }
    }
}

word!(Size, "Size", r"^\d+ ?(B|[KMG]i?B)?$");

/// A span of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span(pub(super) Duration);

impl FromStr for Span {
    type Err = WordError;

    fn from_str(word: &str) -> Result<Self, WordError> {
        // Units must be written: a bare `30` could be seconds or days.
        humantime::parse_duration(word)
            .ok()
            .filter(|_| word.chars().any(char::is_alphabetic))
            .map(Self)
            .ok_or_else(|| WordError::Duration(word.to_owned()))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DAY: u64 = 86_400;
        let seconds = self.0.as_secs();
        if self.0.subsec_nanos() == 0 && seconds > 0 && seconds.is_multiple_of(DAY) {
            return write!(f, "{}d", seconds / DAY);
        }
        humantime::format_duration(self.0).fmt(f)
    }
}

word!(Span, "Duration", r"^(\d+ ?[a-z]+ ?)+$");

/// An address to listen on, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Address(pub(super) Option<SocketAddr>);

impl FromStr for Address {
    type Err = WordError;

    fn from_str(word: &str) -> Result<Self, WordError> {
        if word == "off" {
            return Ok(Self(None));
        }
        match word.parse() {
            Ok(addr) => Ok(Self(Some(addr))),
            Err(_) => Err(WordError::Address(word.to_owned())),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(addr) => addr.fmt(f),
            None => f.write_str("off"),
        }
    }
}

word!(Address, "Address", r"^(off|\S+:\d{1,5})$");

/// Whether to do something: always, never, or where it is possible.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Toggle {
    /// Where it is possible; otherwise go on without, and say so.
    #[default]
    Auto,
    /// Always; where it is not possible, start-up fails.
    On,
    /// Never.
    Off,
}

impl FromStr for Toggle {
    type Err = WordError;

    fn from_str(word: &str) -> Result<Self, WordError> {
        match word {
            "auto" => Ok(Self::Auto),
            "true" => Ok(Self::On),
            "false" => Ok(Self::Off),
            _ => Err(WordError::Toggle(word.to_owned())),
        }
    }
}

impl fmt::Display for Toggle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::On => "true",
            Self::Off => "false",
        })
    }
}

word!(Toggle, "Toggle", "^(auto|true|false)$");

/// When the ledger forces its rows to the disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Fsync {
    /// At least every second; a power cut can take what was written since.
    #[default]
    EverySecond,
    /// With every commit.
    Always,
}

impl FromStr for Fsync {
    type Err = WordError;

    fn from_str(word: &str) -> Result<Self, WordError> {
        match word {
            "1s" => Ok(Self::EverySecond),
            "always" => Ok(Self::Always),
            _ => Err(WordError::Sync(word.to_owned())),
        }
    }
}

impl fmt::Display for Fsync {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EverySecond => f.write_str("1s"),
            Self::Always => f.write_str("always"),
        }
    }
}

word!(Fsync, "Sync", "^(1s|always)$");

/// Dollars per million tokens, exact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Price(pub(super) NanoUsd);

impl FromStr for Price {
    type Err = WordError;

    fn from_str(word: &str) -> Result<Self, WordError> {
        let (whole, fraction) = word.split_once('.').unwrap_or((word, "0"));
        let nanos = digits(fraction)
            .filter(|_| fraction.len() <= 9)
            .map(|_| format!("{fraction:0<9}"))
            .and_then(|fraction| digits(&fraction))
            .zip(digits(whole))
            .and_then(|(nanos, whole)| whole.checked_mul(1_000_000_000)?.checked_add(nanos))
            .and_then(|nanos| i64::try_from(nanos).ok());
        nanos.map(|nanos| Self(NanoUsd(nanos))).ok_or_else(|| WordError::Price(word.to_owned()))
    }
}

impl fmt::Display for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

word!(Price, "Price", r"^\d+(\.\d{1,9})?$");

/// A part of a whole, in millionths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Share(pub(super) u32);

impl Share {
    const WHOLE: u32 = 1_000_000;
}

impl Default for Share {
    fn default() -> Self {
        Self(Self::WHOLE)
    }
}

impl FromStr for Share {
    type Err = WordError;

    fn from_str(word: &str) -> Result<Self, WordError> {
        // Three more digits than are kept: the price's are exact.
        let nanos = word.parse().ok().map(|Price(NanoUsd(nanos))| nanos);
        let millionths = nanos.filter(|nanos| nanos % 1000 == 0).map(|nanos| nanos / 1000);
        let millionths = millionths.and_then(|millionths| u32::try_from(millionths).ok());
        let fits = millionths.filter(|millionths| *millionths <= Self::WHOLE);
        fits.map(Self).ok_or_else(|| WordError::Share(word.to_owned()))
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = format!("{}.{:06}", self.0 / Self::WHOLE, self.0 % Self::WHOLE);
        f.write_str(digits.trim_end_matches('0').trim_end_matches('.'))
    }
}

word!(Share, "Share", r"^[01](\.\d{1,6})?$");

/// A calendar day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Day(pub(super) jiff::civil::Date);

impl FromStr for Day {
    type Err = WordError;

    fn from_str(word: &str) -> Result<Self, WordError> {
        word.parse().map(Self).map_err(|_| WordError::Date(word.to_owned()))
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

word!(Day, "Date", r"^\d{4}-\d{2}-\d{2}$");

/// One value, or a list of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(super) struct OneOrMany<T>(pub(super) Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Either<T>(std::marker::PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Either<T> {
            type Value = OneOrMany<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of keys, or a list of such maps")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(|one| OneOrMany(vec![one]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(seq)).map(OneOrMany)
            }
        }

        from.deserialize_any(Either(std::marker::PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for OneOrMany<T> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("OneOrMany{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<T>();
        json_schema!({"anyOf": [one, {"type": "array", "items": one}]})
    }
}

/// Digits only: no sign, no exponent, no `inf`.
fn digits(word: &str) -> Option<u64> {
    word.bytes().all(|byte| byte.is_ascii_digit()).then(|| word.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (word, bytes) in [("64MiB", 64 << 20), ("1 KiB", 1024), ("10mb", 10_000_000), ("7", 7)]
        {
            assert_eq!(word.parse::<Size>().unwrap().0, bytes, "{word}");
        }
        for word in ["", "MiB", "-1", "1.5MiB", "1TiB", "99999999999999GiB", "é"] {
            assert!(word.parse::<Size>().is_err(), "{word}");
        }
        assert_eq!(Size(64 << 20).to_string(), "64MiB");
        assert_eq!(Size(1025).to_string(), "1025");
    }

    #[test]
    fn spans() {
        assert_eq!("90d".parse::<Span>().unwrap().to_string(), "90d");
        assert_eq!("1h 30m".parse::<Span>().unwrap().0, Duration::from_mins(90));
        for word in ["30", "", "-1s", "soon", "0"] {
            assert!(word.parse::<Span>().is_err(), "{word}");
        }
    }

    #[test]
    fn prices_are_exact() {
        assert_eq!("1.25".parse::<Price>().unwrap().0, NanoUsd(1_250_000_000));
        assert_eq!("0.000000001".parse::<Price>().unwrap().0, NanoUsd(1));
        assert_eq!("15".parse::<Price>().unwrap().0, NanoUsd(15_000_000_000));
        for word in ["", ".", "1.", ".5", "-1", "1e3", "0.0000000001", "99999999999", "$1"] {
            assert!(word.parse::<Price>().is_err(), "{word}");
        }
    }

    #[test]
    fn shares() {
        for (word, millionths) in [("0", 0), ("0.1", 100_000), ("1", 1_000_000), ("0.000001", 1)] {
            assert_eq!(word.parse::<Share>().unwrap(), Share(millionths));
            assert_eq!(Share(millionths).to_string(), word);
        }
        for word in ["", "-0.1", "1.1", "0.0000001", "10%", "2"] {
            assert!(word.parse::<Share>().is_err(), "{word}");
        }
    }

    #[test]
    fn words_print_as_they_read() {
        assert_eq!("off".parse::<Address>().unwrap().to_string(), "off");
        assert_eq!("[::1]:0".parse::<Address>().unwrap().to_string(), "[::1]:0");
        assert_eq!("always".parse::<Fsync>().unwrap(), Fsync::Always);
        assert_eq!("1s".parse::<Fsync>().unwrap().to_string(), "1s");
        assert_eq!("auto".parse::<Toggle>().unwrap(), Toggle::Auto);
        assert!("2026-13-01".parse::<Day>().is_err());
    }
}
