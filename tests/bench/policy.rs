//! `policy`: what deciding on a call costs, with many rules and many subjects, beside an engine
//! without any.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use agent::clock::{Clock as _, Now, System};
use agent::llm::usage::NanoUsd;
use agent::policy::selector::{Pattern, Selector};
use agent::policy::settings::{
    Cap, Guard, Limit, OnBreach, Over, Per, Quantity, Rule, Says, Team, Watch,
};
use agent::policy::{Actual, Bound, Call, Enforcement, Engine, Settings, Verdict};
use agent::record::Billing;
use agent::subject::{Parts, Process, Subject, Workload};
use anyhow::ensure;
use serde_json::json;

/// Calls measured at a time; the median of such batches is told.
const BATCH: usize = 1_000;

/// Users the subjects belong to; ten to a team.
const USERS: usize = 100;

/// How much.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// End with one line of JSON
    #[arg(long)]
    json: bool,
    /// Workloads that call
    #[arg(long, default_value_t = 10_000)]
    subjects: usize,
    /// Rules; six are about every call, the others each about one workload
    #[arg(long, default_value_t = 200)]
    rules: usize,
    /// Calls
    #[arg(long, default_value_t = 300_000)]
    calls: usize,
}

/// Measures and reports.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    ensure!(options.rules >= 6 && options.subjects > 0, "at least 6 rules and 1 subject");
    let subjects: Vec<Subject> = (0..options.subjects).map(subject).collect();
    let now = System.now();
    let mut empty = Engine::new(Settings::default(), now);
    let mut full = Engine::new(settings(options.rules), now);
    // Every counter there is first; then in turns, so that both meet the same machine.
    let _warm = rounds(&mut full, &subjects, options.subjects)?;
    let _warm = rounds(&mut empty, &subjects, options.subjects)?;
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for _ in 0..4 {
        with.extend(rounds(&mut full, &subjects, options.calls / 4)?);
        without.extend(rounds(&mut empty, &subjects, options.calls / 4)?);
    }
    let (with, without) = (Spread::of(with), Spread::of(without));
    println!(
        "admit + settle, {} rules (6 about every call), {} subjects: {:.0} ns of CPU per call (p99 of \
         batches {:.0}); without rules {:.0} ns",
        options.rules, options.subjects, with.median, with.p99, without.median
    );
    if options.json {
        let summary = json!({
            "bench": "policy",
            "rules": options.rules,
            "subjects": options.subjects,
            "calls": options.calls,
            "counters": full.usage(None, System.now()).len(),
            "admit_settle_ns": with.median,
            "admit_settle_p99_ns": with.p99,
            "baseline_ns": without.median,
        });
        println!("{summary}");
    }
    Ok(())
}

/// Nanoseconds of CPU per call, batch by batch.
fn rounds(engine: &mut Engine, subjects: &[Subject], calls: usize) -> anyhow::Result<Vec<f64>> {
    let mut spent = Vec::new();
    let mut next = 0;
    for _ in 0..calls.div_ceil(BATCH) {
        let start = cpu();
        for _ in 0..BATCH {
            // A stride that meets every subject, and seldom the last one's neighbour in memory.
            next = (next + 7_919) % subjects.len();
            let now = System.now();
            ensure!(call(engine, &subjects[next], now), "a call was refused: limits are too low");
        }
        let elapsed = cpu().saturating_sub(start);
        #[expect(clippy::cast_precision_loss, reason = "a number of calls")]
        spent.push(elapsed.as_secs_f64() * 1e9 / BATCH as f64);
    }
    Ok(spent)
}

/// CPU time of this thread: others on the machine must not count.
fn cpu() -> Duration {
    let at = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(at.tv_sec.unsigned_abs(), u32::try_from(at.tv_nsec).unwrap_or(0))
}

fn call(engine: &mut Engine, subject: &Subject, now: Now) -> bool {
    let bound = Bound {
        input: 1_000,
        output: 1_000,
        output_asked: true,
        input_cost: Some(NanoUsd(1_000_000)),
        cost: Some(NanoUsd(5_000_000)),
        unread: false,
    };
    let call = Call {
        subject,
        agent_name: None,
        environment: "prod",
        provider: "openai",
        host: "api.openai.com",
        path: "/v1/chat/completions",
        model: Some("gpt-4o"),
        body_bytes: 4_000,
        bound,
        billing: Billing::Metered,
        prompt: None,
    };
    let admission = engine.admit(&call, true, now);
    let Verdict::Pass { ticket, .. } = admission.verdict else { return false };
    let cost = Some(NanoUsd(3_000_000));
    let actual = Actual { sent: true, tokens: 1_500, cost, failed: false };
    drop(engine.settle(ticket, &actual, now));
    true
}

