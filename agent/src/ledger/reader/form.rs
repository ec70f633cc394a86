//! How figures look in JSON: money as a decimal string, durations as milliseconds.

/// `"0.0145"`.
pub(super) mod money {
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::llm::usage::NanoUsd;

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
    pub(in super::super) fn serialize<S: Serializer>(
        amount: &NanoUsd,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_str(amount)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<NanoUsd, D::Error> {
        let text = String::deserialize(from)?;
        parse(&text).ok_or_else(|| D::Error::custom(format!("not an amount of money: {text}")))
    }

    /// The inverse of [`NanoUsd`]'s `Display`.
    pub(super) fn parse(text: &str) -> Option<NanoUsd> {
        let (sign, digits) = match text.strip_prefix('-') {
            Some(rest) => (-1, rest),
            None => (1, text),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let plain = |part: &str| part.bytes().all(|it| it.is_ascii_digit());
        if whole.is_empty() || fraction.len() > 9 || !plain(whole) || !plain(fraction) {
            return None;
        }
        let nanos: i64 = format!("{whole}{fraction:0<9}").parse().ok()?;
        Some(NanoUsd(sign * nanos))
    }
}

/// `"0.0145"`, or null where unknown.
pub(super) mod maybe_money {
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serialize as _, Serializer};

    use crate::llm::usage::NanoUsd;

    #[expect(clippy::ref_option, reason = "the signature serde asks for")]
    pub(in super::super) fn serialize<S: Serializer>(
        amount: &Option<NanoUsd>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        amount.map(|it| it.to_string()).serialize(to)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<NanoUsd>, D::Error> {
        let Some(text) = Option::<String>::deserialize(from)? else { return Ok(None) };
        match super::money::parse(&text) {
            Some(amount) => Ok(Some(amount)),
            None => Err(D::Error::custom(format!("not an amount of money: {text}"))),
        }
    }
}

/// `1.234`, or null.
pub(super) mod maybe_millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize as _, Serializer};

    #[expect(clippy::ref_option, reason = "the signature serde asks for")]
    pub(in super::super) fn serialize<S: Serializer>(
        span: &Option<Duration>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        // Exact to the microsecond the ledger keeps, for spans below 285 years.
        #[expect(clippy::cast_precision_loss, reason = "see above")]
        span.map(|it| it.as_micros() as f64 / 1_000.0).serialize(to)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Duration>, D::Error> {
        let millis = Option::<f64>::deserialize(from)?;
        Ok(millis.and_then(|it| Duration::try_from_secs_f64(it / 1_000.0).ok()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::llm::usage::NanoUsd;

    proptest! {
        #[test]
        fn money_reads_back_as_written(nanos in -i64::MAX..i64::MAX) {
            prop_assert_eq!(money::parse(&NanoUsd(nanos).to_string()), Some(NanoUsd(nanos)));
        }
    }

    #[test]
    fn what_is_no_money_is_refused() {
        for text in ["", "-", ".5", "1e3", "0.1234567891", "1.-5", "99999999999999999999"] {
            assert_eq!(money::parse(text), None, "{text}");
        }
    }
}
