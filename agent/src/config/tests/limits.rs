//! Rules as users write them, and every way to write them wrong.

use std::time::Duration;

use super::{config, problems};
use crate::policy::settings::{OnBreach, Over, Per, Quantity, Rule, Says, UnknownPrice};
use crate::policy::{Enforcement, Settings};

fn settings(text: &str) -> Settings {
    config(text).policy
}

fn find<'s>(settings: &'s Settings, name: &str) -> &'s Rule {
    settings.rules.iter().find(|rule| &*rule.name == name).unwrap()
}

fn caps(rule: &Rule) -> Vec<(&'static str, u64)> {
    let Says::Limit(limit) = &rule.says else { panic!("no limit: {rule:?}") };
    limit.caps.iter().map(|cap| (cap.unit, cap.limit.get())).collect()
}

#[test]
fn the_sections_users_bring_along_load_as_written() {
    let settings = settings(
        "mode: enforce
environment: prod
rate_limits:
  batch-agent: {requests_per_minute: 5, requests_per_hour: 100}
budgets:
  code-reviewer: {daily_limit_usd: 10.0, monthly_limit_usd: 200.0, alert_at_percent: 80}
",
    );
    let rate = find(&settings, "rate_limits.batch-agent");
    assert_eq!(caps(rate), [("requests_per_minute", 5), ("requests_per_hour", 100)]);
    assert_eq!((rate.enforcement, rate.per), (Enforcement::Enforce, Per::All));
    assert!(rate.selector.or_agent_name);
    let budget = find(&settings, "budgets.code-reviewer");
    let dollars = |dollars: u64| dollars * 1_000_000_000;
    assert_eq!(
        caps(budget),
        [("daily_limit_usd", dollars(10)), ("monthly_limit_usd", dollars(200))]
    );
    let Says::Limit(limit) = &budget.says else { panic!("no limit") };
    assert_eq!(limit.watch.as_ref().unwrap().alert_at, [80]);
    assert_eq!(limit.on_breach, OnBreach::Deny);
}

#[test]
fn every_key_of_a_rule_is_read() {
    let settings = settings(
        r#"
timezone: UTC
unknown_price: assume-max
tiers: {cheap: [gpt-4o-mini]}
teams:
  payments: {workloads: [pay], users: [alice, "1000"]}
rate_limits:
  "user:*": {tokens_per_minute: 1_000, tokens_per_day: 5000, usd_per_hour: 0.5, on_breach: throttle, throttle_up_to: 30s}
  "team:payments": {requests_per_day: 9, enforcement: "canary:25"}
  night:
    requests_per_hour: 3
    per: workload
    enforcement: shadow
    match: {model: [gpt-4o*, o3], provider: openai, path: /v1/chat*, time_of_day: "22:00-06:00"}
budgets:
  "*":
    hourly_limit_usd: 1
    rolling: [{hours: 5, limit_usd: 2}, {days: 7, limit_usd: 20}]
    alert_at_percent: [100, 50, 80]
    action: downgrade
    downgrade_to: tier:cheap
    on_stream_overrun: cut
    forecast: false
    cost_spike_percent: 0
guardrails:
  no-big-ones: {match: {}, deny_models: [o1-pro*], max_output_tokens: 4096, max_body_size: 1MiB, on_breach: warn}
loop_protection: {identical_prompts_per_minute: 10, on_breach: deny}
"#,
    );
    assert_eq!(settings.teams[0].users.len(), 2);
    assert!(matches!(settings.unknown_price, UnknownPrice::AssumeMax { .. }));
    let users = find(&settings, "rate_limits.user:*");
    assert_eq!(users.per, Per::User);
    assert_eq!(caps(users)[2], ("usd_per_hour", 500_000_000));
    let Says::Limit(limit) = &users.says else { panic!("no limit") };
    assert_eq!(limit.on_breach, OnBreach::Throttle(Duration::from_secs(30)));
    let team = find(&settings, "rate_limits.team:payments");
    assert_eq!((team.enforcement, team.per), (Enforcement::Canary(25), Per::All));
    let night = find(&settings, "rate_limits.night");
    assert_eq!((night.enforcement, night.per), (Enforcement::Shadow, Per::Workload));
    assert_eq!((night.selector.model.len(), night.selector.workload.len()), (2, 0));
    assert_eq!(night.selector.hours.map(|hours| (hours.from, hours.to)), Some((1320, 360)));
    let Says::Limit(all) = &find(&settings, "budgets.*").says else { panic!("no limit") };
    let overs: Vec<_> = all.caps.iter().map(|cap| (cap.unit, cap.over)).collect();
    let hours = |hours| Over::Sliding(Duration::from_hours(hours));
    assert_eq!(
        overs,
        [("hourly_limit_usd", hours(1)), ("rolling", hours(5)), ("rolling", hours(168))]
    );
    assert!(all.caps.iter().all(|cap| cap.of == Quantity::Usd) && all.cut_streams);
    assert_eq!(all.on_breach, OnBreach::Downgrade("tier:cheap".into()));
    let watch = all.watch.as_ref().unwrap();
    assert_eq!(
        (&watch.alert_at[..], watch.forecast, watch.spike_percent),
        (&[50, 80, 100][..], false, None)
    );
    let Says::Guard(guard) = &find(&settings, "guardrails.no-big-ones").says else {
        panic!("no guard")
    };
    assert_eq!((guard.max_output_tokens, guard.max_body_bytes), (Some(4096), Some(1 << 20)));
    let Says::Loops(loops) = &find(&settings, "loop_protection").says else { panic!("no loops") };
    assert_eq!((loops.identical.unwrap().get(), loops.errors.unwrap().get()), (10, 60));
}

