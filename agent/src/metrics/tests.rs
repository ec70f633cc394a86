//! What is counted, and under which names.

mod failures;
mod page;

use std::time::SystemTime;

use self::page::busy;
use super::*;
use crate::clock::{Clock as _, System};
use crate::llm::usage::{NanoUsd, Usage};
use crate::record::{Billing, CallId, Decision, Kind, Outcome, Topic, Treatment, Via};
use crate::subject::{Process, Subject, Workload};

fn subject(name: &str) -> Arc<Subject> {
    Arc::new(Subject {
        process: Process {
            pid: 4242,
            start_ticks: 1,
            exe: Arc::from("/usr/bin/python3"),
            command: Arc::from("python3 agent.py"),
            uid: 1000,
            user: None,
            verified: true,
        },
        workload: Workload {
            name: Arc::from(name),
            unit: None,
            container: None,
            pod: None,
            app: None,
        },
    })
}

fn record() -> Record {
    Record {
        call_id: CallId(ulid::Ulid::nil()),
        started_at: SystemTime::UNIX_EPOCH,
        kind: Kind::Call,
        via: Via::Intercept,
        subject: subject("exe:python3:agent.py"),
        environment: Arc::from("test"),
        team: None,
        account: None,
        agent_name: None,
        provider: Arc::from("openai"),
        host: Arc::from("api.openai.com"),
        operation: Arc::from("chat"),
        method: Arc::from("POST"),
        path: Arc::from("/v1/chat/completions"),
        model: Some(Arc::from("gpt-4o")),
        model_served: None,
        stream: true,
        status: Some(200),
        outcome: Outcome::Ok,
        error: None,
        usage: Usage { input: 100, cache_read: 50, output: 20, reasoning: 7, ..Usage::default() },
        usage_source: UsageSource::Reported,
        cost: Some(NanoUsd(1_500_000)),
        billing: Billing::Metered,
        price_version: None,
        attempts: Vec::new(),
        retry_of: None,
        ttft: Some(Duration::from_millis(300)),
        latency: Duration::from_millis(1200),
        upstream: Duration::from_millis(1199),
        bytes_in: 1,
        bytes_out: 1,
        flags: Vec::new(),
        decisions: Vec::new(),
        trace: None,
    }
}

fn connection(treatment: Treatment) -> Connection {
    Connection {
        opened_at: SystemTime::UNIX_EPOCH,
        duration: Duration::from_secs(1),
        subject: subject("exe:curl"),
        provider: Arc::from("openai"),
        host: Arc::from("api.openai.com"),
        treatment,
        reason: Arc::from(""),
        bytes_up: 10,
        bytes_down: 20,
        failed: false,
    }
}

fn metrics() -> Metrics {
    Metrics::new(Settings { per_user: true }).expect("every name is registered once")
}

#[test]
fn a_call_is_counted_by_workload_model_and_kind_of_token() {
    let metrics = metrics();
    metrics.call(&record());
    let served = Some(Arc::from("gpt-4o"));
    let limited = Outcome::RateLimited;
    metrics.call(&Record { cost: None, outcome: limited, model_served: served, ..record() });
    metrics.call(&Record { outcome: Outcome::UpstreamError, ..record() });
    metrics.call(&Record { kind: Kind::Opaque, ..record() });
    let text = metrics.render();
    for line in [
        r#"llm_calls_total{environment="test",model="gpt-4o",provider="openai",status="2xx",task_type="chat",workload="exe:python3:agent.py"} 1"#,
        r#"llm_calls_total{environment="test",model="gpt-4o",provider="openai",status="429",task_type="chat",workload="exe:python3:agent.py"} 1"#,
        r#"llm_calls_total{environment="test",model="other",provider="openai",status="4xx",task_type="chat",workload="exe:python3:agent.py"} 1"#,
        r#"llm_tokens_total{model="gpt-4o",provider="openai",type="cache_read",workload="exe:python3:agent.py"} 100"#,
        r#"llm_tokens_total{model="gpt-4o",provider="openai",type="reasoning",workload="exe:python3:agent.py"} 14"#,
        r#"llm_cost_usd_total{billing="metered",environment="test",model="gpt-4o",provider="openai",workload="exe:python3:agent.py"} 0.0015"#,
        r#"llm_unpriced_calls_total{model="gpt-4o",provider="openai"} 1"#,
        r#"llm_latency_seconds_bucket{model="gpt-4o",provider="openai",le="1"} 0"#,
        r#"llm_latency_seconds_bucket{model="gpt-4o",provider="openai",le="2"} 2"#,
        r#"weir_requests_total{kind="opaque",provider="openai",status="2xx",workload="exe:python3:agent.py"} 1"#,
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\nnot in\n{text}");
    }
    assert!(!text.contains("4242"), "a pid is never a label");
    let bound = Some((Duration::from_millis(1), Duration::from_millis(1)));
    assert_eq!(metrics.overhead_quantiles(), bound);
}

