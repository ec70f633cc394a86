//! Reading JSON level by level, with every value's own text at hand.
//!
//! What passes through untouched (schemas, arguments of tools, numbers) is copied as it stands:
//! order of keys, long numbers and all. A level is read when it is looked at.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// A value of a document.
#[derive(Debug, Clone, Copy)]
pub(super) struct Node<'a>(&'a RawValue);

impl<'a> Node<'a> {
    /// A whole document; `None` where it is not JSON.
    pub(super) fn parse(document: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(document).ok().map(Self)
    }

    /// Its text in the document.
    pub(super) fn raw(self) -> &'a str {
        self.0.get()
    }

    pub(super) fn is_null(self) -> bool {
        self.raw() == "null"
    }

    pub(super) fn is_object(self) -> bool {
        self.raw().starts_with('{')
    }

    pub(super) fn text(self) -> Option<Cow<'a, str>> {
        serde_json::from_str::<Key<'a>>(self.raw()).ok().map(|text| text.0)
    }

    pub(super) fn boolean(self) -> Option<bool> {
        match self.raw() {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }

    pub(super) fn count(self) -> Option<u64> {
        // Some write counts as `100.0`.
        let raw = self.raw().strip_suffix(".0").unwrap_or_else(|| self.raw());
        raw.parse().ok()
    }

    pub(super) fn number(self) -> Option<f64> {
        if self.raw().starts_with('"') { None } else { self.raw().parse().ok() }
    }

    /// Its members; none where it is no object.
    pub(super) fn members(self) -> Members<'a> {
        serde_json::from_str(self.raw()).unwrap_or_default()
    }

    /// Its elements; none where it is no array.
    pub(super) fn items(self) -> Vec<Self> {
        let items: Vec<&'a RawValue> = serde_json::from_str(self.raw()).unwrap_or_default();
        items.into_iter().map(Self).collect()
    }

    /// A member.
    pub(super) fn get(self, key: &str) -> Option<Self> {
        self.members().get(key)
    }
}

/// The members of an object, in their order.
#[derive(Debug, Clone, Default)]
pub(super) struct Members<'a>(Vec<(Cow<'a, str>, Node<'a>)>);

impl<'a> Members<'a> {
    /// The member of a name, unless it is null; of several the last, as other parsers have it.
    pub(super) fn get(&self, key: &str) -> Option<Node<'a>> {
        self.find(|name| name == key)
    }

    /// The member of a name in camel case, written in snake case or not: Google reads both.
    pub(super) fn camel(&self, key: &str) -> Option<Node<'a>> {
        self.find(|name| is_camel(name, key))
    }

    fn find(&self, is: impl Fn(&str) -> bool) -> Option<Node<'a>> {
        let found = self.0.iter().rev().find(|(name, _)| is(name)).map(|(_, value)| *value);
        found.filter(|value| !value.is_null())
    }

    pub(super) fn text(&self, key: &str) -> Option<Cow<'a, str>> {
        self.get(key)?.text()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All that are not null.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, Node<'a>)> {
        self.0.iter().filter(|(_, value)| !value.is_null()).map(|(name, value)| (&**name, *value))
    }
}

/// Whether `name` is `camel`, or its snake case.
pub(super) fn is_camel(name: &str, camel: &str) -> bool {
    name == camel || {
        let mut rest = name.chars();
        let same = camel.chars().all(|c| {
            let lower = c.to_ascii_lowercase();
            (!c.is_ascii_uppercase() || rest.next() == Some('_')) && rest.next() == Some(lower)
        });
        same && rest.next().is_none()
    }
}

struct Key<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Key<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Cow<'de, str>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Cow::Borrowed(text))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Cow::Owned(text.to_owned()))
            }
        }
        deserializer.deserialize_str(Text).map(Self)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Members::default();
                while let Some(Key(key)) = map.next_key()? {
                    members.0.push((key, Node(map.next_value()?)));
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(All)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_keep_their_text() {
        let text = r#" {"b": {"z":1.50, "a":[1e400, "x\n"]}, "n": null, "b2": 3, "b2": 4} "#;
        let node = Node::parse(text.as_bytes()).unwrap();
        assert_eq!(node.get("b").unwrap().raw(), r#"{"z":1.50, "a":[1e400, "x\n"]}"#);
        assert!(node.get("n").is_none());
        assert_eq!(node.get("b2").and_then(Node::count), Some(4));
        assert_eq!(node.get("b").unwrap().get("a").unwrap().items()[1].text().unwrap(), "x\n");
        assert!(Node::parse(b"{").is_none());
        assert!(Node::parse(b"3").unwrap().members().is_empty());
    }

    #[test]
    fn google_reads_both_cases() {
        assert!(is_camel("systemInstruction", "systemInstruction"));
        assert!(is_camel("system_instruction", "systemInstruction"));
        assert!(!is_camel("systeminstruction", "systemInstruction"));
        assert!(!is_camel("system_instructions", "systemInstruction"));
        assert!(!is_camel("system", "systemInstruction"));
    }
}
