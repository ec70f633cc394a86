//! Calls at the same time: whatever order they come and end in, no limit is passed.

use std::sync::Mutex;

use proptest::prelude::*;

use super::*;

#[test]
fn p4_a_budget_cannot_be_overshot_by_concurrent_calls() {
    let (engine, time) = engine(vec![limited("budgets", "a", &[daily_usd(5)])]);
    let engine = Mutex::new(engine);
    let subject = agent("a");
    let call = Call { bound: bound(1000, 1000, 100_000_000), ..testing::call(&subject) };
    let spent = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let mut spent = 0;
                    for _ in 0..125 {
                        let admission = engine.lock().unwrap().admit(&call, true, time.0);
                        let Verdict::Pass { ticket, .. } = admission.verdict else { continue };
                        std::thread::yield_now();
                        spent += 100_000_000;
                        let _notices =
                            engine.lock().unwrap().settle(ticket, &cost_of(100_000_000), time.0);
                    }
                    spent
                })
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).sum::<i64>()
    });
    assert_eq!(spent, 5_000_000_000);
    assert_eq!(engine.lock().unwrap().budgets(time.0)[0].spent, NanoUsd(5_000_000_000));
}

#[test]
fn p4_a_thousand_calls_in_flight_at_once_reserve_no_more_than_there_is() {
    let (mut engine, time) = engine(vec![limited("budgets", "a", &[daily_usd(5)])]);
    let subject = agent("a");
    let call = Call { bound: bound(1000, 1000, 100_000_000), ..testing::call(&subject) };
    let mut tickets = Vec::new();
    for _ in 0..1000 {
        if let Verdict::Pass { ticket, .. } = engine.admit(&call, true, time.0).verdict {
            tickets.push(ticket);
        }
    }
    assert_eq!(tickets.len(), 50);
    for ticket in tickets {
        let _notices = engine.settle(ticket, &cost_of(90_000_000), time.0);
    }
    // What they left over buys five more.
    let more = (0..100)
        .filter(|_| matches!(engine.admit(&call, true, time.0).verdict, Verdict::Pass { .. }));
    assert_eq!(more.count(), 5);
}

/// What happens next in an interleaving.
#[derive(Debug, Clone)]
enum Step {
    Ask { who: usize, cost: i64 },
    End { which: usize, share: i64 },
    Wait { seconds: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0_usize..3, 1_i64..40).prop_map(|(who, cost)| Step::Ask { who, cost }),
        (0_usize..20, 0_i64..=100).prop_map(|(which, share)| Step::End { which, share }),
        (0_u64..1800).prop_map(|seconds| Step::Wait { seconds }),
    ]
}

proptest! {
    #[test]
    fn p4_p9_no_interleaving_passes_a_limit(steps in prop::collection::vec(step(), 1..200)) {
        const CENT: i64 = 10_000_000;
        let hourly = cap("usd_per_hour", Quantity::Usd, Over::Sliding(HOUR), 1_000_000_000);
        let requests = cap("requests_per_hour", Quantity::Requests, Over::Sliding(HOUR), 10);
        let (mut engine, mut time) = engine(vec![
            limited("budgets", "*", &[daily_usd(2)]),
            limited("rate_limits", "*", &[hourly, requests]),
        ]);
        let subjects = [agent("a"), agent("b"), agent("c")];
        let mut running: Vec<(usize, Ticket)> = Vec::new();
        // When each call was let in, and what it has cost or may yet cost.
        let mut calls: Vec<(SystemTime, i64)> = Vec::new();
        for step in steps {
            match step {
                Step::Ask { who, cost } => {
                    let subject = &subjects[who];
                    let call = Call { bound: bound(1, 1, cost * CENT), ..testing::call(subject) };
                    match engine.admit(&call, true, time.0).verdict {
                        Verdict::Pass { ticket, .. } => {
                            running.push((calls.len(), ticket));
                            calls.push((time.0.wall, cost * CENT));
                        }
                        Verdict::Refuse(denied) => {
                            // Who waits as told gets through, where nobody else comes between.
                            let wait = denied.retry_after.unwrap();
                            if running.is_empty() {
                                let mut later = time;
                                later.pass(wait);
                                let said = engine.test(&call, later.0);
                                prop_assert!(said.iter().all(|said| &*said.action == "pass"), "{said:?}");
                            }
                        }
                        Verdict::Freeze(_) => prop_assert!(false),
                    }
                }
                Step::End { which, share } if !running.is_empty() => {
                    let (place, ticket) = running.swap_remove(which % running.len());
                    calls[place].1 = calls[place].1 * share / 100;
                    let _notices = engine.settle(ticket, &cost_of(calls[place].1), time.0);
                }
                Step::End { .. } => {}
                Step::Wait { seconds } => time.pass(Duration::from_secs(seconds)),
            }
            let hour_ago = time.0.wall - HOUR;
            let within: Vec<_> = calls.iter().filter(|(at, _)| *at > hour_ago).collect();
            prop_assert!(within.len() <= 10);
            prop_assert!(within.iter().map(|(_, cost)| cost).sum::<i64>() <= 1_000_000_000);
            let midnight = Time::noon().0.wall + 12 * HOUR;
            let days = time.0.wall.duration_since(midnight).map_or(0, |since| since.as_secs() / 86_400 + 1);
            let day = |at: SystemTime| at.duration_since(midnight).map_or(0, |since| since.as_secs() / 86_400 + 1);
            let today = calls.iter().filter(|(at, _)| day(*at) == days);
            prop_assert!(today.map(|(_, cost)| cost).sum::<i64>() <= 2_000_000_000);
        }
    }
}
