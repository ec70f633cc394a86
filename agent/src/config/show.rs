//! The effective configuration as text: every key, its value, and where it comes from.

use serde_json::Value;

use super::problem::{Step, Trail};

/// YAML in which each value is followed by its origin: `origin` is asked for the way to a key and
/// answers `FILE:LINE`, or `None` for a default.
pub(super) fn yaml(value: &Value, origin: &dyn Fn(&[Step]) -> Option<String>) -> String {
    let mut out = Writer { text: String::new(), origin, trail: Vec::new() };
    if let Value::Object(map) = value {
        out.map(map, 0);
    }
    out.text
}

/// A value and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Origin {
    /// The key: `limits.connections`.
    pub key: String,
    /// Its value.
    pub value: Value,
    /// `FILE:LINE`, or `default`.
    pub origin: String,
}

impl Origin {
    /// The value on one line, as the file could have it.
    pub fn shown(&self) -> String {
        flow(&self.value)
    }
}

/// Every value, one after the other.
pub(super) fn flat(value: &Value, origin: &dyn Fn(&[Step]) -> Option<String>) -> Vec<Origin> {
    let mut all = Vec::new();
    values(value, &mut Vec::new(), origin, &mut all);
    all
}

fn values(
    value: &Value,
    trail: &mut Vec<Step>,
    origin: &dyn Fn(&[Step]) -> Option<String>,
    all: &mut Vec<Origin>,
) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, below) in map {
                trail.push(Step::Key(key.clone()));
                values(below, trail, origin, all);
                trail.pop();
            }
        }
        value => all.push(Origin {
            key: Trail(trail.clone()).to_string(),
            value: value.clone(),
            origin: origin(trail).unwrap_or_else(|| "default".to_owned()),
        }),
    }
}

struct Writer<'a> {
    text: String,
    origin: &'a dyn Fn(&[Step]) -> Option<String>,
    trail: Vec<Step>,
}

impl Writer<'_> {
    fn map(&mut self, map: &serde_json::Map<String, Value>, depth: usize) {
        for (key, value) in map {
            self.trail.push(Step::Key(key.clone()));
            self.text.push_str(&"  ".repeat(depth));
            self.text.push_str(&word(key));
            self.text.push(':');
            match value {
                Value::Object(below) if !below.is_empty() => {
                    self.text.push('\n');
                    self.map(below, depth + 1);
                }
                value => {
                    self.text.push(' ');
                    self.text.push_str(&flow(value));
                    self.origin();
                }
            }
            self.trail.pop();
        }
    }

    fn origin(&mut self) {
        let origin = (self.origin)(&self.trail).unwrap_or_else(|| "default".to_owned());
        self.text.push_str("  # ");
        self.text.push_str(&origin);
        self.text.push('\n');
    }
}

/// A value on one line.
pub(super) fn flow(value: &Value) -> String {
    match value {
        Value::String(text) => word(text),
        Value::Array(items) => {
            format!("[{}]", items.iter().map(flow).collect::<Vec<_>>().join(", "))
        }
        Value::Object(map) => {
            let pairs = map.iter().map(|(key, value)| format!("{}: {}", word(key), flow(value)));
            format!("{{{}}}", pairs.collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

/// A word, in quotes where YAML (1.1 or 1.2) could take it for something else.
fn word(text: &str) -> String {
    let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_./:".contains(&b))
        && text.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '/')
        && !text.ends_with(':')
        && !matches!(text, "null" | "yes" | "no" | "y" | "n");
    if plain { text.to_owned() } else { Value::from(text).to_string() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_stand_beside_their_origin() {
        let value = json!({
            "mode": "off", "environment": "a b", "listen": {"proxy": "127.0.0.1:0"},
            "list": ["x", 1], "none": null, "empty": {},
        });
        let from = |trail: &[Step]| (trail.len() == 2).then(|| "w.yaml:3".to_owned());
        let flat: Vec<_> = flat(&value, &from)
            .iter()
            .map(|it| format!("{} = {} ({})", it.key, it.shown(), it.origin))
            .collect();
        assert_eq!(flat[3..5], ["listen.proxy = 127.0.0.1:0 (w.yaml:3)", "mode = off (default)"]);
        let shown = yaml(&value, &|trail| (trail.len() == 2).then(|| "w.yaml:3".to_owned()));
        assert_eq!(
            shown,
            "empty: {}  # default\n\
             environment: \"a b\"  # default\n\
             list: [x, 1]  # default\n\
             listen:\n  proxy: 127.0.0.1:0  # w.yaml:3\n\
             mode: off  # default\n\
             none: null  # default\n"
        );
    }
}
