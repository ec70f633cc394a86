//! Further tries: what the model and the provider that are really asked are asked of rules.

use proptest::prelude::*;

use super::*;
use crate::policy::{Barred, Further, Tries};

const DOLLAR: i64 = 1_000_000_000;

/// A rule about one model, whoever asks for it.
fn about(model: &str, says: Says) -> Set {
    let selector = Selector { model: vec![Pattern::new(model)], ..Selector::default() };
    Set { selector, ..rule("rules", model, says) }
}

fn money(dollars: u64) -> Says {
    Says::Limit(testing::limit(&[daily_usd(dollars)]))
}

fn moved(spent: i64) -> Tries {
    Tries { moved: true, spent: NanoUsd(spent), unknown: 0 }
}

fn said(further: &Further) -> String {
    actions(&further.decisions)
}

fn reserved(engine: &Engine, time: Time) -> Vec<(String, Amount)> {
    let used = engine.usage(None, time.0).into_iter();
    used.map(|usage| (usage.policy.to_string(), usage.figure.used)).collect()
}

#[test]
fn a_model_that_a_guardrail_forbids_is_left_out_and_changes_nothing() {
    let guard = Guard { deny_models: vec![Pattern::new("claude-*")], ..Guard::default() };
    let (mut engine, time) = engine(vec![
        rule("guardrails", "*", Says::Guard(guard)),
        limited("budgets", "*", &[daily_usd(10)]),
        about("claude-*", money(10)),
    ]);
    let subject = agent("a");
    let call = testing::call(&subject);
    let mut ticket = passes(engine.admit(&call, true, time.0));
    let before = reserved(&engine, time);
    let hop = Call { model: Some("claude-opus-4-6"), provider: "anthropic", ..call };
    let further = engine.further(&mut ticket, (&hop, &moved(0)), true, time.0);
    let Err(Barred::Forbidden { policy, message }) = &further.verdict else {
        panic!("{further:?}")
    };
    assert_eq!((&**policy, &**message), ("guardrails.*", "Model claude-opus-4-6 is not allowed"));
    assert_eq!(said(&further), "guardrails.* skip");
    assert_eq!(
        further.decisions[0].detail,
        "anthropic/claude-opus-4-6: Model claude-opus-4-6 is not allowed".into()
    );
    assert_eq!(reserved(&engine, time), before);
    // Where policies only look on it is made, and said.
    let further = engine.further(&mut ticket, (&hop, &moved(0)), false, time.0);
    assert!(further.verdict.is_ok());
    assert!(said(&further).starts_with("guardrails.* would-skip"), "{}", said(&further));
    let _notices = engine.settle(ticket, &cost_of(DOLLAR), time.0);
}

#[test]
fn a_model_of_unknown_price_is_left_out_or_counted_as_assumed() {
    let unknown = Bound { cost: None, input_cost: None, ..bound(1_000_000, 1_000_000, 0) };
    let rates = (NanoUsd(DOLLAR), NanoUsd(2 * DOLLAR));
    for (says, spent) in [
        (UnknownPrice::Deny, None),
        (UnknownPrice::AssumeMax { input: rates.0, output: rates.1 }, Some(3 * DOLLAR)),
        (UnknownPrice::AllowAndFlag, Some(DOLLAR / 10)),
    ] {
        let time = Time::noon();
        let rules = vec![limited("budgets", "*", &[daily_usd(10)])];
        let settings = Settings { rules, unknown_price: says, ..Settings::default() };
        let mut engine = Engine::new(settings, time.0);
        let subject = agent("a");
        let call = testing::call(&subject);
        let mut ticket = passes(engine.admit(&call, true, time.0));
        let hop = Call { model: Some("new"), bound: unknown, ..call };
        let further = engine.further(&mut ticket, (&hop, &moved(0)), true, time.0);
        assert_eq!(further.verdict.is_ok(), spent.is_some(), "{further:?}");
        let reserved = engine.budgets(time.0)[0].reserved;
        assert_eq!(reserved, NanoUsd(spent.unwrap_or(DOLLAR / 10)), "{says:?}");
        if spent.is_none() {
            assert_eq!(said(&further), "unknown_price skip");
        }
        // Asked again: nothing is reserved twice.
        let again = Tries { moved: false, ..moved(0) };
        let _further = engine.further(&mut ticket, (&hop, &again), true, time.0);
        assert_eq!(engine.budgets(time.0)[0].reserved, reserved);
        let _notices = engine.settle(ticket, &cost_of(DOLLAR), time.0);
        assert_eq!(engine.budgets(time.0)[0].reserved, NanoUsd(0));
    }
}

