//! Writing JSON in the order in which it is meant to be read.

use std::borrow::Cow;
use std::fmt::Write as _;

/// A value to be written.
#[derive(Debug, Clone)]
pub(super) enum Json {
    Null,
    Bool(bool),
    Count(u64),
    Text(String),
    /// JSON as it stands: the caller has it from a parsed document.
    Raw(String),
    List(Vec<Json>),
    Object(Vec<(Cow<'static, str>, Json)>),
}

/// An object, as it is written: `object! { "type": "text", "text": text }`.
macro_rules! object {
    ($($key:literal : $value:expr),* $(,)?) => {
        $crate::llm::translate::json::Json::Object(vec![
            $((std::borrow::Cow::Borrowed($key), $crate::llm::translate::json::Json::from($value))),*
        ])
    };
}
pub(super) use object;

impl Json {
    /// Adds a member to an object.
    pub(super) fn set(&mut self, key: &'static str, value: impl Into<Self>) {
        if let Self::Object(members) = self {
            members.push((Cow::Borrowed(key), value.into()));
        }
    }

    /// Adds a member, if there is something to add.
    pub(super) fn set_some(&mut self, key: &'static str, value: Option<impl Into<Self>>) {
        if let Some(value) = value {
            self.set(key, value);
        }
    }

    fn write(&self, out: &mut String) {
        match self {
            Self::Null => out.push_str("null"),
            Self::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Self::Count(count) => drop(write!(out, "{count}")),
            Self::Text(text) => quote(text, out),
            Self::Raw(raw) => out.push_str(raw),
            Self::List(items) => {
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    item.write(out);
                }
                out.push(']');
            }
            Self::Object(members) => {
                out.push('{');
                for (index, (key, value)) in members.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    quote(key, out);
                    out.push(':');
                    value.write(out);
                }
                out.push('}');
            }
        }
    }
}

/// One line: raw parts may stand on several, which an event of a stream can't.
impl std::fmt::Display for Json {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut out = String::new();
        self.write(&mut out);
        f.write_str(&out)
    }
}

/// JSON on one line. Line ends stand only between its tokens: inside strings they are escaped.
pub(super) fn on_one_line(raw: &str) -> String {
    raw.replace(['\n', '\r'], " ")
}

fn quote(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if u32::from(c) < 0x20 => drop(write!(out, "\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
}

impl From<&str> for Json {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<&String> for Json {
    fn from(text: &String) -> Self {
        Self::Text(text.clone())
    }
}

impl From<String> for Json {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Cow<'_, str>> for Json {
    fn from(text: Cow<'_, str>) -> Self {
        Self::Text(text.into_owned())
    }
}

impl From<u64> for Json {
    fn from(count: u64) -> Self {
        Self::Count(count)
    }
}

impl From<bool> for Json {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<Vec<Json>> for Json {
    fn from(items: Vec<Self>) -> Self {
        Self::List(items)
    }
}

impl<T: Into<Json>> From<Option<T>> for Json {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_text_reads_back(text in any::<String>()) {
            let written = Json::from(&*text).to_string();
            prop_assert_eq!(serde_json::from_str::<String>(&written).unwrap(), text);
            prop_assert!(!written.contains(['\n', '\r']));
        }
    }
}
