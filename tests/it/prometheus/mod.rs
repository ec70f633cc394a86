//! Prometheus and Grafana: what is shipped for them is right, and works with the agent's metrics.
//!
//! Rules and dashboards are read as they are shipped; a real Prometheus scrapes a daemon with traffic
//! on the stage and evaluates every expression in them.

mod files;
mod scene;
mod security;
mod server;

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use harness::{Stage, on_stage, within};
use serde_json::Value;

use files::Expression;
use scene::{Scene, WORKLOAD};
use server::Prometheus;

/// For every expression to have data, on a loaded machine.
const LONGEST: Duration = Duration::from_mins(3);
/// Where the runbooks are read.
const RUNBOOKS: &str = "https://github.com/weir-agent/weir/blob/main/agent/docs/runbooks.md#";

/// What promtool says, which must be that all is well. `None` where it is not installed and nobody
/// demands it.
fn promtool(arguments: &[&str], input: &str) -> anyhow::Result<Option<String>> {
    let started = Command::new("promtool")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut promtool = match started {
        Ok(promtool) => promtool,
        Err(error) if rustix::process::geteuid().is_root() => {
            return Err(error).context("promtool (Debian package prometheus): cargo xtask setup");
        }
        Err(_) => {
            eprintln!("skipped: promtool is not installed");
            return Ok(None);
        }
    };
    promtool.stdin.take().context("a pipe")?.write_all(input.as_bytes())?;
    let output = promtool.wait_with_output()?;
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    ensure!(output.status.success(), "promtool {arguments:?}: {}\n{said}", output.status);
    Ok(Some(said))
}

fn shipped(name: &str) -> anyhow::Result<String> {
    let path = files::path(&format!("packaging/prometheus/{name}"));
    Ok(path.to_str().context("a path that is text")?.to_owned())
}

#[test]
fn promtool_accepts_the_rules_and_the_example() -> anyhow::Result<()> {
    promtool(&["check", "rules", &shipped("weir.rules.yml")?], "")?;
    // The example names the rules where they are installed.
    let example = files::text("packaging/prometheus/prometheus.yml")?;
    let installed = "/usr/share/weir/prometheus/weir.rules.yml";
    ensure!(example.contains(installed), "the example names no rules");
    let dir = tempfile::tempdir()?;
    let here = dir.path().join("prometheus.yml");
    std::fs::write(&here, example.replace(installed, &shipped("weir.rules.yml")?))?;
    promtool(&["check", "config", here.to_str().context("a path that is text")?], "")?;
    Ok(())
}

#[test]
fn alerts_fire_when_they_should_and_only_then() -> anyhow::Result<()> {
    for tests in files::RULE_TESTS {
        promtool(&["test", "rules", &shipped(tests)?], "")?;
    }
    let tested = files::tested()?;
    for alert in files::rules()?.iter().filter_map(|rule| rule.alert.as_ref()) {
        ensure!(tested.get(alert) == Some(&(true, true)), "{alert} is not tested both ways");
    }
    Ok(())
}

#[test]
fn every_alert_says_what_it_is_and_what_to_do() -> anyhow::Result<()> {
    let rules = files::rules()?;
    let alerts: Vec<_> = rules.iter().filter(|rule| rule.alert.is_some()).collect();
    ensure!(alerts.len() >= 14, "only {} alerts", alerts.len());
    ensure!(rules.len() == alerts.len() + rules.iter().filter(|it| it.record.is_some()).count());
    let page = files::text("docs/runbooks.md")?;
    let anchors = files::anchors(&page);
    for alert in alerts {
        let name = alert.alert.as_deref().context("a name")?;
        for key in ["summary", "description"] {
            ensure!(alert.annotations.get(key).is_some_and(|it| !it.is_empty()), "{name}: {key}");
        }
        let severity = alert.labels.get("severity").map(String::as_str);
        ensure!(matches!(severity, Some("critical" | "warning" | "info")), "{name}: {severity:?}");
        let url = alert.annotations.get("runbook_url").context(name.to_owned())?;
        let anchor = url.strip_prefix(RUNBOOKS).with_context(|| format!("{name}: {url}"))?;
        ensure!(anchors.contains(anchor), "{name}: {anchor} is no heading of the runbooks");
    }
    Ok(())
}