#[test]
fn a_limit_about_the_next_model_reserves_for_it_alone() {
    let (mut engine, time) = engine(vec![
        limited("budgets", "*", &[daily_usd(10)]),
        about("large", money(3)),
        about("huge", money(1)),
    ]);
    let subject = agent("a");
    let call = Call { bound: bound(10, 10, DOLLAR), ..testing::call(&subject) };
    let mut ticket = passes(engine.admit(&call, true, time.0));
    // What was asked first broke off, for 20 cents.
    let spent = DOLLAR / 5;
    let large = Call { model: Some("large"), bound: bound(10, 10, 2 * DOLLAR), ..call };
    let further = engine.further(&mut ticket, (&large, &moved(spent)), true, time.0);
    assert!(further.verdict.is_ok());
    let nanos = |nanos| Amount::Usd(NanoUsd(nanos));
    let used = reserved(&engine, time);
    assert_eq!(used[0].1, nanos(2 * DOLLAR + spent), "all tries");
    assert_eq!(used[1], ("rules.large".to_owned(), nanos(2 * DOLLAR)), "its own");
    // The next one is dearer than its own limit: nothing changes.
    let huge = Call { model: Some("huge"), bound: bound(10, 10, 2 * DOLLAR), ..call };
    let further = engine.further(&mut ticket, (&huge, &moved(spent)), true, time.0);
    assert_eq!(said(&further), "rules.huge skip");
    let after = reserved(&engine, time);
    assert!(used.iter().all(|each| after.contains(each)), "{after:?}");
    // A cheap one takes its place: what the one before came to stays with its limit.
    let small = Call { model: Some("small"), bound: bound(10, 10, DOLLAR), ..call };
    let further = engine.further(&mut ticket, (&small, &moved(spent + 500)), true, time.0);
    assert!(further.verdict.is_ok());
    let used = reserved(&engine, time);
    assert_eq!(used[1].1, nanos(500));
    let _notices = engine.settle(ticket, &cost_of(DOLLAR), time.0);
    let used = reserved(&engine, time);
    assert_eq!((&used[0].1, &used[1].1), (&nanos(DOLLAR), &nanos(500)));
}

#[test]
fn what_may_be_given_out_is_bounded_for_the_model_that_answers() {
    let guard = Guard { max_output_tokens: Some(100), ..Guard::default() };
    let (mut engine, time) = engine(vec![about("large", Says::Guard(guard))]);
    let subject = agent("a");
    let open = Bound { output_asked: false, ..bound(10, 1000, DOLLAR) };
    let call = Call { bound: open, ..testing::call(&subject) };
    let mut ticket = passes(engine.admit(&call, true, time.0));
    let large = Call { model: Some("large"), ..call };
    let further = engine.further(&mut ticket, (&large, &moved(0)), true, time.0);
    let granted = further.verdict.unwrap();
    assert_eq!((granted.max_output, granted.bound.output), (Some(100), 100));
    let _notices = engine.settle(ticket, &cost_of(0), time.0);
}

proptest! {
    /// Whatever models a call is taken to, and wherever that is refused: in the end nothing is
    /// reserved, the call's own budget holds what all of it came to, and no other more than that.
    #[test]
    fn p4_nothing_is_reserved_twice_or_left_behind(
        hops in prop::collection::vec((0_usize..4, 0_i64..3 * DOLLAR, 0_i64..DOLLAR, 0_u32..4), 0..8),
        last in 0_i64..DOLLAR,
        sent in any::<bool>(),
    ) {
        const MODELS: [&str; 4] = ["one", "two", "three", "four"];
        let mut rules = vec![limited("budgets", "*", &[daily_usd(20)])];
        rules.extend(MODELS[..3].iter().map(|model| about(model, money(2))));
        let (mut engine, time) = engine(rules);
        let subject = agent("a");
        let call = Call { bound: bound(10, 10, DOLLAR), ..testing::call(&subject) };
        let mut ticket = passes(engine.admit(&call, true, time.0));
        let mut tries = Tries::default();
        for (model, worst, cost, unknown) in hops {
            tries.unknown += u32::from(unknown == 0);
            if unknown > 0 {
                tries.spent = NanoUsd(tries.spent.0 + cost);
            }
            tries.moved = unknown != 1;
            let hop = Call { model: Some(MODELS[model]), bound: bound(10, 10, worst), ..call };
            let _further = engine.further(&mut ticket, (&hop, &tries), true, time.0);
        }
        let total = tries.spent.0 + last;
        let actual = Actual { sent, ..cost_of(total) };
        let _notices = engine.settle(ticket, &actual, time.0);
        let total = if sent { total } else { 0 };
        for (policy, used) in reserved(&engine, time) {
            let Amount::Usd(used) = used else { unreachable!("all are of money") };
            if policy == "budgets.*" {
                prop_assert_eq!(used.0, total);
                prop_assert_eq!(engine.budgets(time.0)[0].reserved, NanoUsd(0));
            } else if tries.unknown == 0 {
                prop_assert!(used.0 <= tries.spent.0 + last, "{} {:?}", policy, used);
            }
        }
    }
}
