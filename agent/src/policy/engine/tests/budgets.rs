//! Budgets: what they hold, what they tell, what is done when they are spent.

use super::*;

pub(super) const DOLLAR: i64 = 1_000_000_000;

pub(super) fn watched(on_breach: OnBreach, caps: &[Cap]) -> Limit {
    let watch = Watch { alert_at: vec![50, 80], forecast: false, spike_percent: None };
    Limit { on_breach, watch: Some(watch), ..testing::limit(caps) }
}

fn topics(notices: &[Notice]) -> Vec<Topic> {
    notices.iter().map(|notice| notice.topic).collect()
}

#[test]
fn a_budget_tells_each_threshold_once_and_begins_anew_at_midnight() {
    let (mut engine, mut time) =
        engine(vec![with("budgets", "a", watched(OnBreach::Deny, &[daily_usd(10)]))]);
    let subject = agent("a");
    let call = Call { bound: bound(1, 1, 2 * DOLLAR), ..testing::call(&subject) };
    let mut told = Vec::new();
    for _ in 0..5 {
        told.extend(spend(&mut engine, &call, 2 * DOLLAR, time));
    }
    let topics = topics(&told);
    assert_eq!(topics, [Topic::BudgetThreshold, Topic::BudgetThreshold, Topic::BudgetExceeded]);
    assert_eq!(told[0].message, "agent: a has spent 50 % of its budget: $6.00 of $10.00/day");
    assert_eq!(
        (told[1].spent, told[1].limit),
        (Some(NanoUsd(8 * DOLLAR)), Some(NanoUsd(10 * DOLLAR)))
    );
    let admission = engine.admit(&call, true, time.0);
    assert!(admission.notices.is_empty(), "already told");
    let denied = refused(admission);
    assert_eq!(denied.message, "Budget exceeded for agent: a ($10.00/day)");
    assert_eq!(denied.retry_after, Some(12 * HOUR));
    time.pass(12 * HOUR);
    spend(&mut engine, &call, 2 * DOLLAR, time);
    let budget = &engine.budgets(time.0)[0];
    assert_eq!((budget.spent, &*budget.period), (NanoUsd(2 * DOLLAR), "day"));
}

#[test]
fn a_stepped_clock_neither_empties_nor_doubles_a_budget() {
    let (mut engine, time) = engine(vec![limited("budgets", "a", &[daily_usd(10)])]);
    let subject = agent("a");
    let call = Call { bound: bound(1, 1, 6 * DOLLAR), ..testing::call(&subject) };
    spend(&mut engine, &call, 6 * DOLLAR, time);
    for hours in [1, 13, 24 * 30] {
        let mut back = time;
        back.0.wall -= Duration::from_hours(hours);
        refused(engine.admit(&call, true, back.0));
    }
    let mut forth = time;
    forth.0.wall += Duration::from_hours(13);
    spend(&mut engine, &call, 6 * DOLLAR, forth);
    // Back and forth again: it is still the same new day.
    refused(engine.admit(&call, true, time.0));
    refused(engine.admit(&call, true, forth.0));
}

#[test]
fn a_call_over_midnight_belongs_to_the_day_it_began_in() {
    let (mut engine, mut time) = engine(vec![limited("budgets", "a", &[daily_usd(10)])]);
    let subject = agent("a");
    let call = Call { bound: bound(1, 1, 6 * DOLLAR), ..testing::call(&subject) };
    let ticket = passes(engine.admit(&call, true, time.0));
    time.pass(13 * HOUR);
    let other = passes(engine.admit(&call, true, time.0));
    let _notices = engine.settle(ticket, &cost_of(6 * DOLLAR), time.0);
    let budget = &engine.budgets(time.0)[0];
    assert_eq!((budget.spent, budget.reserved), (NanoUsd(0), NanoUsd(6 * DOLLAR)));
    let _notices = engine.settle(other, &cost_of(DOLLAR), time.0);
    assert_eq!(engine.budgets(time.0)[0].spent, NanoUsd(DOLLAR));
}

