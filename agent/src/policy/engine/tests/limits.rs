//! Limits on requests and tokens, guardrails, loops: what passes and what is said.

use super::*;

#[test]
fn the_refusal_says_whom_what_and_until_when() {
    let caps =
        [per_minute(5), cap("requests_per_hour", Quantity::Requests, Over::Sliding(HOUR), 100)];
    let (mut engine, mut time) = engine(vec![limited("rate_limits", "batch-agent", &caps)]);
    let subject = agent("batch-agent");
    let call = testing::call(&subject);
    for _ in 0..5 {
        spend(&mut engine, &call, 1, time);
    }
    time.pass(Duration::from_secs(10));
    let denied = refused(engine.admit(&call, true, time.0));
    assert_eq!(&*denied.policy, "rate_limits.batch-agent");
    assert_eq!(&*denied.subject, "batch-agent");
    assert_eq!(denied.reason, Reason::Requests);
    assert_eq!(denied.message, "Rate limit exceeded for agent: batch-agent (5 req/min)");
    let figures: Vec<_> = denied.figures.iter().map(|f| (f.unit, f.used, f.limit)).collect();
    assert_eq!(
        figures,
        [
            ("requests_per_minute", Amount::Count(5), Amount::Count(5)),
            ("requests_per_hour", Amount::Count(5), Amount::Count(100)),
        ]
    );
    // Who waits as told gets through, and not before.
    let wait = denied.retry_after.unwrap();
    assert!((50..52).contains(&wait.as_secs()), "{wait:?}");
    let mut early = time;
    early.pass(wait.checked_sub(Duration::from_nanos(1)).unwrap());
    assert!(matches!(engine.admit(&call, true, early.0).verdict, Verdict::Refuse(_)));
    time.pass(wait);
    drop(passes(engine.admit(&call, true, time.0)));
}

#[test]
fn p9_a_refused_call_uses_nothing_up() {
    let tokens = cap("tokens_per_day", Quantity::Tokens, Over::Sliding(24 * HOUR), 1_000_000);
    let (mut engine, time) = engine(vec![
        limited("budgets", "*", &[daily_usd(100)]),
        limited("rate_limits", "a", &[per_minute(1)]),
        limited("rate_limits", "*", &[tokens]),
    ]);
    let subject = agent("a");
    let call = testing::call(&subject);
    spend(&mut engine, &call, 100_000_000, time);
    let before = (engine.usage(None, time.0), engine.budgets(time.0));
    for _ in 0..100 {
        refused(engine.admit(&call, true, time.0));
    }
    assert_eq!((engine.usage(None, time.0), engine.budgets(time.0)), before);
}

#[test]
fn the_refusal_names_budgets_before_tokens_before_requests() {
    let tokens = |limit| cap("tokens_per_minute", Quantity::Tokens, Over::Sliding(MINUTE), limit);
    let blocked = Guard { deny_models: vec![Pattern::new("gpt-*")], ..Guard::default() };
    let rules = [
        rule("guardrails", "*", Says::Guard(blocked)),
        limited("budgets", "*", &[daily_usd(1)]),
        limited("rate_limits", "a", &[tokens(2000)]),
        limited("rate_limits", "*", &[per_minute(1)]),
    ];
    let subject = agent("a");
    let call = Call { bound: bound(1000, 1000, 1_000_000_000), ..testing::call(&subject) };
    let mut named = Vec::new();
    for skipped in 0..4 {
        let (mut engine, mut time) = engine(rules[skipped..].to_vec());
        if skipped == 0 {
            named.push(refused(engine.admit(&call, true, time.0)).reason);
            continue;
        }
        let ticket = passes(engine.admit(&call, true, time.0));
        let _notices =
            engine.settle(ticket, &Actual { tokens: 2000, ..cost_of(1_000_000_000) }, time.0);
        let denied = refused(engine.admit(&call, true, time.0));
        named.push(denied.reason);
        // The wait is that of the slowest of all that stand in the way.
        time.pass(denied.retry_after.unwrap());
        drop(passes(engine.admit(&call, true, time.0)));
    }
    assert_eq!(named, [Reason::Guardrail, Reason::Budget, Reason::Tokens, Reason::Requests]);
}

