//! Calls go by, and people are told of what matters, once.

mod over;

use std::num::NonZeroU32;

use proptest::prelude::*;

use super::settings::{ErrorBudget, Share, Sla, Spikes, Whom};
use super::*;
use crate::policy::selector::{Pattern, Selector};
use crate::record::{CallId, FailureClass, Topic};
use crate::subject::{Process, Subject, Workload};

const DOLLAR: i64 = NanoUsd::DOLLAR.0;

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_hours(500_000) + Duration::from_secs(seconds)
}

fn subject(name: &str, uid: u32) -> Subject {
    Subject {
        process: Process {
            pid: 1,
            start_ticks: 1,
            exe: "/usr/bin/x".into(),
            command: "".into(),
            uid,
            user: None,
            verified: true,
        },
        workload: Workload { name: name.into(), unit: None, container: None, pod: None, app: None },
    }
}

/// What there is to say of a call besides who made it.
#[derive(Debug, Clone)]
struct End {
    operation: Arc<str>,
    model: Arc<str>,
    class: Option<FailureClass>,
    latency: Duration,
    cost: Option<NanoUsd>,
    at: u64,
}

impl Default for End {
    fn default() -> Self {
        Self {
            operation: "chat".into(),
            model: "gpt-4o".into(),
            class: None,
            latency: Duration::from_millis(100),
            cost: None,
            at: 0,
        }
    }
}

fn failed(class: FailureClass) -> End {
    End { class: Some(class), ..End::default() }
}

fn call(watch: &mut Watch, subject: &Subject, end: &End) -> Vec<Notice> {
    watch.call(&Seen {
        call_id: CallId(ulid::Ulid::nil()),
        subject,
        agent_name: None,
        team: None,
        environment: "prod",
        provider: "openai",
        host: "api.openai.com",
        path: "/v1/chat/completions",
        operation: &end.operation,
        model: Some(&end.model),
        ended_at: at(end.at),
        latency: end.latency,
        class: end.class,
        cost: end.cost,
    })
}

fn workload(name: &str) -> Whom {
    Whom::Selected(Box::new(Selector {
        workload: vec![Pattern::new(name)],
        or_agent_name: true,
        ..Selector::default()
    }))
}

fn budget(name: &str, whom: Whom, percent: u32) -> ErrorBudget {
    ErrorBudget {
        policy: format!("error_budgets.{name}").into(),
        task: (whom != Whom::Rest).then(|| name.into()),
        whom,
        target: Share::of_millionths(percent * 10_000).unwrap(),
        minimum_calls: NonZeroU32::new(20).unwrap(),
    }
}

fn sla(name: &str, whom: Whom, ms: u64) -> Sla {
    Sla { policy: format!("sla.{name}").into(), whom, p95: Duration::from_millis(ms) }
}

fn watching(settings: Settings) -> Watch {
    let mut watch = Watch::default();
    assert_eq!(watch.replace(Arc::new(settings), at(0)), []);
    watch
}

fn topics(notices: &[Notice]) -> Vec<Topic> {
    notices.iter().map(|notice| notice.topic).collect()
}

#[test]
fn six_of_forty_are_told_once_and_again_after_it_was_well() {
    let budgets = vec![budget("routing", workload("router"), 10)];
    let mut watch = watching(Settings { budgets, ..Settings::default() });
    let router = subject("exe:router", 1000);
    let mut told = Vec::new();
    for number in 0..40 {
        let end = if number % 7 == 6 { failed(FailureClass::ServerError) } else { End::default() };
        told.extend(call(&mut watch, &router, &end));
    }
    // The 20th call is the first that says anything, and 2 of 20 are too many already.
    assert_eq!(topics(&told), [Topic::ErrorBudgetExceeded]);
    let notice = &told[0];
    assert_eq!(&*notice.policy, "error_budgets.routing");
    assert_eq!((&*notice.subject, notice.uid), ("exe:router", Some(1000)));
    assert_eq!(
        notice.message,
        "exe:router, task routing: 2 of its last 20 calls failed (10.0%), 100% of its error budget \
         of 10%, most of them server_error"
    );
    let finding = notice.finding.as_ref().unwrap();
    assert_eq!((&*finding.measured, &*finding.target), ("10.0%", "10%"));
    let view = watch.task_at(0).unwrap();
    assert_eq!((view.calls, view.failed, view.level), (40, 5, Level::Breached));
    assert!(view.trouble.is_some());

    let mut told = Vec::new();
    for _ in 0..100 {
        told.extend(call(&mut watch, &router, &End::default()));
    }
    assert_eq!(topics(&told), [Topic::ErrorBudgetRecovered]);
    assert_eq!(watch.task_at(0).unwrap().trouble, None);
    // 8 of 100: most of the budget.
    let mut told = Vec::new();
    for _ in 0..8 {
        told.extend(call(&mut watch, &router, &failed(FailureClass::Timeout)));
    }
    assert_eq!(topics(&told), [Topic::ErrorBudgetThreshold]);
    assert_eq!(told[0].class.as_deref(), Some("timeout"));
}

