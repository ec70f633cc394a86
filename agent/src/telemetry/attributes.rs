//! Keys and values as the protocol has them, none of them without bounds.

use std::borrow::Cow;

use opentelemetry_proto::tonic::common::v1::any_value::Value as Owned;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};

use super::wire::Wire;
use crate::llm::usage::NanoUsd;
use crate::subject::printable;

/// Characters of a text: names of models come from clients.
const LONGEST: usize = 256;

/// A value, as it is said.
#[derive(Debug, Clone, Copy)]
pub(super) enum Value<'a> {
    Text(&'a str),
    Int(i64),
    Float(f64),
    Flag(bool),
}

/// What is said of something.
pub(super) trait Attributes {
    fn put(&mut self, key: &str, value: Value<'_>) -> &mut Self;

    fn text(&mut self, key: &str, text: &str) -> &mut Self {
        self.put(key, Value::Text(&shown(text)))
    }

    fn maybe(&mut self, key: &str, text: Option<&str>) -> &mut Self {
        match text {
            Some(text) => self.text(key, text),
            None => self,
        }
    }

    fn int(&mut self, key: &str, value: u64) -> &mut Self {
        self.put(key, Value::Int(i64::try_from(value).unwrap_or(i64::MAX)))
    }

    fn float(&mut self, key: &str, value: f64) -> &mut Self {
        self.put(key, Value::Float(value))
    }

    fn flag(&mut self, key: &str, value: bool) -> &mut Self {
        self.put(key, Value::Flag(value))
    }
}

/// As values: of what is said seldom.
impl Attributes for Vec<KeyValue> {
    fn put(&mut self, key: &str, value: Value<'_>) -> &mut Self {
        let value = match value {
            Value::Text(text) => Owned::StringValue(text.to_owned()),
            Value::Int(number) => Owned::IntValue(number),
            Value::Float(number) => Owned::DoubleValue(number),
            Value::Flag(flag) => Owned::BoolValue(flag),
        };
        self.push(KeyValue {
            key: key.to_owned(),
            value: Some(AnyValue { value: Some(value) }),
            ..KeyValue::default()
        });
        self
    }
}

/// Written into this field of a message: of what is said all the time.
#[derive(Debug)]
pub(super) struct Written<'w> {
    pub(super) to: &'w mut Wire,
    pub(super) field: u32,
}

impl Attributes for Written<'_> {
    fn put(&mut self, key: &str, value: Value<'_>) -> &mut Self {
        self.to.within(self.field, |pair| {
            pair.text(1, key);
            pair.within(2, |any| value.write(any));
        });
        self
    }
}

impl Value<'_> {
    /// As an `AnyValue`.
    pub(super) fn write(self, any: &mut Wire) {
        match self {
            Self::Text(text) => any.text(1, text),
            Self::Flag(flag) => any.flag(2, flag),
            Self::Int(number) => any.int64(3, number),
            Self::Float(number) => any.double(4, number),
        }
    }
}

/// A text as it is sent.
pub(super) fn shown(text: &str) -> Cow<'_, str> {
    // Most of what is sent, by far.
    let is_plain = text.len() <= LONGEST && text.bytes().all(|b| b == b' ' || b.is_ascii_graphic());
    if is_plain { text.into() } else { printable(text, LONGEST).into() }
}

/// Dollars, as exactly as the protocol has numbers.
#[expect(clippy::cast_precision_loss, reason = "doubles are what the protocol has")]
pub(super) fn dollars(cost: NanoUsd) -> f64 {
    cost.0 as f64 / 1e9
}
