//! Google's own form of schemas as JSON schema: types in capitals, `nullable` beside them.

use std::borrow::Cow;

use crate::llm::translate::doc::{Node, is_camel};
use crate::llm::translate::json::Json;

/// Schemas deeper than this are cut off: what is below is anything.
const DEEPEST: usize = 64;

/// A schema in Google's form, as JSON schema.
pub(super) fn to_json_schema(schema: Node<'_>) -> String {
    converted(schema, 0).to_string()
}

fn converted(schema: Node<'_>, depth: usize) -> Json {
    if depth >= DEEPEST || !schema.is_object() {
        return Json::Object(Vec::new());
    }
    let fields = schema.members();
    let nullable = fields.get("nullable").and_then(Node::boolean) == Some(true);
    let mut members = Vec::new();
    for (name, value) in fields.iter() {
        let written = match name {
            "nullable" => continue,
            "type" => match value.text() {
                Some(word) => typed(&word, nullable),
                None => Json::Raw(value.raw().to_owned()),
            },
            "properties" | "$defs" => {
                let inner = value.members();
                let each = inner.iter().map(|(name, inner)| {
                    (Cow::Owned(name.to_owned()), converted(inner, depth + 1))
                });
                Json::Object(each.collect())
            }
            "items" | "additionalProperties" if value.is_object() => converted(value, depth + 1),
            name if is_camel(name, "anyOf") || name == "prefixItems" => {
                let all = value.items().into_iter().map(|inner| converted(inner, depth + 1));
                Json::List(all.collect())
            }
            // Only says in which order properties are to be written.
            name if is_camel(name, "propertyOrdering") => continue,
            // Counts are strings in Google's form.
            name if name.starts_with("min") || name.starts_with("max") => {
                let count = value.text().filter(|text| text.parse::<u64>().is_ok());
                Json::Raw(count.map_or_else(|| value.raw().to_owned(), Cow::into_owned))
            }
            _ => Json::Raw(value.raw().to_owned()),
        };
        let name = if is_camel(name, "anyOf") { "anyOf" } else { name };
        members.push((Cow::Owned(name.to_owned()), written));
    }
    Json::Object(members)
}

fn typed(word: &str, nullable: bool) -> Json {
    let word = Json::Text(word.to_ascii_lowercase());
    if nullable { Json::List(vec![word, "null".into()]) } else { word }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capitals_and_nullable_become_json_schema() {
        let google = r#"{"type":"OBJECT","properties":{"type":{"type":"STRING","nullable":true},
            "n":{"type":"ARRAY","items":{"type":"INTEGER"},"maxItems":"3"}},
            "required":["type"],"propertyOrdering":["n","type"],
            "any_of":[{"type":"NUMBER"}]}"#;
        let expected = concat!(
            r#"{"type":"object","properties":{"type":{"type":["string","null"]},"#,
            r#""n":{"type":"array","items":{"type":"integer"},"maxItems":3}},"#,
            r#""required":["type"],"anyOf":[{"type":"number"}]}"#
        );
        assert_eq!(to_json_schema(Node::parse(google.as_bytes()).unwrap()), expected);
        let deep = format!("{}1{}", r#"{"items":"#.repeat(500), "}".repeat(500));
        assert!(to_json_schema(Node::parse(deep.as_bytes()).unwrap()).len() < 2_000);
    }
}