#[test]
fn what_policies_and_clients_end_uses_nothing_up() {
    let budgets = vec![budget("default", Whom::Rest, 1)];
    let mut watch = watching(Settings { budgets, ..Settings::default() });
    let agent = subject("exe:agent", 0);
    for class in [FailureClass::Refused, FailureClass::ClientAbort, FailureClass::Other] {
        for _ in 0..60 {
            assert_eq!(call(&mut watch, &agent, &failed(class)), []);
            assert_eq!(call(&mut watch, &agent, &End::default()), []);
        }
    }
    let view = watch.task_at(0).unwrap();
    assert_eq!((view.calls, view.failed, view.used), (100, 0, Some(0.0)));
    assert_eq!(&*view.task, "chat", "without a rule's name the operation is the task");
}

#[test]
fn the_strictest_rule_that_means_a_call_is_its_task() {
    let mut named = budget("payments", workload("pay*"), 1);
    named.task = Some("payments".into());
    let budgets = vec![
        budget("default", Whom::Rest, 1),
        budget("chat", Whom::Operation("chat".into()), 15),
        named,
        budget("vendor", workload("pay-vendor"), 5),
    ];
    let mut watch = watching(Settings { budgets, ..Settings::default() });
    let embed = End { operation: "embeddings".into(), ..End::default() };
    for (name, end, task, target) in [
        ("exe:pay-vendor", &End::default(), "payments", "1%"),
        ("exe:pay-batch", &embed, "payments", "1%"),
        ("exe:other", &End::default(), "chat", "15%"),
        ("exe:other", &embed, "embeddings", "1%"),
    ] {
        let who = subject(name, 0);
        call(&mut watch, &who, end);
        // What was chosen once is chosen again.
        call(&mut watch, &who, end);
        let mut found = (0..watch.places()).filter_map(|place| watch.task_at(place));
        let found = found.next_back().unwrap();
        assert_eq!((&*found.workload, &*found.task, found.calls), (name, task, 2));
        assert_eq!(found.target.unwrap().to_string(), target);
    }
}

#[test]
fn nineteen_of_twenty_may_not_take_longer() {
    let rules = vec![sla("*", Whom::Rest, 10_000), sla("slow", workload("slow"), 60_000)];
    let mut watch = watching(Settings { sla: rules, ..Settings::default() });
    let agent = subject("exe:agent", 7);
    let slow = End { latency: Duration::from_secs(12), ..End::default() };
    // One slow call, and failures that are quick or mean nothing for how long it takes.
    assert_eq!(call(&mut watch, &agent, &slow), []);
    for _ in 0..18 {
        assert_eq!(call(&mut watch, &agent, &End::default()), []);
        assert_eq!(call(&mut watch, &agent, &failed(FailureClass::ServerError)), []);
    }
    assert_eq!(call(&mut watch, &agent, &End::default()), [], "one of twenty");
    let told = call(&mut watch, &agent, &slow);
    assert_eq!(topics(&told), [Topic::SlaBreached]);
    assert_eq!(told[0].message, "exe:agent, model gpt-4o: P95 is 12.00s of 10.00s");
    assert_eq!(call(&mut watch, &agent, &slow), [], "once");
    let view = watch.model_at(0).unwrap();
    assert!(view.breached && view.trouble().is_some());
    // 9.5 s are less than 10, and not well.
    let near = End { latency: Duration::from_millis(9_500), ..End::default() };
    for _ in 0..100 {
        assert_eq!(call(&mut watch, &agent, &near), []);
    }
    let told: Vec<_> = (0..100).flat_map(|_| call(&mut watch, &agent, &End::default())).collect();
    assert_eq!(topics(&told), [Topic::SlaRecovered]);
    // Who has a rule of their own is not held against the one for all others.
    let slower = subject("exe:slow", 7);
    assert!((0..50).all(|_| call(&mut watch, &slower, &slow).is_empty()));
}