/// A call that is made to wait was counted on the day it came: settling it must not take the rest
/// of its reservation from what others have spent on the day it went.
#[test]
fn a_call_that_waits_over_midnight_takes_nothing_from_the_new_day() {
    let hourly = cap("hourly_limit_usd", Quantity::Usd, Over::Sliding(HOUR), 2_000_000_000);
    let slow = watched(OnBreach::Throttle(2 * HOUR), &[hourly, daily_usd(100)]);
    let (mut engine, mut time) = engine(vec![with("budgets", "a", slow)]);
    let subject = agent("a");
    let call = |dollars| Call { bound: bound(1, 1, dollars * DOLLAR), ..testing::call(&subject) };
    time.pass(11 * HOUR + 30 * MINUTE);
    spend(&mut engine, &call(2), 2 * DOLLAR, time);
    let (waiting, delay) = match engine.admit(&call(2), true, time.0).verdict {
        Verdict::Pass { ticket, delay, .. } => (ticket, delay),
        other => panic!("{other:?}"),
    };
    assert!(delay > 45 * MINUTE, "{delay:?}");
    // Midnight is seen before it goes.
    time.pass(40 * MINUTE);
    assert_eq!(engine.budgets(time.0)[1].spent, NanoUsd(0));
    let other = engine.admit(&call(2), true, time.0);
    time.pass(2 * HOUR);
    let _notices = engine.settle(waiting, &cost_of(DOLLAR / 2), time.0);
    let _notices = engine.settle(passes(other), &cost_of(2 * DOLLAR), time.0);
    assert_eq!(engine.budgets(time.0)[1].spent, NanoUsd(2 * DOLLAR));
}

#[test]
fn a_stream_raised_on_both_sides_of_midnight_takes_nothing_from_the_new_day() {
    let (mut engine, mut time) = engine(vec![limited("budgets", "a", &[daily_usd(100)])]);
    let subject = agent("a");
    let call = Call { bound: bound(1, 1, DOLLAR), ..testing::call(&subject) };
    let mut ticket = passes(engine.admit(&call, true, time.0));
    let mut raise = |engine: &mut Engine, dollars, time: Time| {
        let so_far = bound(1, 1, dollars * DOLLAR);
        assert_eq!(engine.extend(&mut ticket, &so_far, time.0), Extension::Raised);
    };
    for dollars in 2..=9 {
        raise(&mut engine, dollars, time);
    }
    time.pass(13 * HOUR);
    spend(&mut engine, &call, DOLLAR, time);
    // The ninth raise is put together with the eighth, which was made the day before.
    raise(&mut engine, 10, time);
    let _notices = engine.settle(ticket, &cost_of(10 * DOLLAR), time.0);
    let budget = &engine.budgets(time.0)[0];
    assert_eq!((budget.spent, budget.reserved), (NanoUsd(DOLLAR), NanoUsd(0)));
}

#[test]
fn a_rule_that_counts_others_after_a_reload_learns_what_they_spent() {
    let each = |per| Set { per, ..limited("budgets", "*", &[daily_usd(10)]) };
    let (mut engine, mut time) = engine(vec![each(Per::All)]);
    let (one, other) = (agent("a"), agent("b"));
    let call = |subject| Call { bound: bound(1, 1, 6 * DOLLAR), ..testing::call(subject) };
    let running = passes(engine.admit(&call(&one), true, time.0));
    time.pass(MINUTE);
    let per_workload = Settings { rules: vec![each(Per::Workload)], ..Settings::default() };
    engine.replace(per_workload, time.0);
    assert!(engine.horizon(time.0).is_some(), "what they spent is asked for");
    // The first counter of the new kind is not the one the running call has reserved in.
    spend(&mut engine, &call(&other), 6 * DOLLAR, time);
    let _notices = engine.settle(running, &cost_of(DOLLAR), time.0);
    assert_eq!(engine.budgets(time.0)[0].spent, NanoUsd(6 * DOLLAR));
    refused(engine.admit(&call(&other), true, time.0));
}

