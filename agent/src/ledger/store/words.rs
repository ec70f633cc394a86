//! Enumerations as words: in the database they read as they do in JSON.

use serde::de::IntoDeserializer as _;
use serde::de::value::{Error, StrDeserializer};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The word for a value; empty for what has none.
pub(in crate::ledger) fn word<T: Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(word)) => word,
        _ => String::new(),
    }
}

/// The value of a word; `None` for a word of another version.
pub(in crate::ledger) fn parse<'de, T: Deserialize<'de>>(word: &'de str) -> Option<T> {
    let word: StrDeserializer<'de, Error> = word.into_deserializer();
    T::deserialize(word).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Flag, Outcome};

    #[test]
    fn words_are_those_of_json_and_read_back() {
        assert_eq!(word(&Outcome::UpstreamCut), "upstream_cut");
        assert_eq!(parse::<Outcome>("upstream_cut"), Some(Outcome::UpstreamCut));
        assert_eq!(parse::<Flag>("usage_injected"), Some(Flag::UsageInjected));
        assert_eq!(parse::<Flag>("from_the_future"), None);
    }
}
