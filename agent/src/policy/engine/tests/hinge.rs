//! Whether it hangs on the input of a call that it does not pass.

use super::*;
use crate::policy::Bound;

fn tokens(limit: u64) -> Set {
    let cap = cap("tokens_per_minute", Quantity::Tokens, Over::Sliding(MINUTE), limit);
    limited("rate_limits", "a", &[cap])
}

fn asked(input: u64) -> Bound {
    bound(input, 10, 1_000)
}

#[test]
fn only_where_fewer_input_tokens_could_let_it_pass() {
    let subject = agent("a");
    let call = Call { bound: asked(800), ..testing::call(&subject) };
    let with_guard = |most: u64| {
        let guard = Guard { max_input_tokens: Some(most), ..Guard::default() };
        vec![rule("guardrails", "a", Says::Guard(guard))]
    };
    for (rules, acting, hinges) in [
        (vec![tokens(1_000)], true, false),
        (vec![tokens(500)], true, true),
        (vec![tokens(500)], false, false),
        // A hundred and ten at least.
        (vec![tokens(109)], true, false),
        (vec![tokens(500), limited("budgets", "a", &[daily_usd(1)])], true, true),
        (vec![Set { enforcement: Enforcement::Shadow, ..tokens(500) }], true, false),
        (with_guard(500), true, true),
        (with_guard(99), true, false),
        (with_guard(800), true, false),
    ] {
        let (mut engine, time) = engine(rules.clone());
        let said = engine.admit_unless_tight(&call, acting, time.0);
        assert_eq!(said.is_none(), hinges, "{rules:?}");
    }
}

#[test]
fn requests_cannot_be_counted_away() {
    let (mut engine, time) =
        engine(vec![limited("rate_limits", "a", &[per_minute(1)]), tokens(500)]);
    let subject = agent("a");
    let small = Call { bound: asked(1), ..testing::call(&subject) };
    drop(passes(engine.admit(&small, true, time.0)));
    let call = Call { bound: asked(800), ..small };
    let said = engine.admit_unless_tight(&call, true, time.0);
    refused(said.expect("the limit on requests refuses it in any case"));
}

/// The question leaves no trace: what is counted is the answer.
#[test]
fn nothing_is_noted_twice() {
    let warns = Guard { max_input_tokens: Some(1), ..Guard::default() };
    let warns = Guard { on_breach: GuardAction::Warn, ..warns };
    let rules = vec![rule("guardrails", "a", Says::Guard(warns)), tokens(500)];
    let (mut engine, time) = engine(rules);
    let subject = agent("a");
    let call = Call { bound: asked(800), ..testing::call(&subject) };
    assert!(engine.admit_unless_tight(&call, true, time.0).is_none());
    let noted = |engine: &Engine| {
        let views = engine.policies();
        views.iter().map(|it| (it.passed, it.acted, it.shadowed)).collect::<Vec<_>>()
    };
    assert_eq!(noted(&engine), [(0, 0, 0), (0, 0, 0)]);
    let counted = Call { bound: asked(300), ..call };
    let admission = engine.admit(&counted, true, time.0);
    assert_eq!(admission.notices.len(), 1, "people are told once");
    drop(passes(admission));
    assert_eq!(noted(&engine), [(0, 1, 0), (1, 0, 0)]);
    assert_eq!(engine.usage(None, time.0)[0].figure.used, Amount::Count(310));
}
