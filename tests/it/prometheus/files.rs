//! The rules and dashboards as they are shipped, read.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::{Context, ensure};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

/// The dashboards.
pub(super) const DASHBOARDS: [&str; 3] =
    ["weir-fleet.json", "weir-workload.json", "weir-health.json"];
/// The files of tests of the rules.
pub(super) const RULE_TESTS: [&str; 2] = ["weir.rules.test.yml", "weir.rules.week.test.yml"];
/// How the names of our metrics begin.
const PREFIXES: [&str; 3] = ["llm_", "weir_", "circuit_breaker_"];

#[derive(Debug, Deserialize)]
struct Rules {
    groups: Vec<Group>,
}

#[derive(Debug, Deserialize)]
struct Group {
    rules: Vec<Rule>,
}

/// A rule that records or alerts.
#[derive(Debug, Deserialize)]
pub(super) struct Rule {
    pub(super) alert: Option<String>,
    pub(super) record: Option<String>,
    pub(super) expr: String,
    #[serde(default)]
    pub(super) labels: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) annotations: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
struct Tests {
    tests: Vec<Test>,
}

#[derive(Debug, Deserialize)]
struct Test {
    alert_rule_test: Vec<Case>,
}

#[derive(Debug, Deserialize)]
struct Case {
    alertname: String,
    exp_alerts: Vec<IgnoredAny>,
}

/// An expression of a dashboard and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Expression {
    pub(super) place: String,
    pub(super) text: String,
}

/// A file below `agent`.
pub(super) fn path(below: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).with_file_name("agent").join(below)
}

/// The text of a file below `agent`.
pub(super) fn text(below: &str) -> anyhow::Result<String> {
    std::fs::read_to_string(path(below)).with_context(|| below.to_owned())
}

fn yaml<T: serde::de::DeserializeOwned>(name: &str) -> anyhow::Result<T> {
    serde_saphyr::from_str(&text(&format!("packaging/prometheus/{name}"))?)
        .with_context(|| name.to_owned())
}

/// Every rule.
pub(super) fn rules() -> anyhow::Result<Vec<Rule>> {
    let rules: Rules = yaml("weir.rules.yml")?;
    Ok(rules.groups.into_iter().flat_map(|group| group.rules).collect())
}

/// Of each alert that is tested: whether there is a case in which it fires, and one in which not.
pub(super) fn tested() -> anyhow::Result<BTreeMap<String, (bool, bool)>> {
    let mut tested = BTreeMap::<String, (bool, bool)>::new();
    for name in RULE_TESTS {
        let tests: Tests = yaml(name)?;
        for case in tests.tests.into_iter().flat_map(|test| test.alert_rule_test) {
            let (fires, rests) = tested.entry(case.alertname).or_default();
            *fires |= !case.exp_alerts.is_empty();
            *rests |= case.exp_alerts.is_empty();
        }
    }
    Ok(tested)
}

/// A dashboard.
pub(super) fn dashboard(name: &str) -> anyhow::Result<Value> {
    Ok(serde_json::from_str(&text(&format!("packaging/grafana/{name}"))?)?)
}

/// The panels of a dashboard that show something.
pub(super) fn panels(dashboard: &Value) -> anyhow::Result<Vec<&Value>> {
    let panels = dashboard["panels"].as_array().context("panels")?;
    Ok(panels.iter().filter(|panel| panel["type"] != "row").collect())
}

/// Every expression of the dashboards, those of variables and annotations too, with the variables
/// filled in: every host and environment, and this workload.
pub(super) fn expressions(workload: &str) -> anyhow::Result<Vec<Expression>> {
    let mut found = Vec::new();
    for name in DASHBOARDS {
        let dashboard = dashboard(name)?;
        for panel in panels(&dashboard)? {
            for target in panel["targets"].as_array().context("targets")? {
                let place = format!("{name}: {} {}", panel["title"], target["refId"]);
                let text = target["expr"].as_str().context(place.clone())?.to_owned();
                found.push(Expression { place, text });
            }
        }
        for variable in dashboard["templating"]["list"].as_array().context("variables")? {
            let Some(query) = variable["query"]["query"].as_str() else { continue };
            let inner = query.strip_prefix("label_values(").and_then(|it| it.strip_suffix(')'));
            let (selector, _label) = inner.and_then(|it| it.rsplit_once(',')).context("a query")?;
            let place = format!("{name}: variable {}", variable["name"]);
            found.push(Expression { place, text: selector.to_owned() });
        }
        for annotation in dashboard["annotations"]["list"].as_array().context("annotations")? {
            if let Some(text) = annotation["expr"].as_str() {
                let place = format!("{name}: annotation {}", annotation["name"]);
                found.push(Expression { place, text: text.to_owned() });
            }
        }
    }
    ensure!(found.len() > 60, "only {} expressions are found", found.len());
    for expression in &mut found {
        expression.text = filled(&expression.text, workload);
        ensure!(!expression.text.contains('$'), "{expression:?}: an unknown variable");
    }
    Ok(found)
}

fn filled(text: &str, workload: &str) -> String {
    // The longer name first.
    text.replace("$__rate_interval", "1m")
        .replace("$__range_s", "60")
        .replace("$__range", "1m")
        .replace("$instance", ".*")
        .replace("$environment", ".*")
        .replace("$workload", workload)
}

/// The names of our metrics in a text, without what a histogram's samples add to them.
pub(super) fn names(text: &str) -> BTreeSet<String> {
    let is_of_name = |sign: char| sign.is_ascii_alphanumeric() || sign == '_';
    let words = text.split(|sign| !is_of_name(sign));
    let ours = words.filter(|word| PREFIXES.iter().any(|prefix| word.starts_with(prefix)));
    let whole = |word: &str| {
        let sample = ["_bucket", "_sum", "_count"].iter().find_map(|it| word.strip_suffix(it));
        sample.unwrap_or(word).to_owned()
    };
    ours.map(whole).collect()
}

/// The anchors of a page.
pub(super) fn anchors(page: &str) -> BTreeSet<String> {
    let headings = page.lines().filter_map(|line| line.strip_prefix('#'));
    let plain = |heading: &str| heading.trim_start_matches('#').trim().to_lowercase();
    headings.map(plain).map(|heading| heading.replace(' ', "-")).collect()
}
