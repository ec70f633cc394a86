//! Error budgets, latencies and spikes as users write them, and every way to write them wrong.

use std::time::Duration;

use super::{config, problems};
use crate::llm::usage::NanoUsd;
use crate::watch::settings::{ErrorBudget, Settings, Whom};

fn settings(text: &str) -> Settings {
    config(text).watching
}

fn find<'s>(settings: &'s Settings, policy: &str) -> &'s ErrorBudget {
    settings.budgets.iter().find(|rule| &*rule.policy == policy).unwrap()
}

#[test]
fn nothing_is_too_much_unless_it_is_said_but_for_spikes() {
    let settings = settings("mode: meter\n");
    assert_eq!((settings.budgets.len(), settings.sla.len()), (0, 0));
    let spikes = settings.spikes.unwrap();
    assert_eq!((spikes.percent, spikes.floor), (300, NanoUsd(5_000_000_000)));
    assert_eq!(spikes.whom, None);
}

#[test]
fn every_key_is_read() {
    let settings = settings(
        "teams: {pay: {users: [alice]}}
error_budgets:
  payment: {target_percent: 0.1, minimum_calls: 50, match: {workload: pay*, model: [gpt-4o*]}}
  vendor: 5
  embeddings: 12.5%
  team:pay: 1
  default: 10
sla:
  '*': {}
  chat: 5000
  slow: {p95_ms: 60000, match: {user: alice}}
spikes: {factor: 2.5, floor_usd: 0.50, match: {unit: batch}}
",
    );
    let payment = find(&settings, "error_budgets.payment");
    assert_eq!((payment.task.as_deref(), payment.minimum_calls.get()), (Some("payment"), 50));
    assert_eq!(payment.target.to_string(), "0.1%");
    let Whom::Selected(selector) = &payment.whom else { panic!("{payment:?}") };
    assert_eq!((selector.workload.len(), selector.model.len()), (1, 1));
    assert!(!selector.or_agent_name);
    let vendor = find(&settings, "error_budgets.vendor");
    assert_eq!((vendor.target.to_string().as_str(), vendor.minimum_calls.get()), ("5%", 20));
    let Whom::Selected(selector) = &vendor.whom else { panic!("{vendor:?}") };
    assert!(selector.or_agent_name, "a bare name is a workload's or an agent's");
    let embeddings = find(&settings, "error_budgets.embeddings");
    assert_eq!(embeddings.whom, Whom::Operation("embeddings".into()));
    assert_eq!(embeddings.target.to_string(), "12.5%");
    let Whom::Selected(team) = &find(&settings, "error_budgets.team:pay").whom else {
        panic!("a team")
    };
    assert_eq!(team.team.len(), 1);
    let rest = find(&settings, "error_budgets.default");
    assert_eq!((&rest.whom, &rest.task), (&Whom::Rest, &None));

    let limits: Vec<_> = settings.sla.iter().map(|rule| (&*rule.policy, rule.p95)).collect();
    let seconds = Duration::from_secs;
    assert_eq!(
        limits,
        [("sla.*", seconds(10)), ("sla.chat", seconds(5)), ("sla.slow", seconds(60))]
    );
    assert_eq!(settings.sla[0].whom, Whom::Rest);
    let spikes = settings.spikes.unwrap();
    assert_eq!((spikes.percent, spikes.floor), (250, NanoUsd(500_000_000)));
    assert_eq!(spikes.whom.unwrap().unit.len(), 1);
    assert_eq!(config("spikes: {enabled: false}\n").watching.spikes, None);
}

#[test]
fn every_mistake_is_told_with_its_place() {
    assert_eq!(
        problems(
            "error_budgets:
  a: {minimum_calls: 1, target_percent: 5}
  b: {}
  c: {target_precent: 5}
  d: 0
  e: 101
  f: five
  'team:x': 5
  'workload:*': 5
  chat: {target_percent: 5, match: {user: alice}}
  default: {target_percent: 5, match: {user: alice}}
  night: {target_percent: 5, match: {time_of_day: 22:00-06:00}}
  '*': 5
sla:
  g: 0
  h: {p95_ms: 9999999999}
  i: fast
  j: {p95: 5}
spikes: {factor: 1, floor_usd: 0, floor: 3}
"
        ),
        ["W/weir.yaml:2:22: error_budgets.a.minimum_calls: must be 2 to 100",]
    );
}
