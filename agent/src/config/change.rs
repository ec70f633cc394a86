//! What differs between two configurations, and which of it a running agent can take over.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::checked::{Capture, Config, Log};
use super::show;

/// A key whose value differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    /// The key: `rate_limits.curl.requests_per_minute`.
    pub key: String,
    /// Its value before; `None` where it was not there.
    pub old: Option<Value>,
    /// Its value now; `None` where it is not there any more.
    pub new: Option<Value>,
}

/// Keys, with all that is below them, that are read once, at the start: listeners and hooks are
/// bound, files open, bounds handed to whoever keeps them.
const AT_START: [&str; 14] = [
    "apps",
    "listen",
    "capture",
    "trust",
    "limits.connections",
    "limits.handshake_timeout",
    "limits.header_timeout",
    "limits.keep_alive_timeout",
    "limits.connect_timeout",
    "limits.idle_timeout",
    "limits.drain_timeout",
    "ledger",
    // Series that name workloads stay for as long as the process.
    "metrics",
    "log.format",
];
/// What can be taken over all the same.
const BUT: [&str; 1] = ["capture.cidrs"];

impl Change {
    /// Whether only a restart takes it over.
    pub fn needs_restart(&self) -> bool {
        let is_in = |root: &&str| {
            self.key
                .strip_prefix(*root)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        AT_START.iter().any(is_in) && !BUT.iter().any(is_in)
    }
}

/// `KEY: OLD → NEW`, on one line.
impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = |value: &Value| show::flow(&without_nothing(value));
        write!(f, "{}: ", self.key)?;
        match (&self.old, &self.new) {
            (Some(old), Some(new)) => write!(f, "{} → {}", shown(old), shown(new)),
            (None, Some(new)) => write!(f, "added, {}", shown(new)),
            (Some(old), None) => write!(f, "removed, was {}", shown(old)),
            (None, None) => f.write_str("unchanged"),
        }
    }
}

/// What differs, in the order of the keys.
pub(super) fn between(old: &Value, new: &Value) -> Vec<Change> {
    let mut changes = Vec::new();
    walk((Some(old), Some(new)), &mut Vec::new(), &mut changes);
    changes
}

fn walk<'v>(
    pair: (Option<&'v Value>, Option<&'v Value>),
    trail: &mut Vec<&'v str>,
    changes: &mut Vec<Change>,
) {
    match pair {
        (old, new) if old == new => {}
        (Some(Value::Object(old)), Some(Value::Object(new))) => {
            let mut keys: Vec<&'v str> = old.keys().chain(new.keys()).map(String::as_str).collect();
            keys.sort_unstable();
            keys.dedup();
            for key in keys {
                trail.push(key);
                walk((old.get(key), new.get(key)), trail, changes);
                trail.pop();
            }
        }
        (old, new) => {
            changes.push(Change { key: trail.join("."), old: old.cloned(), new: new.cloned() });
        }
    }
}

/// The new configuration with what only a restart takes over left as it was.
pub(super) fn without_restart(old: &Config, new: Config) -> Config {
    let limits = super::Limits { request_body: new.limits.request_body, ..old.limits };
    Config {
        listen: old.listen,
        capture: Capture { cidrs: new.capture.cidrs, ..old.capture.clone() },
        trust_assumed: old.trust_assumed,
        limits,
        ledger: old.ledger,
        metrics: old.metrics.clone(),
        apps: old.apps.clone(),
        log: Log { format: old.log.format, ..new.log },
        ..new
    }
}

/// The same of what is shown: puts the old value of such a change back.
pub(super) fn put_back(shown: &mut Value, change: &Change) {
    let mut at = shown;
    let mut keys = change.key.split('.').peekable();
    while let Some(key) = keys.next() {
        let Value::Object(map) = at else { return };
        if keys.peek().is_none() {
            match &change.old {
                Some(old) => map.insert(key.to_owned(), old.clone()),
                None => map.remove(key),
            };
            return;
        }
        at = map.entry(key).or_insert(Value::Null);
    }
}

/// Without keys that are not set: a rule that is added has dozens of them.
fn without_nothing(value: &Value) -> Value {
    let Value::Object(map) = value else { return value.clone() };
    let is_set = |value: &Value| match value {
        Value::Null => false,
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => !map.is_empty(),
        _ => true,
    };
    let set = map.iter().map(|(key, value)| (key.clone(), without_nothing(value)));
    Value::Object(set.filter(|(_, value)| is_set(value)).collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_difference_is_told_with_its_key() {
        let old =
            json!({"mode": "meter", "budgets": {"a": {"daily": 1}, "b": {"daily": 2}}, "l": [1]});
        let new = json!({"mode": "enforce", "budgets": {"a": {"daily": 3}, "c": {"daily": 4, "x": null}}, "l": [1, 2]});
        let lines: Vec<_> = between(&old, &new).iter().map(ToString::to_string).collect();
        let expected = [
            "budgets.a.daily: 1 → 3",
            "budgets.b: removed, was {daily: 2}",
            "budgets.c: added, {daily: 4}",
            "l: [1] → [1, 2]",
            "mode: meter → enforce",
        ];
        assert_eq!(lines, expected);
        assert_eq!(between(&new, &new), []);
    }

    #[test]
    fn what_is_bound_at_the_start_needs_a_restart() {
        for (key, expected) in [
            ("listen.proxy", true),
            ("capture.ports", true),
            ("capture.cidrs", false),
            ("limits.connections", true),
            ("limits.request_body", false),
            ("apps", true),
            ("ledger.sync", true),
            ("mode", false),
            ("providers.openai.hosts", false),
            ("reliability.timeouts.total", false),
            ("log.format", true),
            ("log.level", false),
            ("logs", false),
        ] {
            let change = Change { key: key.to_owned(), old: None, new: None };
            assert_eq!(change.needs_restart(), expected, "{key}");
        }
    }

    #[test]
    fn what_is_not_taken_over_is_told_again() {
        let old = json!({"listen": {"proxy": "a"}, "mode": "meter"});
        let new = json!({"listen": {"proxy": "b"}, "mode": "enforce"});
        let mut kept = new.clone();
        for change in between(&old, &new).iter().filter(|change| change.needs_restart()) {
            put_back(&mut kept, change);
        }
        assert_eq!(kept, json!({"listen": {"proxy": "a"}, "mode": "enforce"}));
        assert_eq!(between(&kept, &new).len(), 1);
    }
}