#[test]
fn a_call_that_never_left_gives_everything_back() {
    let (mut engine, time) = engine(vec![limited("rate_limits", "a", &[per_minute(1)])]);
    let subject = agent("a");
    let call = testing::call(&subject);
    for _ in 0..10 {
        let ticket = passes(engine.admit(&call, true, time.0));
        let _notices = engine.settle(ticket, &Actual::default(), time.0);
    }
}

#[test]
fn what_was_not_used_of_a_reservation_is_free_again() {
    let tokens = cap("tokens_per_minute", Quantity::Tokens, Over::Sliding(MINUTE), 2000);
    let (mut engine, time) = engine(vec![limited("rate_limits", "a", &[tokens])]);
    let subject = agent("a");
    let call = testing::call(&subject);
    for used in [100, 200, 300, 400] {
        let ticket = passes(engine.admit(&call, true, time.0));
        let _notices = engine.settle(ticket, &Actual { tokens: used, ..cost_of(0) }, time.0);
    }
    assert_eq!(engine.usage(Some("a"), time.0)[0].figure.used, Amount::Count(1000));
    let first = passes(engine.admit(&call, true, time.0));
    assert_eq!(refused(engine.admit(&call, true, time.0)).reason, Reason::Tokens);
    drop(first);
}

#[test]
fn everyone_has_their_own_where_the_rule_says_so() {
    let each = |per, name: &str, selector: Selector| Set {
        selector,
        per,
        ..limited("rate_limits", name, &[per_minute(1)])
    };
    let settings = Settings {
        teams: vec![Team {
            name: "payments".into(),
            workloads: Vec::new(),
            users: vec!["alice".into(), "bob".into()],
        }],
        rules: vec![each(Per::Team, "team:*", Selector::default())],
        ..Settings::default()
    };
    let time = Time::noon();
    let mut by_team = Engine::new(settings, time.0);
    let (mut by_user, _) = engine(vec![each(Per::User, "user:*", Selector::default())]);
    let (mut by_workload, _) = engine(vec![each(Per::Workload, "workload:*", Selector::default())]);
    let subject = |workload: &str, user: &str, uid| testing::subject(workload, uid, user);
    let first = subject("exe:a", "alice", 1000);
    let same_user = subject("exe:b", "alice", 1000);
    let same_workload = subject("exe:a", "bob", 1001);
    let stranger = subject("exe:a", "carol", 1002);
    for engine in [&mut by_user, &mut by_workload, &mut by_team] {
        drop(passes(engine.admit(&testing::call(&first), true, time.0)));
    }
    let denied = refused(by_user.admit(&testing::call(&same_user), true, time.0));
    assert_eq!(denied.message, "Rate limit exceeded for user: alice (1 req/min)");
    drop(passes(by_user.admit(&testing::call(&same_workload), true, time.0)));
    drop(passes(by_workload.admit(&testing::call(&same_user), true, time.0)));
    let denied = refused(by_workload.admit(&testing::call(&same_workload), true, time.0));
    assert_eq!(&*denied.subject, "exe:a");
    let denied = refused(by_team.admit(&testing::call(&same_workload), true, time.0));
    assert_eq!(&*denied.subject, "team:payments");
    drop(passes(by_team.admit(&testing::call(&stranger), true, time.0)));
    assert_eq!(by_team.team_of(&first).as_deref(), Some("payments"));
    let uids: Vec<_> = by_user.usage(None, time.0).iter().map(|view| view.uid).collect();
    assert_eq!(uids, [Some(1000), Some(1001)]);
}