#[test]
fn a_provider_that_is_given_up_is_slow() {
    let mut watch =
        watching(Settings { sla: vec![sla("*", Whom::Rest, 1_000)], ..Settings::default() });
    let agent = subject("exe:agent", 7);
    let late = End { latency: Duration::from_secs(30), ..failed(FailureClass::Timeout) };
    let told: Vec<_> = (0..20).flat_map(|_| call(&mut watch, &agent, &late)).collect();
    assert_eq!(topics(&told), [Topic::SlaBreached]);
}

#[test]
fn a_spike_is_told_once_and_when_it_is_over() {
    let spikes = Some(Spikes { percent: 300, floor: NanoUsd(DOLLAR), whom: None });
    let mut watch = watching(Settings { spikes, ..Settings::default() });
    let (loud, new) = (subject("exe:loud", 1), subject("exe:new", 1));
    let paid =
        |at, dollars: i64| End { at, cost: Some(NanoUsd(dollars * DOLLAR)), ..End::default() };
    assert_eq!(call(&mut watch, &loud, &paid(0, 1)), []);
    watch.take_usual(HashMap::from([(Arc::from("exe:loud"), NanoUsd(DOLLAR))]));
    let told = call(&mut watch, &loud, &paid(60, 3));
    assert_eq!(topics(&told), [Topic::CostSpike]);
    assert_eq!(told[0].message, "exe:loud spends $24.00 an hour, usually $1.00");
    assert_eq!(call(&mut watch, &loud, &paid(120, 3)), []);
    assert_eq!(call(&mut watch, &new, &paid(120, 300)), [], "nothing is usual for who is new");
    let spikes: Vec<_> = (0..watch.places()).filter_map(|place| watch.spike_at(place)).collect();
    assert_eq!(spikes.len(), 1);
    assert_eq!(spikes[0].since(), at(60));
    assert!((spikes[0].factor().unwrap() - 42.0).abs() < 1e-9);
    assert_eq!(watch.tick(at(600)), []);
    assert_eq!(topics(&watch.tick(at(1_200))), [Topic::CostSpikeOver]);
    assert_eq!(watch.tick(at(1_300)), []);
    assert_eq!(watch.tick(at(10_000)), []);
    assert_eq!(watch.spending.len(), 0, "forgotten");
}

#[test]
fn whose_calls_they_are_is_known_while_they_are_one_users() {
    let mut watch = Watch::default();
    call(&mut watch, &subject("exe:agent", 7), &End::default());
    assert_eq!(watch.task_at(0).unwrap().uid, Some(7));
    call(&mut watch, &subject("exe:agent", 8), &End::default());
    call(&mut watch, &subject("exe:agent", 7), &End::default());
    assert_eq!(watch.task_at(0).unwrap().uid, None);
    assert_eq!(watch.model_at(0).unwrap().uid, None);
}

#[test]
fn a_crowd_of_workloads_takes_no_more_room_than_there_is() {
    let mut watch = watching(Settings {
        spikes: Some(Spikes { percent: 300, floor: NanoUsd(1), whom: None }),
        ..Settings::default()
    });
    for number in 0..3_000 {
        let end = End { cost: Some(NanoUsd(1)), ..End::default() };
        call(&mut watch, &subject(&format!("exe:w{number}"), 0), &end);
    }
    assert_eq!(watch.tasks.len(), TASKS);
    assert_eq!(watch.models.len(), MODELS);
    assert_eq!(watch.spending.len(), SPENDING);
    // A day later nobody of them is there any more.
    watch.tick(at(100_000));
    assert_eq!(watch.places(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_breach_is_told_once_until_it_is_over(
        ends in proptest::collection::vec(0..12_usize, 1..400),
        percent in 1..100_u32,
    ) {
        let budgets = vec![budget("default", Whom::Rest, percent)];
        let mut watch = watching(Settings { budgets, ..Settings::default() });
        let agent = subject("exe:agent", 0);
        let mut level = Level::Ok;
        for end in ends {
            let class = FailureClass::ALL.get(end).copied();
            let told = call(&mut watch, &agent, &End { class, ..End::default() });
            prop_assert!(told.len() <= 1);
            for notice in told {
                let next = match notice.topic {
                    Topic::ErrorBudgetThreshold => Level::Warning,
                    Topic::ErrorBudgetExceeded => Level::Breached,
                    Topic::ErrorBudgetRecovered => Level::Ok,
                    other => return Err(TestCaseError::fail(format!("{other:?}"))),
                };
                prop_assert_ne!(next, level);
                prop_assert!(next > level || next == Level::Ok);
                let view = watch.task_at(0).unwrap();
                prop_assert!(next == Level::Ok || (view.failed >= 2 && view.calls >= 20));
                level = next;
            }
        }
    }
}