#[test]
fn keys_name_subjects() {
    let settings = settings(
        "rate_limits: {'exe:python3:agent.py': {requests_per_day: 1}, 'exe:curl': \
         {requests_per_day: 1}, 'app:claude': {requests_per_day: 1}, 'env:prod': \
         {requests_per_day: 1}, 'user:alice': {requests_per_day: 1, match: {model: o3*}}}",
    );
    let selector = |name: &str| &find(&settings, name).selector;
    assert_eq!(
        selector("rate_limits.exe:python3:agent.py").workload[0].to_string(),
        "exe:python3:agent.py"
    );
    assert_eq!(selector("rate_limits.exe:curl").exe[0].to_string(), "curl");
    assert_eq!(selector("rate_limits.app:claude").workload[0].to_string(), "app:claude");
    assert_eq!(selector("rate_limits.env:prod").environment[0].to_string(), "prod");
    let alice = selector("rate_limits.user:alice");
    assert_eq!((alice.user.len(), alice.model.len()), (1, 1));
}

#[test]
fn the_standard_profile_is_rules_like_others() {
    let standard = settings("profile: standard");
    let dollars = |dollars: u64| dollars * 1_000_000_000;
    let user = find(&standard, "rate_limits.standard-user");
    assert_eq!(
        caps(user),
        [
            ("requests_per_minute", 60),
            ("requests_per_hour", 1_000),
            ("requests_per_day", 10_000),
            ("tokens_per_day", 1_000_000),
        ]
    );
    assert_eq!((user.per, user.selector.workload.len()), (Per::User, 0));
    let team = find(&standard, "rate_limits.standard-team");
    assert_eq!(caps(team), [("requests_per_day", 50_000), ("tokens_per_day", 5_000_000)]);
    let of = |name: &str| caps(find(&standard, name));
    assert_eq!(of("budgets.standard-user"), [("daily_limit_usd", dollars(100))]);
    assert_eq!(of("budgets.standard-team"), [("daily_limit_usd", dollars(500))]);
    let own = settings(
        "profile: standard\nrate_limits: {standard-user: {requests_per_minute: 5, enforcement: shadow}}",
    );
    let user = find(&own, "rate_limits.standard-user");
    assert_eq!(caps(user)[..2], [("requests_per_minute", 5), ("requests_per_hour", 1_000)]);
    assert_eq!((user.enforcement, user.per), (Enforcement::Shadow, Per::User));
}