#[test]
fn a_claimed_name_cannot_use_up_another_ones_limit() {
    let (mut engine, time) = engine(vec![limited("rate_limits", "batch-agent", &[per_minute(1)])]);
    let stranger = testing::subject("exe:node:evil.js", 1001, "mallory");
    let call = Call { agent_name: Some("batch-agent"), ..testing::call(&stranger) };
    drop(passes(engine.admit(&call, true, time.0)));
    let denied = refused(engine.admit(&call, true, time.0));
    assert_eq!(&*denied.subject, "batch-agent in exe:node:evil.js");
    let real = testing::subject("unit:batch-agent.service", 0, "root");
    drop(passes(engine.admit(&testing::call(&real), true, time.0)));
    // And a listed workload does not get away by claiming another name.
    let call = Call { agent_name: Some("nobody"), ..testing::call(&real) };
    refused(engine.admit(&call, true, time.0));
    assert_eq!(engine.usage(Some("batch-agent"), time.0).len(), 2);
}

#[test]
fn rules_can_be_about_models_and_hours() {
    let night = crate::policy::selector::Hours { from: 22 * 60, to: 6 * 60 };
    let about = |name: &str, selector: Selector| Set {
        selector,
        ..limited("rate_limits", name, &[per_minute(1)])
    };
    let (mut engine, mut time) = engine(vec![
        about(
            "model:gpt-4o*",
            Selector { model: vec![Pattern::new("gpt-4o*")], ..Selector::default() },
        ),
        about("night", Selector { hours: Some(night), ..Selector::default() }),
    ]);
    let subject = agent("a");
    let call = testing::call(&subject);
    drop(passes(engine.admit(&call, true, time.0)));
    let denied = refused(engine.admit(&call, true, time.0));
    assert_eq!(denied.message, "Rate limit exceeded for model: gpt-4o* (1 req/min)");
    let other = Call { model: Some("o3"), ..call };
    for _ in 0..3 {
        drop(passes(engine.admit(&other, true, time.0)));
    }
    time.pass(11 * HOUR);
    drop(passes(engine.admit(&other, true, time.0)));
    assert_eq!(&*refused(engine.admit(&other, true, time.0)).policy, "rate_limits.night");
}