#[test]
fn a_rolling_budget_frees_what_has_left() {
    let rolling = cap("rolling", Quantity::Usd, Over::Sliding(5 * HOUR), 10_000_000_000);
    let (mut engine, mut time) = engine(vec![limited("budgets", "a", &[rolling])]);
    let subject = agent("a");
    let call = Call { bound: bound(1, 1, 6 * DOLLAR), ..testing::call(&subject) };
    spend(&mut engine, &call, 6 * DOLLAR, time);
    time.pass(HOUR);
    let denied = refused(engine.admit(&call, true, time.0));
    assert_eq!(denied.message, "Budget exceeded for agent: a ($10.00/5h)");
    time.pass(denied.retry_after.unwrap());
    spend(&mut engine, &call, 6 * DOLLAR, time);
}

#[test]
fn without_a_limit_of_its_own_a_call_gets_what_the_budget_still_buys() {
    let (mut engine, time) = engine(vec![limited("budgets", "a", &[daily_usd(10)])]);
    let subject = agent("a");
    // $1 in, $9 for 9,000 tokens out.
    let open = Bound { output_asked: false, ..bound(1000, 9000, 10 * DOLLAR) };
    let call = Call { bound: open, ..testing::call(&subject) };
    let six = Call { bound: bound(1, 1, 6 * DOLLAR), ..call };
    spend(&mut engine, &six, 6 * DOLLAR, time);
    let Verdict::Pass { max_output, ticket, .. } = engine.admit(&call, true, time.0).verdict else {
        panic!("refused")
    };
    assert_eq!(max_output, Some(3000));
    assert_eq!(engine.budgets(time.0)[0].reserved, NanoUsd(4 * DOLLAR));
    refused(engine.admit(&call, true, time.0));
    let _notices = engine.settle(ticket, &cost_of(3_900_000_000), time.0);
    // $0.10 buys no input, let alone an answer worth it.
    refused(engine.admit(&call, true, time.0));
    let asked = Call { bound: bound(1000, 9000, 10 * DOLLAR), ..call };
    let denied = refused(engine.admit(&asked, true, time.0));
    assert_eq!(denied.reason, Reason::Budget, "a limit of the client's own is not changed");
}

#[test]
fn actions_on_breach() {
    let subject = agent("a");
    let call = Call { bound: bound(1, 1, DOLLAR), ..testing::call(&subject) };
    let after = |on_breach: OnBreach| {
        let (mut engine, time) =
            engine(vec![with("budgets", "a", watched(on_breach, &[daily_usd(1)]))]);
        spend(&mut engine, &call, DOLLAR - 1, time);
        let admission = engine.admit(&call, true, time.0);
        let word = admission.decisions[0].action.to_string();
        assert_eq!(topics(&admission.notices), [Topic::BudgetExceeded], "{word}");
        let budget = engine.budgets(time.0).remove(0);
        assert_eq!(budget.action, engine.budgets(time.0)[0].action);
        (word, admission.verdict)
    };
    let (word, verdict) = after(OnBreach::Deny);
    assert!(word == "refuse" && matches!(verdict, Verdict::Refuse(_)));
    let (word, verdict) = after(OnBreach::Freeze);
    assert!(word == "freeze" && matches!(verdict, Verdict::Freeze(_)));
    let (word, verdict) = after(OnBreach::Downgrade("tier:cheap".into()));
    let Verdict::Pass { downgrade, .. } = verdict else { panic!("{word}") };
    assert_eq!((&*word, downgrade.as_deref()), ("downgrade", Some("tier:cheap")));
    let (word, verdict) = after(OnBreach::Throttle(Duration::from_secs(7)));
    let Verdict::Pass { delay, .. } = verdict else { panic!("{word}") };
    assert_eq!((&*word, delay), ("delay", Duration::from_secs(7)));
    let (word, verdict) = after(OnBreach::Alert);
    assert!(word == "alert" && matches!(verdict, Verdict::Pass { .. }));
}