#[test]
fn rules_that_cannot_work_are_named_with_their_place() {
    let cases = [
        (
            "rate_limits: {a: {requests_per_minute: 100, requests_per_hour: 60}}",
            "1:40: rate_limits.a.requests_per_minute: can never be reached: `requests_per_hour` allows",
        ),
        (
            "rate_limits: {a: {requests_per_minute: 0}}",
            "1:40: rate_limits.a.requests_per_minute: must be more",
        ),
        (
            "rate_limits: {a: {requests_per_minute: -5}}",
            "1:40: rate_limits.a.requests_per_minute: `-5` is not a whole",
        ),
        (
            "rate_limits: {a: {request_per_minute: 5}}",
            "1:19: rate_limits.a.request_per_minute: this key is not known to weir 0.1.0 (did you mean `requests_per_minute`?)",
        ),
        ("rate_limits: {a: {}}", "1:18: rate_limits.a: limits nothing"),
        (
            "rate_limits: {a: {enforcement: on, requests_per_day: 1}}",
            "1:32: rate_limits.a.enforcement: `on` is none of off",
        ),
        (
            "rate_limits: {'usr:a': {requests_per_day: 1}}",
            "1:24: rate_limits.usr:a: `usr:` selects nothing: write one of workload, unit, exe, container, user, team, env, environment, model, provider (did you mean `user`?)",
        ),
        (
            "rate_limits: {'user:': {requests_per_day: 1}}",
            "1:24: rate_limits.user:: a name must follow",
        ),
        (
            "rate_limits: {'provider:opnai': {requests_per_day: 1}}",
            "1:33: rate_limits.provider:opnai: there is no provider `opnai` (did you mean `openai`?)",
        ),
        (
            "rate_limits: {'user:a': {requests_per_day: 1, match: {user: b}}}",
            "1:61: rate_limits.user:a.match.user: contradicts the key",
        ),
        (
            "rate_limits: {a: {requests_per_day: 1, match: {model: []}}}",
            "1:55: rate_limits.a.match.model: names nothing",
        ),
        (
            "rate_limits: {a: {requests_per_day: 1, match: {time_of_day: '09:00-09:00'}}}",
            "1:61: rate_limits.a.match.time_of_day: begins when it ends",
        ),
        (
            "rate_limits: {a: {requests_per_day: 1, match: {time_of_day: 9-17}}}",
            "1:61: rate_limits.a.match.time_of_day: `9-17` is not a time",
        ),
        (
            "rate_limits: {a: {requests_per_day: 1, throttle_up_to: 5s}}",
            "1:56: rate_limits.a.throttle_up_to: says nothing without",
        ),
        (
            "rate_limits: {a: {requests_per_day: 1, on_breach: throttle, throttle_up_to: 1h}}",
            "1:77: rate_limits.a.throttle_up_to: must be longer",
        ),
        (
            "teams: {pay: {users: [a]}}\nbudgets: {'team:pays': {daily_limit_usd: 1}}",
            "2:24: budgets.team:pays: there is no team `pays` (did you mean `pay`?)",
        ),
        (
            "teams: {a: {users: [x]}, b: {users: [x]}}",
            "1:38: teams.b.users[0]: `x` is in team `a` already",
        ),
        (
            "budgets: {'team:*': {daily_limit_usd: 1}}",
            "1:21: budgets.team:*: there are no teams under `teams`",
        ),
        ("teams: {a: {}}", "1:12: teams.a: has neither workloads nor users"),
        (
            "budgets: {a: {daily_limit_usd: 10, monthly_limit_usd: 5}}",
            "1:32: budgets.a.daily_limit_usd: can never be reached: `monthly_limit_usd`",
        ),
        (
            "budgets: {a: {daily_limit_usd: ten}}",
            "1:32: budgets.a.daily_limit_usd: `ten` is not an amount",
        ),
        (
            "budgets: {a: {daily_limit_usd: 1, alert_at_percent: 180}}",
            "1:53: budgets.a.alert_at_percent",
        ),
        (
            "budgets: {a: {daily_limit_usd: 1, on_breach: downgrade}}",
            "1:14: budgets.a: needs `downgrade_to`",
        ),
        (
            "tiers: {cheap: [gpt-4o]}\nbudgets: {a: {daily_limit_usd: 1, on_breach: downgrade, downgrade_to: 'tier:cheep'}}",
            "2:71: budgets.a.downgrade_to: there is no tier `cheep` under `tiers` (did you mean `cheap`?)",
        ),
        ("budgets: {a: {rolling: {limit_usd: 1}}}", "1:24: budgets.a.rolling: needs either"),
        ("budgets: {a: {rolling: [{hours: 1}]}}", "1:25: budgets.a.rolling[0]: needs `limit_usd`"),
        (
            "budgets: {a: {daily_limit_usd: 1, cost_spike_percent: 50}}",
            "1:55: budgets.a.cost_spike_percent: must be over",
        ),
        ("guardrails: {a: {on_breach: block}}", "1:17: guardrails.a: guards nothing"),
        (
            "guardrails: {a: {allow_models: [gpt-4o], deny_models: ['gpt*']}}",
            "1:33: guardrails.a.allow_models[0]: `gpt-4o` is denied by",
        ),
        ("loop_protection: {on_breach: freeze}", "1:30: loop_protection.on_breach: must be one of"),
        ("timezone: Mars/Olympus", "1:11: timezone: `Mars/Olympus` is no time zone"),
    ];
    for (text, expected) in cases {
        let found = problems(text);
        let expected = format!("W/weir.yaml:{expected}");
        let is_there = found.first().is_some_and(|first| first.starts_with(&expected));
        assert!(is_there && found.len() <= 2, "{text}\n  {found:#?}\n  {expected}");
    }
}
