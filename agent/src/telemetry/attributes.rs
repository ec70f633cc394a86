//! Keys and values as the protocol has them, none of them without bounds.

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};

use crate::llm::usage::NanoUsd;
use crate::subject::printable;

/// Characters of a text: names of models come from clients.
const LONGEST: usize = 256;

/// What is said of something.
#[derive(Debug, Default)]
pub(super) struct Attributes(pub(super) Vec<KeyValue>);

impl Attributes {
    pub(super) fn text(&mut self, key: &str, text: &str) -> &mut Self {
        self.put(key, Value::StringValue(shown(text)))
    }

    pub(super) fn maybe(&mut self, key: &str, text: Option<&str>) -> &mut Self {
        match text {
            Some(text) => self.text(key, text),
            None => self,
        }
    }

    pub(super) fn int(&mut self, key: &str, value: u64) -> &mut Self {
        self.put(key, Value::IntValue(i64::try_from(value).unwrap_or(i64::MAX)))
    }

    pub(super) fn float(&mut self, key: &str, value: f64) -> &mut Self {
        self.put(key, Value::DoubleValue(value))
    }

    pub(super) fn flag(&mut self, key: &str, value: bool) -> &mut Self {
        self.put(key, Value::BoolValue(value))
    }

    fn put(&mut self, key: &str, value: Value) -> &mut Self {
        self.0.push(KeyValue {
            key: key.to_owned(),
            value: Some(AnyValue { value: Some(value) }),
            ..KeyValue::default()
        });
        self
    }
}

/// A text as it is sent.
pub(super) fn shown(text: &str) -> String {
    // Most of what is sent, by far.
    let is_plain = text.len() <= LONGEST && text.bytes().all(|b| b == b' ' || b.is_ascii_graphic());
    if is_plain { text.to_owned() } else { printable(text, LONGEST) }
}

/// A text on its own.
pub(super) fn body(text: String) -> AnyValue {
    AnyValue { value: Some(Value::StringValue(text)) }
}

/// Dollars, as exactly as the protocol has numbers.
#[expect(clippy::cast_precision_loss, reason = "doubles are what the protocol has")]
pub(super) fn dollars(cost: NanoUsd) -> f64 {
    cost.0 as f64 / 1e9
}
