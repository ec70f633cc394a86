//! Failures by class, and what is watched.

use super::*;

#[test]
fn failures_of_whom_nobody_hears_any_more_go_too() {
    const TTL: Duration = Duration::from_hours(24);
    let (metrics, start) = (metrics(), System.now().mono);
    let fail = |name: &str| {
        let (outcome, status) = (Outcome::UpstreamError, Some(503));
        metrics.call(&Record { subject: subject(name), outcome, status, ..record() });
    };
    fail("exe:gone");
    fail("exe:stays");
    metrics.sweep(start, TTL);
    fail("exe:stays");
    metrics.sweep(start + TTL, TTL);
    let text = metrics.render();
    let line = |name: &str, count: u32| {
        format!(
            "weir_errors_total{{class=\"server_error\",provider=\"openai\",workload=\"{name}\"}} {count}\n"
        )
    };
    assert!(text.contains(&line("exe:stays", 2)), "{text}");
    let gone = |line: &str| line.starts_with("weir_errors_total{") && line.contains("exe:gone");
    assert!(!text.lines().any(gone), "{text}");
    // It makes room, and begins anew.
    for number in 0..700 {
        fail(&format!("exe:w{}", number % 190));
    }
    fail("exe:gone");
    assert!(metrics.render().contains(&line("exe:gone", 1)));
}

#[test]
fn failures_make_few_series() {
    let metrics = metrics();
    for number in 0..2_000 {
        let (outcome, status) =
            (Outcome::UpstreamError, Some([401, 408, 422, 429, 503][number % 5]));
        let who = subject(&format!("exe:w{}", number / 10));
        metrics.call(&Record { subject: who, outcome, status, ..record() });
    }
    let text = metrics.render();
    let failures = text.lines().filter_map(|line| line.strip_prefix("weir_errors_total{"));
    let counts: Vec<u64> =
        failures.map(|line| line.rsplit(' ').next().unwrap().parse().unwrap()).collect();
    assert!((600..610).contains(&counts.len()), "{}", counts.len());
    assert_eq!(counts.iter().sum::<u64>(), 2_000, "nothing is lost");
}

#[test]
fn failures_are_counted_by_why_and_what_is_watched_is_shown() {
    let metrics = Metrics::new(Settings { per_user: true }).unwrap();
    metrics.call(&record());
    let failed = |outcome, status| Record { status, outcome, ..record() };
    metrics.call(&failed(Outcome::UpstreamError, Some(503)));
    metrics.call(&failed(Outcome::UpstreamError, Some(500)));
    metrics.call(&failed(Outcome::Refused, Some(429)));
    metrics.call(&Record { kind: Kind::Request, ..failed(Outcome::UpstreamError, Some(500)) });
    let (one, other) = (Arc::<str>::from("exe:a"), Arc::<str>::from("exe:b"));
    metrics.watched(&Watched {
        budgets: vec![(Arc::clone(&one), Arc::from("chat"), 1.5)],
        // Two models of one workload: the worse one counts.
        sla: vec![(Arc::clone(&one), false), (Arc::clone(&one), true), (other, false)],
        spikes: vec![one],
    });
    let text = metrics.render();
    for line in [
        "weir_errors_total{class=\"server_error\",provider=\"openai\",workload=\"exe:python3:agent.py\"} 2",
        "weir_errors_total{class=\"refused\",provider=\"openai\",workload=\"exe:python3:agent.py\"} 1",
        "weir_error_budget_used_ratio{task=\"chat\",workload=\"exe:a\"} 1.5",
        "weir_sla_breached{workload=\"exe:a\"} 1",
        "weir_sla_breached{workload=\"exe:b\"} 0",
        "weir_spend_spike{workload=\"exe:a\"} 1",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    metrics.watched(&Watched::default());
    assert!(!metrics.render().contains("exe:a"), "what is gone is not shown");
}
