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
        [
            "W/weir.yaml:2:22: error_budgets.a.minimum_calls: must be 2 to 100",
            "W/weir.yaml:3:6: error_budgets.b: needs `target_percent`, the share that may fail",
            "W/weir.yaml:4:6: error_budgets.c: needs `target_percent`, the share that may fail",
            "W/weir.yaml:4:7: error_budgets.c.target_precent: this key is not known to weir 0.1.0 \
             (did you mean `target_percent`?)",
            "W/weir.yaml:5:6: error_budgets.d: `0` is not a share: write percent as a decimal number \
             from 0.0001 to 100 (`0.1`)",
            "W/weir.yaml:6:6: error_budgets.e: `101` is not a share: write percent as a decimal \
             number from 0.0001 to 100 (`0.1`)",
            "W/weir.yaml:7:6: error_budgets.f: `five` is not a share: write percent as a decimal \
             number from 0.0001 to 100 (`0.1`)",
            "W/weir.yaml:8:13: error_budgets.team:x: there is no team `x`",
            "W/weir.yaml:9:17: error_budgets.workload:*: `workload:*`: each workload is watched by \
             itself, write `default`",
            "W/weir.yaml:10:36: error_budgets.chat.match: `chat` is an operation: a rule with a \
             `match` needs another name",
            "W/weir.yaml:11:12: error_budgets.default: `default` and `*` mean the same calls",
            "W/weir.yaml:11:39: error_budgets.default.match: `default` is about all other calls: a \
             rule with a `match` needs another name",
            "W/weir.yaml:12:51: error_budgets.night.match.time_of_day: says nothing here: a window \
             of calls has no time of day",
            "W/weir.yaml:15:6: sla.g.p95_ms: must be 1 to 3600000 milliseconds",
            "W/weir.yaml:16:15: sla.h.p95_ms: must be 1 to 3600000 milliseconds",
            "W/weir.yaml:17:6: sla.i: `fast` is not a whole number",
            "W/weir.yaml:18:7: sla.j.p95: this key is not known to weir 0.1.0 (did you mean \
             `p95_ms`?)",
            "W/weir.yaml:19:18: spikes.factor: must be more than 1: an hour that costs what it \
             always does is no spike",
            "W/weir.yaml:19:32: spikes.floor_usd: must be more than 0: without it, the first cent at \
             night is a spike",
            "W/weir.yaml:19:35: spikes.floor: this key is not known to weir 0.1.0 (did you mean \
             `floor_usd`?)",
        ]
    );
}
