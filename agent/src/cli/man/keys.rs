//! The keys of the configuration, each with its place, kind and default: the schema, flattened.

use serde_json::Value;

/// A key, wherever it may stand.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Key {
    /// `rate_limits.NAME.requests_per_minute`, `capture.ports`, `providers.NAME.endpoints[].weight`.
    pub(super) path: String,
    pub(super) about: String,
    /// What is written there: `a duration`, `one or more of: text`.
    pub(super) kind: String,
    /// What holds where nothing is written; `None` where that follows from the keys below.
    pub(super) default: Option<String>,
    /// The words it may be, and what they mean.
    pub(super) words: Vec<(String, String)>,
}

/// Values that are written as one word, by their name in the schema: what they are called, and how
/// they are spelt.
pub(super) const VALUES: [(&str, &str, &str); 15] = [
    ("Address", "an address", "`HOST:PORT`, or `off`. Port 0 takes a free one."),
    ("Count", "a number", "A number of requests or tokens: 0 or more."),
    ("Date", "a date", "`2026-01-31`."),
    ("Dollars", "dollars", "US dollars, exact to nine decimal places: `10`, `0.25`."),
    ("Duration", "a duration", "A number with a unit: `500ms`, `30s`, `5m`, `1h`, `90d`."),
    (
        "Enforcement",
        "an enforcement",
        "`off`, `shadow` (decides and counts), `enforce`, or `canary:N`: for N percent of workloads.",
    ),
    ("Factor", "a factor", "How many times something: `3`, `2.5`."),
    ("Percent", "percent", "A share in percent: `80`."),
    ("Percentage", "percent", "A share in percent, as fine as `0.0001`: `0.1`, `5`."),
    ("Price", "a price", "US dollars for a million tokens: `0.15`."),
    ("Share", "a share", "From `0` to `1`."),
    ("Size", "a size", "Bytes, or a number with `KiB`, `MiB`, `GiB`: `64MiB`."),
    ("Sync", "a time", "`1s`, or `always`."),
    (
        "TimeOfDay",
        "a part of the day",
        "`09:00-17:30`; past midnight where the end is the earlier one.",
    ),
    ("Toggle", "a switch", "`auto`, `true` or `false`."),
];

/// The value that is a map or a word, told once instead of wherever it may stand.
pub(super) const SECRET: &str = "Secret";

/// All keys, those of a section after the section.
pub(super) fn all(schema: &Value) -> Vec<Key> {
    let mut keys = Vec::new();
    Reader { definitions: &schema["$defs"] }.members(schema, "", &mut keys);
    keys
}

/// The keys of one definition, for what is told apart.
pub(super) fn of(schema: &Value, definition: &str) -> Vec<Key> {
    let mut keys = Vec::new();
    let reader = Reader { definitions: &schema["$defs"] };
    reader.within(&schema["$defs"][definition], "", &mut keys);
    keys
}

struct Reader<'a> {
    definitions: &'a Value,
}

impl<'a> Reader<'a> {
    fn members(&self, schema: &'a Value, path: &str, keys: &mut Vec<Key>) {
        for (name, member) in schema["properties"].as_object().into_iter().flatten() {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            let mut words = Vec::new();
            self.words(member, &mut words);
            keys.push(Key {
                about: self.about(member),
                kind: self.kind(member),
                default: default(&member["default"]),
                words,
                path: path.clone(),
            });
            self.within(member, &path, keys);
        }
    }

    /// The keys below a value: of a map, of each value of a map, of each item of a list.
    fn within(&self, schema: &'a Value, path: &str, keys: &mut Vec<Key>) {
        match referred(schema).as_deref() {
            Some(SECRET) => return,
            Some(name) => return self.within(&self.definitions[name], path, keys),
            None => {}
        }
        self.members(schema, path, keys);
        self.within_each(&schema["additionalProperties"], &format!("{path}.NAME"), keys);
        self.within_each(&schema["items"], &format!("{path}[]"), keys);
        for other in alternatives(schema) {
            // One of a kind, or a list of them: told once.
            let many = &other["items"]["$ref"];
            if many.is_null() || !alternatives(schema).any(|one| one["$ref"] == *many) {
                self.within(other, path, keys);
            }
        }
    }

    fn within_each(&self, schema: &'a Value, path: &str, keys: &mut Vec<Key>) {
        if schema.is_object() {
            self.within(schema, path, keys);
        }
    }

    fn about(&self, schema: &'a Value) -> String {
        let own = schema["description"].as_str();
        let meant = || self.definitions[&referred(schema)?]["description"].as_str();
        own.or_else(meant).unwrap_or_default().to_owned()
    }

