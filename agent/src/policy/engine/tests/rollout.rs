//! Off, shadow, canary, by hand, on trial.

use super::*;

#[test]
fn a_shadow_counts_what_enforcing_would_have_refused_and_no_more() {
    let of = |enforcement| Set { enforcement, ..limited("rate_limits", "a", &[per_minute(5)]) };
    let (mut shadow, mut time) = engine(vec![of(Enforcement::Shadow)]);
    let (mut enforce, _) = engine(vec![of(Enforcement::Enforce)]);
    let (mut metering, _) = engine(vec![of(Enforcement::Enforce)]);
    let subject = agent("a");
    let call = testing::call(&subject);
    for _ in 0..600 {
        time.pass(Duration::from_secs(1));
        drop(passes(shadow.admit(&call, true, time.0)));
        drop(passes(metering.admit(&call, false, time.0)));
        if let Verdict::Pass { ticket, .. } = enforce.admit(&call, true, time.0).verdict {
            let _notices = enforce.settle(ticket, &cost_of(1), time.0);
        }
    }
    let [shadow_view] = &shadow.policies()[..] else { panic!("one rule") };
    let [enforce_view] = &enforce.policies()[..] else { panic!("one rule") };
    assert!(enforce_view.acted > 500);
    assert_eq!(
        (shadow_view.passed, shadow_view.shadowed),
        (enforce_view.passed, enforce_view.acted)
    );
    assert_eq!(metering.policies()[0].shadowed, shadow_view.shadowed);
    // Its usage is what was really used.
    let used = shadow.usage(None, time.0)[0].figure.used;
    assert!(used >= Amount::Count(60), "{used:?}");
    // Once it acts, all of that counts.
    assert!(shadow.set("rate_limits.a", Some(Enforcement::Enforce)));
    time.pass(Duration::from_secs(30));
    refused(shadow.admit(&call, true, time.0));
}

/// What a refused call shows in `weir explain`: figures of rules that counted nothing stay as they
/// are, and no rule has let it pass, made it wait or changed it.
#[test]
fn a_call_refused_by_one_rule_has_passed_none() {
    let shadow = |name, per| Set {
        enforcement: Enforcement::Shadow,
        name: format!("rate_limits.{name}").into(),
        ..limited("rate_limits", "a", &[per_minute(per)])
    };
    let slow = Limit {
        on_breach: OnBreach::Alert,
        ..testing::limit(&[cap("requests_per_hour", Quantity::Requests, Over::Sliding(HOUR), 1)])
    };
    let most = Guard { max_output_tokens: Some(900), ..Guard::default() };
    let (mut engine, time) = engine(vec![
        rule("guardrails", "a", Says::Guard(most)),
        limited("budgets", "a", &[daily_usd(1)]),
        shadow("wide", 100),
        shadow("narrow", 1),
        Set { name: "rate_limits.slow".into(), ..with("rate_limits", "a", slow) },
    ]);
    let subject = agent("a");
    let call = testing::call(&subject);
    spend(&mut engine, &call, 950_000_000, time);
    let admission = engine.admit(&call, true, time.0);
    let details: Vec<_> = admission
        .decisions
        .iter()
        .map(|said| format!("{} {}: {}", said.rule, said.action, said.detail))
        .collect();
    assert_eq!(
        details,
        [
            "guardrails.a pass: ",
            "budgets.a refuse: daily_limit_usd $0.95 -> $1.05 of $1.00",
            "rate_limits.wide pass: requests_per_minute 1 of 100",
            "rate_limits.narrow would-refuse: requests_per_minute 1 -> 2 of 1",
            "rate_limits.slow would-alert: requests_per_hour 1 of 1",
        ]
    );
    refused(admission);
    let tallies: Vec<_> = engine
        .policies()
        .iter()
        .map(|view| (view.name.to_string(), view.passed, view.acted, view.shadowed))
        .collect();
    let expected = [
        ("guardrails.a", 1, 0, 0),
        ("budgets.a", 1, 1, 0),
        ("rate_limits.wide", 1, 0, 0),
        ("rate_limits.narrow", 1, 0, 1),
        ("rate_limits.slow", 1, 0, 0),
    ];
    assert_eq!(tallies, expected.map(|(name, a, b, c)| (name.to_owned(), a, b, c)));
}

#[test]
fn rules_are_switched_by_hand_and_given_back() {
    let (mut engine, time) = engine(vec![limited("rate_limits", "a", &[per_minute(1)])]);
    let subject = agent("a");
    let call = testing::call(&subject);
    drop(passes(engine.admit(&call, true, time.0)));
    assert!(!engine.set("rate_limits.b", None));
    for (by_hand, expected) in [
        (Some(Enforcement::Shadow), "rate_limits.a would-refuse"),
        (Some(Enforcement::Off), ""),
        (Some(Enforcement::Canary(0)), "rate_limits.a would-refuse"),
        (Some(Enforcement::Canary(100)), "rate_limits.a refuse"),
        (None, "rate_limits.a refuse"),
    ] {
        assert!(engine.set("rate_limits.a", by_hand));
        assert_eq!(actions(&engine.admit(&call, true, time.0).decisions), expected);
    }
    engine.set("rate_limits.a", Some(Enforcement::Shadow));
    let same = limited("rate_limits", "a", &[per_minute(2)]);
    engine.replace(Settings { rules: vec![same.clone()], ..Settings::default() }, time.0);
    assert_eq!(engine.policies()[0].enforcement, Enforcement::Shadow, "it holds over a reload");
    let changed = Set { enforcement: Enforcement::Canary(5), ..same };
    engine.replace(Settings { rules: vec![changed], ..Settings::default() }, time.0);
    assert_eq!(engine.policies()[0].enforcement, Enforcement::Canary(5), "until the file changes");
}

#[test]
fn trying_a_call_out_reserves_nothing() {
    let (mut engine, time) = engine(vec![
        limited("budgets", "*", &[daily_usd(10)]),
        limited("rate_limits", "a", &[per_minute(2)]),
    ]);
    let subject = agent("a");
    let call = testing::call(&subject);
    spend(&mut engine, &call, 100_000_000, time);
    let before = format!("{:?}", engine.usage(None, time.0));
    for _ in 0..5 {
        assert_eq!(actions(&engine.test(&call, time.0)), "budgets.* pass, rate_limits.a pass");
    }
    let details: Vec<_> =
        engine.test(&call, time.0).into_iter().map(|said| said.detail.to_string()).collect();
    assert_eq!(
        details,
        ["daily_limit_usd $0.10 -> $0.20 of $10.00", "requests_per_minute 1 -> 2 of 2"]
    );
    spend(&mut engine, &call, 0, time);
    assert_eq!(actions(&engine.test(&call, time.0)), "budgets.* pass, rate_limits.a refuse");
    assert_ne!(format!("{:?}", engine.usage(None, time.0)), before);
}

#[test]
fn policies_say_what_they_are() {
    let (engine, _) = engine(vec![limited("rate_limits", "a", &[per_minute(5)])]);
    let [view] = &engine.policies()[..] else { panic!("one rule") };
    assert_eq!((&*view.name, &*view.about), ("rate_limits.a", "a"));
    assert_eq!(view.summary, "5 req/min, then deny");
}