#[test]
fn rules_and_dashboards_name_only_metrics_that_there_are() -> anyhow::Result<()> {
    let documented = files::names(&files::text("docs/metrics.md")?);
    let mut texts = Vec::new();
    for rule in files::rules()? {
        texts.push((rule.alert.or(rule.record).context("a name")?, rule.expr));
    }
    for Expression { place, text } in files::expressions(WORKLOAD)? {
        texts.push((place, text));
    }
    for (place, text) in texts {
        for name in files::names(&text) {
            ensure!(documented.contains(&name), "{place}: there is no metric {name}");
        }
    }
    Ok(())
}

#[test]
fn dashboards_are_whole() -> anyhow::Result<()> {
    let mut uids = BTreeSet::new();
    let mut all = Vec::new();
    for name in files::DASHBOARDS {
        let dashboard = files::dashboard(name)?;
        let text = |value: &Value| value.as_str().is_some_and(|it| !it.is_empty());
        ensure!(text(&dashboard["title"]) && text(&dashboard["description"]), "{name}");
        ensure!(dashboard["schemaVersion"].as_u64() >= Some(38), "{name}: before Grafana 10");
        let uid = dashboard["uid"].as_str().context("a uid")?.to_owned();
        ensure!(uids.insert(uid), "{name}: its uid is another's too");
        let first = &dashboard["templating"]["list"][0];
        ensure!(first["name"] == "datasource" && first["type"] == "datasource", "{name}: {first}");
        let mut ids = BTreeSet::new();
        for panel in files::panels(&dashboard)? {
            let title = panel["title"].as_str().context("a title")?;
            ensure!(ids.insert(panel["id"].as_u64()), "{name}: {title}: its id is another's too");
            ensure!(text(&panel["description"]), "{name}: {title}: no description");
            ensure!(text(&panel["fieldConfig"]["defaults"]["unit"]), "{name}: {title}: no unit");
            ensure!(panel["datasource"]["uid"] == "${datasource}", "{name}: {title}: its source");
            let width = panel["gridPos"]["x"].as_u64().zip(panel["gridPos"]["w"].as_u64());
            ensure!(width.is_some_and(|(x, w)| x + w <= 24), "{name}: {title}: beyond the edge");
        }
        all.push(dashboard);
    }
    // Links lead to dashboards that there are.
    for dashboard in &all {
        for link in dashboard["links"].as_array().context("links")? {
            let to = link["url"].as_str().and_then(|url| url.strip_prefix("/d/"));
            ensure!(to.is_some_and(|to| uids.contains(to)), "{link} leads nowhere");
        }
    }
    Ok(())
}

/// Panels that have nothing to show on some hosts, and why.
fn is_without_data(expression: &Expression, scene: &Scene) -> bool {
    let Expression { text, .. } = expression;
    let no_memory = text.contains("weir_workload_memory_bytes") && !scene.tells_memory();
    let no_pressure =
        text.contains("weir_host_pressure_seconds_total") && !Path::new("/proc/pressure").exists();
    no_memory || no_pressure
}

/// Whether any sample is a figure.
fn has_data(samples: &[Value]) -> bool {
    let figures = samples.iter().filter_map(|sample| sample["value"][1].as_str());
    figures.filter_map(|text| text.parse::<f64>().ok()).any(f64::is_finite)
}