    fn kind(&self, schema: &'a Value) -> String {
        if let Some(name) = referred(schema) {
            let value = VALUES.iter().find(|(known, ..)| *known == name);
            return match value {
                Some((_, called, _)) => (*called).to_owned(),
                None if name == SECRET => "a secret".to_owned(),
                None => self.kind(&self.definitions[&name]),
            };
        }
        if alternatives(schema).any(|other| !other["const"].is_null()) {
            return "a word".to_owned();
        }
        let mut kinds: Vec<String> = Vec::new();
        for kind in alternatives(schema).map(|other| self.kind(other)) {
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
        if !kinds.is_empty() {
            return kinds.join(", or ");
        }
        if schema["items"].is_object() {
            return format!("a list of: {}", self.kind(&schema["items"]));
        }
        if schema["additionalProperties"].is_object() {
            return format!("a map of names to: {}", self.kind(&schema["additionalProperties"]));
        }
        let types = &schema["type"];
        let is = |word: &str| {
            types == word || types.as_array().is_some_and(|all| all.iter().any(|it| it == word))
        };
        let plain = [
            ("object", "a map"),
            ("boolean", "true or false"),
            ("integer", "a number"),
            ("number", "a number"),
            ("string", "text"),
        ];
        let found = plain.iter().find(|(word, _)| is(word));
        found.map_or("any value", |(_, kind)| kind).to_owned()
    }

    fn words(&self, schema: &'a Value, words: &mut Vec<(String, String)>) {
        if let Some(name) = referred(schema) {
            return self.words(&self.definitions[&name], words);
        }
        for other in alternatives(schema) {
            match other["const"].as_str() {
                Some(word) => words.push((word.to_owned(), self.about(other))),
                None => self.words(other, words),
            }
        }
    }
}

/// The definition that is meant. A pointer spells the spaces of its name.
fn referred(schema: &Value) -> Option<String> {
    let name = schema["$ref"].as_str()?.strip_prefix("#/$defs/")?;
    Some(name.replace("%20", " "))
}

fn alternatives(schema: &Value) -> impl Iterator<Item = &Value> {
    let lists = ["anyOf", "oneOf"].into_iter().filter_map(|key| schema[key].as_array());
    lists.flatten().filter(|other| other["type"] != "null")
}

fn default(value: &Value) -> Option<String> {
    match value {
        Value::Null => Some("none".to_owned()),
        Value::Object(map) if map.is_empty() => Some("empty".to_owned()),
        Value::Object(_) => None,
        Value::Array(items) if items.is_empty() => Some("empty".to_owned()),
        Value::String(word) => Some(word.clone()),
        other => Some(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn key<'a>(keys: &'a [Key], path: &str) -> &'a Key {
        keys.iter().find(|key| key.path == path).unwrap_or_else(|| panic!("no {path}"))
    }

    #[test]
    fn keys_have_their_place_kind_and_default() {
        let keys = all(&config::schema());
        let timeout = key(&keys, "limits.connect_timeout");
        assert_eq!((&*timeout.kind, timeout.default.as_deref()), ("a duration", Some("10s")));
        assert_eq!(key(&keys, "rate_limits.NAME.requests_per_minute").kind, "a number");
        let weight = key(&keys, "providers.NAME.endpoints[].weight");
        assert!(!weight.about.is_empty(), "{weight:?}");
        assert_eq!(key(&keys, "providers").kind, "a map of names to: a map");
        assert_eq!(key(&keys, "prices.NAME.input").kind, "a price");
        assert_eq!(key(&keys, "failover.chains.NAME.models").kind, "a list of: text");
        assert_eq!(key(&keys, "providers.NAME.api_key").kind, "a secret");
        let mode = key(&keys, "mode");
        assert_eq!((&*mode.kind, mode.default.as_deref()), ("a word", Some("observe")));
        assert_eq!(mode.words.len(), 4);
        let mut paths: Vec<_> = keys.iter().map(|key| &key.path).collect();
        paths.sort();
        paths.dedup();
        assert_eq!(paths.len(), keys.len(), "a key is told twice");
        for undescribed in keys.iter().filter(|key| key.about.is_empty()) {
            assert!(undescribed.kind.contains("map"), "nothing is said of {}", undescribed.path);
        }
    }

    /// What is one word to whoever writes it, and has a spelling of its own.
    #[test]
    fn every_kind_of_value_is_explained() {
        let schema = config::schema();
        for (name, definition) in schema["$defs"].as_object().unwrap() {
            let is_map = definition["properties"].is_object();
            let is_choice = alternatives(definition).next().is_some();
            let is_known = VALUES.iter().any(|(known, ..)| known == name);
            assert!(is_map || is_choice || is_known, "how {name} is written is said nowhere");
        }
        for (name, ..) in VALUES {
            assert!(schema["$defs"][name].is_object(), "{name} is no value of the configuration");
        }
        assert_eq!(of(&schema, SECRET).len(), 4);
    }
}
