//! Asking for another model with the rest of the request as it is.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use serde::de::MapAccess;
use serde_json::value::RawValue;

use crate::llm::json::{self, Shape, Value};

/// The body with its top-level `model` replaced, byte for byte the same elsewhere.
///
/// `None` where there is nothing to replace: the body is no JSON object, or names no model. Of a
/// repeated `model` every one is replaced, so that it does not matter which one is read.
pub fn replace_model(body: &[u8], model: &str) -> Option<Bytes> {
    let fields: Fields<'_> = json::read(body).ok()?;
    if fields.models.is_empty() || fields.models.iter().any(|raw| !raw.get().starts_with('"')) {
        return None;
    }
    let name = serde_json::to_string(model).ok()?;
    let mut changed = BytesMut::with_capacity(body.len() + name.len() * fields.models.len());
    let mut from = 0;
    for raw in fields.models {
        let at = span(body, raw);
        changed.extend_from_slice(&body[from..at.start]);
        changed.extend_from_slice(name.as_bytes());
        from = at.end;
    }
    changed.extend_from_slice(&body[from..]);
    Some(changed.freeze())
}

/// Where a value that was borrowed from `document` stands in it.
fn span(document: &[u8], value: &RawValue) -> Range<usize> {
    let start = value.get().as_ptr() as usize - document.as_ptr() as usize;
    start..start + value.get().len()
}

#[derive(Default)]
struct Fields<'de> {
    models: Vec<&'de RawValue>,
}

impl<'de> Shape<'de> for Fields<'de> {
    fn member<A: MapAccess<'de>>(
        &mut self,
        key: &str,
        value: Value<'_, A>,
    ) -> Result<(), A::Error> {
        match key {
            "model" => value.raw().map(|raw| self.models.push(raw)),
            _ => value.skip(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replaced(body: &str, model: &str) -> Option<String> {
        replace_model(body.as_bytes(), model).map(|body| String::from_utf8(body.to_vec()).unwrap())
    }

    #[test]
    fn only_the_model_changes() {
        let cases = [
            (r#" {"model" : "gpt-4o" ,"x":1.0}"#, r#" {"model" : "mini" ,"x":1.0}"#),
            (
                r#"{"messages":[{"model":"a"}],"metadata":{"model":"b"},"model":"c"}"#,
                r#"{"messages":[{"model":"a"}],"metadata":{"model":"b"},"model":"mini"}"#,
            ),
            (r#"{"model":"a","model":"b\"c"}"#, r#"{"model":"mini","model":"mini"}"#),
            (r#"{"mo\u0064el":"a"}"#, r#"{"mo\u0064el":"mini"}"#),
        ];
        for (body, expected) in cases {
            assert_eq!(replaced(body, "mini").as_deref(), Some(expected));
        }
        assert_eq!(replaced(r#"{"model":"a"}"#, "b\"c").as_deref(), Some(r#"{"model":"b\"c"}"#));
    }

    #[test]
    fn what_names_no_model_stays() {
        for body in ["", "{", "[]", "{}", r#"{"model":null}"#, r#"{"model":"a","model":3}"#] {
            assert_eq!(replaced(body, "mini"), None, "{body}");
        }
    }
}