/// The middle and the far end of a series.
struct Spread {
    median: f64,
    p99: f64,
}

impl Spread {
    fn of(mut series: Vec<f64>) -> Self {
        series.sort_by(f64::total_cmp);
        let at = |place: usize| series.get(place).copied().unwrap_or_default();
        Self { median: at(series.len() / 2), p99: at(series.len() * 99 / 100) }
    }
}

fn subject(number: usize) -> Subject {
    let (script, user) = (format!("job-{number}.py"), number % USERS);
    let parts = Parts { exe: "python3", script: Some(&script), ..Parts::default() };
    Subject {
        process: Process {
            pid: 1,
            start_ticks: 1,
            exe: "/usr/bin/python3.13".into(),
            command: "".into(),
            uid: u32::try_from(1_000 + user).unwrap_or(0),
            user: Some(format!("user-{user}").into()),
            verified: true,
        },
        workload: Workload::derive(&parts),
    }
}

fn settings(rules: usize) -> Settings {
    let minute = Over::Sliding(Duration::from_mins(1));
    let hour = Over::Sliding(Duration::from_hours(1));
    let day = Over::Sliding(Duration::from_hours(24));
    let requests = |over| cap("requests", Quantity::Requests, over);
    let tokens = |over| cap("tokens", Quantity::Tokens, over);
    let usd = |over| cap("usd", Quantity::Usd, over);
    let mut all = vec![
        rule(
            "rate_limits.user:*",
            Per::User,
            limit(vec![requests(minute), requests(hour), tokens(day)]),
        ),
        rule(
            "rate_limits.workload:*",
            Per::Workload,
            limit(vec![requests(minute), tokens(minute)]),
        ),
        rule("budgets.team:*", Per::Team, budget(vec![usd(Over::Day), usd(Over::Month)])),
        rule("budgets.workload:*", Per::Workload, budget(vec![usd(Over::Day)])),
        rule("budgets.*", Per::All, budget(vec![usd(hour)])),
        rule(
            "guardrails.*",
            Per::All,
            Says::Guard(Guard { deny_models: vec![Pattern::new("o1-pro*")], ..Guard::default() }),
        ),
    ];
    for number in 0..rules.saturating_sub(all.len()) {
        let name = format!("rate_limits.job-{number}");
        let workload = vec![Pattern::new(&format!("job-{number}"))];
        all.push(Rule {
            selector: Selector { workload, or_agent_name: true, ..Selector::default() },
            ..rule(&name, Per::All, limit(vec![requests(minute), requests(hour)]))
        });
    }
    let team = |number: usize| Team {
        name: format!("team-{number}").into(),
        workloads: Vec::new(),
        users: (0..10).map(|user| Arc::from(format!("user-{}", number * 10 + user))).collect(),
    };
    Settings { teams: (0..USERS / 10).map(team).collect(), rules: all, ..Settings::default() }
}

fn cap(unit: &'static str, of: Quantity, over: Over) -> Cap {
    Cap { unit, of, over, limit: NonZeroU64::new(1 << 60).unwrap_or(NonZeroU64::MAX) }
}

fn limit(caps: Vec<Cap>) -> Says {
    Says::Limit(Limit { caps, on_breach: OnBreach::Deny, cut_streams: false, watch: None })
}

fn budget(caps: Vec<Cap>) -> Says {
    let watch = Watch { alert_at: vec![80], forecast: true, spike_percent: Some(300) };
    let watch = Some(watch);
    Says::Limit(Limit { caps, on_breach: OnBreach::Deny, cut_streams: false, watch })
}

fn rule(name: &str, per: Per, says: Says) -> Rule {
    Rule {
        name: name.into(),
        about: name.split_once('.').map_or(name, |(_section, about)| about).into(),
        enforcement: Enforcement::Enforce,
        selector: Selector::default(),
        per,
        says,
    }
}