#[test]
fn a_stream_past_its_reservation_is_reserved_anew_and_cut_only_where_a_rule_says_so() {
    let subject = agent("a");
    let call = Call { bound: bound(100, 100, DOLLAR), ..testing::call(&subject) };
    for cut in [false, true] {
        let limit = Limit { cut_streams: cut, ..watched(OnBreach::Deny, &[daily_usd(3)]) };
        let (mut engine, mut time) = engine(vec![with("budgets", "a", limit)]);
        let mut ticket = passes(engine.admit(&call, true, time.0));
        for dollars in 1..=3 {
            time.pass(MINUTE);
            let so_far = bound(100, 100, dollars * DOLLAR);
            assert_eq!(engine.extend(&mut ticket, &so_far, time.0), Extension::Raised);
            assert_eq!(engine.budgets(time.0)[0].reserved, NanoUsd(dollars * DOLLAR));
        }
        let expected = if cut { Extension::Cut } else { Extension::Raised };
        assert_eq!(engine.extend(&mut ticket, &bound(100, 100, 4 * DOLLAR), time.0), expected);
        for raise in 5..50 {
            let _extension = engine.extend(&mut ticket, &bound(100, 100, raise * DOLLAR), time.0);
        }
        assert!(ticket.more.len() <= 8);
        let _notices = engine.settle(ticket, &cost_of(2 * DOLLAR), time.0);
        let budget = &engine.budgets(time.0)[0];
        assert_eq!((budget.spent, budget.reserved), (NanoUsd(2 * DOLLAR), NanoUsd(0)));
    }
}

#[test]
fn a_reload_keeps_what_was_used_under_changed_limits() {
    let (mut engine, time) = engine(vec![limited("budgets", "a", &[daily_usd(10)])]);
    let subject = agent("a");
    let call = Call { bound: bound(1, 1, 6 * DOLLAR), ..testing::call(&subject) };
    let running = passes(engine.admit(&call, true, time.0));
    let month = cap("monthly_limit_usd", Quantity::Usd, Over::Month, 100_000_000_000);
    let first = limited("budgets", "0", &[daily_usd(1)]);
    let changed = limited("budgets", "a", &[month, daily_usd(5)]);
    let settings = Settings { rules: vec![first, changed], ..Settings::default() };
    engine.replace(settings, time.0);
    let _notices = engine.settle(running, &cost_of(6 * DOLLAR), time.0);
    let used: Vec<_> = engine
        .usage(Some("a"), time.0)
        .iter()
        .map(|view| (view.figure.unit, view.figure.used))
        .collect();
    assert_eq!(used[1], ("daily_limit_usd", Amount::Usd(NanoUsd(6 * DOLLAR))));
    assert_eq!(refused(engine.admit(&call, true, time.0)).reason, Reason::Budget);
}

#[test]
fn the_forecast_is_told_before_the_money_is_gone() {
    let watch = Watch { alert_at: Vec::new(), forecast: true, spike_percent: None };
    let limit = Limit { watch: Some(watch), ..testing::limit(&[daily_usd(10)]) };
    let (mut engine, mut time) = engine(vec![with("budgets", "a", limit)]);
    let subject = agent("a");
    let call = Call { bound: bound(1, 1, DOLLAR / 10), ..testing::call(&subject) };
    let mut told = Vec::new();
    // $2 an hour, 12 hours left: gone in five.
    for _ in 0..60 {
        time.pass(3 * MINUTE);
        told.extend(spend(&mut engine, &call, DOLLAR / 10, time));
    }
    assert_eq!(topics(&told), [Topic::BudgetForecast]);
    let budget = &engine.budgets(time.0)[0];
    let left = budget.exhausted_at.unwrap().duration_since(time.0.wall).unwrap();
    assert!((100..=140).contains(&(left.as_secs() / 60)), "{left:?}");
}