#[test]
fn coverage_is_the_metered_share_of_connections() {
    let metrics = metrics();
    for treatment in [Treatment::Metered, Treatment::Metered, Treatment::Opaque, Treatment::Direct]
    {
        metrics.connection(&connection(treatment));
    }
    let text = metrics.render();
    assert!(text.contains("weir_coverage_ratio 0.5\n"), "{text}");
    let line =
        r#"weir_connection_bytes_total{direction="down",provider="openai",workload="exe:curl"} 80"#;
    assert!(text.contains(line), "{text}");
}

#[test]
fn totals_kept_elsewhere_only_ever_grow() {
    let metrics = metrics();
    for total in [5, 3, 8] {
        metrics.capture(&[("hit", total)]);
    }
    assert!(metrics.render().contains(r#"weir_capture_events_total{event="hit"} 8"#));
}

fn decision(rule: &str, action: &str) -> Decision {
    Decision {
        at: Duration::ZERO,
        rule: Arc::from(rule),
        action: Arc::from(action),
        detail: "".into(),
    }
}

fn standing(spent: i64) -> Standing {
    let budget = |subject: &str, spent| BudgetGauge {
        policy: Arc::from("budgets.team"),
        subject: Arc::from(subject),
        period: Arc::from("day"),
        spent: NanoUsd(spent),
        limit: NanoUsd(10_000_000_000),
    };
    Standing {
        budgets: vec![budget("a", spent), budget("b", 1_000_000_000)],
        limits: vec![LimitGauge {
            policy: Arc::from("rate_limits.a"),
            subject: Arc::from("a"),
            unit: "requests_per_minute",
            ratio: 0.4,
        }],
        quotas: vec![QuotaGauge {
            provider: Arc::from("anthropic"),
            account: Arc::from("0a1b2c3d4e5f"),
            kind: "5h",
            remaining: 0.58,
        }],
    }
}

#[test]
fn decisions_of_policies_are_counted_and_no_others() {
    let metrics = metrics();
    let decisions = vec![
        decision("route", "openai"),
        decision("rate_limits.a", "would-refuse"),
        decision("budgets.b", "pass"),
        decision("retry", "retry"),
    ];
    metrics.call(&Record { decisions, ..record() });
    let text = metrics.render();
    for line in [
        r#"weir_policy_decisions_total{action="would-refuse",policy="rate_limits.a"} 1"#,
        r#"weir_policy_decisions_total{action="pass",policy="budgets.b"} 1"#,
        r#"weir_policy_decisions_total{action="retry",policy="retry"} 1"#,
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\nnot in\n{text}");
    }
    assert!(!text.contains(r#"policy="route""#));
}

#[test]
fn budgets_and_limits_are_shown_as_they_stand() {
    let metrics = metrics();
    metrics.policies(&standing(5_500_000_000));
    let text = metrics.render();
    for line in [
        r#"weir_budget_spent_usd{period="day",policy="budgets.team",subject="a"} 5.5"#,
        r#"weir_budget_limit_usd{period="day",policy="budgets.team",subject="b"} 10"#,
        r#"weir_limit_usage_ratio{limit="requests_per_minute",policy="rate_limits.a",subject="a"} 0.4"#,
        r#"weir_provider_limit_remaining_ratio{account="0a1b2c3d4e5f",kind="5h",provider="anthropic"} 0.58"#,
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\nnot in\n{text}");
    }
    metrics.policies(&Standing::default());
    assert!(!metrics.render().contains("weir_budget_spent_usd{"), "what is gone is not shown");
}

#[test]
fn where_users_are_not_told_apart_the_fullest_stands_for_all() {
    let metrics = Metrics::new(Settings { per_user: false }).unwrap();
    metrics.policies(&standing(5_500_000_000));
    let text = metrics.render();
    let line = r#"weir_budget_spent_usd{period="day",policy="budgets.team",subject="all"} 5.5"#;
    assert!(text.contains(line), "{text}");
    assert!(!text.contains("0a1b2c3d4e5f"));
}

#[test]
fn many_subjects_make_few_series() {
    let metrics = metrics();
    let limit = |n: u32| LimitGauge {
        policy: Arc::from("rate_limits.all"),
        subject: Arc::from(format!("user:{n}")),
        unit: "requests_per_minute",
        ratio: f64::from(n),
    };
    let limits = (0..10_000).map(limit).collect();
    metrics.policies(&Standing { limits, ..Standing::default() });
    let text = metrics.render();
    assert_eq!(text.matches("weir_limit_usage_ratio{").count(), 500);
    assert!(text.contains("user:9999") && !text.contains("user:1\""));
}

#[test]
fn the_mode_the_reloads_and_the_authority_are_shown() {
    let (metrics, _dir) = busy();
    metrics.reloaded(false, SystemTime::UNIX_EPOCH + Duration::from_secs(7201));
    let text = metrics.render();
    for line in [
        "weir_mode{kind=\"wanted\"} 2",
        "weir_mode{kind=\"effective\"} 1",
        "weir_capture_active 1",
        "weir_calls_in_flight 1",
        "weir_ca_expiry_timestamp_seconds 3600",
        "weir_config_last_reload_successful 0",
        "weir_config_last_reload_success_timestamp_seconds 3600",
        "weir_config_reloads_total{result=\"refused\"} 1",
        "weir_client_faults_total{fault=\"unauthenticated\",listener=\"admin\"} 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\nnot in\n{text}");
    }
    metrics.reloaded(true, SystemTime::UNIX_EPOCH + Duration::from_secs(7202));
    assert!(metrics.render().contains("weir_config_last_reload_success_timestamp_seconds 7202\n"));
}

#[test]
fn made_up_names_cannot_mint_series_without_end() {
    let metrics = metrics();
    for number in 0..5_000 {
        let model = Some(Arc::from(format!("m{}", number % 190)));
        let who = subject(&format!("exe:w{}", number / 30));
        metrics.call(&Record { subject: who, model, ..record() });
    }
    let text = metrics.render();
    for (family, most) in [("llm_calls_total{", 1000), ("llm_tokens_total{", 1500)] {
        let series = text.matches(&format!("\n{family}")).count();
        assert!((most..most + 100).contains(&series), "{family} {series}");
    }
    assert_eq!(text.matches("\nllm_latency_seconds_count{").count(), 61);
    let calls = text.lines().filter_map(|line| line.strip_prefix("llm_calls_total{"));
    let calls: u64 =
        calls.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum();
    assert_eq!(calls, 5_000, "nothing is lost");
    assert!(text.contains("weir_metrics_overflow_total{bound=\"llm_calls_total\"}"));
    assert!(!text.contains("weir_metrics_overflow_total{bound=\"llm_calls_total\"} 0\n"));
}

#[test]
fn who_calls_no_more_is_shown_no_more() {
    const TTL: Duration = Duration::from_hours(24);
    let (metrics, start) = (metrics(), System.now().mono);
    let call = |name: &str| metrics.call(&Record { subject: subject(name), ..record() });
    call("exe:gone");
    call("exe:stays");
    metrics.connection(&connection(Treatment::Metered));
    metrics.sweep(start, TTL);
    call("exe:stays");
    metrics.sweep(start + TTL, TTL);
    let text = metrics.render();
    let labels = |name: &str| format!("workload=\"{name}\"");
    let gone = |line: &&str| line.contains(&labels("exe:gone")) && !line.contains("first_seen");
    assert_eq!(text.lines().find(gone), None);
    let stays = text
        .lines()
        .find(|line| line.starts_with("llm_calls_total{") && line.contains(&labels("exe:stays")));
    assert!(stays.is_some_and(|line| line.ends_with(" 2")), "{stays:?}");
    assert!(!text.contains("weir_metrics_expired_total 0\n"), "{text}");
    // It begins anew, and is counted whole.
    call("exe:gone");
    call("exe:gone");
    let text = metrics.render();
    let back = text
        .lines()
        .find(|line| line.starts_with("llm_calls_total{") && line.contains(&labels("exe:gone")));
    assert!(back.is_some_and(|line| line.ends_with(" 2")), "{back:?}");
}

#[test]
fn a_workloads_first_contact_is_news_once() {
    let metrics = metrics();
    metrics.seen_before(Some(vec![(
        Arc::from("exe:curl"),
        Arc::from("openai"),
        SystemTime::UNIX_EPOCH,
    )]));
    metrics.connection(&connection(Treatment::Direct));
    assert!(metrics.render().contains("weir_first_seen_total 0\n"));
    metrics.call(&record());
    metrics.call(&record());
    let elsewhere = Connection { provider: Arc::from("unknown"), ..connection(Treatment::Opaque) };
    metrics.connection(&elsewhere);
    assert!(metrics.render().contains("weir_first_seen_total 1\n"));
}
