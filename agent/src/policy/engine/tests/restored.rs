//! What an engine knows of what was spent before it was there: in the ledger, or by calls of another
//! agent.

use super::budgets::{DOLLAR, watched};
use super::*;

#[test]
fn a_restart_forgets_nothing_and_a_new_rule_learns_what_was() {
    let rolling = cap("rolling", Quantity::Usd, Over::Sliding(5 * HOUR), 10_000_000_000);
    let month = cap("monthly_limit_usd", Quantity::Usd, Over::Month, 100_000_000_000);
    let old = with("budgets", "a", watched(OnBreach::Deny, &[daily_usd(10), rolling]));
    let (mut engine, time) = engine(vec![old.clone()]);
    let horizon = engine.horizon(time.0).unwrap();
    assert_eq!(horizon, time.0.wall - 12 * HOUR);
    let spent = |hours, dollars| Spent {
        at: time.0.wall - Duration::from_hours(hours),
        subject: agent("a").into(),
        agent_name: None,
        environment: "prod".into(),
        provider: "openai".into(),
        model: Some("gpt-4o".into()),
        requests: 1,
        tokens: 10,
        cost: NanoUsd(dollars * DOLLAR),
    };
    // Yesterday; this morning; in the last hours, out of order.
    for row in [spent(13, 50), spent(1, 2), spent(7, 4), spent(3, 1)] {
        engine.restore(&row, time.0);
    }
    let figures = |engine: &Engine| -> Vec<_> {
        engine
            .budgets(time.0)
            .iter()
            .map(|budget| (budget.period.to_string(), budget.spent.0 / DOLLAR))
            .collect()
    };
    assert_eq!(figures(&engine), [("day".to_owned(), 7), ("5h".to_owned(), 3)]);
    let subject = agent("a");
    let call = Call { bound: bound(1, 1, DOLLAR / 10), ..testing::call(&subject) };
    assert_eq!(spend(&mut engine, &call, DOLLAR / 10, time), [], "50 % was told before");
    let new = Set { name: "budgets.more".into(), ..limited("budgets", "a", &[month]) };
    let settings = Settings { rules: vec![old, new], ..Settings::default() };
    engine.replace(settings.clone(), time.0);
    assert!(engine.horizon(time.0).unwrap() < horizon);
    for row in [spent(13, 50), spent(1, 2)] {
        engine.restore(&row, time.0);
    }
    let figures = figures(&engine);
    assert_eq!(figures[..2], [("day".to_owned(), 7), ("5h".to_owned(), 3)]);
    let month = engine.usage(Some("budgets.more"), time.0).remove(0);
    assert_eq!(month.figure.used, Amount::Usd(NanoUsd(52 * DOLLAR)));
    engine.replace(settings.clone(), time.0);
    assert_eq!(engine.horizon(time.0), None, "nothing is new");
    // Another limit of a rule that was there learns what was, and the others do not learn it twice.
    let Settings { mut rules, .. } = settings;
    let week = cap("weekly_limit_usd", Quantity::Usd, Over::Week, 90_000_000_000);
    rules[0] = with("budgets", "a", watched(OnBreach::Deny, &[daily_usd(10), rolling, week]));
    engine.replace(Settings { rules, ..Settings::default() }, time.0);
    for row in [spent(13, 50), spent(1, 2)] {
        engine.restore(&row, time.0);
    }
    let used: Vec<_> =
        engine.usage(Some("budgets.a"), time.0).iter().map(|it| it.figure.used).collect();
    let dollars = |nanos| Amount::Usd(NanoUsd(nanos));
    assert_eq!(
        used,
        [
            dollars(7 * DOLLAR + DOLLAR / 10),
            dollars(3 * DOLLAR + DOLLAR / 10),
            dollars(52 * DOLLAR)
        ]
    );
}

#[test]
fn a_budget_that_is_off_at_the_start_knows_what_was_spent_once_it_is_switched_on() {
    let off = Set { enforcement: Enforcement::Off, ..limited("budgets", "a", &[daily_usd(10)]) };
    let (mut engine, time) = engine(vec![off]);
    let subject = agent("a");
    let spent = Spent {
        at: time.0.wall - HOUR,
        subject: subject.clone().into(),
        agent_name: None,
        environment: "prod".into(),
        provider: "openai".into(),
        model: Some("gpt-4o".into()),
        requests: 1,
        tokens: 10,
        cost: NanoUsd(10 * DOLLAR),
    };
    engine.restore(&spent, time.0);
    let call = testing::call(&subject);
    let admission = engine.admit(&call, true, time.0);
    assert_eq!(actions(&admission.decisions), "");
    drop(passes(admission));
    engine.set("budgets.a", Some(Enforcement::Enforce));
    assert_eq!(refused(engine.admit(&call, true, time.0)).reason, Reason::Budget);
}

#[test]
fn a_clock_set_back_before_a_restart_empties_no_budget() {
    let rolling = cap("rolling", Quantity::Usd, Over::Sliding(5 * HOUR), 10_000_000_000);
    let caps = [daily_usd(10), rolling];
    let (mut engine, time) = engine(vec![limited("budgets", "a", &caps)]);
    let spent = Spent {
        at: time.0.wall + 2 * HOUR,
        subject: agent("a").into(),
        agent_name: None,
        environment: "prod".into(),
        provider: "openai".into(),
        model: None,
        requests: 1,
        tokens: 10,
        cost: NanoUsd(7 * DOLLAR),
    };
    engine.restore(&spent, time.0);
    let found: Vec<_> = engine.budgets(time.0).iter().map(|it| it.spent).collect();
    assert_eq!(found, [NanoUsd(7 * DOLLAR); 2]);
}

#[test]
fn what_another_agents_calls_may_come_to_is_held_until_they_are_settled() {
    let (mut engine, mut time) = engine(vec![limited("budgets", "a", &[daily_usd(10)])]);
    time.pass(MINUTE);
    engine.begin(time.0);
    let subject = agent("a");
    let held = |cost: i64, age: Duration| Spent {
        at: time.0.wall - age,
        subject: Arc::new(subject.clone()),
        agent_name: None,
        environment: "prod".into(),
        provider: "openai".into(),
        model: Some("gpt-4o".into()),
        requests: 1,
        tokens: 100,
        cost: NanoUsd(cost),
    };
    // Spent after this engine was made, and before it began to count.
    engine.restore(&held(2 * DOLLAR, Duration::from_secs(30)), time.0);
    let first = engine.adopt(&held(5 * DOLLAR, Duration::from_secs(40)), time.0);
    let second = engine.adopt(&held(2 * DOLLAR, Duration::from_secs(1)), time.0);
    let call = Call { bound: bound(1, 1, 3 * DOLLAR), ..testing::call(&subject) };
    refused(engine.admit(&call, true, time.0));
    let budget = &engine.budgets(time.0)[0];
    assert_eq!((budget.spent, budget.reserved), (NanoUsd(2 * DOLLAR), NanoUsd(7 * DOLLAR)));

    time.pass(MINUTE);
    let actual = |cost| Actual { sent: true, tokens: 10, cost, failed: false };
    engine.settle(first, &actual(Some(NanoUsd(DOLLAR))), time.0);
    // Nobody knows what it came to: it stays what it was.
    engine.settle(second, &actual(None), time.0);
    let budget = &engine.budgets(time.0)[0];
    assert_eq!((budget.spent, budget.reserved), (NanoUsd(5 * DOLLAR), NanoUsd(0)));
    spend(&mut engine, &call, 3 * DOLLAR, time);
}