#[test]
fn a_throttled_call_waits_in_line_and_no_longer_than_the_bound() {
    let limit = Limit {
        on_breach: OnBreach::Throttle(Duration::from_secs(130)),
        ..testing::limit(&[per_minute(1)])
    };
    let (mut engine, time) = engine(vec![with("rate_limits", "a", limit)]);
    let subject = agent("a");
    let call = testing::call(&subject);
    let mut delays = Vec::new();
    for _ in 0..3 {
        match engine.admit(&call, true, time.0).verdict {
            Verdict::Pass { delay, .. } => delays.push(delay.as_secs()),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(delays, [0, 60, 120]);
    let denied = refused(engine.admit(&call, true, time.0));
    assert!(denied.retry_after.unwrap() > Duration::from_secs(130));
}

#[test]
fn p9_a_throttled_call_without_a_limit_of_its_own_gets_what_fits_when_it_goes() {
    let tokens = cap("tokens_per_minute", Quantity::Tokens, Over::Sliding(MINUTE), 2000);
    let limit = Limit { on_breach: OnBreach::Throttle(2 * MINUTE), ..testing::limit(&[tokens]) };
    let (mut engine, mut time) = engine(vec![with("rate_limits", "a", limit)]);
    let subject = agent("a");
    let of = |input, output| Call { bound: bound(input, output, 1), ..testing::call(&subject) };
    drop(passes(engine.admit(&of(500, 500), true, time.0)));
    time.pass(MINUTE / 2);
    drop(passes(engine.admit(&of(500, 400), true, time.0)));
    let open = Bound { output_asked: false, ..bound(100, 1900, 1) };
    match engine.admit(&Call { bound: open, ..of(0, 0) }, true, time.0).verdict {
        Verdict::Pass { ticket, delay, max_output, .. } => {
            assert!((30..32).contains(&delay.as_secs()), "{delay:?}");
            assert_eq!((max_output, ticket.first.tokens), (Some(1000), 1100));
            time.pass(delay);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(engine.usage(None, time.0)[0].figure.used, Amount::Count(2000));
}

#[test]
fn guardrails_block_warn_and_bound_the_output() {
    let guard = |on_breach| {
        Says::Guard(Guard {
            deny_models: vec![Pattern::new("o1*")],
            max_output_tokens: Some(500),
            on_breach,
            ..Guard::default()
        })
    };
    let subject = agent("a");
    let call = Call { model: Some("o1-pro"), ..testing::call(&subject) };
    let (mut engine, time) = engine(vec![rule("guardrails", "cheap", guard(GuardAction::Block))]);
    assert!(matches!(engine.admit(&call, true, time.0).verdict, Verdict::Pass { .. }));
    let all = Set {
        selector: Selector::default(),
        ..rule("guardrails", "cheap", guard(GuardAction::Block))
    };
    engine.replace(Settings { rules: vec![all.clone()], ..Settings::default() }, time.0);
    let admission = engine.admit(&call, true, time.0);
    assert_eq!(admission.notices.len(), 1);
    assert_eq!(admission.notices[0].topic, Topic::Guardrail);
    let denied = refused(admission);
    assert_eq!((denied.reason, denied.retry_after), (Reason::Guardrail, None));
    assert_eq!(denied.message, "Model o1-pro is not allowed");
    // Told once a minute, not once a call.
    assert!(engine.admit(&call, true, time.0).notices.is_empty());
    let unbounded = Bound { output_asked: false, ..bound(100, 10_000, 1_000_000_000) };
    let call = Call { bound: unbounded, ..testing::call(&subject) };
    let Verdict::Pass { max_output, .. } = engine.admit(&call, true, time.0).verdict else {
        panic!("refused")
    };
    assert_eq!(max_output, Some(500));
    let warning = Set { says: guard(GuardAction::Warn), ..all };
    engine.replace(Settings { rules: vec![warning], ..Settings::default() }, time.0);
    let call = Call { model: Some("o1"), ..call };
    assert_eq!(actions(&engine.admit(&call, true, time.0).decisions), "guardrails.cheap warn");
    assert_eq!(
        actions(&engine.admit(&call, false, time.0).decisions),
        "guardrails.cheap would-warn"
    );
}

#[test]
fn p3_an_unknown_price_is_never_free() {
    let subject = agent("a");
    let unknown = Bound { cost: None, input_cost: None, ..bound(1_000_000, 1_000_000, 0) };
    let call = Call { bound: unknown, model: Some("brand-new"), ..testing::call(&subject) };
    let time = Time::noon();
    let with = |unknown_price| {
        let rules = vec![limited("budgets", "*", &[daily_usd(100)])];
        Engine::new(Settings { rules, unknown_price, ..Settings::default() }, time.0)
    };
    let mut denying = with(UnknownPrice::Deny);
    let denied = refused(denying.admit(&call, true, time.0));
    assert_eq!((denied.reason, &*denied.policy), (Reason::UnknownPrice, "unknown_price"));
    assert_eq!(denied.message, "The price of model brand-new is unknown");
    let dollars = |dollars: i64| NanoUsd(dollars * 1_000_000_000);
    let mut assuming = with(UnknownPrice::AssumeMax { input: dollars(10), output: dollars(40) });
    let ticket = passes(assuming.admit(&call, true, time.0));
    let actual = Actual { cost: None, ..cost_of(0) };
    let _notices = assuming.settle(ticket, &actual, time.0);
    assert_eq!(assuming.budgets(time.0)[0].spent, dollars(50), "the reservation stands");
    drop(passes(assuming.admit(&call, true, time.0)));
    assert_eq!(refused(assuming.admit(&call, true, time.0)).reason, Reason::Budget);
    let mut flagging = with(UnknownPrice::AllowAndFlag);
    let admission = flagging.admit(&call, true, time.0);
    assert!(admission.decisions[0].detail.contains("-> ?"), "{admission:?}");
}

#[test]
fn p3_a_free_model_is_held_up_by_no_budget() {
    let (mut engine, time) = engine(vec![limited("budgets", "*", &[daily_usd(1)])]);
    let subject = agent("a");
    let dear = Call { bound: bound(1, 1, 1_000_000_000), ..testing::call(&subject) };
    // A stream may have outgrown what was reserved for it.
    spend(&mut engine, &dear, 1_100_000_000, time);
    refused(engine.admit(&dear, true, time.0));
    let free = Call { bound: bound(1, 1, 0), ..dear };
    spend(&mut engine, &free, 0, time);
}

#[test]
fn dollars_of_a_flat_plan_are_counted_by_no_limit_and_its_tokens_are() {
    let tokens = cap("tokens_per_day", Quantity::Tokens, Over::Day, 3_000);
    let (mut engine, time) = engine(vec![
        limited("budgets", "*", &[daily_usd(1)]),
        limited("rate_limits", "*", &[tokens]),
    ]);
    let subject = agent("a");
    let dear = Call { bound: bound(100, 900, 1_000_000_000), ..testing::call(&subject) };
    spend(&mut engine, &dear, 1_000_000_000, time);
    assert_eq!(refused(engine.admit(&dear, true, time.0)).reason, Reason::Budget);
    // It passes a budget that is gone, whatever its price, and leaves it where it was.
    let plan = Call { billing: Billing::Subscription, ..dear };
    let admission = engine.admit(&plan, true, time.0);
    let of = |name| admission.decisions.iter().find(|it| &*it.rule == name).unwrap();
    let detail = &of("budgets.*").detail;
    assert!(detail.ends_with("; a subscription pays: its dollars are not counted"), "{detail}");
    assert!(!of("rate_limits.*").detail.contains("subscription"));
    let owed = Actual { sent: true, tokens: 1_000, cost: None, failed: false };
    let _notices = engine.settle(passes(admission), &owed, time.0);
    let budget = &engine.budgets(time.0)[0];
    assert_eq!((budget.spent, budget.reserved), (NanoUsd(1_000_000_000), NanoUsd(0)));
    // Its tokens count: 1,000 of 3,000 are left for the next, 0 after it.
    let left = Bound { cost: None, input_cost: None, ..plan.bound };
    spend(&mut engine, &Call { bound: left, ..plan }, 0, time);
    assert_eq!(refused(engine.admit(&plan, true, time.0)).reason, Reason::Tokens);
}

#[test]
fn a_runaway_loop_is_stopped_and_reported_and_may_go_on_later() {
    let loops = Loops {
        identical: std::num::NonZeroU64::new(3),
        errors: std::num::NonZeroU64::new(2),
        on_breach: OnBreach::Deny,
    };
    let set = Set {
        per: Per::Workload,
        selector: Selector::default(),
        name: "loop_protection".into(),
        ..rule("loop", "*", Says::Loops(loops))
    };
    let (mut engine, mut time) = engine(vec![set]);
    let subject = agent("a");
    let call = Call { prompt: Some(42), ..testing::call(&subject) };
    for _ in 0..3 {
        spend(&mut engine, &call, 1, time);
    }
    let admission = engine.admit(&call, true, time.0);
    assert_eq!(admission.notices[0].topic, Topic::Loop);
    let denied = refused(admission);
    assert_eq!((denied.reason, &*denied.policy), (Reason::Loop, "loop_protection"));
    let other = agent("b");
    drop(passes(engine.admit(&Call { subject: &other, ..call }, true, time.0)));
    drop(passes(engine.admit(&Call { prompt: Some(1), ..call }, true, time.0)));
    time.pass(denied.retry_after.unwrap());
    let failed = Actual { failed: true, ..cost_of(0) };
    for _ in 0..2 {
        let ticket = passes(engine.admit(&call, true, time.0));
        let _notices = engine.settle(ticket, &failed, time.0);
    }
    assert_eq!(
        refused(engine.admit(&Call { prompt: Some(2), ..call }, true, time.0)).reason,
        Reason::Loop
    );
}
