//! weir.yaml(5).

use clap_mangen::roff::{Inline, Roff, bold, italic, roman};
use serde_json::Value;

use super::keys::{self, Key, SECRET, VALUES};

const INTRODUCTION: [&str; 4] = [
    "The agent reads `/etc/weir/weir.yaml`, then every `*.yaml` in `conf.d` beside it in lexical order, \
     then `environments/NAME.yaml` for the environment that was chosen. Maps are merged, lists \
     replaced. Every key has a default, and no file needs to be there.",
    "`weir config check` reports every problem with its line, column and a suggestion, and exits 78 if \
     there is one. `weir config show --origin` prints what is in effect and where it was set. `weir \
     config reload`, or SIGHUP, takes over the whole configuration or nothing.",
    "Below, `NAME` stands for a name that the file chooses, `[]` for each item of a list. In \
     `rate_limits`, `budgets` and `guardrails`, the name says whom a rule is about: a bare name is a \
     workload; `unit:NAME`, `exe:NAME`, `container:NAME`, `user:NAME`, `team:NAME`, `env:NAME`, \
     `model:NAME` and `provider:NAME` select, `*` is everything, `user:*` gives each user their own.",
    "Each rule is a policy named after its place (`budgets.code-reviewer`), which weir-policy(1) shows.",
];

const EXAMPLE: &str = "\
mode: enforce
rate_limits:
  batch-agent: {requests_per_minute: 5, requests_per_hour: 100}
budgets:
  code-reviewer: {daily_limit_usd: 10.0, alert_at_percent: 80}";

/// The page, from the schema that `weir config schema` prints.
pub(super) fn page(schema: &Value) -> String {
    let mut roff = Roff::new();
    let version = concat!("weir ", env!("CARGO_PKG_VERSION"));
    roff.control("TH", ["weir.yaml", "5", "", version, ""]);
    roff.control("SH", ["NAME"]);
    roff.text([roman("weir.yaml - configuration of the Weir agent")]);
    roff.control("SH", ["DESCRIPTION"]);
    for paragraph in INTRODUCTION {
        roff.control("PP", []).text(marked(paragraph));
    }
    roff.control("SH", ["VALUES"]);
    for (_, called, spelt) in VALUES {
        entry(&mut roff, called);
        roff.text(marked(spelt));
    }
    entry(&mut roff, "a secret");
    roff.text(marked("The secret itself, or a map with one of these keys, which say where it is:"));
    roff.control("RS", []);
    for key in keys::of(schema, SECRET) {
        tell(&mut roff, &key);
    }
    roff.control("RE", []);
    roff.control("SH", ["KEYS"]);
    for key in keys::all(schema) {
        if !key.path.contains('.') {
            roff.control("SS", [&*key.path]);
        }
        tell(&mut roff, &key);
    }
    roff.control("SH", ["EXAMPLE"]);
    roff.control("nf", []);
    for line in EXAMPLE.lines() {
        roff.text([roman(line)]);
    }
    roff.control("fi", []);
    roff.control("SH", ["SEE ALSO"]);
    roff.text([bold("weir"), roman("(1), "), bold("weir-config"), roman("(1)")]);
    roff.to_roff()
}

fn entry(roff: &mut Roff, name: &str) {
    roff.control("TP", []).text([bold(name)]);
}

fn tell(roff: &mut Roff, key: &Key) {
    entry(roff, &key.path);
    let mut text = Vec::new();
    for (index, line) in key.about.lines().enumerate() {
        if index > 0 {
            text.push(roman(" "));
        }
        text.extend(marked(line));
    }
    if !text.is_empty() {
        text.push(roman(" "));
    }
    text.push(italic(capitalised(&key.kind)));
    match key.default.as_deref() {
        Some(default) => text.extend([roman("; default: "), bold(default), roman(".")]),
        None => text.push(roman(".")),
    }
    roff.text(text);
    for (word, meaning) in &key.words {
        roff.control("RS", []);
        entry(roff, word);
        let meaning = meaning.replace('\n', " ");
        roff.text(marked(if meaning.is_empty() { "." } else { &meaning }));
        roff.control("RE", []);
    }
}

/// Text with what stands between backticks in bold.
fn marked(text: &str) -> Vec<Inline> {
    let parts = text.split('`').enumerate().filter(|(_, part)| !part.is_empty());
    parts.map(|(index, part)| if index % 2 == 1 { bold(part) } else { roman(part) }).collect()
}

fn capitalised(words: &str) -> String {
    let mut rest = words.chars();
    rest.next().map_or_else(String::new, |first| first.to_uppercase().chain(rest).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    /// Every name of a key, wherever it stands in the schema.
    fn names<'a>(schema: &'a Value, found: &mut Vec<&'a str>) {
        match schema {
            Value::Object(map) => {
                let properties = map.get("properties").and_then(Value::as_object);
                found.extend(properties.into_iter().flat_map(|map| map.keys().map(String::as_str)));
                map.values().for_each(|below| names(below, found));
            }
            Value::Array(items) => items.iter().for_each(|below| names(below, found)),
            _ => {}
        }
    }

    #[test]
    fn the_page_names_every_key_of_the_schema() {
        let schema = config::schema();
        let page = page(&schema).replace("\\-", "-");
        let mut found = Vec::new();
        names(&schema, &mut found);
        assert!(found.len() > 150, "{}", found.len());
        for name in found {
            let told = page.lines().any(|line| {
                let line = line.strip_prefix("\\fB").and_then(|line| line.strip_suffix("\\fR"));
                line.is_some_and(|path| path.rsplit('.').next() == Some(name))
            });
            assert!(told, "weir.yaml(5) does not tell of {name}");
        }
        assert!(page.contains("limits.connect_timeout"));
    }

    #[test]
    fn what_stands_between_backticks_is_bold() {
        assert_eq!(marked("a `b` c"), [roman("a "), bold("b"), roman(" c")]);
        assert_eq!(marked("`b`"), [bold("b")]);
    }
}