#[test]
fn every_expression_has_an_answer_from_a_live_agent() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let config = scene::config(stage);
        stage.start(&config).await?;
        let scene = Scene::set(stage)?;
        let rules = files::path("packaging/prometheus/weir.rules.yml");
        let prometheus = Prometheus::start(stage, &rules).await?;
        scene.upsets(stage).await?;
        let mut waiting = files::expressions(WORKLOAD)?;
        for rule in files::rules()? {
            match rule.record {
                // What is recorded has to come about too.
                Some(record) => waiting.push(Expression { place: record.clone(), text: record }),
                // Most alerts have nothing to say, but they can be asked.
                None => drop(prometheus.query(&rule.expr).await?),
            }
        }
        waiting.retain(|expression| !is_without_data(expression, &scene));
        let played = within(LONGEST, "an answer to every expression", async || {
            scene.round(stage).await?;
            for expression in std::mem::take(&mut waiting) {
                if !has_data(&prometheus.query(&expression.text).await?) {
                    waiting.push(expression);
                }
            }
            Ok(waiting.is_empty().then_some(()))
        })
        .await;
        played.with_context(|| format!("without data: {waiting:#?}"))?;
        ensure!(prometheus.broken_rules().await? == [] as [Value; 0]);
        Ok(())
    })
}

#[test]
fn promtool_has_nothing_to_say_of_a_live_agents_metrics() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let config = scene::config(stage);
        stage.start(&config).await?;
        let scene = Scene::set(stage)?;
        scene.upsets(stage).await?;
        scene.round(stage).await?;
        let text = stage.metrics().await?;
        for name in ["llm_cost_usd_total{", "weir_workload_cpu_seconds_total{", "weir_mode{"] {
            ensure!(text.contains(name), "{name} is not in\n{text}");
        }
        let said = promtool(&["check", "metrics"], &text)?;
        ensure!(said.is_none_or(|said| said.is_empty()));
        Ok(())
    })
}

#[test]
fn an_alert_fires_in_prometheus() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let config = scene::config(stage);
        stage.start(&config).await?;
        let scene = Scene::set(stage)?;
        let prometheus = Prometheus::start(stage, &impatient(stage)?).await?;
        let firing = async |name: &str| {
            within(LONGEST, name, async || {
                let alerts = prometheus.alerts().await?.into_iter();
                let is_it = |alert: &Value| {
                    alert["labels"]["alertname"] == name && alert["state"] == "firing"
                };
                Ok(alerts.into_iter().find(is_it))
            })
            .await
        };
        let quiet = prometheus.alerts().await?;
        ensure!(!quiet.iter().any(|it| it["labels"]["alertname"] == "LLMBudgetExceeded"));

        scene.spend_all(stage).await?;
        let alert = firing("LLMBudgetExceeded").await?;
        let labels = &alert["labels"];
        ensure!(labels["policy"] == "budgets.container:drained", "{alert}");
        ensure!(labels["instance"] == "stage" && labels["severity"] == "critical", "{alert}");
        let url = alert["annotations"]["runbook_url"].as_str();
        ensure!(url == Some(&format!("{RUNBOOKS}llmbudgetexceeded")), "{alert}");

        stage.told(&["breaker", "trip", "openai"]).await?;
        let alert = firing("CircuitBreakerOpen").await?;
        ensure!(alert["labels"]["agent_name"] == "openai", "{alert}");
        // Over again, it is told no longer.
        stage.told(&["breaker", "reset", "openai"]).await?;
        within(LONGEST, "the end of an alert", async || {
            let alerts = prometheus.alerts().await?;
            let is_it = |alert: &Value| alert["labels"]["alertname"] == "CircuitBreakerOpen";
            Ok((!alerts.iter().any(is_it)).then_some(()))
        })
        .await
    })
}

/// The rules as they are shipped, but for the time that something has to last.
fn impatient(stage: &Stage) -> anyhow::Result<std::path::PathBuf> {
    let rules = files::text("packaging/prometheus/weir.rules.yml")?;
    let waits = |line: &&str| line.starts_with("    for: ");
    ensure!(rules.lines().any(|line| waits(&line)), "no rule waits: are they read rightly?");
    let rules: Vec<_> = rules.lines().filter(|line| !waits(line)).collect();
    let path = stage.scratch().join("impatient.rules.yml");
    std::fs::write(&path, rules.join("\n") + "\n")?;
    Ok(path)
}
