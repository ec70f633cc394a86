//! When nobody is watched any more by a rule, and whose calls a rule is about.

use super::*;

#[test]
fn a_reload_keeps_the_windows_and_drops_what_no_rule_is_about() {
    let rule = |percent| Settings {
        budgets: vec![budget("default", Whom::Rest, percent)],
        sla: vec![sla("*", Whom::Rest, 50)],
        ..Settings::default()
    };
    let mut watch = watching(rule(50));
    let agent = subject("exe:agent", 7);
    for number in 0..100 {
        let end = if number % 5 == 0 { failed(FailureClass::Auth) } else { End::default() };
        let told = call(&mut watch, &agent, &end);
        assert!(told.iter().all(|notice| notice.topic == Topic::SlaBreached), "{told:?}");
    }
    assert!(watch.model_at(0).unwrap().breached);
    assert_eq!(watch.replace(Arc::new(rule(10)), at(1)), []);
    let told = call(&mut watch, &agent, &End::default());
    assert_eq!(topics(&told), [Topic::ErrorBudgetExceeded], "by the new rule");
    assert_eq!(watch.task_at(0).unwrap().level, Level::Breached);
    // Who was told is told that it is over.
    let told = watch.replace(Arc::default(), at(2));
    assert_eq!(topics(&told), [Topic::ErrorBudgetRecovered, Topic::SlaRecovered]);
    for (notice, (policy, message)) in told.iter().zip([
        (
            "error_budgets.default",
            "exe:agent, task chat: 19 of its last 100 calls failed (19.0%), 190% of its error \
             budget of 10%: not watched any more",
        ),
        ("sla.*", "exe:agent, model gpt-4o: P95 is 100ms of 50ms: not watched any more"),
    ]) {
        assert_eq!((&*notice.policy, &*notice.message), (policy, message));
        assert_eq!((notice.at, notice.call_id), (at(2), None));
        assert_eq!((&*notice.subject, notice.uid), ("exe:agent", Some(7)));
    }
    assert_eq!(watch.replace(Arc::default(), at(3)), [], "once");
    let task = watch.task_at(0).unwrap();
    assert_eq!((task.level, task.target, task.calls), (Level::Ok, None, 100));
    assert!(watch.model_at(0).is_none());
    assert_eq!(call(&mut watch, &agent, &End::default()), []);
    assert_eq!(watch.model_at(0).unwrap().sla, None);
}

#[test]
fn who_is_gone_for_a_day_is_told_of_no_longer() {
    let mut watch = watching(Settings {
        budgets: vec![budget("default", Whom::Rest, 10)],
        sla: vec![sla("*", Whom::Rest, 1_000)],
        ..Settings::default()
    });
    let agent = subject("exe:agent", 7);
    let late = End { latency: Duration::from_secs(30), ..failed(FailureClass::Timeout) };
    let told: Vec<_> = (0..20).flat_map(|_| call(&mut watch, &agent, &late)).collect();
    assert_eq!(topics(&told), [Topic::ErrorBudgetExceeded, Topic::SlaBreached]);
    assert_eq!(watch.tick(at(80_000)), []);
    let told = watch.tick(at(86_400));
    assert_eq!(topics(&told), [Topic::ErrorBudgetRecovered, Topic::SlaRecovered]);
    assert_eq!(watch.places(), 0);
}

#[test]
fn rules_that_share_a_model_have_calls_of_their_own() {
    let rule = |name: &str, ms| sla(name, Whom::Operation(name.into()), ms);
    let rules = vec![rule("chat", 1_000), rule("responses", 60_000)];
    let mut watch = watching(Settings { sla: rules, ..Settings::default() });
    let agent = subject("exe:agent", 7);
    let latency = Duration::from_secs(12);
    let slow = End { latency, ..End::default() };
    let fine = End { operation: "responses".into(), latency, ..End::default() };
    let mut told = Vec::new();
    for _ in 0..100 {
        told.extend(call(&mut watch, &agent, &slow));
        told.extend(call(&mut watch, &agent, &fine));
    }
    assert_eq!(topics(&told), [Topic::SlaBreached]);
    assert_eq!(&*told[0].policy, "sla.chat");
    let mut views: Vec<_> = (0..watch.places()).filter_map(|place| watch.model_at(place)).collect();
    views.sort_by_key(|view| view.sla);
    let views: Vec<_> = views.iter().map(|view| (view.sla, view.breached)).collect();
    let second = Duration::from_secs(1);
    assert_eq!(views, [(Some(second), true), (Some(60 * second), false)]);
}
